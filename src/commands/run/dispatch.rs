//! Requests from both doors, the bus and the desk, to the one verifier.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{error, warn};
use zeroize::Zeroizing;

use super::search::Searcher;
use super::{House, people};
use crate::auth::hub::correlation_of;
use crate::auth::jws::claims_to_be_signed;
use crate::auth::{Admitted, Denied};
use crate::base::{Culprit, Error, Kind, Result};
use crate::bus::{Command, ReplyTo};
use crate::config::CommandName;
use crate::desk::{VerifyAnswer, VerifyAsk, nobody_is_looked_up};
use crate::document::chip::FileId;
use crate::event::{
    ConfirmCommand, CredentialCommand, IdentifyCommand, MissionView, Refusal, Reply, VerifyMode,
};
use crate::gallery::Actor;
use crate::gate::{Answer, CredentialRead, DoorAnswer, Identified, Portrait, StaffWord, VerifyRequest};
use crate::search::{MissionOrder, StopOrder};

/// The commands this box carries out.
pub(super) fn known() -> Vec<String> {
    CommandName::ALL.map(|c| c.as_str().to_owned()).to_vec()
}

/// A reply is of no use to a requester who has stopped waiting.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// Commands worked on at once: more than cameras, fewer than a flood.
const COMMANDS_AT_ONCE: usize = 32;

/// Carries out commands until the bus goes away.
pub(super) async fn commands(house: Arc<House>, mut commands: mpsc::Receiver<Command>) {
    let slots = Arc::new(Semaphore::new(COMMANDS_AT_ONCE));
    while let Some(command) = commands.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        if command.expires.is_some_and(|at| at <= Instant::now()) {
            warn!(name = command.name, "a command expired before its turn");
            continue;
        }
        let Command { name, payload, reply_to, received, .. } = command;
        // One after the other: their counters are in order. Those of nobody are not, and cost no disk.
        let admitted = if claims_to_be_signed(&payload) {
            let (hub, name) = (house.hub.clone(), name.clone());
            tokio::task::spawn_blocking(move || hub.admit(&name, payload)).await
        } else {
            Ok(house.hub.admit(&name, payload))
        };
        let house = house.clone();
        tokio::spawn(async move {
            let (correlation, reply) = match admitted {
                Ok(Ok(admitted)) => carry_out(&house, admitted, received).await,
                Ok(Err(denied)) => refuse(&house, &name, *denied).await,
                Err(_) => return error!(name, "whether a command is allowed could not be found out"),
            };
            answer_to(&house, reply_to, correlation, &reply);
            drop(slot);
        });
    }
}

/// Tells whoever gave a command that it is not carried out.
async fn refuse(house: &House, name: &str, denied: Denied) -> (Option<String>, Reply) {
    let Denied { reason, error, correlation, again } = denied;
    let called = correlation.clone().unwrap_or_default();
    // A command of the hub that is delivered twice is not carried out twice, and is no attack: it hears
    // again what came of it.
    let order = [CommandName::GalleryPut, CommandName::GalleryRevoke].iter().any(|c| c.as_str() == name);
    if let Some(signer) = again.filter(|_| order)
        && let Some(done) = people::answered(house.people.as_ref(), signer).await
    {
        return (correlation, Reply::gallery(called, done));
    }
    warn!(name, reason = reason.as_str(), "a command was refused: {}", error.chain());
    house.refused("bus", reason, name, &error.what());
    (correlation, Reply::refused(called, &error, reason))
}

/// The one way from a command that may be carried out to its work.
async fn carry_out(house: &House, admitted: Admitted, received: Instant) -> (Option<String>, Reply) {
    let Admitted { command, body, correlation: outer, signer } = admitted;
    match command {
        CommandName::Verify => verify(house, body, outer, received).await,
        CommandName::Credential => {
            let read = CredentialRead::from_json(&body);
            let correlation =
                read.as_ref().map_or_else(|_| correlation_of(&body), |r| r.correlation.clone()).or(outer);
            let answer = match read {
                Ok(read) => {
                    let (correlation, received) = (correlation.clone(), Some(received));
                    read_at(house, CredentialRead { correlation, received, ..read }).await
                }
                Err(e) => Err(e),
            };
            let reply = door_reply(correlation.as_deref().unwrap_or_default(), answer);
            (correlation, reply)
        }
        CommandName::Confirm => {
            let word = StaffWord::from_json(&body);
            let correlation =
                word.as_ref().map_or_else(|_| correlation_of(&body), |w| w.correlation.clone()).or(outer);
            let answer = match word {
                Ok(word) => confirm_at(house, StaffWord { correlation: correlation.clone(), ..word }).await,
                Err(e) => Err(e),
            };
            let reply = door_reply(correlation.as_deref().unwrap_or_default(), answer);
            (correlation, reply)
        }
        CommandName::Identify => {
            let read = crate::gate::read_command::<IdentifyCommand>(&body);
            let correlation =
                read.as_ref().map_or_else(|_| correlation_of(&body), |c| c.correlation.clone()).or(outer);
            let by = signer.map_or_else(|| "hub".to_owned(), |s| format!("hub:{}", s.key));
            let found = match read {
                Ok(command) => look_up(house, command, by, received).await,
                Err(e) => Err(e),
            };
            let called = correlation.as_deref().unwrap_or_default();
            let reply = match found {
                // Who the candidates are, the desk alone is told.
                Ok(Identified { envelope, .. }) => Reply::event(called, envelope),
                Err(e) => {
                    warn!("a request was refused: {}", e.chain());
                    Reply::error(called, &e)
                }
            };
            (correlation, reply)
        }
        CommandName::GalleryPut | CommandName::GalleryRevoke | CommandName::GalleryList => {
            let called = outer.clone().unwrap_or_default();
            let done = match signer {
                Some(signer) => {
                    people::order(house.people.as_ref(), command, body, signer, called.clone()).await
                }
                None => Err(Error::internal("an order about the gallery that nobody signed")),
            };
            let reply = done.unwrap_or_else(|e| {
                warn!(%command, "an order was not carried out: {}", e.chain());
                Reply::error(called, &e)
            });
            (outer, reply)
        }
        CommandName::MissionStart | CommandName::MissionStop => {
            let start = command == CommandName::MissionStart;
            let done =
                if start { begin_mission(house, &body).await } else { end_mission(house, &body).await };
            let correlation = outer.or_else(|| correlation_of(&body));
            let called = correlation.as_deref().unwrap_or_default();
            let reply = match done {
                Ok(view) => Reply::mission(called, view),
                Err(e) => {
                    warn!(%command, "an order was not carried out: {}", e.chain());
                    Reply::error(called, &e)
                }
            };
            (correlation, reply)
        }
    }
}

fn searcher(house: &House) -> Result<&Searcher> {
    house.search.as_ref().ok_or_else(|| {
        Error::new(Kind::NotFound, Culprit::Request, "this box searches nothing from the air")
            .remedy("add [search] and its camera to the box's configuration")
    })
}

async fn begin_mission(house: &House, body: &[u8]) -> Result<MissionView> {
    let searcher = searcher(house)?;
    searcher.begin(MissionOrder::from_json(body)?).await
}

async fn end_mission(house: &House, body: &[u8]) -> Result<MissionView> {
    let searcher = searcher(house)?;
    searcher.finish(StopOrder::from_json(body)?).await
}

fn answer_to(house: &House, reply_to: Option<ReplyTo>, correlation: Option<String>, reply: &Reply) {
    let expires = Instant::now() + REPLY_WITHIN;
    let sent = match (reply_to, &correlation) {
        (Some(to), _) => house.bus.reply_to(to, reply, expires),
        (None, Some(correlation)) => house.bus.reply(correlation, reply, expires),
        (None, None) => return,
    };
    if let Err(e) = sent {
        error!("a reply could not be sent: {}", e.chain());
    }
}

fn door_reply(correlation: &str, answer: Result<DoorAnswer>) -> Reply {
    match answer {
        Ok(DoorAnswer { envelope: Some(envelope), .. }) => Reply::event(correlation, envelope),
        Ok(DoorAnswer { envelope: None, .. }) => Reply::done(correlation),
        Err(e) => {
            warn!("a request was refused: {}", e.chain());
            Reply::error(correlation, &e)
        }
    }
}

async fn verify(
    house: &House,
    payload: Zeroizing<Vec<u8>>,
    outer: Option<String>,
    received: Instant,
) -> (Option<String>, Reply) {
    // A portrait of several megabytes is decoded off the network's threads.
    let read = tokio::task::spawn_blocking(move || {
        let mut request = VerifyRequest::from_json(&payload);
        let correlation = match &mut request {
            Ok(request) => {
                request.correlation = request.correlation.take().or(outer);
                request.correlation.clone()
            }
            Err(_) => correlation_of(&payload).or(outer),
        };
        (correlation, request)
    });
    let (correlation, request) = match read.await {
        Ok(read) => read,
        Err(_) => (None, Err(Error::internal("reading the request failed"))),
    };
    let answer = match request {
        Ok(request) => answer(house, VerifyRequest { received: Some(received), ..request }).await,
        Err(e) => Err(e),
    };
    let name = correlation.as_deref().unwrap_or_default();
    let reply = match answer {
        Ok(Answer { envelope: Some(envelope), .. }) => Reply::event(name, envelope),
        Ok(Answer { result, .. }) => {
            let unrecorded = Error::new(Kind::Unavailable, Culprit::Disk, "the answer is not on record");
            Reply::unrecorded(name, result, &unrecorded)
        }
        Err(e) => {
            warn!("a request was refused: {}", e.chain());
            Reply::error(name, &e)
        }
    };
    (correlation, reply)
}

/// By what a guest's document is known again, if it is: the bytes of the portrait that faces are
/// compared with, the chip's before one that was sent beside it. A chip gives the same each time.
fn document_of(request: &VerifyRequest) -> Option<&[u8]> {
    if request.mode != VerifyMode::Face {
        return None;
    }
    let chip = request.document.as_ref().and_then(|d| d.files.get(FileId::DataGroup(2)));
    chip.or(request.portrait.as_ref().map(Portrait::bytes))
}

/// The one way to the verifier, for the bus and the desk: one document is tried so often and no more.
async fn answer(house: &House, request: VerifyRequest) -> Result<Answer> {
    let attempts = house.attempts.clone();
    // Hashing megabytes, off the network's threads.
    let began = tokio::task::spawn_blocking(move || {
        let attempt = document_of(&request).map(|document| attempts.begin(document));
        (request, attempt)
    });
    let (request, attempt) = began.await.map_err(|_| Error::internal("reading the request failed"))?;
    let attempt = match attempt {
        Some(Err(left)) => {
            let message = format!(
                "a document was tried too often with other faces; nobody is looked at for {} s",
                left.as_secs()
            );
            house.refused("verify", Refusal::LockedOut, "verify", &message);
            let request = VerifyRequest { locked_out: true, portrait: None, document: None, ..request };
            return house.verifier.verify(request).await.map_err(|_| stopping());
        }
        Some(Ok(attempt)) => Some(attempt),
        None => None,
    };
    let answer = house.verifier.verify(request);
    let Some(attempt) = attempt else { return answer.await.map_err(|_| stopping()) };
    // Whoever asked may go away: how it ended counts all the same.
    let (tell, told) = oneshot::channel();
    let attempts = house.attempts.clone();
    tokio::spawn(async move {
        if let Ok(answer) = answer.await {
            attempts.ended(attempt, answer.result.outcome);
            let _ = tell.send(answer);
        }
    });
    told.await.map_err(|_| stopping())
}

fn stopping() -> Error {
    Error::new(Kind::Cancelled, Culprit::Vigil, "the box is stopping")
}

fn no_doors() -> Error {
    Error::new(Kind::NotFound, Culprit::Request, "this box has no doors")
        .remedy("add [[door]] to its configuration")
}

async fn read_at(house: &House, read: CredentialRead) -> Result<DoorAnswer> {
    let gate = house.gate.as_ref().ok_or_else(no_doors)?;
    gate.doors.read(read).await.map_err(|_| stopping())?
}

async fn confirm_at(house: &House, word: StaffWord) -> Result<DoorAnswer> {
    let gate = house.gate.as_ref().ok_or_else(no_doors)?;
    gate.doors.confirm(word).await.map_err(|_| stopping())?
}

/// A credential read over HTTP.
pub(super) async fn at_a_door(house: &House, command: CredentialCommand) -> Result<DoorAnswer> {
    read_at(house, CredentialRead::checked(command)?).await
}

/// Staff decide over HTTP.
pub(super) async fn staff(house: &House, command: ConfirmCommand) -> Result<DoorAnswer> {
    confirm_at(house, StaffWord::checked(command)?).await
}

/// A guest without papers is looked up; `by` asks.
pub(super) async fn look_up(
    house: &House,
    command: IdentifyCommand,
    by: String,
    received: Instant,
) -> Result<Identified> {
    let identifier = house.identifier.as_ref().ok_or_else(nobody_is_looked_up)?;
    identifier.identify(command, Actor::new(by)?, received).await
}

/// The desk's door.
pub(super) async fn at_the_desk(house: &House, ask: VerifyAsk) -> Result<VerifyAnswer> {
    let received = Instant::now();
    let json = serde_json::to_vec(&ask.request).map_err(|e| Error::internal("request").with_source(e))?;
    let request = VerifyRequest {
        received: Some(received),
        portrait: ask.portrait.map(Portrait::from),
        document: ask.document,
        ..VerifyRequest::from_json(&json)?
    };
    let answer = answer(house, request).await?;
    Ok(VerifyAnswer { result: answer.result, event: answer.envelope, recorded: answer.recorded })
}

//! Guests without papers: looked up among the people who may be looked up, shown to a clerk, and decided by
//! the clerk alone.
//!
//! A search is a session on a camera as a verification is, with the same rules for who stands there and which
//! pictures count; it ends in a template instead of a comparison. The result is an event and names nobody. The
//! candidates go to the desk's answer and wait there for a clerk; confirmed, rejected and expired are events
//! of the same session. Nothing here actuates anything. Of what waits nothing is on disk: a box that is killed
//! forgets it, and the guest is looked up again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::people::{Looked, People};
use super::session::Verdict;
use super::station::Gathered;
use super::verifier::{GatherAsk, RESERVE, Verifier};
use crate::base::{Clock, Culprit, Error, Kind, Result};
use crate::config::{IdentifyConfig, Purpose};
use crate::event::topic::valid_correlation;
use crate::event::{
    Candidate, CaptureFacts, Check, CheckName, Draft, Envelope, IdentifyAnswer, IdentifyCommand,
    IdentifyOutcome, IdentifyResult, IdentifyWaiting, Outcome, PersonRef, Reason, Recorder, SearchTerms,
    Timing,
};
use crate::gallery::Actor;

/// Searches that may wait for a clerk.
pub const MAX_WAITING: usize = 16;
/// The disk has so long to take an event.
const DISK_WITHIN: Duration = Duration::from_secs(5);
/// The station's answer may come so long after its time.
const GRACE: Duration = Duration::from_millis(100);

/// What an identifier is made of.
pub struct IdentifierParts<T> {
    /// `[identify]`.
    pub config: IdentifyConfig,
    /// The cameras.
    pub verifier: Verifier<T>,
    /// Who may be looked up.
    pub people: Arc<dyn People<T>>,
    /// Where decisions are made durable.
    pub recorder: Arc<dyn Recorder>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where searches run, so that none depends on who asked for it.
    pub runtime: tokio::runtime::Handle,
}

struct Waiting {
    result: IdentifyResult,
    candidates: Vec<Candidate>,
    capture: CaptureFacts,
    until: Instant,
}

struct Inner<T> {
    parts: IdentifierParts<T>,
    waiting: Mutex<HashMap<Uuid, Waiting>>,
}

/// The searches of a box. Clones share them.
pub struct Identifier<T>(Arc<Inner<T>>);

impl<T> Clone for Identifier<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A clerk's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClerkWord {
    /// It is this candidate.
    Confirm(PersonRef),
    /// It is none of them.
    Reject,
}

/// A recorded search.
#[derive(Clone, Debug, PartialEq)]
pub struct Identified {
    /// For the desk only.
    pub answer: IdentifyAnswer,
    /// The event, durable.
    pub envelope: Envelope,
}

fn lock<V>(m: &Mutex<V>) -> MutexGuard<'_, V> {
    // Entries are put in and taken out whole: recovering from poison is sound.
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, message)
}

/// The checks of a search, in order. The first four are the camera session's.
fn checks(session: &[Check], search: Check, staff: Check) -> Vec<Check> {
    const KEPT: [CheckName; 4] =
        [CheckName::Camera, CheckName::LiveFace, CheckName::FaceQuality, CheckName::PresentationAttack];
    let mut all: Vec<_> = session.iter().filter(|c| KEPT.contains(&c.name)).cloned().collect();
    all.extend([search, staff]);
    all
}

/// What a failed session is called.
fn failed(outcome: Outcome) -> IdentifyOutcome {
    match outcome {
        Outcome::NoFace => IdentifyOutcome::NoFace,
        Outcome::MultipleFaces => IdentifyOutcome::MultipleFaces,
        Outcome::PoorQuality => IdentifyOutcome::PoorQuality,
        Outcome::PresentationAttackSuspected => IdentifyOutcome::PresentationAttackSuspected,
        Outcome::Timeout => IdentifyOutcome::Timeout,
        // A session without a portrait or a document compares nothing, declines nothing, rejects nothing.
        Outcome::Error
        | Outcome::Match
        | Outcome::NoMatch
        | Outcome::DocumentOnly
        | Outcome::DocumentRejected => IdentifyOutcome::Error,
    }
}

/// What came of a session.
struct Ended {
    outcome: IdentifyOutcome,
    checks: Vec<Check>,
    candidates: Vec<Candidate>,
    terms: Option<SearchTerms>,
}

impl Ended {
    fn without_search(verdict: &Verdict) -> Self {
        let later = |name| Check::not_checked(name, Reason::EarlierCheckFailed);
        let checks =
            checks(&verdict.checks, later(CheckName::GallerySearch), later(CheckName::StaffConfirmation));
        Self { outcome: failed(verdict.outcome), checks, candidates: Vec::new(), terms: None }
    }

    fn of_search(session: &[Check], looked: std::result::Result<Looked, Reason>) -> Self {
        let search = CheckName::GallerySearch;
        let (search, outcome, looked) = match looked {
            Err(reason) => (Check::not_checked(search, reason), IdentifyOutcome::Error, None),
            Ok(looked) if looked.terms.is_none() => {
                (Check::not_checked(search, Reason::NobodyEnrolled), IdentifyOutcome::NoMatch, None)
            }
            Ok(looked) => {
                let outcome = match (looked.candidates.is_empty(), looked.clear) {
                    (true, _) => IdentifyOutcome::NoMatch,
                    (false, true) => IdentifyOutcome::Candidates,
                    (false, false) => IdentifyOutcome::Ambiguous,
                };
                (Check::pass(search), outcome, Some(looked))
            }
        };
        let (candidates, terms) = looked.map_or((Vec::new(), None), |l| (l.candidates, l.terms));
        let why = if candidates.is_empty() { Reason::NotRequested } else { Reason::AwaitsStaff };
        let checks = checks(session, search, Check::not_checked(CheckName::StaffConfirmation, why));
        Self { outcome, checks, candidates, terms }
    }
}

impl<T: Send + 'static> Identifier<T> {
    /// Looks guests up.
    pub fn new(parts: IdentifierParts<T>) -> Self {
        Self(Arc::new(Inner { parts, waiting: Mutex::default() }))
    }

    /// Looks up whoever stands before the camera; `by` asked. It ends whether or not somebody waits for the
    /// answer, and there is no answer without a durable event.
    pub async fn identify(
        &self,
        command: IdentifyCommand,
        by: Actor,
        received: Instant,
    ) -> Result<Identified> {
        let purposes = self.check(&command)?;
        let this = self.clone();
        let work = async move { this.run(command, purposes, by, received).await };
        self.0.parts.runtime.spawn(work).await.map_err(|_| Error::internal("a search ended early"))?
    }

    /// Whether the request can be carried out, and whose entries are searched.
    fn check(&self, command: &IdentifyCommand) -> Result<Vec<Purpose>> {
        if command.correlation.as_deref().is_some_and(|c| !valid_correlation(c)) {
            return Err(usage("`correlation` is not usable in a topic")
                .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, _ and -"));
        }
        let allowed = &self.0.parts.config.purposes;
        let mut purposes = command.purposes.clone().unwrap_or_else(|| allowed.clone());
        purposes.sort_unstable();
        purposes.dedup();
        if purposes.is_empty() {
            return Err(usage("`purposes` is empty").remedy("leave it out for all that may be looked up"));
        }
        if let Some(other) = purposes.iter().find(|p| !allowed.contains(p)) {
            return Err(Error::new(
                Kind::Refused,
                Culprit::Request,
                format!("nobody of the purpose {other} may be looked up here"),
            )
            .remedy("identify.purposes of the configuration lists who may"));
        }
        self.0.parts.recorder.ready()?;
        if lock(&self.0.waiting).len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} searches wait for a clerk already");
            return Err(Error::new(Kind::Unavailable, Culprit::Request, message)
                .remedy("decide about them at the desk first"));
        }
        Ok(purposes)
    }

    async fn run(
        self,
        command: IdentifyCommand,
        purposes: Vec<Purpose>,
        by: Actor,
        received: Instant,
    ) -> Result<Identified> {
        let parts = &self.0.parts;
        let session = Uuid::now_v7();
        let wanted = command.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let deadline =
            wanted.unwrap_or(parts.config.deadline_ms.duration()).min(parts.verifier.max_deadline());
        let decide_by = received + (deadline - RESERVE.min(deadline / 4));
        let ask = GatherAsk {
            session,
            correlation: command.correlation.clone(),
            camera: command.camera.or_else(|| parts.config.camera.clone()),
            received,
            decide_by,
            presentation: command.presentation,
        };
        let gathering = parts.verifier.gather(ask).map_err(|check| match check.reason {
            Some(Reason::CameraBusy) => {
                Error::new(Kind::Unavailable, Culprit::Request, "the camera serves another guest")
                    .remedy("ask again when the guest before has gone")
            }
            _ => {
                usage("no such camera sees a guest").remedy("name one of the cameras, or set identify.camera")
            }
        })?;
        let left = decide_by.saturating_duration_since(parts.clock.instant()) + GRACE;
        let (end, capture) = gathering.end(left).await;
        let ended = match end {
            Err(verdict) => Ended::without_search(&verdict),
            Ok(Gathered { template, checks }) => {
                let (people, fpir) = (parts.people.clone(), parts.config.fpir);
                let (limit, of) = (parts.config.candidates as usize, purposes.clone());
                let search = move || people.look_up(&template, &of, limit, fpir, &by);
                let looked = parts.runtime.spawn_blocking(search).await;
                Ended::of_search(&checks, looked.unwrap_or(Err(Reason::InternalFault)))
            }
        };
        let Ended { outcome, checks, candidates, terms } = ended;
        let now = parts.clock.now();
        let within = Duration::from_secs(parts.config.decide_within_s.into());
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let result = IdentifyResult {
            session,
            correlation: command.correlation,
            outcome,
            checks,
            purposes,
            terms,
            candidates: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            confirmed: None,
            decided_by: None,
            decide_by: if candidates.is_empty() { None } else { now.checked_add(within).ok() },
            capture: Some(capture.clone()),
            timing: Some(Timing {
                elapsed_ms: ms(parts.clock.instant().saturating_duration_since(received)),
                deadline_ms: ms(deadline),
            }),
        };
        let envelope = self.record(&result).await?;
        tracing::info!(session = %session, outcome = ?outcome, candidates = candidates.len(), "a guest was looked up");
        if !candidates.is_empty() {
            let until = parts.clock.instant() + within;
            let waiting = Waiting { result: result.clone(), candidates: candidates.clone(), capture, until };
            lock(&self.0.waiting).insert(session, waiting);
            let this = self.clone();
            parts.runtime.spawn(async move {
                tokio::time::sleep(within).await;
                this.expire(session);
            });
        }
        Ok(Identified { answer: IdentifyAnswer { result, candidates }, envelope })
    }

    async fn record(&self, result: &IdentifyResult) -> Result<Envelope> {
        let parts = &self.0.parts;
        let durable = parts.recorder.record(Draft::identify_result(result, parts.clock.now())?);
        match tokio::time::timeout(DISK_WITHIN, durable).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) => Err(Error::internal("the recorder dropped a search")),
            Err(_) => Err(Error::new(Kind::Timeout, Culprit::Disk, "the disk did not take a search in time")),
        }
    }

    /// What waits for a clerk, the oldest first. For the desk only.
    pub fn waiting(&self) -> Vec<IdentifyWaiting> {
        let now = self.0.parts.clock.instant();
        let waiting = lock(&self.0.waiting);
        let mut all: Vec<_> = waiting
            .values()
            .filter(|w| w.until > now)
            .filter_map(|w| {
                Some(IdentifyWaiting {
                    session: w.result.session,
                    camera: w.capture.camera.clone(),
                    outcome: w.result.outcome,
                    decide_by: w.result.decide_by?,
                    candidates: w.candidates.clone(),
                })
            })
            .collect();
        all.sort_by_key(|w| w.session);
        all
    }

    /// A clerk decides; `by` is the clerk. What cannot be recorded is not decided, and waits on.
    pub async fn decide(
        &self,
        session: Uuid,
        word: ClerkWord,
        by: String,
    ) -> Result<(IdentifyResult, Envelope)> {
        let this = self.clone();
        let work = async move { this.decide_now(session, word, by).await };
        self.0.parts.runtime.spawn(work).await.map_err(|_| Error::internal("a decision ended early"))?
    }

    async fn decide_now(
        self,
        session: Uuid,
        word: ClerkWord,
        by: String,
    ) -> Result<(IdentifyResult, Envelope)> {
        let actor = Actor::new(format!("desk:{by}"))?;
        // Taken out first, so that two clerks do not decide both.
        let Some(waiting) = lock(&self.0.waiting).remove(&session) else {
            return Err(Error::new(
                Kind::NotFound,
                Culprit::Request,
                "no search of this session waits for a clerk",
            )
            .remedy("it was decided or has expired: look the guest up again"));
        };
        if waiting.until <= self.0.parts.clock.instant() {
            self.tell_expired(&waiting.result);
            return Err(Error::new(Kind::NotFound, Culprit::Request, "the candidates have expired")
                .remedy("look the guest up again"));
        }
        match self.carry_out(&waiting, word, by, actor).await {
            Ok(done) => Ok(done),
            Err(e) => {
                let over = waiting.until <= self.0.parts.clock.instant();
                if over {
                    self.tell_expired(&waiting.result);
                } else {
                    lock(&self.0.waiting).insert(session, waiting);
                }
                Err(e)
            }
        }
    }

    async fn carry_out(
        &self,
        waiting: &Waiting,
        word: ClerkWord,
        by: String,
        actor: Actor,
    ) -> Result<(IdentifyResult, Envelope)> {
        let parts = &self.0.parts;
        let confirmed = match word {
            ClerkWord::Reject => None,
            ClerkWord::Confirm(person) => {
                let candidate = waiting.candidates.iter().find(|c| c.person_ref == person);
                let candidate = candidate.ok_or_else(|| {
                    usage("`person_ref` is none of the candidates")
                        .remedy("confirm one of them, or reject them all")
                })?;
                if !parts.people.holds(candidate.entry) {
                    let message = "the candidate's entry does not hold any more";
                    return Err(Error::new(Kind::Refused, Culprit::Request, message)
                        .remedy("it has expired or was revoked meanwhile: reject the candidates"));
                }
                Some(candidate.clone())
            }
        };
        let (people, person) = (parts.people.clone(), confirmed.as_ref().map(|c| c.person_ref.clone()));
        let noted = parts.runtime.spawn_blocking(move || people.decided(person.as_ref(), &actor)).await;
        noted.map_err(|_| Error::internal("the audit log failed"))??;
        let staff = match confirmed {
            Some(_) => Check::pass(CheckName::StaffConfirmation),
            None => Check::fail(CheckName::StaffConfirmation, Reason::RefusedByStaff),
        };
        let outcome =
            if confirmed.is_some() { IdentifyOutcome::Confirmed } else { IdentifyOutcome::Rejected };
        let result =
            IdentifyResult { confirmed, decided_by: Some(by), ..follow_up(&waiting.result, outcome, staff) };
        let envelope = self.record(&result).await?;
        tracing::info!(session = %result.session, outcome = ?outcome, "a clerk decided about a guest");
        Ok((result, envelope))
    }

    fn expire(&self, session: Uuid) {
        let expired = lock(&self.0.waiting).remove(&session);
        if let Some(waiting) = expired {
            self.tell_expired(&waiting.result);
        }
    }

    fn tell_expired(&self, result: &IdentifyResult) {
        let staff = Check::not_checked(CheckName::StaffConfirmation, Reason::StaffAbsent);
        let result = follow_up(result, IdentifyOutcome::Expired, staff);
        match Draft::identify_result(&result, self.0.parts.clock.now()) {
            // Nobody waits for it.
            Ok(draft) => drop(self.0.parts.recorder.record(draft)),
            Err(e) => tracing::error!(error = %e.chain(), "an expired search cannot be written"),
        }
    }

    /// The box stops: whatever waits for a clerk expires now.
    pub fn close(&self) {
        let all: Vec<_> = lock(&self.0.waiting).drain().collect();
        for (_, waiting) in all {
            self.tell_expired(&waiting.result);
        }
    }
}

/// A later event of the same search.
fn follow_up(result: &IdentifyResult, outcome: IdentifyOutcome, staff: Check) -> IdentifyResult {
    let mut later = IdentifyResult { outcome, decide_by: None, timing: None, ..result.clone() };
    for check in &mut later.checks {
        if check.name == CheckName::StaffConfirmation {
            *check = staff.clone();
        }
    }
    later
}

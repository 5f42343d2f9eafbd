//! `vigil run`: runs the daemon.
//!
//! Two steps. Everything that can fail because of the configuration, a model or the machine is
//! built first, with no port bound and no camera opened ([`Pieces::build`]); then it is started
//! ([`start`]). After that nothing ends the daemon but a signal.

mod alarms;
mod dispatch;
mod doors;
mod health;
mod people;
mod search;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{error, info, warn};

use self::alarms::Alarms;
use self::doors::{DoorPieces, Gate, GateParts};
use self::people::People;
use self::search::{SearchParts, SearchPieces, Searcher};
use self::watchdog::{Pulse, Watchdog};
use super::logging::{self, LogFormat};
use crate::auth::{Attempts, Caller, HubGuard, Tally};
use crate::base::error::Context;
use crate::base::{Clock, Culprit, Error, Name, Result, Shutdown, SystemClock, TimeQuality};
use crate::bus::{self, Bus, BusParts, LinkState};
use crate::capture::{Camera, GstOpener, Opener};
use crate::config::Config;
use crate::desk::{
    self, BoxFuture, Desk, DeskBackend, Fault, GalleryAnswer, GalleryAsk, RefusalCount, Snapshot,
    VerifyAnswer, VerifyAsk,
};
use crate::document::Inspector;
use crate::event::topic::Topics;
use crate::event::{
    AlarmCode, AlarmState, Birth, BirthCamera, BoxAlarm, BusHealth, CameraCondition, ConfirmCommand,
    CredentialCommand, Draft, Envelope, Health, IdentifyCommand, IdentifyResult, IdentifyWaiting, ModelRef,
    OutboxHealth, Recorder, Refusal, WatchHealth,
};
use crate::face::{Calibration, Engine, Template};
use crate::gallery::{self, Gallery, Keeper};
use crate::gate::{
    ClerkWord, DoorAnswer, Duty, FaceEyes, Identified, Identifier, IdentifierParts, Lane, Looks, Missing,
    Parts, Prompt, Verifier,
};
use crate::infer::{Manifest, ModelEntry, Runtime, Slot};
use crate::outbox::Outbox;

/// How often the health topic is refreshed.
const HEALTH_EVERY: Duration = Duration::from_secs(30);
/// How often conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A condition has to last this long to be an alarm.
const ALARM_AFTER: Duration = Duration::from_secs(10);
/// Events kept for a slow reader of the event stream.
const EVENTS_KEPT: usize = 256;
/// Certificates that cannot be used and are named in the log; the number of all stands before them.
const SKIPPED_TOLD: usize = 10;
/// Commands waiting to be carried out.
const COMMANDS_WAITING: usize = 64;
/// What is under way when the stop comes has this long to end.
const DRAIN: Duration = Duration::from_secs(10);
/// After this long a stop says who is still running.
const SAY_WHO_AFTER: Duration = Duration::from_secs(5);
/// A part that stands still for this long starves the watchdog.
const PATIENCE: Duration = Duration::from_secs(15);

/// Of a hub's key that ends within so many days the status page speaks.
const KEY_EXPIRES_DAYS: i64 = 30;

/// Runs the daemon until SIGTERM or SIGINT.
///
/// The first signal drains: sessions under way are answered with `error`, what waits in the outbox
/// is handed to the broker for a few seconds. The second signal leaves at once; nothing that was recorded is lost by it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil run --config /etc/vigil/vigil.toml\n  \
    VIGIL_LOG=vigil=debug vigil run --config desk.toml\n\n\
    Exit codes: 0 stopped by a signal, 78 wrong configuration or model, 66 a model or a library is missing, \
    69 a port or the state directory is in use, 77 no permission.")]
pub(super) struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/vigil/vigil.toml")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    logging::init(args.log);
    refuse_core_dumps();
    let config = Config::load(&args.config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|e| Error::io(Culprit::Host, "cannot start the network's threads", e))?;
    let pieces = Pieces::build(&config, clock.clone())?;
    let left = runtime.block_on(live(config, pieces, clock, runtime.handle()))?;
    if left == Left::AtOnce {
        // Dropped, it would wait for the blocking work that the second signal is meant to cut off.
        runtime.shutdown_background();
    }
    Ok(())
}

/// How the daemon went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    InGoodOrder,
    AtOnce,
}

/// A crash must not leave faces on the disk: no core file, and no dump by a handler either.
fn refuse_core_dumps() {
    use nix::sys::{prctl, resource};
    let limited = resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0);
    if let Err(e) = limited.and_then(|()| prctl::set_dumpable(false)) {
        warn!("core dumps cannot be turned off: {e}; a crash may leave pictures on the disk");
    }
}

/// Everything built from the configuration that needs neither camera nor network.
struct Pieces {
    eyes: Vec<FaceEyes>,
    portrait_eyes: FaceEyes,
    inspector: Arc<Inspector>,
    looks: Looks,
    model: ModelRef,
    models: Vec<ModelRef>,
    people: Option<People>,
    hub: HubGuard,
    doors: Option<DoorPieces>,
    search: Option<SearchPieces>,
    outbox: Outbox,
}

impl Pieces {
    fn build(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let runtime = Runtime::load(&config.models)?;
        let manifest = Manifest::load(&config.models.dir)?;
        let eyes = || -> Result<FaceEyes> {
            let engine = Engine::open(&runtime, &manifest, &config.inference)?;
            Ok(FaceEyes::new(engine, config.verify.quality.clone()))
        };
        let embedding = manifest.model(Slot::FaceEmbedding)?;
        let calibration = Calibration::of_site(&config.verify, embedding).context(|| "verify.calibration")?;
        let looks = Looks::of(&calibration, config.verify.fmr).context(|| "verify.fmr")?;
        bus::check(&config.mqtt)?;
        let state_dir = &config.identity.state_dir;
        if let Some(locks) = &config.locks {
            bus::check(locks).context(|| "locks")?;
        }
        let doors = DoorPieces::build(config, &calibration, clock.now())?;
        let search = SearchPieces::build(config, &runtime, &manifest)?;
        if let Some(watch) = &config.watch {
            // Not even one person could be looked for at this rate: said now, not when somebody is missing.
            gallery::watch_threshold(&calibration, watch, 1)?;
        }
        let setup = gallery::setup(config, embedding.model_ref(), calibration, clock.clone())?;
        let gallery = setup.map(|(setup, master)| Gallery::open(setup, master)).transpose()?;
        let people = gallery.map(|g| People::open(g, &runtime, &manifest, config)).transpose()?;
        let topics = Topics::new(&config.identity.site, &config.identity.name);
        let outbox = Outbox::open(state_dir, &config.outbox, format!("/{}", topics.base()), clock.clone())?;
        // The outbox has made the directory.
        let inspector = Arc::new(Inspector::open(&config.document, state_dir, clock.now())?);
        tell_trust(config, &inspector);
        let hub = HubGuard::open(config, state_dir, outbox.boot_id(), clock)?;
        Ok(Self {
            // The camera that looks for people from the air shows no faces.
            eyes: config
                .cameras
                .iter()
                .filter(|c| !is_airborne(config, &c.name))
                .map(|_| eyes())
                .collect::<Result<_>>()?,
            portrait_eyes: eyes()?,
            inspector,
            looks,
            model: embedding.model_ref(),
            models: manifest.models.iter().map(ModelEntry::model_ref).collect(),
            people,
            hub,
            doors,
            search,
            outbox,
        })
    }
}

/// Whether a camera is that of the search.
fn is_airborne(config: &Config, camera: &Name) -> bool {
    config.search.as_ref().is_some_and(|s| s.camera == *camera)
}

/// Says which certificates documents are checked with, and what of the folder is left out.
fn tell_trust(config: &Config, inspector: &Inspector) {
    let Some(folder) = &config.document.trust else { return };
    let trust = inspector.trust().summary();
    info!(
        folder = %folder.display(), states = trust.anchors, revocation_lists = trust.revocation_lists,
        left_out = trust.skipped_total, "the certificates of issuing states are loaded"
    );
    if inspector.trust().is_empty() {
        warn!("document.trust holds no certificate: no chip will be trusted");
    }
    for skipped in trust.skipped.iter().take(SKIPPED_TOLD) {
        warn!("left out of document.trust: {}: {}", skipped.what, skipped.why);
    }
}

/// The running box, as the desk and the commands see it.
struct House {
    config: Config,
    topics: Topics,
    clock: Arc<dyn Clock>,
    started: Instant,
    cameras: Vec<Camera>,
    outbox: Outbox,
    recorder: Arc<Announcing>,
    bus: Bus,
    verifier: Verifier<Template>,
    gate: Option<Gate>,
    search: Option<Searcher>,
    identifier: Option<Identifier<Template>>,
    people: Option<People>,
    hub: Arc<HubGuard>,
    attempts: Arc<Attempts>,
    refusals: Tally,
}

/// Records through the outbox and tells whoever follows on this box.
struct Announcing {
    outbox: Outbox,
    events: broadcast::Sender<Envelope>,
    runtime: tokio::runtime::Handle,
}

impl Recorder for Announcing {
    fn record(&self, draft: Draft) -> oneshot::Receiver<Result<Envelope>> {
        let durable = self.outbox.record(draft);
        let (done, rx) = oneshot::channel();
        let events = self.events.clone();
        self.runtime.spawn(async move {
            let result = durable.await.unwrap_or_else(|_| Err(Error::internal("the outbox is closed")));
            if let Ok(envelope) = &result {
                // Nobody follows: not an error.
                let _ = events.send(envelope.clone());
            }
            let _ = done.send(result);
        });
        rx
    }

    fn ready(&self) -> Result<()> {
        self.outbox.ready()
    }
}

impl House {
    fn health(&self) -> Health {
        let now = self.clock.instant();
        let outbox = self.outbox.stats();
        let link = self.bus.link().borrow().clone();
        let bus = self.bus.stats();
        Health {
            time: self.clock.now(),
            timequality: self.clock.quality(),
            bootid: self.outbox.boot_id(),
            uptime_s: now.duration_since(self.started).as_secs(),
            cameras: self.cameras.iter().map(|c| health::camera_health(c, now)).collect(),
            outbox: OutboxHealth {
                depth: outbox.depth,
                oldest_age_s: outbox.oldest.map(|d| d.as_secs()),
                bytes: outbox.bytes,
                free_disk_bytes: Some(outbox.free_bytes),
                recorded: outbox.recorded,
                acknowledged: outbox.acked,
                not_ready: outbox.not_ready,
            },
            bus: BusHealth {
                connected: link.state == LinkState::Online,
                since: link.since,
                reason: link.reason,
                connects: bus.connects,
                in_flight: bus.in_flight,
                resent: bus.resent,
            },
            doors: self.gate.as_ref().map(Gate::health).unwrap_or_default(),
            locks: self.gate.as_ref().and_then(Gate::locks_health),
            prompts: self.gate.as_ref().and_then(Gate::prompts_health),
            watch: self.watch_health(),
            search: self.search.as_ref().map(|s| s.health(now)),
            identify_waiting: self
                .identifier
                .as_ref()
                .map(|i| u32::try_from(i.waiting().len()).unwrap_or(u32::MAX)),
            rss_bytes: health::rss_bytes(),
        }
    }

    fn watch_health(&self) -> Option<WatchHealth> {
        let config = self.config.watch.as_ref()?;
        let (cameras, missing, passages_24h) = self.verifier.watched();
        Some(WatchHealth {
            purpose: config.purpose,
            authority: config.authority.clone(),
            missing,
            passages_24h,
            passages_expected: config.passages_per_day,
            cameras,
        })
    }

    fn retain(&self, topic: &str, state: &impl Serialize) {
        let published = self.bus.publish_retained(topic, state);
        if let Err(e) = published {
            error!(topic, "not published: {}", e.chain());
        }
    }

    fn alarm(&self, alarm: &BoxAlarm) {
        warn!(code = ?alarm.code, state = ?alarm.state, about = alarm.about, "alarm: {}", alarm.message);
        match Draft::box_alarm(alarm, self.clock.now()) {
            // Whoever wants to know reads the topic; nothing waits for an alarm to be durable.
            Ok(draft) => drop(self.recorder.record(draft)),
            Err(e) => error!("an alarm cannot be written: {e}"),
        }
    }

    /// Counts a refusal, and tells the hub: not more often than once a minute for each kind.
    fn refused(&self, at: &'static str, reason: Refusal, about: &str, message: &str) {
        let Some(silent) = self.refusals.note(at, reason, self.clock.instant()) else { return };
        let code = match at {
            "bus" => AlarmCode::CommandRefused,
            "desk" => AlarmCode::RequestRefused,
            _ => AlarmCode::LockedOut,
        };
        // A page that nobody has logged in to yet is no attack.
        if reason == Refusal::NoToken {
            return;
        }
        let before = match silent {
            0 => String::new(),
            n => format!("; {n} more since the last alarm of this kind"),
        };
        let message = format!("{}: {message}{before}", reason.as_str());
        self.alarm(&BoxAlarm { code, state: AlarmState::Happened, about: Some(about.to_owned()), message });
    }

    fn faults(&self) -> Vec<Fault> {
        let stats = self.outbox.stats();
        let warn_bytes = u64::from(self.config.outbox.warn_free_mib) << 20;
        let mut faults = Vec::new();
        if stats.free_bytes < warn_bytes {
            faults.push(Fault {
                part: "disk".into(),
                message: format!(
                    "{} MiB are left under {}",
                    stats.free_bytes >> 20,
                    self.config.identity.state_dir.display()
                ),
                stops_decisions: false,
            });
        }
        faults.extend(self.hub.expiring(KEY_EXPIRES_DAYS).into_iter().map(|message| Fault {
            part: "hub key".into(),
            message,
            stops_decisions: false,
        }));
        faults
    }
}

/// What the desk sees of the box.
struct Backend {
    house: Arc<House>,
}

impl DeskBackend for Backend {
    fn verify(&self, ask: VerifyAsk) -> BoxFuture<'_, Result<VerifyAnswer>> {
        Box::pin(dispatch::at_the_desk(&self.house, ask))
    }

    fn credential(&self, command: CredentialCommand) -> BoxFuture<'_, Result<DoorAnswer>> {
        Box::pin(dispatch::at_a_door(&self.house, command))
    }

    fn confirm(&self, command: ConfirmCommand) -> BoxFuture<'_, Result<DoorAnswer>> {
        Box::pin(dispatch::staff(&self.house, command))
    }

    fn identify(&self, command: IdentifyCommand, by: String) -> BoxFuture<'_, Result<Identified>> {
        Box::pin(dispatch::look_up(&self.house, command, format!("desk:{by}"), Instant::now()))
    }

    fn identify_waiting(&self) -> Vec<IdentifyWaiting> {
        self.house.identifier.as_ref().map(Identifier::waiting).unwrap_or_default()
    }

    fn identify_decide(
        &self,
        session: uuid::Uuid,
        word: ClerkWord,
        by: String,
    ) -> BoxFuture<'_, Result<(IdentifyResult, Envelope)>> {
        Box::pin(async move {
            let identifier = self.house.identifier.as_ref().ok_or_else(desk::nobody_is_looked_up)?;
            identifier.decide(session, word, by).await
        })
    }

    fn gallery(&self, ask: GalleryAsk, caller: Caller) -> BoxFuture<'_, Result<GalleryAnswer>> {
        Box::pin(people::ask(self.house.people.as_ref(), ask, caller))
    }

    fn refused(&self, reason: Refusal, route: &str) {
        self.house.refused("desk", reason, route, "a request was refused");
    }

    fn snapshot(&self) -> Snapshot {
        let house = &self.house;
        Snapshot {
            site: house.config.identity.site.clone(),
            box_name: house.config.identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            broker: house.config.mqtt.url.to_string(),
            health: house.health(),
            faults: house.faults(),
            refusals: house
                .refusals
                .counts()
                .into_iter()
                .map(|(at, reason, count)| RefusalCount { at: at.to_owned(), reason, count })
                .collect(),
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<Envelope> {
        self.house.recorder.events.subscribe()
    }

    fn prompts(&self) -> broadcast::Receiver<Prompt> {
        self.house.verifier.prompts()
    }
}

/// Starts everything, runs until a signal, stops everything.
async fn live(
    config: Config,
    pieces: Pieces,
    clock: Arc<dyn Clock>,
    runtime: &tokio::runtime::Handle,
) -> Result<Left> {
    let Pieces { eyes, portrait_eyes, inspector, looks, model, models, people, hub, doors, search, outbox } =
        pieces;
    // Sources stop first, so that what is under way can still be recorded and published.
    let (stop_intake, stop_bus) = (Shutdown::new(), Shutdown::new());
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;

    // The ports first: one that is taken must be found out before the hub hears that the box is up.
    let desk_port = Desk::bind(&config.desk)?;
    let _broker = match &config.broker {
        Some(broker) => {
            let broker = bus::embedded::start(broker)?;
            info!("the box's own broker listens on {}", broker.addr());
            Some(broker)
        }
        None => None,
    };
    let recorder = Arc::new(Announcing {
        outbox: outbox.clone(),
        events: broadcast::Sender::new(EVENTS_KEPT),
        runtime: runtime.clone(),
    });

    // What waits for the audit log is written when it goes.
    let gallery = people.as_ref().map(|p| p.gallery().clone());
    let _keeper = gallery.clone().map(|g| Keeper::telling(g, recorder.clone())).transpose()?;
    let opener: Arc<dyn Opener> = Arc::new(GstOpener::new()?);
    let (mut cameras, mut lanes) = (Vec::new(), Vec::new());
    let (mut eyes, mut search, mut searcher) = (eyes.into_iter(), search, None);
    for camera_config in &config.cameras {
        let (camera, frames) = Camera::start(camera_config, opener.clone(), clock.clone(), &stop_intake)?;
        if let Some(pieces) = search.take_if(|s| s.camera() == camera.name()) {
            searcher = Some(Searcher::start(SearchParts {
                pieces,
                frames,
                metadata: camera.metadata(),
                recorder: recorder.clone(),
                clock: clock.clone(),
                runtime,
                stop: stop_intake.clone(),
            })?);
        } else if let Some(eyes) = eyes.next() {
            lanes.push(Lane { camera: camera.name().clone(), frames, status: camera.status(), eyes });
        }
        cameras.push(camera);
    }
    let verifier = Verifier::start(Parts {
        config: config.verify.clone(),
        privacy: config.privacy.clone(),
        cameras: lanes,
        portrait_eyes,
        inspector,
        looks,
        model,
        recorder: recorder.clone(),
        clock: clock.clone(),
        watch: gallery.clone().zip(config.watch.clone()).map(|(gallery, config)| Duty {
            wanted: Arc::new(Missing::new(gallery, config.clone())),
            config,
        }),
        stop: stop_intake.clone(),
    })?;

    let identifier = gallery.clone().zip(config.identify.clone()).map(|(gallery, config)| {
        Identifier::new(IdentifierParts {
            config,
            verifier: verifier.clone(),
            people: Arc::new(gallery),
            recorder: recorder.clone(),
            clock: clock.clone(),
            runtime: runtime.clone(),
        })
    });

    let topics = Topics::new(&config.identity.site, &config.identity.name);
    let gate = match doors {
        Some(pieces) => Some(Gate::start(GateParts {
            pieces,
            config: &config,
            topics: &topics,
            gallery,
            verifier: verifier.clone(),
            recorder: recorder.clone(),
            clock: clock.clone(),
            runtime,
            stop: stop_intake.clone(),
            stop_locks: stop_bus.clone(),
        })?),
        None => None,
    };
    let birth = Birth {
        software: env!("CARGO_PKG_VERSION").into(),
        schema: crate::event::topic::ROOT.into(),
        bootid: outbox.boot_id(),
        time: clock.now(),
        timequality: clock.quality(),
        first_seq: 1,
        cameras: config
            .cameras
            .iter()
            .map(|c| BirthCamera { name: c.name.clone(), kind: health::camera_kind(&c.url) })
            .collect(),
        models,
    };
    let (command_tx, command_rx) = mpsc::channel(COMMANDS_WAITING);
    let bus = Bus::start(BusParts {
        config: config.mqtt.clone(),
        topics: topics.clone(),
        outbox: outbox.clone(),
        birth: serde_json::to_value(birth).map_err(|e| Error::internal("birth").with_source(e))?,
        commands: command_tx,
        known_commands: dispatch::known(),
        clock: clock.clone(),
        stop: stop_bus.clone(),
    })?;

    let attempts = Arc::new(Attempts::new(&config.verify.lockout, clock.clone())?);
    let house = Arc::new(House {
        topics,
        started: clock.instant(),
        config,
        clock,
        cameras,
        outbox,
        recorder,
        bus,
        verifier,
        gate,
        search: searcher,
        identifier,
        people,
        hub: Arc::new(hub),
        attempts,
        refusals: Tally::default(),
    });
    let backend = Arc::new(Backend { house: house.clone() });
    let desk =
        Desk::start_on(desk_port, &house.config.desk, backend, house.clock.clone(), &stop_intake, runtime)?;
    info!("the status page is at {}", desk.url());
    tokio::spawn(dispatch::commands(house.clone(), command_rx));
    for camera in 0..house.cameras.len() {
        tokio::spawn(tell_camera(house.clone(), camera));
    }
    tokio::spawn(tell_health(house.clone()));
    tokio::spawn(look_after(house.clone()));
    tokio::spawn(doors::tell(house.clone()));
    tokio::spawn(doors::ask(house.clone(), house.verifier.prompts()));
    tokio::spawn(doors::look_after(house.clone()));

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!(
        site = %house.config.identity.site, name = %house.config.identity.name,
        boot = %house.outbox.boot_id(), "vigil {} is running", env!("CARGO_PKG_VERSION")
    );
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    info!("stopping; a second signal leaves at once");

    let stopping = stop(house, desk, stop_intake, stop_bus);
    tokio::select! {
        () = stopping => {
            info!("stopped");
            return Ok(Left::InGoodOrder);
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    warn!("left at once: what was recorded is on disk and will be resent");
    Ok(Left::AtOnce)
}

fn on_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Error::io(Culprit::Host, "cannot listen for signals", e))
}

/// Stops in the order in which a frame walks, so that nothing is cut off behind what still runs.
async fn stop(house: Arc<House>, desk: Desk, stop_intake: Shutdown, stop_bus: Shutdown) {
    let until = Instant::now() + DRAIN;
    let left = move || until.saturating_duration_since(Instant::now());
    stop_intake.request();
    let said = tokio::spawn({
        let house = house.clone();
        async move {
            tokio::time::sleep(SAY_WHO_AFTER).await;
            let waiting = house.outbox.stats().depth;
            warn!(left = ?left(), waiting, "still stopping: sessions, cameras, events for the broker");
        }
    });
    desk.join().await;
    if let Some(identifier) = &house.identifier {
        identifier.close();
    }
    let rooms = house.clone();
    let _ = tokio::task::spawn_blocking(move || {
        if !rooms.verifier.join(left()) {
            error!("a session did not end in time");
        }
        if rooms.search.as_ref().is_some_and(|s| !s.join(left())) {
            error!("the search did not end in time");
        }
        for camera in &rooms.cameras {
            if !camera.join(left()) {
                error!(camera = %camera.name(), "the camera could not be closed in time");
            }
        }
        if let Some(gate) = &rooms.gate {
            if !gate.join(left) {
                error!("a door did not end in time");
            }
            gate.say_goodbye();
        }
        // The outbox still takes what those had to say; only now may the link say goodbye.
        stop_bus.request();
        if !rooms.bus.join(left()) {
            warn!("the broker did not take everything in time; the rest is sent after the next start");
        }
        if rooms.gate.as_ref().is_some_and(|g| !g.join_locks(left())) {
            warn!("the locks' connection did not end in time");
        }
    })
    .await;
    said.abort();
}

/// Publishes a camera's state whenever it changes.
async fn tell_camera(house: Arc<House>, index: usize) {
    let camera = &house.cameras[index];
    let mut status = camera.status();
    let topic = house.topics.camera(camera.name());
    loop {
        let state = health::camera_state(camera);
        house.retain(&topic, &state);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes the health payload.
async fn tell_health(house: Arc<House>) {
    let mut every = tokio::time::interval(HEALTH_EVERY);
    let topic = house.topics.health();
    loop {
        every.tick().await;
        house.retain(&topic, &house.health());
    }
}

/// Looks at the box once a second: alarms, and systemd's watchdog.
async fn look_after(house: Arc<House>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut alarms = Alarms::new(ALARM_AFTER);
    let mut watchdog = Watchdog::new(pulses(&house), Instant::now());
    loop {
        every.tick().await;
        let now = Instant::now();
        if watchdog.check(now) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        for alarm in conditions(&house)
            .into_iter()
            .filter_map(|(code, about, wrong)| alarms.observe(now, code, about.as_deref(), wrong))
        {
            house.alarm(&alarm);
        }
    }
}

/// Conditions that can be an alarm and that no room speaks up about by itself, as the outbox does
/// about its disk and the bus about its broker; and what is wrong with each now.
fn conditions(house: &House) -> Vec<(AlarmCode, Option<String>, Option<String>)> {
    let mut all = Vec::new();
    for camera in &house.cameras {
        let status = camera.status().borrow().clone();
        let wrong = (status.state != CameraCondition::Live)
            .then(|| format!("{}: {}", status.state, status.reason.as_deref().unwrap_or("no reason given")));
        all.push((AlarmCode::CameraLost, Some(camera.name().to_string()), wrong));
    }
    let unsynced = house.clock.quality() == TimeQuality::Unsynced;
    all.push((
        AlarmCode::ClockUnsynced,
        None,
        unsynced.then(|| "the clock was never synchronised since the machine started".into()),
    ));
    all.extend(house.gate.iter().flat_map(Gate::alarms));
    if let Some(search) = &house.search {
        let (code, wrong) = search.alarm();
        all.push((code, house.config.search.as_ref().map(|s| s.camera.to_string()), wrong));
    }
    all
}

/// What has to move for the watchdog to be fed.
fn pulses(house: &Arc<House>) -> Vec<Pulse> {
    let mut pulses: Vec<Pulse> = (0..house.cameras.len())
        .map(|i| {
            let read = house.clone();
            // A camera thread may rightly be silent while it waits for a first picture, and between
            // two attempts.
            let config = &house.config.cameras[i];
            let silence = config.connect_within_ms.duration() + config.retry_max_ms.duration();
            Pulse {
                name: format!("camera {}", house.cameras[i].name()),
                read: Box::new(move || {
                    let stats = read.cameras[i].stats();
                    // A file that is at its end is done: its silence is nobody's fault.
                    let done = read.cameras[i].join(Duration::ZERO);
                    stats.frames + stats.attempts + if done { read.started.elapsed().as_secs() } else { 0 }
                }),
                patience: PATIENCE + silence,
            }
        })
        .collect();
    if house.search.is_some() {
        let read = house.clone();
        pulses.push(Pulse {
            name: "search".into(),
            read: Box::new(move || read.search.as_ref().map_or(0, Searcher::beat)),
            patience: PATIENCE,
        });
    }
    let read = house.clone();
    pulses.push(Pulse {
        name: "outbox".into(),
        read: Box::new(move || {
            read.outbox.stats().last_turn.saturating_duration_since(read.started).as_millis() as u64
        }),
        patience: PATIENCE,
    });
    pulses
}

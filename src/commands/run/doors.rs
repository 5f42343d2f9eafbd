//! The doors of the running box: what is decided at them is told to locks and spoken, what readers
//! read is handed in, and what keeps a door from deciding is told.
//!
//! # A door that cannot decide
//!
//! Its camera is not live, the outbox takes no decision, or the gallery or the doors' memory cannot
//! be asked. That has to last as long as an alarm's condition. Then the door's topic says so, the
//! lock is told what `when_ill` says, and `door_ill` is raised. It is over at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::broadcast;
use tracing::{info, warn};

use super::House;
use crate::base::{Clock, Name, Result, Shutdown};
use crate::bus::Relay;
use crate::capture::Camera;
use crate::config::{Config, DoorConfig, Language, PresentationMode, ReaderKind, WhenIll};
use crate::event::topic::Topics;
use crate::event::{
    AlarmCode, CameraCondition, DoorCondition, DoorHealth, DoorState, GateOutcome, LocksHealth,
    PromptsHealth, ReadKind, Recorder, Waiting,
};
use crate::face::{Calibration, Template};
use crate::fittings::voice::{self, Tone, Utterance};
use crate::fittings::{self, LockSetup, Locks, Reader, Voice};
use crate::gallery::Gallery;
use crate::gate::door::{DoorRules, Memory};
use crate::gate::{
    CredentialRead, DoorParts, DoorSetup, Doors, Happened, Instruction, Ledger, Looks, NoRegister, Prompt,
    Register, Verifier,
};

/// A condition has to last this long before a door is ill.
const ILL_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What can be built of the doors before anything is started.
pub(super) struct DoorPieces {
    setups: Vec<DoorSetup>,
    ledger: Ledger,
    memory: Memory,
}

impl DoorPieces {
    /// Draws the lines and opens the memory; `None` without a door.
    pub(super) fn build(config: &Config, calibration: &Calibration, now: Timestamp) -> Result<Option<Self>> {
        if config.doors.is_empty() {
            return Ok(None);
        }
        let setups =
            config.doors.iter().map(|door| setup(door, config, calibration)).collect::<Result<_>>()?;
        let (ledger, memory) = Ledger::open(&config.identity.state_dir, now)?;
        Ok(Some(Self { setups, ledger, memory }))
    }
}

/// A door as its configuration and the calibration make it.
fn setup(door: &DoorConfig, config: &Config, calibration: &Calibration) -> Result<DoorSetup> {
    let looks = Looks::of(calibration, door.fmr.unwrap_or(config.verify.fmr))
        .map_err(|e| e.context(format!("door {}: fmr", door.name)))?;
    Ok(DoorSetup {
        rules: DoorRules::of(door),
        camera: door.camera.clone(),
        looks,
        presentation: door.presentation.map(|mode| mode == PresentationMode::TurnHead),
        valid_for: door.valid_for_ms.duration(),
    })
}

/// What the gate needs of the rest of the house.
pub(super) struct GateParts<'a> {
    pub(super) pieces: DoorPieces,
    pub(super) config: &'a Config,
    pub(super) topics: &'a Topics,
    pub(super) gallery: Option<Gallery>,
    pub(super) verifier: Verifier<Template>,
    pub(super) recorder: Arc<dyn Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runtime: &'a tokio::runtime::Handle,
    /// Ends readers, sessions and the voice.
    pub(super) stop: Shutdown,
    /// Ends what locks are told.
    pub(super) stop_locks: Shutdown,
}

/// How one door is, and since when.
struct Condition {
    since: Timestamp,
    /// What is wrong, and since when it has been so without a break.
    wrong: Option<(Instant, String)>,
    ill: bool,
    /// When the lock was told last.
    told: Option<Instant>,
    waiting: Vec<Waiting>,
}

/// The running doors.
pub(super) struct Gate {
    pub(super) doors: Doors,
    config: Vec<DoorConfig>,
    locks: Locks,
    relay: Option<Relay>,
    voice: Option<Voice>,
    readers: Vec<(Name, Reader)>,
    clock: Arc<dyn Clock>,
    conditions: Mutex<HashMap<Name, Condition>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave what this guards half-written.
    m.lock().unwrap_or_else(|e| e.into_inner())
}

impl Gate {
    /// Starts the doors and everything screwed to them.
    pub(super) fn start(parts: GateParts<'_>) -> Result<Self> {
        let GateParts { pieces, config, topics, gallery, verifier, recorder, clock, runtime, .. } = parts;
        let register: Arc<dyn Register<Template = Template>> = match gallery {
            Some(gallery) => Arc::new(gallery),
            None => Arc::new(NoRegister),
        };
        let doors = Doors::start(DoorParts {
            doors: pieces.setups,
            equipment: config.equipment.iter().map(|e| (e.tag.clone(), e.name.clone())).collect(),
            register,
            verifier,
            ledger: pieces.ledger,
            memory: pieces.memory,
            recorder,
            clock: clock.clone(),
            stop: parts.stop.clone(),
        })?;
        let actuators = config.doors.iter().filter_map(|d| Some((d.name.clone(), d.actuator.clone()?)));
        let setups: Vec<_> = actuators.map(|(door, actuator)| LockSetup { door, actuator }).collect();
        let relay = if setups.iter().any(|s| s.actuator.mqtt) {
            let broker = config.locks.as_ref().unwrap_or(&config.mqtt);
            Some(Relay::start(broker, topics, clock.clone(), &parts.stop_locks)?)
        } else {
            None
        };
        let locks = Locks::new(setups, relay.clone(), clock.clone(), runtime.clone())?;
        let speaks = config.doors.iter().any(|d| !d.prompts.is_empty());
        let voice = if speaks { Some(Voice::start(&config.prompts, &parts.stop)?) } else { None };
        let mut readers = Vec::new();
        for door in &config.doors {
            for reader in &door.readers {
                readers.push((door.name.clone(), read_from(door, reader, doors.clone(), &parts.stop)?));
            }
        }
        let now = clock.now();
        let condition = || Condition { since: now, wrong: None, ill: false, told: None, waiting: Vec::new() };
        let conditions = config.doors.iter().map(|d| (d.name.clone(), condition())).collect();
        Ok(Self {
            doors,
            config: config.doors.clone(),
            locks,
            relay,
            voice,
            readers,
            clock,
            conditions: Mutex::new(conditions),
        })
    }

    fn languages(&self, door: &Name) -> &[Language] {
        self.config.iter().find(|d| d.name == *door).map_or(&[], |d| &d.prompts)
    }

    fn say(&self, door: &Name, utterance: impl FnOnce(&[Language]) -> Option<Utterance>) {
        let languages = self.languages(door);
        if let Some(voice) = self.voice.as_ref().filter(|_| !languages.is_empty())
            && let Some(utterance) = utterance(languages)
        {
            voice.say(utterance);
        }
    }

    fn state(&self, door: &DoorConfig) -> DoorState {
        let conditions = lock(&self.conditions);
        let condition = conditions.get(&door.name);
        let ill = condition.is_some_and(|c| c.ill);
        DoorState {
            door: door.name.clone(),
            state: if ill { DoorCondition::Ill } else { DoorCondition::Ready },
            since: condition.map_or_else(|| self.clock.now(), |c| c.since),
            reason: condition.filter(|c| c.ill).and_then(|c| Some(c.wrong.as_ref()?.1.clone())),
            when_ill: door.when_ill,
            waiting: condition.map(|c| c.waiting.clone()).unwrap_or_default(),
        }
    }

    /// The doors' part of the health payload.
    pub(super) fn health(&self) -> Vec<DoorHealth> {
        let stats = self.doors.stats();
        let count = |door: &Name, outcome| {
            let these = stats.decisions.iter().filter(|((d, o, _), _)| d == door && *o == outcome);
            these.map(|(_, n)| n).sum()
        };
        let health = |door: &DoorConfig| {
            let DoorState { door: name, state, since, reason, when_ill, waiting } = self.state(door);
            DoorHealth {
                granted: count(&name, GateOutcome::Granted),
                denied: count(&name, GateOutcome::Denied),
                troubles: self.troubles(&name),
                name,
                state,
                since,
                reason,
                when_ill,
                waiting,
            }
        };
        self.config.iter().map(health).collect()
    }

    /// What the locks were told.
    pub(super) fn locks_health(&self) -> Option<LocksHealth> {
        let stats = self.relay.as_ref()?.stats();
        Some(LocksHealth {
            said: stats.said,
            late: stats.late,
            dropped: stats.dropped,
            unknown: stats.unknown,
        })
    }

    /// What was spoken.
    pub(super) fn prompts_health(&self) -> Option<PromptsHealth> {
        let stats = self.voice.as_ref()?.stats();
        Some(PromptsHealth { said: stats.said, dropped: stats.dropped, missing: stats.missing })
    }

    /// What is wrong with what is screwed to a door; it may decide all the same.
    fn troubles(&self, door: &Name) -> Vec<String> {
        let lock = self.locks.trouble(door).map(|why| format!("lock: {why}"));
        let readers = self.readers.iter().filter(|(d, _)| d == door);
        let readers = readers.filter_map(|(_, r)| Some(format!("reader: {}", r.trouble()?)));
        let voice = self.voice.as_ref().filter(|_| !self.languages(door).is_empty());
        let voice = voice.and_then(|v| Some(format!("voice: {}", v.trouble()?)));
        lock.into_iter().chain(readers).chain(voice).collect()
    }

    /// Conditions for alarms: what keeps a door from deciding, and what its fittings lack.
    pub(super) fn alarms(&self) -> Vec<(AlarmCode, Option<String>, Option<String>)> {
        let mut all = Vec::new();
        for door in &self.config {
            // The hold of a door's illness is its own: it is an alarm as soon as it is told.
            let wrong =
                lock(&self.conditions).get(&door.name).and_then(|c| Some(c.wrong.as_ref()?.1.clone()));
            all.push((AlarmCode::DoorIll, Some(door.name.to_string()), wrong));
            // A machine without a loudspeaker is said once, in the log, and is no alarm.
            let fittings: Vec<_> =
                self.troubles(&door.name).into_iter().filter(|t| !t.starts_with("voice")).collect();
            let fittings = (!fittings.is_empty()).then(|| fittings.join("; "));
            all.push((AlarmCode::DoorIll, Some(format!("{}/fittings", door.name)), fittings));
        }
        all
    }

    /// After the stop: whether everything ended within the time. The locks' connection ends last.
    pub(super) fn join(&self, left: impl Fn() -> Duration) -> bool {
        let until = Instant::now() + left();
        let ended =
            || self.readers.iter().all(|(_, r)| r.ended()) && self.voice.as_ref().is_none_or(Voice::ended);
        while !ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.doors.join(left()) && ended()
    }

    /// After its own stop: whether the locks' connection ended.
    pub(super) fn join_locks(&self, within: Duration) -> bool {
        self.relay.as_ref().is_none_or(|r| r.join(within))
    }

    /// The box stops in good order: what that means for the locks is told now, because nobody can
    /// tell it afterwards.
    pub(super) fn say_goodbye(&self) {
        for door in &self.config {
            self.locks.ill(&door.name, door.when_ill);
        }
    }
}

/// A reader on a cable, whose reads go to a door.
fn read_from(
    door: &DoorConfig,
    reader: &crate::config::ReaderConfig,
    doors: Doors,
    stop: &Shutdown,
) -> Result<Reader> {
    let (device, name, declines) = (reader.device.clone(), door.name.clone(), reader.declines_camera);
    let kind = match reader.kind {
        ReaderKind::Card => ReadKind::Card,
        ReaderKind::Tag => ReadKind::Tag,
        ReaderKind::Pin => ReadKind::Pin,
        ReaderKind::Equipment => ReadKind::Equipment,
    };
    let open = {
        let device = device.clone();
        Box::new(move || fittings::reader::open_device(&device))
    };
    let read = move |value| {
        // Nobody waits for the answer: the door speaks, the lock opens, the event is published.
        drop(doors.read(CredentialRead {
            correlation: None,
            door: name.clone(),
            kind,
            value: Some(value),
            verdict: None,
            declines_camera: declines,
            received: Some(Instant::now()),
        }));
    };
    Reader::start(device, reader.frame_ms.duration(), open, read, stop)
}

/// Tells locks and voice what happens at the doors.
pub(super) async fn tell(house: Arc<House>) {
    let Some(gate) = &house.gate else { return };
    let mut happened = gate.doors.happened();
    // How much of a session's equipment was named already.
    let mut named: Option<(uuid::Uuid, usize)> = None;
    loop {
        match happened.recv().await {
            Ok(Happened::Decided { envelope, decision }) => {
                gate.locks.decided(&envelope);
                let granted = decision.outcome == GateOutcome::Granted;
                named = granted.then(|| (decision.session, decision.equipment.len()));
                gate.say(&decision.door, |l| Some(voice::of_decision(&decision, l)));
            }
            Ok(Happened::Passed { passage }) => {
                let before = named.filter(|(s, _)| Some(*s) == passage.session).map_or(0, |(_, n)| n);
                gate.say(&passage.door, |l| voice::of_passage(&passage, before, l));
            }
            Ok(Happened::Looking { door }) => {
                let languages = Vec::new();
                gate.say(&door, |_| Some(Utterance { tone: Tone::Read, clips: Vec::new(), languages }));
            }
            Ok(Happened::Staff { door, waiting, asked }) => {
                if asked {
                    gate.say(&door, |l| Some(voice::simple(Tone::Read, "wait-for-staff", l)));
                }
                let waiting = waiting.into_iter().map(|(session, until)| Waiting { session, until });
                if let Some(condition) = lock(&gate.conditions).get_mut(&door) {
                    condition.waiting = waiting.collect();
                }
                publish(&house, gate, &door);
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                warn!(missed, "locks and voice were not told of what happened at the doors");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Speaks what people are asked to do before a door's camera.
pub(super) async fn ask(house: Arc<House>, mut prompts: broadcast::Receiver<Prompt>) {
    let Some(gate) = &house.gate else { return };
    loop {
        let prompt = match prompts.recv().await {
            Ok(prompt) => prompt,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let clip = match prompt.instruction {
            Instruction::LookAhead => "look-into-camera",
            Instruction::TurnLeft => "turn-left",
            Instruction::TurnRight => "turn-right",
            Instruction::Done => continue,
        };
        for door in gate.config.iter().filter(|d| d.camera == prompt.camera) {
            gate.say(&door.name, |l| Some(voice::simple(Tone::Read, clip, l)));
        }
    }
}

fn publish(house: &House, gate: &Gate, door: &Name) {
    if let Some(config) = gate.config.iter().find(|d| d.name == *door) {
        house.retain(&house.topics.door(door), &gate.state(config));
    }
}

/// Why no decision can be taken at a door now.
fn wrong(house: &House, gate: &Gate, door: &DoorConfig) -> Option<String> {
    let camera = house.cameras.iter().find(|c: &&Camera| *c.name() == door.camera);
    let camera = camera.and_then(|c| {
        let status = c.status().borrow().clone();
        let reason = status.reason.as_deref().unwrap_or("no reason given").to_owned();
        (status.state != CameraCondition::Live).then(|| format!("{} is {}: {reason}", c.name(), status.state))
    });
    camera
        .or_else(|| house.recorder.ready().err().map(|e| e.to_string()))
        .or_else(|| gate.doors.ready().err().map(|e| e.to_string()))
}

/// Looks whether the doors can decide, and tells it.
pub(super) async fn look_after(house: Arc<House>) {
    let Some(gate) = &house.gate else { return };
    for door in &gate.config {
        publish(&house, gate, &door.name);
    }
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        for door in &gate.config {
            let wrong = wrong(&house, gate, door);
            let now = Instant::now();
            let (changed, tell) = {
                let mut conditions = lock(&gate.conditions);
                let Some(condition) = conditions.get_mut(&door.name) else { continue };
                condition.see(now, gate.clock.now(), wrong)
            };
            if changed {
                let state = gate.state(door);
                match state.state {
                    DoorCondition::Ill => {
                        let reason = state.reason.as_deref().unwrap_or_default();
                        warn!(door = %door.name, when_ill = ?door.when_ill, "a door cannot decide: {reason}");
                    }
                    DoorCondition::Ready => info!(door = %door.name, "the door decides again"),
                }
                house.retain(&house.topics.door(&door.name), &state);
            }
            match tell {
                Some(true) if changed || door.when_ill == WhenIll::Unlocked => {
                    gate.locks.ill(&door.name, door.when_ill);
                }
                Some(false) => gate.locks.well(&door.name),
                _ => {}
            }
        }
    }
}

impl Condition {
    /// One look. Whether the door's state changed, and what the lock is told now: ill, well, or
    /// nothing.
    fn see(&mut self, now: Instant, at: Timestamp, wrong: Option<String>) -> (bool, Option<bool>) {
        let Some(why) = wrong else {
            self.wrong = None;
            if !self.ill {
                return (false, None);
            }
            (self.ill, self.since, self.told) = (false, at, None);
            return (true, Some(false));
        };
        let since = self.wrong.as_ref().map_or(now, |(since, _)| *since);
        self.wrong = Some((since, why));
        let was = self.ill;
        if !was && now.saturating_duration_since(since) >= ILL_AFTER {
            (self.ill, self.since) = (true, at);
        }
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= fittings::AGAIN);
        if self.ill && due {
            self.told = Some(now);
        }
        (self.ill != was, (self.ill && due).then_some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_ill_after_a_while_is_told_so_again_and_is_well_at_once() {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let mut c = Condition { since: at, wrong: None, ill: false, told: None, waiting: Vec::new() };
        let start = Instant::now();
        let mut see =
            |s: u64, wrong: bool| c.see(start + Duration::from_secs(s), at, wrong.then(|| "gone".to_owned()));
        assert_eq!(see(0, true), (false, None));
        assert_eq!(see(5, false), (false, None), "it flickered");
        assert_eq!(see(6, true), (false, None));
        assert_eq!(see(15, true), (false, None));
        assert_eq!(see(16, true), (true, Some(true)));
        assert_eq!(see(20, true), (false, None));
        assert_eq!(see(26, true), (false, Some(true)), "said again before its time is over");
        assert_eq!(see(27, false), (true, Some(false)));
        assert_eq!(see(28, false), (false, None));
    }
}

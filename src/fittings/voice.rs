//! The voice of the doors: a tone, then recordings, one after the other.
//!
//! It never holds anything up: what it is to say waits in a queue of [`QUEUE`], and when that is
//! full the newest is dropped and counted, because a door that speaks of the person before last
//! confuses the one who stands there. A machine without an audio device is silent, which is said
//! once in the log; a recording that is missing is left out, which is said once for each.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::base::{Culprit, Error, Kind, Name, Result, Shutdown, supervise};
use crate::config::{Language, PromptsConfig};
use crate::event::{EquipmentRead, GateDecision, GateOutcome, GatePassage, Movement, Reason, Way};

/// Utterances waiting.
pub const QUEUE: usize = 8;
/// Longest recording.
const CLIP_AT_MOST: Duration = Duration::from_secs(10);
/// Pieces of equipment that are named; the rest are "and more".
const NAMED: usize = 5;
/// How often the thread looks at the stop signal.
const LOOK: Duration = Duration::from_millis(200);
/// After the device was found missing it is looked for again this much later.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The texts that are shipped, `name → (language → text)`.
static TEXTS: LazyLock<BTreeMap<String, BTreeMap<String, String>>> = LazyLock::new(|| {
    // A test reads it; a build with a broken file does not pass.
    toml::from_str(include_str!("../../assets/prompts.toml")).unwrap_or_default()
});

/// A text to be rendered, and the name of its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its recording's name without `.wav`.
    pub name: String,
    /// In which language.
    pub language: Language,
    /// What is said.
    pub text: String,
}

/// Every text that is shipped.
pub fn texts() -> Vec<Text> {
    let mut out = Vec::new();
    for (name, languages) in &*TEXTS {
        for language in [Language::Zh, Language::En] {
            if let Some(text) = languages.get(language.word()) {
                out.push(Text { name: name.clone(), language, text: text.clone() });
            }
        }
    }
    out
}

/// The recording's name for a piece of equipment.
pub fn equipment_clip(name: &Name) -> String {
    format!("equipment-{name}")
}

/// A tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// One short one: it was read.
    Read,
    /// One high: yes.
    Yes,
    /// Two low: no.
    No,
}

impl Tone {
    /// Hertz and milliseconds, one after the other; 0 Hz is silence.
    fn notes(self) -> &'static [(u32, u32)] {
        match self {
            Self::Read => &[(1_000, 60)],
            Self::Yes => &[(880, 90), (1_320, 140)],
            Self::No => &[(330, 160), (0, 70), (260, 260)],
        }
    }
}

/// What is to be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// First this.
    pub tone: Tone,
    /// Then these recordings in each of the languages.
    pub clips: Vec<String>,
    /// The languages.
    pub languages: Vec<Language>,
}

fn things(read: &[EquipmentRead], clips: &mut Vec<String>) {
    for (movement, clip) in [(Movement::TakenOut, "taken-out"), (Movement::BroughtBack, "brought-back")] {
        let these: Vec<_> = read.iter().filter(|e| e.movement == movement).collect();
        if these.is_empty() {
            continue;
        }
        clips.push(clip.to_owned());
        clips.extend(these.iter().take(NAMED).map(|e| equipment_clip(&e.equipment)));
        if these.len() > NAMED {
            clips.push("and-more".to_owned());
        }
    }
}

/// What a door says about a decision. To whom it is not opened it says no more than helps: a
/// stranger with somebody's card learns nothing about it.
pub fn of_decision(decision: &GateDecision, languages: &[Language]) -> Utterance {
    let mut clips = Vec::new();
    let tone = match (decision.outcome, decision.reason) {
        (GateOutcome::Granted, _) => {
            clips.push(if decision.direction == Way::In { "granted" } else { "go-out" }.to_owned());
            things(&decision.equipment, &mut clips);
            Tone::Yes
        }
        (GateOutcome::Denied, reason) => {
            let clip = match reason {
                Some(Reason::UnknownCredential) => "card-unknown",
                Some(Reason::LeaseExpired | Reason::LeaseNotBegun) => "not-valid-now",
                Some(Reason::OutsideHours) => "not-at-this-hour",
                Some(
                    Reason::NoFaceSeen
                    | Reason::TooSmall
                    | Reason::Blurred
                    | Reason::TurnedAway
                    | Reason::CutOff
                    | Reason::DeadlineReached
                    | Reason::ChallengeNotPerformed,
                ) => "look-into-camera",
                Some(Reason::SeveralPeople) => "one-at-a-time",
                Some(Reason::LockedOut) => "try-later",
                Some(
                    Reason::CameraUnavailable
                    | Reason::GalleryUnavailable
                    | Reason::StorageUnavailable
                    | Reason::InternalFault,
                ) => "out-of-order",
                _ => "not-granted",
            };
            clips.push(clip.to_owned());
            Tone::No
        }
    };
    Utterance { tone, clips, languages: languages.to_vec() }
}

/// What a door says about a passage; nothing if all went well and nothing was carried. `before` is
/// how much of the equipment the decision named.
pub fn of_passage(passage: &GatePassage, before: usize, languages: &[Language]) -> Option<Utterance> {
    let failed = |reason| passage.checks.iter().any(|c| c.reason == Some(reason));
    let mut clips = Vec::new();
    let tone = if failed(Reason::FollowedClosely) {
        clips.push("one-at-a-time".to_owned());
        Tone::No
    } else if failed(Reason::NothingPresented) {
        clips.push("unaccompanied".to_owned());
        Tone::No
    } else {
        things(passage.equipment.get(before..).unwrap_or_default(), &mut clips);
        if clips.is_empty() {
            return None;
        }
        Tone::Read
    };
    Some(Utterance { tone, clips, languages: languages.to_vec() })
}

/// One thing to say, after a tone.
pub fn simple(tone: Tone, clip: &str, languages: &[Language]) -> Utterance {
    Utterance { tone, clips: vec![clip.to_owned()], languages: languages.to_vec() }
}

#[derive(Debug, Default)]
struct Counters {
    said: AtomicU64,
    dropped: AtomicU64,
    missing: AtomicU64,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceStats {
    /// Utterances that were played.
    pub said: u64,
    /// Utterances dropped because too many waited, or because there was no device.
    pub dropped: u64,
    /// Recordings that were not there.
    pub missing: u64,
}

/// The voice. Its thread ends with the stop.
pub struct Voice {
    queue: SyncSender<Utterance>,
    counters: Arc<Counters>,
    off: Arc<Mutex<Option<String>>>,
    thread: JoinHandle<()>,
}

impl Voice {
    /// Starts the thread. GStreamer must be there; a device need not.
    pub fn start(config: &PromptsConfig, stop: &Shutdown) -> Result<Self> {
        gst::init().map_err(|e| {
            Error::new(Kind::Unavailable, Culprit::Host, "GStreamer does not start").with_source(e)
        })?;
        let (queue, rx) = sync_channel(QUEUE);
        let (counters, off) = (Arc::new(Counters::default()), Arc::new(Mutex::new(None)));
        let mut run = Run {
            dir: config.dir.clone(),
            output: config.output.clone(),
            counters: counters.clone(),
            off: off.clone(),
            looked: None,
            lacking: HashSet::new(),
        };
        let stop = stop.clone();
        let thread = supervise::spawn("voice", move || run.serve(&rx, &stop))?;
        Ok(Self { queue, counters, off, thread })
    }

    /// Says it, after what waits already.
    pub fn say(&self, utterance: Utterance) {
        if self.queue.try_send(utterance).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub fn stats(&self) -> VoiceStats {
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let c = &self.counters;
        VoiceStats { said: get(&c.said), dropped: get(&c.dropped), missing: get(&c.missing) }
    }

    /// Why nothing is heard.
    pub fn trouble(&self) -> Option<String> {
        self.off.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// After the stop: whether the thread has ended.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }
}

struct Run {
    dir: PathBuf,
    output: String,
    counters: Arc<Counters>,
    off: Arc<Mutex<Option<String>>>,
    /// When the device was last found missing.
    looked: Option<Instant>,
    /// Recordings whose absence was told.
    lacking: HashSet<PathBuf>,
}

impl Run {
    fn serve(&mut self, queue: &Receiver<Utterance>, stop: &Shutdown) {
        while !stop.requested() {
            match queue.recv_timeout(LOOK) {
                Ok(utterance) => {
                    if self.can_speak() {
                        self.say(&utterance, stop);
                    } else {
                        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether there is a device; its absence is told once.
    fn can_speak(&mut self) -> bool {
        if self.output == "none" {
            return false;
        }
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return false;
        }
        let found = device(&self.output);
        let mut off = self.off.lock().unwrap_or_else(|e| e.into_inner());
        match found {
            Ok(()) => {
                if off.take().is_some() {
                    tracing::info!("the doors are heard again");
                }
                self.looked = None;
                true
            }
            Err(e) => {
                if off.is_none() {
                    tracing::warn!("the doors are silent: {}", e.chain());
                }
                *off = Some(e.to_string());
                self.looked = Some(Instant::now());
                false
            }
        }
    }

    fn say(&mut self, utterance: &Utterance, stop: &Shutdown) {
        let mut heard = true;
        for (hertz, ms) in utterance.tone.notes() {
            // A wave of 0 is silence; buffers of 10 ms at 44,100 samples a second.
            let source = format!(
                "audiotestsrc wave={} freq={} volume=0.4 samplesperbuffer=441 num-buffers={}",
                if *hertz == 0 { "silence" } else { "sine" },
                (*hertz).max(1),
                ms / 10
            );
            heard &= self.play(&source, None, stop);
        }
        for language in &utterance.languages {
            for clip in &utterance.clips {
                let path = self.dir.join(language.word()).join(format!("{clip}.wav"));
                if path.is_file() {
                    heard &= self.play("filesrc name=file ! wavparse", Some(&path), stop);
                } else {
                    self.counters.missing.fetch_add(1, Ordering::Relaxed);
                    if self.lacking.len() < 1_000 && self.lacking.insert(path.clone()) {
                        tracing::warn!("a recording is missing: {}; run `vigil prompts`", path.display());
                    }
                }
            }
        }
        let count = if heard { &self.counters.said } else { &self.counters.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Plays one source to its end; false if that failed.
    fn play(&self, source: &str, file: Option<&Path>, stop: &Shutdown) -> bool {
        match play(source, file, &self.output, stop) {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!("something could not be said: {}", e.chain());
                false
            }
        }
    }
}

/// Whether anything would be heard. `auto` falls back on a sink that swallows everything when the
/// machine has no device, and does not call that an error.
fn device(output: &str) -> Result<()> {
    let nothing = |what: String| {
        Err(Error::new(Kind::Unavailable, Culprit::Host, what)
            .remedy("plug in a loudspeaker, or set prompts.output to another sink or to none"))
    };
    if output != "auto" {
        return match gst::parse::bin_from_description(output, true) {
            Ok(_) => Ok(()),
            Err(e) => nothing(format!("prompts.output {output:?} is no sink of this machine: {e}")),
        };
    }
    let Ok(sink) = gst::ElementFactory::make("autoaudiosink").build() else {
        return nothing("GStreamer has no autoaudiosink; apt install gstreamer1.0-plugins-good".to_owned());
    };
    let ready = sink.set_state(gst::State::Ready).is_ok();
    let real = sink.downcast_ref::<gst::Bin>().is_some_and(|bin| {
        bin.children().iter().any(|c| c.factory().is_some_and(|f| f.name() != "fakesink"))
    });
    let _ = sink.set_state(gst::State::Null);
    if ready && real { Ok(()) } else { nothing("this machine has no audio device".to_owned()) }
}

fn play(source: &str, file: Option<&Path>, output: &str, stop: &Shutdown) -> Result<()> {
    let wrong = |what: &str| Error::new(Kind::Unavailable, Culprit::Host, what.to_owned());
    let sink = if output == "auto" { "autoaudiosink" } else { output };
    let pipeline = gst::parse::launch(&format!("{source} ! audioconvert ! audioresample ! {sink}"))
        .map_err(|e| wrong("the loudspeaker's pipeline cannot be built").with_source(e))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| Error::internal("a pipeline is none"))?;
    if let (Some(path), Some(element)) = (file, pipeline.by_name("file")) {
        element.set_property("location", path.display().to_string());
    }
    let bus = pipeline.bus().ok_or_else(|| Error::internal("a pipeline without a bus"))?;
    let played = (|| {
        pipeline.set_state(gst::State::Playing).map_err(|e| wrong("nothing can be played").with_source(e))?;
        let end = Instant::now() + CLIP_AT_MOST;
        loop {
            if stop.requested() || Instant::now() >= end {
                return Ok(());
            }
            let wait = gst::ClockTime::from_mseconds(100);
            let Some(message) =
                bus.timed_pop_filtered(wait, &[gst::MessageType::Eos, gst::MessageType::Error])
            else {
                continue;
            };
            return match message.view() {
                gst::MessageView::Error(e) => {
                    Err(wrong(&format!("{}", e.error())).remedy("is the recording a WAV file?"))
                }
                _ => Ok(()),
            };
        }
    })();
    let _ = pipeline.set_state(gst::State::Null);
    played
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn name(s: &str) -> Name {
        Name::new(s).unwrap()
    }

    fn decision(outcome: GateOutcome, reason: Option<Reason>) -> GateDecision {
        serde_json::from_value(serde_json::json!({
            "session": Uuid::from_u128(1), "door": "store", "direction": "out", "credential": "card",
            "means": "credential_and_face", "outcome": outcome, "reason": reason, "checks": [],
            "equipment": [{"equipment": "drone-2", "movement": "taken_out"}], "unknown_tags": 0,
            "timing": {"elapsed_ms": 1, "deadline_ms": 2}
        }))
        .unwrap()
    }

    #[test]
    fn every_text_is_there_in_both_languages_and_every_answer_has_one() {
        assert!(TEXTS.len() > 12);
        for (name, languages) in &*TEXTS {
            assert!(Name::new(name.clone()).is_ok(), "{name}");
            assert_eq!(languages.keys().collect::<Vec<_>>(), ["en", "zh"], "{name}");
        }
        let both = [Language::Zh, Language::En];
        let mut said = vec![simple(Tone::Read, "wait-for-staff", &both)];
        said.push(of_decision(&decision(GateOutcome::Granted, None), &both));
        for reason in [
            Reason::UnknownCredential,
            Reason::LeaseExpired,
            Reason::OutsideHours,
            Reason::NoFaceSeen,
            Reason::SeveralPeople,
            Reason::LockedOut,
            Reason::CameraUnavailable,
            Reason::BelowThreshold,
        ] {
            let no = of_decision(&decision(GateOutcome::Denied, Some(reason)), &both);
            assert_eq!(no.clips.len(), 1, "nothing was taken out");
            said.push(no);
        }
        for clip in said.iter().flat_map(|u| &u.clips).filter(|c| !c.starts_with("equipment-")) {
            assert!(TEXTS.contains_key(clip), "{clip} has no text");
        }
    }

    #[test]
    fn it_names_what_was_taken_out() {
        let mut granted = decision(GateOutcome::Granted, None);
        assert_eq!(of_decision(&granted, &[]).clips, ["go-out", "taken-out", "equipment-drone-2"]);
        granted.equipment = (0..9)
            .map(|n| EquipmentRead { equipment: name(&format!("e-{n}")), movement: Movement::BroughtBack })
            .collect();
        let clips = of_decision(&granted, &[]).clips;
        assert_eq!((clips.len(), clips.last().unwrap().as_str()), (2 + NAMED + 1, "and-more"));
        let mut passage = GatePassage {
            session: None,
            door: name("store"),
            direction: Way::Out,
            person_ref: None,
            checks: Vec::new(),
            equipment: granted.equipment.clone(),
            unknown_tags: 0,
        };
        assert_eq!(of_passage(&passage, 9, &[]), None, "all of it was named by the decision");
        assert_eq!(of_passage(&passage, 8, &[]).unwrap().clips, ["brought-back", "equipment-e-8"]);
        passage.checks =
            vec![crate::event::Check::fail(crate::event::CheckName::Tailgating, Reason::FollowedClosely)];
        assert_eq!(of_passage(&passage, 0, &[]).unwrap().clips, ["one-at-a-time"]);
    }

    /// A tenth of a second of silence.
    fn wav() -> Vec<u8> {
        let (rate, samples) = (16_000u32, 1_600u32);
        let mut out = Vec::new();
        out.extend(b"RIFF");
        out.extend((36 + samples * 2).to_le_bytes());
        out.extend(b"WAVEfmt ");
        out.extend(16u32.to_le_bytes());
        for v in [1u16, 1] {
            out.extend(v.to_le_bytes());
        }
        out.extend(rate.to_le_bytes());
        out.extend((rate * 2).to_le_bytes());
        for v in [2u16, 16] {
            out.extend(v.to_le_bytes());
        }
        out.extend(b"data");
        out.extend((samples * 2).to_le_bytes());
        out.resize(44 + samples as usize * 2, 0);
        out
    }

    #[test]
    fn what_is_said_is_played_and_what_is_missing_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("en")).unwrap();
        std::fs::write(dir.path().join("en/granted.wav"), wav()).unwrap();
        std::fs::write(dir.path().join("en/try-later.wav"), b"no recording").unwrap();
        let config = PromptsConfig { dir: dir.path().into(), output: "fakesink sync=false".into() };
        let stop = Shutdown::new();
        let voice = Voice::start(&config, &stop).unwrap();
        let settled = |want: VoiceStats| {
            let end = Instant::now() + Duration::from_secs(30);
            while voice.stats() != want {
                assert!(Instant::now() < end, "{:?} instead of {want:?}", voice.stats());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        voice.say(simple(Tone::Yes, "granted", &[Language::Zh, Language::En]));
        settled(VoiceStats { said: 1, dropped: 0, missing: 1 });
        voice.say(simple(Tone::No, "try-later", &[Language::En]));
        settled(VoiceStats { said: 1, dropped: 1, missing: 1 });
        assert_eq!(voice.trouble(), None);
        stop.request();
        let end = Instant::now() + Duration::from_secs(30);
        while !voice.ended() {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_machine_without_a_device_is_silent_and_a_full_queue_drops() {
        let config = PromptsConfig { dir: "/nowhere".into(), output: "no-such-sink".into() };
        let stop = Shutdown::new();
        let voice = Voice::start(&config, &stop).unwrap();
        for _ in 0..200 {
            voice.say(simple(Tone::Read, "granted", &[]));
        }
        let end = Instant::now() + Duration::from_secs(30);
        while voice.stats().dropped < 200 {
            assert!(Instant::now() < end, "{:?}", voice.stats());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(voice.trouble().is_some_and(|t| t.contains("no-such-sink")));
        stop.request();
    }
}

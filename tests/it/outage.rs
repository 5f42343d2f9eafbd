//! Flights on which something fails in the air and comes back: what the events say of it.
//!
//! The real program on simulated flights, played from a file and live over UDP. `--nocapture` prints what was
//! told, one line a flight.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use vigil::geo::Geodetic;
use vigil::sim::{Destination, Flight, FlightPlan, StreamWriter};

use super::support::daemon::{Ear, Home, models, until_else};
use super::support::mosquitto::Mosquitto;
use super::support::night::{self, Night, off_m, reach_m};

/// The truth lies within this many times CE90: that of one seed, which is what it is.
const SANE: f64 = 1.5;

/// A flight that was played.
struct Played {
    truth: Geodetic,
    start: Timestamp,
    events: Vec<Value>,
    summary: Value,
    /// Standard error.
    said: String,
}

/// Films a flight of `seconds` with `faults` and plays it.
fn fly(seconds: f64, faults: &[&str]) -> Played {
    let dir = TempDir::new().unwrap();
    let film = dir.path().join("flight.ts");
    let mut plan = FlightPlan { seconds, ..night::plan() };
    plan.faults = faults.iter().map(|f| f.parse().unwrap()).collect();
    let mut writer = StreamWriter::new(&Destination::File(film.clone()), &plan.camera).unwrap();
    for frame in Flight::new(&plan).unwrap() {
        writer.frame(&frame.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let config = dir.path().join("vigil.toml");
    let text = format!(
        "[box]\nsite = \"it\"\nname = \"ground\"\nstate_dir = \"{0}\"\n[[camera]]\nname = \"drone\"\nurl = \"file:{1}\"\n\
         [models]\ndir = \"{2}\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n{3}{4}",
        dir.path().display(),
        film.display(),
        models().display(),
        night::SEARCH,
        night::SUBSECTIONS,
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    let out = command.arg("replay").arg(&film).arg("--json").arg("--config").arg(&config).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{said}");
    let lines = String::from_utf8(out.stdout).unwrap();
    let mut events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let summary = events.pop().unwrap()["summary"].clone();
    let played = Played { truth: night::truth(&plan), start: plan.start, events, summary, said };
    assert_eq!(
        played.count("frames"),
        played.count("looks")
            + played.count("repeated")
            + played.count("unseeing")
            + played.count("unplaced")
    );
    println!("{}", played.row(faults));
    played
}

impl Played {
    fn count(&self, key: &str) -> u64 {
        self.summary[key].as_u64().unwrap()
    }

    /// Seconds of the flight.
    fn at(&self, time: &Value) -> f64 {
        let time: Timestamp = time.as_str().unwrap().parse().unwrap();
        time.duration_since(self.start).as_secs_f64()
    }

    /// What was told of candidates: when they were seen last, and the data.
    fn words(&self) -> Vec<(f64, &Value)> {
        let data = self.events.iter().map(|e| &e["data"]).filter(|d| d["candidate"].is_string());
        data.map(|d| (self.at(&d["last_seen"]), d)).collect()
    }

    fn maps(&self) -> Vec<(f64, &Value)> {
        let data = self.events.iter().map(|e| &e["data"]).filter(|d| d["map"].is_object());
        data.map(|d| (self.at(&d["until"]), d)).collect()
    }

    /// The largest error of what was told with its CE90, by their ratio.
    fn worst(&self) -> (f64, f64) {
        let errors = self
            .words()
            .into_iter()
            .map(|(_, d)| (off_m(&d["position"], &self.truth), d["position"]["ce90_m"].as_f64().unwrap()));
        errors.max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1))).unwrap()
    }

    fn row(&self, faults: &[&str]) -> String {
        let names: BTreeSet<_> = self.words().iter().map(|(_, d)| d["candidate"].to_string()).collect();
        let (off, ce90) = self.worst();
        let ends: Vec<_> = self.words().iter().filter_map(|(_, d)| d["end"].as_str()).collect();
        format!(
            "{:<58} {} frames: {} placed, {} not, {} repeated, {} of no use; {} broken packets; {} words of {} \
             candidates, worst {off:.1} m off with CE90 {ce90:.1} m; ends {ends:?}; {} m² seen; {}",
            faults.join(" "),
            self.count("frames"),
            self.count("looks"),
            self.count("unplaced"),
            self.count("repeated"),
            self.count("unseeing"),
            self.count("broken_packets"),
            self.words().len(),
            names.len(),
            self.summary["seen_m2"],
            self.said.lines().filter(|l| l.contains("the drone")).collect::<Vec<_>>().join("; "),
        )
    }

    /// What holds whatever fails: nobody is told where nobody is, what was found is not taken back, and the last
    /// that is told is of the flight's end.
    fn is_honest(&self, ends_at: f64) {
        let (off, ce90) = self.worst();
        assert!(off <= SANE * ce90, "{off:.1} m off, CE90 {ce90:.1} m");
        let words = self.words();
        let first = words[0].1["candidate"].clone();
        for (_, d) in &words {
            assert!(d["end"].is_null() || d["end"] == "mission_stopped", "{d}");
        }
        let last = words.iter().rfind(|(_, d)| d["candidate"] == first && d["end"].is_null()).unwrap();
        assert!(last.0 > ends_at - 6.0, "the first candidate was last told at {:.1} s", last.0);
        // The drone flies within 18 m of the middle, and its picture reaches 24 m further, by a corner.
        let (_, map) = *self.maps().last().unwrap();
        let reach = reach_m(&map["map"], &self.truth);
        assert!(reach < 18.0 + 24.0 + 10.0, "the map reaches {reach:.0} m");
    }

    /// Nothing is told of what was seen between these seconds, and what is told rests on what was said in time.
    fn tells_nothing_of(&self, from: f64, to: f64) {
        for (at, d) in self.words() {
            assert!(!(from..to).contains(&at), "told of second {at:.1}: {d}");
            assert_eq!(d["inputs"]["stale"], serde_json::json!([]), "{d}");
        }
    }

    /// No ground is looked at between these seconds, in which there are two maps or more; after them there is.
    fn searches_nothing(&self, from: f64, to: f64) {
        let maps = self.maps();
        let seen = |wanted: &dyn Fn(f64) -> bool| -> Vec<f64> {
            let those = maps.iter().filter(|(at, _)| wanted(*at));
            those.map(|(_, d)| d["seen_m2"].as_f64().unwrap()).collect()
        };
        let (within, after) = (seen(&|at| (from..to).contains(&at)), seen(&|at| at > to));
        assert!(within.len() >= 2 && within.iter().all(|m2| *m2 == within[0]), "{from}..{to}: {within:?}");
        assert!(after.last() > within.last(), "{from}..{to}: {within:?}, then {after:?}");
    }
}

#[test]
fn telemetry_that_drops_out_or_is_damaged_makes_a_search_blind_for_as_long() {
    let played = fly(36.0, &["telemetry-dropout@8..18", "klv-corrupt@21..32"]);
    played.is_honest(36.0);
    // It is known for a second where the drone was.
    for (from, to) in [(9.1, 17.7), (22.1, 31.7)] {
        played.tells_nothing_of(from, to);
        played.searches_nothing(from, to);
    }
    // Ten messages a second for eleven of them.
    assert_eq!(played.count("broken_packets"), 110);
    // Five frames a second for nine seconds and for ten.
    assert!((93..=97).contains(&played.count("unplaced")), "{}", played.summary);
    assert!(!played.said.contains("the drone"), "{}", played.said);
}

#[test]
fn telemetry_that_comes_late_moves_nobody() {
    let played = fly(36.0, &["klv-late@8..18=3000", "klv-late@22..32=800"]);
    played.is_honest(36.0);
    // A frame waits for half a second: three are too many, and what is late by them is out of date.
    played.tells_nothing_of(9.1, 17.3);
    played.searches_nothing(9.1, 17.3);
    assert!((40..=48).contains(&played.count("unplaced")), "{}", played.summary);
    assert!(!played.said.contains("the drone"), "{}", played.said);
}

#[test]
fn a_receiver_that_jumps_moves_nobody_and_searches_nothing_elsewhere() {
    let played = fly(26.0, &["gps-jump@5..13=40,-30"]);
    played.is_honest(26.0);
    assert!(played.said.contains("the drone's position jumped "), "{}", played.said);
    assert!(played.said.contains("the drone's position is consistent again (2 times)"), "{}", played.said);
    // Half a second until five messages agree, and three in which it has to stay.
    played.tells_nothing_of(5.1, 8.1);
    played.tells_nothing_of(13.1, 16.1);
    played.searches_nothing(5.1, 16.1);
    // A jump that stays is a place, known no better than to the jump.
    for (at, d) in played.words() {
        let off = off_m(&d["position"], &played.truth);
        let ce90 = d["position"]["ce90_m"].as_f64().unwrap();
        assert!(off < 5.0 || ce90 > 60.0, "second {at:.1}: {off:.1} m off, CE90 {ce90:.1} m");
    }
}

#[test]
fn video_that_drops_out_or_freezes_is_no_look() {
    let played = fly(30.0, &["video-dropout@6..13", "video-freeze@17..24"]);
    played.is_honest(30.0);
    played.tells_nothing_of(6.1, 12.9);
    played.tells_nothing_of(17.1, 23.9);
    // Seven seconds without a picture, and seven with the same one. An encoder may keep its last.
    assert!((114..=115).contains(&played.count("frames")), "{}", played.summary);
    assert!((33..=35).contains(&(played.count("repeated") + played.count("unseeing"))), "{}", played.summary);
    assert_eq!(played.count("unplaced"), 0, "{}", played.summary);
}

/// What a live flight is made of, and the switches that a test turns.
struct Live {
    broker: Mosquitto,
    home: Home,
    plan: FlightPlan,
    port: u16,
    mute: Arc<AtomicBool>,
    dark: Arc<AtomicBool>,
}

impl Live {
    fn new() -> Self {
        let (broker, home, port) = (Mosquitto::open(), Home::new(), night::free_udp_port());
        let more = format!("{}{}", night::SEARCH, night::SUBSECTIONS);
        home.write(&broker.url(), &[night::camera(port)], &more);
        let (mute, dark) = Default::default();
        Self { broker, home, plan: night::plan(), port, mute, dark }
    }

    fn fly(&self) -> Night {
        let (mute, dark) = (self.mute.clone(), self.dark.clone());
        Night::start(&self.plan, self.port, move |frame| {
            if mute.load(Ordering::SeqCst) {
                frame.packets.clear();
            }
            if dark.load(Ordering::SeqCst) {
                frame.picture = None;
            }
        })
    }
}

const FOUND: &str = "/event/search.detection";
const MAP: &str = "/event/search.coverage";
const ALARM: &str = "/event/box.alarm";

/// Waits until `count` more events came on `topic` than there were.
fn more(ear: &Ear, topic: &str, count: usize) -> Vec<Value> {
    let before = ear.on(topic).len();
    let words = || format!("{count} more on {topic}; {}; {} came", ear.deaf(), ear.on(topic).len() - before);
    until_else(words, || {
        let new: Vec<Value> = ear.on(topic).split_off(before);
        (new.len() >= count).then_some(new)
    })
}

fn all_honest(ear: &Ear, truth: &Geodetic) {
    for e in ear.on(FOUND) {
        let (off, ce90) =
            (off_m(&e["data"]["position"], truth), e["data"]["position"]["ce90_m"].as_f64().unwrap());
        assert!(off <= SANE * ce90, "{off:.1} m off, CE90 {ce90:.1} m: {e}");
    }
    for e in ear.on(MAP) {
        let reach = reach_m(&e["data"]["map"], truth);
        assert!(reach < 18.0 + 24.0 + 10.0, "the map reaches {reach:.0} m");
    }
}

#[test]
fn a_live_search_without_telemetry_is_blind_says_so_and_recovers_by_itself() {
    let live = Live::new();
    let ear = Ear::new(&live.broker.config());
    let daemon = live.home.start();
    let _night = live.fly();
    ear.wait(FOUND, |e| e["data"]["state"] == "new");
    let blind =
        |state: &str| ear.wait(ALARM, |e| e["data"]["code"] == "search_blind" && e["data"]["state"] == state);
    live.mute.store(true, Ordering::SeqCst);
    let raised = blind("raised");
    assert_eq!(raised["data"]["about"], "drone");
    let why = raised["data"]["message"].as_str().unwrap().to_owned();
    assert!(why.contains("position, height, platform, gimbal"), "{why}");
    let told = ear.on(FOUND).len();
    let maps = more(&ear, MAP, 2);
    let seen: Vec<_> = maps.iter().map(|m| m["data"]["seen_m2"].as_f64().unwrap()).collect();
    assert_eq!(seen[0], seen[1], "no ground is looked at");
    assert_eq!(ear.on(FOUND).len(), told, "nothing is told");
    let health = ear.wait("/health", |h| h["search"]["state"] == "blind");
    assert!(health["search"]["reason"].as_str().unwrap().contains("position"), "{health}");
    assert!(health["search"]["unplaced"].as_u64().unwrap() > 0, "{health}");
    live.mute.store(false, Ordering::SeqCst);
    let cleared = blind("cleared");
    let word = more(&ear, FOUND, 1).remove(0);
    let map = more(&ear, MAP, 1).remove(0);
    assert!(map["data"]["seen_m2"].as_f64().unwrap() >= seen[0]);
    ear.wait("/health", |h| {
        h["search"]["state"] == "searching" && h["search"]["unplaced"].as_u64() > Some(0)
    });
    assert!(ear.on(FOUND).iter().all(|e| e["data"]["end"].is_null()), "nothing was taken back");
    all_honest(&ear, &night::truth(&live.plan));
    println!(
        "live, telemetry gone: alarm \"{why}\", then {}; {} m² before and after two maps; then {} of {} m",
        cleared["data"]["message"], seen[0], word["data"]["state"], word["data"]["position"]["ce90_m"]
    );
    daemon.stop();
}

#[test]
fn a_live_search_without_pictures_waits_and_goes_on() {
    let live = Live::new();
    let ear = Ear::new(&live.broker.config());
    let daemon = live.home.start();
    let _night = live.fly();
    let first = ear.wait(FOUND, |e| e["data"]["state"] == "new");
    live.dark.store(true, Ordering::SeqCst);
    let dark = ear.wait("/camera/drone", |s| s["state"] == "stalled");
    let known = ear.camera("drone").len();
    ear.wait("/health", |h| h["search"]["state"] == "idle" && h["search"]["frames"].as_u64() > Some(0));
    let told = ear.on(FOUND).len();
    live.dark.store(false, Ordering::SeqCst);
    until_else(
        || format!("the camera to come back: {:?}", ear.camera("drone")),
        || ear.camera("drone").into_iter().skip(known).find(|s| s["state"] == "live"),
    );
    // The same mission, and the same candidate under the same name.
    let same = until_else(
        || format!("the candidate of before: {:#?}", ear.on(FOUND).split_off(told)),
        || {
            ear.on(FOUND)
                .split_off(told)
                .into_iter()
                .find(|e| e["data"]["candidate"] == first["data"]["candidate"])
        },
    );
    assert_eq!((&same["data"]["mission"], &same["data"]["end"]), (&first["data"]["mission"], &Value::Null));
    all_honest(&ear, &night::truth(&live.plan));
    println!(
        "live, video gone: {} ({}), then {} of the same candidate",
        dark["state"], dark["reason"], same["data"]["state"]
    );
    daemon.stop();
}

//! The real daemon, with a real broker and real cameras, asked as the world asks it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vigil::bus::client::Client;
use vigil::commands::demo::stage::{self, Person, Reel, Set, cast};
use vigil::config::MqttConfig;
use vigil::event::Envelope;

use super::support::daemon::{
    Daemon, Ear, HeldStill, Home, PATIENCE, checks, models, photo, topics, until, until_else,
};
use super::support::mjpeg::{Answer, MjpegServer};
use super::support::mosquitto::{Mosquitto, Setup};
use super::support::rtsp::{self, RtspServer, SilentPeer, free_port};
use super::support::while_it_runs;

// ---- cameras ------------------------------------------------------------------------------

/// A camera that is given up for nothing but what it does: a busy machine is no stall and no silence.
fn camera(name: &str, url: &str) -> String {
    waiting(name, url, 60_000, 60_000)
}

/// A camera whose silence is soon noticed, and a busy machine's too.
fn impatient(name: &str, url: &str) -> String {
    waiting(name, url, 1_500, 3_000)
}

fn waiting(name: &str, url: &str, stall_after_ms: u32, connect_within_ms: u32) -> String {
    format!(
        "name = \"{name}\"\nurl = \"{url}\"\nstall_after_ms = {stall_after_ms}\n\
         connect_within_ms = {connect_within_ms}\nretry_max_ms = 500"
    )
}

fn show() -> rtsp::Setup {
    rtsp::Setup { fps: 10, ..rtsp::Setup::default() }
}

/// What a camera's topic told, as words.
fn told(ear: &Ear, camera: &str) -> Vec<String> {
    ear.camera(camera).iter().map(|s| s["state"].as_str().unwrap().to_owned()).collect()
}

/// How long a camera was not live at a time, by the states that it told.
fn longest_absence(states: &[Value]) -> SignedDuration {
    let (mut since, mut longest) = (None, SignedDuration::ZERO);
    for state in states {
        let at: Timestamp = state["since"].as_str().unwrap().parse().unwrap();
        if state["state"] == "live" {
            longest = since.take().map_or(longest, |from| longest.max(at.duration_since(from)));
        } else {
            since.get_or_insert(at);
        }
    }
    longest
}

#[test]
fn each_way_a_camera_dies_is_told_on_its_topic_and_no_other_camera_notices() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let home = Home::new();
    let ports: HashMap<&str, u16> =
        ["closes", "refuses", "hangs", "freezes", "ends", "absent"].map(|n| (n, free_port())).into();
    let start = |name: &str| RtspServer::start(ports[name], show());
    let steady = MjpegServer::start(Answer::Pictures { width: 160, height: 120, count: None }, None);
    let mut cameras: Vec<String> =
        ports.iter().map(|(name, port)| impatient(name, &rtsp::url("rtsp", *port))).collect();
    cameras.push(camera("steady", &steady.url()));
    home.write(&broker.url(), &cameras, "[verify]\ncamera = \"steady\"");
    let mut servers: HashMap<&str, RtspServer> =
        ["closes", "refuses", "hangs", "freezes", "ends"].map(|n| (n, start(n))).into();
    let daemon = home.start();

    let live = |name: &str, after: usize| {
        let words =
            || format!("{name} to be live; {}; it told {:?}\n{}", ear.deaf(), ear.camera(name), home.log());
        until_else(words, || ear.camera(name).into_iter().skip(after).find(|s| s["state"] == "live"))
    };
    for name in ["closes", "refuses", "hangs", "freezes", "ends", "steady"] {
        live(name, 0);
    }
    let absent = ear.wait("/camera/absent", |s| {
        s["state"] == "lost" && s["reason"].as_str().is_some_and(|r| r.contains("camera absent"))
    });
    assert!(absent["since"].is_string(), "{absent}");

    // Each dies its own death, all at once.
    let before: HashMap<&str, usize> = ports.keys().map(|n| (*n, ear.camera(n).len())).collect();
    servers.remove("closes");
    servers.insert("closes", start("closes"));
    servers.remove("refuses");
    servers.remove("hangs");
    let silent = SilentPeer::start(ports["hangs"]);
    servers["freezes"].freeze(true);
    servers["ends"].end_streams();
    let gone = |name: &str, states: &[&str]| {
        let state = until(&format!("{name} to be gone"), || {
            ear.camera(name).into_iter().skip(before[name]).find(|s| s["state"] != "live")
        });
        assert!(states.contains(&state["state"].as_str().unwrap()), "{name}: {state}");
        let reason = state["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&format!("camera {name}")), "{name}: no reason a person can use: {state}");
        state
    };
    let mut reasons: BTreeMap<&str, Value> = BTreeMap::new();
    for name in ["closes", "refuses", "hangs", "ends"] {
        reasons.insert(name, gone(name, &["lost", "stalled"]));
    }
    reasons.insert("freezes", gone("freezes", &["stalled"]));
    // The one that answers nothing is tried, given up, and tried again.
    until("the silent camera to be tried twice", || (silent.accepted() >= 2).then_some(()));
    live("closes", before["closes"]);
    live("ends", before["ends"]);

    // Asked while its camera is gone, the box answers in time, and says what it could not check.
    let portrait = std::fs::read(photo("obama.jpg")).unwrap();
    let took = while_it_runs(|| {
        let asked = Instant::now();
        let request = json!({"camera": "refuses", "deadline_ms": 3000, "correlation": "gone-1"});
        let (status, answer) = home.verify(&request, Some(&portrait)).unwrap();
        let took = asked.elapsed();
        let result = &answer["result"];
        assert_eq!((status, &result["outcome"]), (200, &json!("error")), "{answer}");
        assert_eq!(checks(result)["camera"], ("fail".into(), "camera_unavailable".into()), "{answer}");
        assert_eq!(checks(result)["face_comparison"].0, "not_checked");
        assert!(result["timing"]["elapsed_ms"].as_u64().unwrap() <= 3000, "{result} after {took:?}");
        took
    });
    let mut client = Client::connect(&broker.config(), "asker", &[]).unwrap();
    let request = json!({"camera": "refuses", "deadline_ms": 3000, "correlation": "gone-2",
                         "portrait": STANDARD.encode(&portrait)});
    let reply =
        client.request(&topics(), "verify", "gone-2", request.to_string().into_bytes(), PATIENCE).unwrap();
    assert_eq!(reply["event"]["data"]["outcome"], "error", "{reply}");
    assert_eq!(checks(&reply["event"]["data"])["camera"].0, "fail", "{reply}");

    // The condition lasts, and becomes an alarm; a moment's loss does not.
    let raised = ear.wait("/event/box.alarm", |e| {
        e["data"]["code"] == "camera_lost"
            && e["data"]["about"] == "refuses"
            && e["data"]["state"] == "raised"
    });
    assert!(!raised["data"]["message"].as_str().unwrap().is_empty());
    drop(silent);
    servers.insert("refuses", start("refuses"));
    servers.insert("hangs", start("hangs"));
    servers.insert("absent", start("absent"));
    servers["freezes"].freeze(false);
    let returned = Instant::now();
    for name in ["refuses", "hangs", "freezes", "absent"] {
        live(name, before[name]);
    }
    let back = returned.elapsed();
    ear.wait("/event/box.alarm", |e| {
        e["data"]["code"] == "camera_lost"
            && e["data"]["about"] == "refuses"
            && e["data"]["state"] == "cleared"
    });
    for short in ["closes", "ends", "steady"] {
        // On a busy machine it may have been gone for as long as becomes an alarm.
        let gone = longest_absence(&ear.camera(short));
        let alarms = ear.alarms("camera_lost");
        let told = alarms.iter().any(|a| a["data"]["about"] == short);
        assert!(!told || gone > SignedDuration::from_secs(9), "{short}, gone for {gone:#}: {alarms:?}");
    }
    // A live camera says why it was not before; nobody else was disturbed.
    let last = ear.camera("refuses").pop().unwrap();
    assert!(last["state"] == "live" && last["reason"].is_string(), "{last}");
    let steady_told = told(&ear, "steady");
    assert_eq!(steady_told.iter().filter(|s| *s != "live").count(), steady_told.len() - 1, "{steady_told:?}");
    assert_eq!(steady_told.last().unwrap(), "live");
    // What is told later is retained: a latecomer knows at once.
    let late = Ear::new(&broker.config());
    for name in ["closes", "refuses", "hangs", "freezes", "ends", "absent", "steady"] {
        let state = late.wait(&format!("/camera/{name}"), |_| true);
        assert_eq!(state["state"], "live", "{name}");
    }
    assert!(late.all().iter().filter(|m| m.topic.contains("/camera/")).all(|m| m.retained));
    for (name, state) in &reasons {
        eprintln!("{name}: {} ({})", state["state"], state["reason"]);
    }
    eprintln!("all back {back:?} after their return; asked while lost: {took:?}");
    daemon.stop();
}

// ---- nothing decided is lost --------------------------------------------------------------

/// What HTTP promised: the id of every answer that said `recorded: true`, when it was asked and
/// when the answer was there.
#[derive(Default)]
struct Promised {
    ids: Vec<(String, Instant, Instant)>,
    refused: usize,
    broken: usize,
    no_face: usize,
}

/// `VIGIL_CHAOS_DECISIONS` scales it.
fn decisions() -> usize {
    std::env::var("VIGIL_CHAOS_DECISIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(120)
}

fn ask_until(home: &Home, stop: &AtomicBool, promised: &Mutex<Promised>, portrait: &[u8]) {
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let asked = Instant::now();
        let face = n % 12 == 5;
        let correlation = format!("chaos-{n}");
        let answer = if face {
            let request = json!({"deadline_ms": 700, "correlation": correlation});
            home.verify(&request, Some(portrait))
        } else {
            home.document_only(&correlation)
        };
        let mut p = promised.lock().unwrap();
        match answer {
            Ok((200, answer)) if answer["recorded"] == true => {
                assert_eq!(answer["result"]["correlation"], correlation);
                let id = answer["event"]["id"].as_str().unwrap().to_owned();
                p.ids.push((id, asked, Instant::now()));
                p.no_face += usize::from(answer["result"]["outcome"] == "no_face");
            }
            Ok(_) => p.refused += 1,
            Err(_) => {
                p.broken += 1;
                drop(p);
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    }
}

struct Hub {
    config: MqttConfig,
    client: Option<Client>,
    events: Vec<Envelope>,
    retained: usize,
    states: Vec<Value>,
}

impl Hub {
    /// Subscribes; the broker has consented when this returns.
    fn connect(&mut self) {
        let config = &self.config;
        self.client = Some(until("the hub's subscription", || {
            Client::observe(config, "hub", &[format!("{}/#", topics().base())]).ok()
        }));
    }

    fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(client) = &mut self.client {
            match client.recv(end.saturating_duration_since(Instant::now())) {
                Ok(Some(m)) if m.topic.contains("/event/") => {
                    self.retained += usize::from(m.retained);
                    self.events.push(serde_json::from_slice(&m.payload).unwrap());
                }
                Ok(Some(m)) if m.topic.ends_with("/state") => {
                    self.states.push(serde_json::from_slice(&m.payload).unwrap());
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => self.client = None,
            }
        }
    }

    /// The broker is dead; what it had sent is still heard, to the last byte.
    fn hear_out(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.client.is_some() {
            assert!(Instant::now() < end, "the dead broker's connection does not end");
            self.listen(Duration::from_millis(100));
        }
    }

    fn ids(&self) -> BTreeSet<String> {
        self.events.iter().map(|e| e.id.to_string()).collect()
    }
}

fn chaos(persistence: bool) {
    let lines: &[&str] = if persistence {
        // Unlimited in flight: the broker hands a message on before it acknowledges it.
        &[
            "allow_anonymous true",
            "max_inflight_messages 0",
            "persistence true",
            "persistence_location {dir}/",
        ]
    } else {
        &["allow_anonymous true", "max_inflight_messages 0", "persistence false"]
    };
    let started = Instant::now();
    let mut broker = Mosquitto::with(Setup { lines, ..Setup::default() });
    let set = Set::new(320, 180, 7);
    let lobby = stage::Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    let home = Home::new();
    home.write(&broker.url(), &[camera("desk", &lobby.url())], "");
    let mut hub =
        Hub { config: broker.config(), client: None, events: Vec::new(), retained: 0, states: Vec::new() };
    hub.connect();
    let promised = Mutex::new(Promised::default());
    let stop = AtomicBool::new(false);
    let portrait = std::fs::read(photo("obama.jpg")).unwrap();
    let total = decisions();
    let (mut kills, mut step) = (0, 0usize);
    let mut away: Vec<(Instant, Instant)> = Vec::new();
    let daemon = std::thread::scope(|scope| {
        let mut daemon = home.start();
        scope.spawn(|| ask_until(&home, &stop, &promised, &portrait));
        // Whatever fails below, the asker ends.
        let _stop = StopAtEnd(&stop);
        let count = || promised.lock().unwrap().ids.len();
        let per_step = (total / 20).max(6);
        let more = |hub: &mut Hub, n: usize| {
            let target = count() + n;
            let end = Instant::now() + PATIENCE;
            while count() < target {
                assert!(Instant::now() < end, "the daemon stopped deciding:\n{}", home.log());
                hub.listen(Duration::from_millis(5));
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        // One of every twelve asks for a face, which a slow machine may answer late or not at all.
        let unseen = || promised.lock().unwrap().no_face == 0 && started.elapsed() < 2 * PATIENCE;
        while count() < total || unseen() {
            match step % 6 {
                0 => more(&mut hub, per_step),
                1 => {
                    broker.signal(Signal::SIGSTOP);
                    let target = count() + per_step;
                    until("decisions while the broker is frozen", || (count() >= target).then_some(()));
                    broker.signal(Signal::SIGCONT);
                    hub.listen(Duration::from_millis(50));
                }
                2 | 4 => {
                    broker.end(if step % 6 == 2 { Signal::SIGTERM } else { Signal::SIGKILL });
                    hub.hear_out();
                    std::thread::sleep(Duration::from_millis(200));
                    let from = Instant::now();
                    more(&mut hub, per_step);
                    // The hub is there first when the broker returns.
                    daemon.signal(Signal::SIGSTOP);
                    away.push((from, Instant::now()));
                    broker.start();
                    hub.connect();
                    daemon.signal(Signal::SIGCONT);
                }
                _ => {
                    more(&mut hub, per_step);
                    // Every other time it surely has a will to leave: it may be killed before it
                    // found the broker again.
                    if kills % 2 == 0 {
                        until("the daemon at the broker", || {
                            let (_, status) = home.get("/v1/status").ok()?;
                            (status["snapshot"]["bus"]["connected"] == true).then_some(())
                        });
                    }
                    std::thread::sleep(Duration::from_micros(u64::from(rand::random::<u16>())));
                    daemon.kill();
                    kills += 1;
                    hub.listen(Duration::from_millis(50));
                    daemon = home.start();
                }
            }
            step += 1;
        }
        daemon
    });
    let promised = promised.into_inner().unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        hub.listen(Duration::from_millis(200));
        let ids = hub.ids();
        let missing = promised.ids.iter().filter(|(id, ..)| !ids.contains(id)).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < end, "{missing} of {} decisions never came", promised.ids.len());
        if hub.client.is_none() {
            hub.connect();
        }
    }
    daemon.stop();
    hub.listen(Duration::from_millis(300));

    let mut by_id: HashMap<String, Vec<&Envelope>> = HashMap::new();
    for e in &hub.events {
        by_id.entry(e.id.to_string()).or_default().push(e);
    }
    let verified = by_id.values().filter(|c| c[0].ty.ends_with("verify.result")).count();
    // A decision may be on disk whose answer was cut off by the kill; there is no other surplus.
    assert!(
        verified <= promised.ids.len() + promised.broken + promised.refused,
        "{verified} heard, {} promised",
        promised.ids.len()
    );
    for copies in by_id.values() {
        let first = Envelope { replayed: false, ..copies[0].clone() };
        for copy in copies {
            assert_eq!(Envelope { replayed: false, ..(*copy).clone() }, first, "a resend differs");
            if copy.ty.ends_with("verify.result") {
                // Nothing here is a match: it may actuate nothing, from the moment it was decided.
                assert_eq!(copy.notafter, Some(copy.time), "{copy:?}");
            }
        }
        assert!(copies.iter().filter(|c| !c.replayed).count() <= 1, "a resend that does not say so");
    }
    let mut offline = 0;
    for (id, asked, answered) in &promised.ids {
        // One that was asked before and decided after the broker's return is no resend.
        if away.iter().any(|(from, to)| from < asked && answered < to) {
            offline += 1;
            assert!(by_id[id].iter().all(|c| c.replayed), "{id} was decided while the broker was away");
        }
    }
    let fresh = by_id.values().filter(|c| c.iter().any(|c| !c.replayed)).count();
    assert!(fresh > 0 && offline > 0 && kills > 0 && promised.no_face > 0);
    assert_eq!(hub.retained, 0, "an event was retained");
    let mut seqs: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for copies in by_id.values() {
        seqs.entry(copies[0].bootid.to_string()).or_default().insert(copies[0].seq);
    }
    assert!(seqs.len() <= kills + 1);
    for (boot, seqs) in &seqs {
        assert_eq!(seqs.len() as u64, *seqs.last().unwrap(), "gaps in boot {boot}");
    }
    assert!(hub.states.iter().any(|s| s["state"] == "offline" && s["reason"] == "lost"), "no will was heard");
    assert_eq!(hub.states.last().unwrap()["reason"], "stopped");
    eprintln!(
        "persistence {persistence}: {} decisions promised over HTTP ({} of them no_face), {} requests cut off, {} not recorded; \
         {kills} kills of the daemon in {step} steps, {} broker absences: {} deliveries, {} after removing \
         duplicates, {fresh} fresh, {offline} decided while the broker was away, 0 lost, {:.1} s",
        promised.ids.len(),
        promised.no_face,
        promised.broken,
        promised.refused,
        away.len(),
        hub.events.len(),
        by_id.len(),
        started.elapsed().as_secs_f64()
    );
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn decisions_survive_broker_and_daemon_with_persistence() {
    chaos(true);
}

#[test]
fn decisions_survive_broker_and_daemon_without_persistence() {
    chaos(false);
}

// ---- a full disk --------------------------------------------------------------------------

struct Mounted(PathBuf);

impl Mounted {
    /// A small disk at `at`, if this user may mount one.
    fn tmpfs(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(at)
            .output()
            .ok()?;
        done.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_decisions_and_loses_none() {
    let mut broker = Mosquitto::open();
    let home = Home::new();
    let Some(disk) = Mounted::tmpfs(&home.state, 16) else {
        eprintln!("no tmpfs can be mounted (not root?): outbox.max_mib stands in for the full disk");
        return a_full_outbox_refuses_decisions(&mut broker, &home);
    };
    let ear = Ear::new(&broker.config());
    home.write(&broker.url(), &[], "[outbox]\nreserve_mib = 2\nwarn_free_mib = 1");
    let daemon = home.start();
    assert_eq!(home.document_only("before").unwrap().1["recorded"], true);
    let filler = home.state.join("filler");
    let fill = || {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    fill();
    // Decisions go on into the reserve, or are refused; nothing in between.
    let (mut recorded, mut n) = (vec![], 0);
    let refusal = until("a refusal", || {
        n += 1;
        let (status, answer) = home.document_only(&format!("full-{n}")).unwrap();
        assert_eq!(status, 200, "{answer}");
        if answer["recorded"] == true {
            recorded.push(answer["event"]["id"].clone());
            return None;
        }
        Some(answer)
    });
    assert_eq!(refusal["result"]["outcome"], "error", "{refusal}");
    assert!(refusal["result"]["checks"].to_string().contains("storage_unavailable"), "{refusal}");
    assert!(refusal.get("event").is_none_or(Value::is_null), "{refusal}");
    until("the health to say so", || (home.get("/healthz").unwrap().0 == 503).then_some(()));
    // The same over MQTT.
    let mut client = Client::connect(&broker.config(), "asker", &[]).unwrap();
    let request = json!({"mode": "document_only", "correlation": "full-mqtt"}).to_string().into_bytes();
    let reply = client.request(&topics(), "verify", "full-mqtt", request, PATIENCE).unwrap();
    assert_eq!(reply["status"], "error", "{reply}");
    assert!(reply["unrecorded"].to_string().contains("storage_unavailable"), "{reply}");
    ear.wait("/event/box.alarm", |e| e["data"]["code"] == "disk_full" && e["data"]["state"] == "raised");
    std::fs::remove_file(&filler).unwrap();
    let after = until("decisions to be taken again", || {
        let answer = home.document_only("after").unwrap().1;
        (answer["recorded"] == true).then(|| answer["event"]["id"].clone())
    });
    recorded.push(after);
    ear.wait("/event/box.alarm", |e| e["data"]["code"] == "disk_full" && e["data"]["state"] == "cleared");
    until("the health to say so", || (home.get("/healthz").unwrap().0 == 200).then_some(()));
    for id in &recorded {
        ear.wait("/event/verify.result", |e| e["id"] == *id);
    }
    let refused = ear.on("/event/verify.result");
    assert!(!refused.iter().any(|e| e["data"]["checks"].to_string().contains("storage_unavailable")));
    eprintln!("{} recorded on the full disk's reserve, 1 after it", recorded.len() - 1);
    daemon.stop();
    drop(disk);
}

fn a_full_outbox_refuses_decisions(broker: &mut Mosquitto, home: &Home) {
    home.write(&broker.url(), &[], "[outbox]\nmax_mib = 1\nreserve_mib = 1\nwarn_free_mib = 0");
    broker.end(Signal::SIGKILL);
    let daemon = home.start();
    let (mut recorded, mut n) = (vec![], 0);
    let refusal = until("a refusal", || {
        n += 1;
        let answer = home.document_only(&format!("full-{n}")).unwrap().1;
        if answer["recorded"] == true {
            recorded.push(answer["event"]["id"].clone());
            // As long as it is not full there is no reason to wait.
            while let Ok((_, a)) = home.document_only("more")
                && a["recorded"] == true
            {
                recorded.push(a["event"]["id"].clone());
            }
            return None;
        }
        Some(answer)
    });
    assert!(refusal["result"]["checks"].to_string().contains("storage_unavailable"), "{refusal}");
    daemon.signal(Signal::SIGSTOP);
    broker.start();
    let ear = Ear::new(&broker.config());
    daemon.signal(Signal::SIGCONT);
    until("decisions to be taken again", || {
        (home.document_only("after").unwrap().1["recorded"] == true).then_some(())
    });
    for id in &recorded {
        ear.wait("/event/verify.result", |e| e["id"] == *id);
    }
    daemon.stop();
}

#[test]
fn a_full_outbox_behaves_as_a_full_disk_does() {
    let mut broker = Mosquitto::open();
    a_full_outbox_refuses_decisions(&mut broker, &Home::new());
}

// ---- systemd ------------------------------------------------------------------------------

/// What systemd is to a service: a socket that hears words, and is always read: only some few fit into it,
/// and whoever says one more waits.
struct Systemd {
    path: PathBuf,
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Systemd {
    fn new(home: &Home) -> Self {
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::downgrade(&heard);
        std::thread::spawn(move || {
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let mut buffer = [0; 4096];
            while let Some(heard) = into.upgrade() {
                if let Ok(n) = socket.recv(&mut buffer) {
                    let said = String::from_utf8_lossy(&buffer[..n]).into_owned();
                    heard.lock().unwrap().extend(said.lines().map(|word| (Instant::now(), word.to_owned())));
                }
            }
        });
        Self { path, heard }
    }

    fn start<'h>(&self, home: &'h Home) -> Daemon<'h> {
        home.start_with(&[("NOTIFY_SOCKET", self.path.to_str().unwrap()), ("WATCHDOG_USEC", "30000000")])
    }

    /// How often it was said.
    fn count(&self, word: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(_, said)| said == word).count()
    }

    fn wait(&self, word: &str, times: usize) {
        let said = || format!("{word}, {times} times: {:?}", self.heard.lock().unwrap());
        until_else(said, || (self.count(word) >= times).then_some(()));
    }

    /// Waits until the watchdog was not fed for `silence`.
    fn starved(&self, silence: Duration) {
        until("the watchdog to starve", || {
            let heard = self.heard.lock().unwrap();
            let (fed, _) = heard.iter().rfind(|(_, said)| said == "WATCHDOG=1").expect("it was fed before");
            (fed.elapsed() >= silence).then_some(())
        });
    }
}

#[test]
fn systemd_hears_ready_life_and_stopping_and_a_session_under_way_is_answered() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let set = Set::new(320, 180, 7);
    let lobby = stage::Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    let home = Home::new();
    home.write(&broker.url(), &[camera("desk", &lobby.url())], "");
    let systemd = Systemd::new(&home);
    let mut daemon = systemd.start(&home);
    systemd.wait("WATCHDOG=1", 2);
    assert_eq!((systemd.count("READY=1"), systemd.count("STOPPING=1")), (1, 0));
    ear.wait("/camera/desk", |s| s["state"] == "live");
    ear.wait("/state", |s| s["state"] == "online");
    let portrait = std::fs::read(photo("obama.jpg")).unwrap();
    let busy = |answer: &Value| checks(&answer["result"])["camera"].1 == "camera_busy";
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            loop {
                let answer = home.verify(&json!({"deadline_ms": 30_000}), Some(&portrait));
                // Somebody below was faster.
                if !answer.as_ref().is_ok_and(|(_, answer)| busy(answer)) {
                    return answer;
                }
            }
        });
        until("the session to hold its camera", || {
            let (_, answer) = home.verify(&json!({"deadline_ms": 500}), Some(&portrait)).unwrap();
            busy(&answer).then_some(())
        });
        assert!(!asked.is_finished(), "the session should still be looking");
        daemon.signal(Signal::SIGTERM);
        asked.join().unwrap()
    });
    let (status, answer) = answer.expect("a session under way is answered");
    assert_eq!((status, &answer["recorded"]), (200, &json!(true)), "{answer}");
    assert_ne!(answer["result"]["outcome"], "match");
    let status = daemon.ended(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", home.log());
    systemd.wait("STOPPING=1", 1);
    assert_eq!((systemd.count("READY=1"), systemd.count("STOPPING=1")), (1, 1));
    let id = answer["event"]["id"].clone();
    ear.wait("/event/verify.result", |e| e["id"] == id);
    ear.wait("/state", |s| s["state"] == "offline" && s["reason"] == "stopped");
    eprintln!("the session under way was answered {}", answer["result"]["outcome"]);
}

#[test]
fn a_second_sigterm_leaves_at_once() {
    let (broker, home) = while_it_runs(|| {
        let broker = Mosquitto::open();
        let home = Home::new();
        home.write(&broker.url(), &[], "");
        let mut daemon = home.start();
        until("the broker's link", || {
            (home.get("/v1/status").ok()?.1["snapshot"]["bus"]["connected"] == true).then_some(())
        });
        broker.signal(Signal::SIGSTOP);
        assert_eq!(home.document_only("kept").unwrap().1["recorded"], true);
        daemon.signal(Signal::SIGTERM);
        // It drains: the broker takes nothing.
        let ended = daemon.ended(Duration::from_millis(1000));
        assert!(ended.is_none(), "nothing was waited for:\n{}", home.log());
        daemon.signal(Signal::SIGTERM);
        let asked = Instant::now();
        let status = daemon.ended(PATIENCE).expect("it ends");
        let took = asked.elapsed();
        assert_eq!(status.code(), Some(0));
        // Draining would take four more seconds at least.
        assert!(took < Duration::from_secs(3), "it left after {took:?}");
        assert!(home.log().contains("left at once"), "{}", home.log());
        eprintln!("left {took:?} after the second signal");
        drop(daemon);
        (broker, home)
    });
    broker.signal(Signal::SIGCONT);
    // And what was recorded is sent by the next one.
    let ear = Ear::new(&broker.config());
    let daemon = home.start();
    let event = ear.wait("/event/verify.result", |e| e["data"]["correlation"] == "kept");
    assert_eq!(event["replayed"], true);
    daemon.stop();
}

/// Freezes one thread, as a disk or a camera's driver does that never returns.
fn the_watchdog_starves_when(thread: &str) {
    let broker = Mosquitto::open();
    let home = Home::new();
    let steady = MjpegServer::start(Answer::Pictures { width: 160, height: 120, count: None }, None);
    home.write(&broker.url(), &[impatient("desk", &steady.url())], "");
    let systemd = Systemd::new(&home);
    let daemon = systemd.start(&home);
    until("a picture", || {
        (home.get("/v1/status").ok()?.1["snapshot"]["cameras"][0]["state"] == "live").then_some(())
    });
    systemd.wait("WATCHDOG=1", 1);
    let held = HeldStill::thread(daemon.thread(thread));
    let frozen = Instant::now();
    // A machine that stands still feeds nobody either: the daemon has to say that it is on purpose.
    until_else(|| home.log(), || home.log().contains("the watchdog is not fed").then_some(()));
    systemd.starved(Duration::from_secs(4));
    let (took, fed) = (frozen.elapsed(), systemd.count("WATCHDOG=1"));
    drop(held);
    systemd.wait("WATCHDOG=1", fed + 1);
    eprintln!(
        "{thread} hung: the watchdog was fed for the last time {:?} later",
        took - Duration::from_secs(4)
    );
    daemon.stop();
}

#[test]
fn a_hanging_disk_starves_the_watchdog() {
    the_watchdog_starves_when("outbox");
}

#[test]
fn a_hanging_camera_thread_starves_the_watchdog() {
    the_watchdog_starves_when("cam-desk");
}

// ---- failing to start ---------------------------------------------------------------------

/// Runs the daemon that cannot start: its exit code and its one line.
fn refused(command: &mut Command) -> (i32, String) {
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it started");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    (status.code().unwrap(), said)
}

/// A models directory that tests may spoil: links, but a manifest of its own.
fn models_copy(at: &Path) -> PathBuf {
    let dir = at.join("models");
    std::fs::create_dir_all(dir.join("fetched")).unwrap();
    std::fs::copy(models().join("manifest.toml"), dir.join("manifest.toml")).unwrap();
    for entry in std::fs::read_dir(models().join("fetched")).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), dir.join("fetched").join(entry.file_name())).unwrap();
    }
    dir
}

fn one_of(dir: &Path, end: &str) -> PathBuf {
    let fetched = std::fs::read_dir(dir.join("fetched")).unwrap();
    fetched.map(|e| e.unwrap().path()).find(|p| p.to_str().unwrap().ends_with(end)).unwrap()
}

#[test]
fn failing_to_start_says_why_in_one_line_and_starts_nothing() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let url = broker.url();
    let check = |what: &str, home: &Home, code: i32, words: &[&str], command: &mut Command| {
        let (got, said) = refused(command);
        eprintln!("{what}: {got}: {}", said.trim_end().replace(home.path().to_str().unwrap(), "DIR"));
        assert_eq!(got, code, "{what}: {said}");
        let lines: Vec<&str> = said.lines().filter(|l| l.starts_with("vigil: ")).collect();
        assert_eq!(lines.len(), 1, "{what}: one line says why: {said}");
        for word in words {
            assert!(lines[0].contains(word), "{what}: {word} is missing: {said}");
        }
        assert!(lines[0].contains("; "), "{what}: no remedy: {said}");
        assert!(ear.all().is_empty(), "{what}: it spoke to the broker: {:?}", ear.all());
    };
    let with_models = |home: &Home, dir: &Path, more: &str| {
        home.write(&url, &[], &format!("[models]\ndir = \"{}\"\n{more}", dir.display()));
    };

    let home = Home::new();
    home.write(&url, &[], "[verify]\ndeadline = 5");
    check("a wrong key", &home, 78, &["deadline_ms", "vigil.toml:"], &mut home.command());

    let home = Home::new();
    let dir = models_copy(home.path());
    std::fs::remove_file(one_of(&dir, "fp32.onnx")).unwrap();
    with_models(&home, &dir, "");
    check("a missing model", &home, 66, &["fp32.onnx"], &mut home.command());

    let home = Home::new();
    let dir = models_copy(home.path());
    let model = one_of(&dir, "2023mar.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    std::fs::remove_file(&model).unwrap();
    std::fs::write(&model, bytes).unwrap();
    with_models(&home, &dir, "");
    check("a wrong hash", &home, 78, &["2023mar.onnx", "256"], &mut home.command());

    let home = Home::new();
    with_models(&home, &models(), &format!("runtime = \"{}/none.so\"", home.path().display()));
    check("a missing runtime", &home, 66, &["none.so"], &mut home.command());

    let home = Home::new();
    home.write(&url, &[], "");
    let taken = std::net::TcpListener::bind(home.desk).unwrap();
    check(
        "the desk's port is taken",
        &home,
        69,
        &["desk.listen", &home.desk.to_string()],
        &mut home.command(),
    );
    drop(taken);

    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    home.write(&format!("mqtt://{at}"), &[], &format!("[broker]\nlisten = \"{at}\""));
    check("the broker's port is taken", &home, 69, &["broker.listen", &at.to_string()], &mut home.command());

    let home = Home::new();
    home.write(&url, &[], "");
    let text = std::fs::read_to_string(home.config()).unwrap();
    let text = text.replace("keep_alive_s", "username = \"gate\"\npassword_file = \"none\"\nkeep_alive_s");
    std::fs::write(home.config(), text).unwrap();
    check("no password file", &home, 66, &["mqtt.password_file", "none"], &mut home.command());
    let open_to_all = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    // Root may read and write everything, so somebody else has to be refused.
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(home.path()).unwrap()) == 0 {
        open_to_all(home.path(), 0o755);
        std::fs::write(home.path().join("none"), "secret").unwrap();
        open_to_all(&home.path().join("none"), 0o600);
        let mut command = home.command();
        command.uid(65_534).gid(65_534);
        check("a foreign password file", &home, 77, &["mqtt.password_file", "none"], &mut command);

        let home = Home::new();
        home.write(&url, &[], "");
        std::fs::create_dir(&home.state).unwrap();
        open_to_all(home.path(), 0o755);
        let mut command = home.command();
        command.uid(65_534).gid(65_534);
        check("a foreign state directory", &home, 77, &["state"], &mut command);
    }
    drop(ear);

    let home = Home::new();
    let ear = Ear::new(&broker.config());
    home.write(&url, &[], "");
    let first = home.start();
    ear.wait("/state", |s| s["state"] == "online");
    let boot = ear.wait("/birth", |_| true)["bootid"].clone();
    let second =
        std::fs::read_to_string(home.config()).unwrap().replace(&home.desk.to_string(), "127.0.0.1:0");
    std::fs::write(home.path().join("second.toml"), second).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    command.args(["run", "--config"]).arg(home.path().join("second.toml"));
    let (code, said) = refused(&mut command);
    eprintln!("a second daemon: {code}: {said}");
    assert_eq!(code, 69, "{said}");
    assert!(
        said.contains("another") && said.contains("; ") && said.trim_end().lines().count() == 1,
        "{said}"
    );
    assert!(ear.on("/birth").iter().all(|b| b["bootid"] == boot));
    assert_eq!(home.document_only("still").unwrap().1["recorded"], true, "the first goes on");
    first.stop();
}

// ---- faces stay on the box ----------------------------------------------------------------

/// Every 16-byte run of secrets that is not a trivial one, to be found in anything.
struct Needles {
    runs: HashMap<[u8; 16], u8>,
    /// Which hashes of four first bytes occur, so that almost every place is dismissed at once.
    heads: Vec<bool>,
}

fn head(window: &[u8]) -> usize {
    let four = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
    (four.wrapping_mul(0x9e37_79b1) >> 10) as usize
}

impl Needles {
    fn of(secrets: &[&[u8]]) -> Self {
        let mut this = Self { runs: HashMap::new(), heads: vec![false; 1 << 22] };
        for (number, secret) in secrets.iter().enumerate() {
            for window in secret.windows(16) {
                let mut distinct = [false; 256];
                window.iter().for_each(|b| distinct[*b as usize] = true);
                if distinct.iter().filter(|d| **d).count() >= 8 {
                    this.heads[head(window)] = true;
                    this.runs.insert(<[u8; 16]>::try_from(window).unwrap(), number as u8);
                }
            }
        }
        assert!(!this.runs.is_empty(), "no needles");
        this
    }

    /// Where they are: the secret's number and the place. Looking at every eighth place only finds
    /// every run of 23 bytes.
    fn places(&self, hay: &[u8], every: usize) -> Vec<(u8, usize)> {
        let mut found = Vec::new();
        for at in (0..hay.len().saturating_sub(15)).step_by(every) {
            let window = &hay[at..at + 16];
            if self.heads[head(window)]
                && let Some(number) = self.runs.get(&<[u8; 16]>::try_from(window).unwrap())
            {
                found.push((*number, at));
            }
        }
        found
    }
}

/// Reads what a process may write to: region by region, with its name.
fn memory(pid: u32, mut see: impl FnMut(&str, u64, &[u8])) {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mem = std::fs::File::open(format!("/proc/{pid}/mem")).expect("the daemon's memory can be read");
    let mut buffer = vec![0; 4 << 20];
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (range, rights, name) = (fields[0], fields[1], fields.get(5).copied().unwrap_or("anonymous"));
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        while at < to {
            let n = ((to - at) as usize).min(buffer.len());
            let Ok(n) = mem.read_at(&mut buffer[..n], at) else { break };
            if n == 0 {
                break;
            }
            see(name, at, &buffer[..n]);
            // Windows across two reads are seen too.
            at += if at + n as u64 >= to { n as u64 } else { n as u64 - 15 };
        }
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    all
}

/// A portrait cut from a photograph, as a document reader sends it: about 20 KB.
fn portrait(name: &str, seed: u8) -> (Vec<u8>, Vec<u8>) {
    let photo = image::open(photo(name)).unwrap().to_rgb8();
    let (w, h) = photo.dimensions();
    let scale = 420.0 / f64::from(w.max(h));
    let size = ((f64::from(w) * scale) as u32, (f64::from(h) * scale) as u32);
    let mut small = image::imageops::resize(&photo, size.0, size.1, image::imageops::FilterType::Triangle);
    // A file like no other on this machine.
    small.put_pixel(0, 0, image::Rgb([seed, seed, 255 - seed]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    small.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    let bytes = bytes.into_inner();
    let pixels = image::load_from_memory(&bytes).unwrap().to_rgb8().into_raw();
    (bytes, pixels)
}

/// What the network's libraries have not freed cannot be overwritten from here: at most one of their read
/// buffers of each portrait.
const READ_BUFFER: usize = 8 << 10;

#[test]
fn faces_leave_no_trace_on_disk_log_or_wire_and_at_most_a_read_buffer_in_memory() {
    let began = Instant::now();
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let set = Set::new(640, 360, 7);
    let guest =
        Arc::new(Reel::visit(&set, &Person::open(&photo("obama.jpg"), &cast::OBAMA).unwrap()).unwrap());
    let empty = Arc::new(Reel::empty(&set).unwrap());
    let lobby = stage::Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    let home = Home::new();
    home.write(&broker.url(), &[camera("desk", &lobby.url())], "");
    // As the service's unit has it: the C library overwrites what the libraries free.
    let unit = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/vigil.service"));
    let unit = unit.unwrap();
    let perturb = unit.split_whitespace().find_map(|w| w.strip_prefix("Environment=MALLOC_PERTURB_="));
    let perturb = perturb.expect("the unit has freed memory overwritten");
    let daemon = home.start_with(&[("VIGIL_LOG", "trace"), ("MALLOC_PERTURB_", perturb)]);
    ear.wait("/camera/desk", |s| s["state"] == "live");

    eprintln!("the stage is set after {:?}", began.elapsed());
    let (same, same_pixels) = portrait("obama2.jpg", 3);
    let (other, other_pixels) = portrait("biden.jpg", 5);
    let mut client = Client::connect(&broker.config(), "asker", &[]).unwrap();
    let mut over_mqtt = |portrait: &[u8], correlation: &str| {
        let request =
            json!({"correlation": correlation, "deadline_ms": 30_000, "portrait": STANDARD.encode(portrait)});
        let reply = client
            .request(&topics(), "verify", correlation, request.to_string().into_bytes(), PATIENCE)
            .unwrap();
        reply["event"]["data"]["outcome"].as_str().unwrap_or("none").to_owned()
    };
    let over_http = |portrait: &[u8], json_body: bool, deadline: u32| {
        let answer = if json_body {
            let body = json!({"deadline_ms": deadline, "portrait": STANDARD.encode(portrait)});
            home.post("application/json", body.to_string().as_bytes())
        } else {
            home.verify(&json!({"deadline_ms": deadline}), Some(portrait))
        };
        answer.unwrap().1["result"]["outcome"].as_str().unwrap_or("none").to_owned()
    };
    lobby.show(guest);
    assert!(lobby.settled(PATIENCE));
    std::thread::sleep(Duration::from_millis(500));
    let mut outcomes = vec![
        over_http(&same, false, 30_000),
        over_http(&same, true, 30_000),
        over_mqtt(&same, "same"),
        over_http(&other, false, 30_000),
        over_mqtt(&other, "other"),
    ];
    lobby.show(empty);
    assert!(lobby.settled(PATIENCE));
    std::thread::sleep(Duration::from_millis(500));
    // A busy machine may still have pictures of the guest under way.
    outcomes.push(until("the empty scene", || {
        let outcome = over_http(&same, false, 4_000);
        (outcome != "match").then_some(outcome)
    }));
    eprintln!("asked after {:?}", began.elapsed());
    assert_eq!(outcomes, ["match", "match", "match", "no_match", "no_match", "no_face"]);
    ear.wait("/event/verify.result", |e| e["data"]["outcome"] == "no_face");
    // The station looks away, and other traffic goes through the buffers.
    std::thread::sleep(Duration::from_millis(700));

    let texts = [STANDARD.encode(&same), STANDARD.encode(&other)];
    let secrets: [(&str, &[u8]); 6] = [
        ("the matching portrait's file", &same),
        ("the other portrait's file", &other),
        ("the matching portrait's base64", texts[0].as_bytes()),
        ("the other portrait's base64", texts[1].as_bytes()),
        ("the matching portrait's pixels", &same_pixels),
        ("the other portrait's pixels", &other_pixels),
    ];
    let bytes_of: Vec<&[u8]> = secrets.iter().map(|(_, s)| *s).collect();

    // The memory, first while it is fresh. A control shows that the search can find something.
    let control_text = format!("{}{}", home.state.display(), "/outbox.db");
    let control = Needles::of(&[control_text.as_bytes()]);
    let in_memory = Needles::of(&bytes_of[..4]);
    let searching = Instant::now();
    let (left, control_found) = loop {
        let mut control_found = 0;
        let mut left: BTreeMap<(&str, String), (usize, u64)> = BTreeMap::new();
        let mut bytes = 0u64;
        memory(daemon.pid(), |region, at, hay| {
            bytes += hay.len() as u64;
            control_found += control.places(hay, 8).iter().filter(|(n, _)| *n == 0).count();
            for (number, place) in in_memory.places(hay, 8) {
                let name = secrets[usize::from(number)].0;
                left.entry((name, region.to_owned())).or_insert((0, at + place as u64)).0 += 1;
            }
        });
        eprintln!(
            "memory: {} MiB searched after {:?}, control found {control_found} times",
            bytes >> 20,
            searching.elapsed()
        );
        // On a busy machine the station may not have looked away yet. What is not overwritten then stays.
        if left.values().all(|(runs, _)| runs * 8 <= READ_BUFFER) || searching.elapsed() > PATIENCE {
            break (left, control_found);
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    for ((name, region), (n, first)) in &left {
        eprintln!("memory: {n} runs of {name} in {region}, the first at {first:x}");
    }
    assert!(control_found > 0, "the search finds nothing at all");
    daemon.stop();

    // The disk, every byte.
    let on_disk = files(&home.state);
    assert!(on_disk.iter().any(|(p, _)| p.ends_with("outbox.db")));
    let log = home.log();
    assert!(log.contains("a verification is answered"));
    let heard: Vec<_> = ear.all();
    // What the asker itself sent on cmd/verify is heard too; it is not the box's.
    let said: Vec<_> = heard.iter().filter(|m| !m.topic.contains("/cmd/")).collect();
    assert!(said.iter().filter(|m| m.topic.contains("/event/verify.result")).count() >= 6);
    let needles = Needles::of(&bytes_of);
    let nowhere = |hay: &[u8], place: &str| {
        if let Some((number, at)) = needles.places(hay, 1).first() {
            panic!("{} in {place}, byte {at}", secrets[usize::from(*number)].0);
        }
    };
    for (path, bytes) in &on_disk {
        nowhere(bytes, &path.display().to_string());
    }
    nowhere(log.as_bytes(), "the log");
    for message in &said {
        nowhere(&message.payload, &message.topic);
    }
    for message in &said {
        let text = String::from_utf8_lossy(&message.payload);
        for word in ["\"score\"", "diagnostics", "\"threshold\"", "embedding", "template"] {
            assert!(!text.contains(word), "{word} on {}: {text}", message.topic);
        }
    }
    for (path, bytes) in &on_disk {
        assert!(!String::from_utf8_lossy(bytes).contains("\"score\""), "{}", path.display());
    }
    assert!(!log.contains("score="), "a score in the log");
    eprintln!(
        "searched: {} files of {} bytes, {} bytes of log, {} messages",
        on_disk.len(),
        on_disk.iter().map(|(_, b)| b.len()).sum::<usize>(),
        log.len(),
        said.len()
    );
    for ((name, _), (runs, _)) in &left {
        assert!(runs * 8 <= READ_BUFFER, "about {} bytes of {name} remain in memory: {left:#?}", runs * 8);
    }
}

// ---- hostile commands ---------------------------------------------------------------------

#[test]
fn hostile_commands_are_answered_or_dropped_and_the_box_goes_on() {
    let broker = Mosquitto::open();
    let home = Home::new();
    home.write(&broker.url(), &[], "");
    let command = format!("{}/cmd/verify", topics().base());
    let mut client = Client::connect(&broker.config(), "enemy", &[]).unwrap();
    // Kept by the broker since yesterday: it must not open a door today.
    let retained = json!({"mode": "document_only", "correlation": "retained"}).to_string().into_bytes();
    client.publish(&command, retained, true, PATIENCE).unwrap();
    let ear = Ear::new(&broker.config());
    let daemon = home.start();
    ear.wait("/state", |s| s["state"] == "online");
    ear.wait("/event/box.alarm", |e| e["data"]["code"] == "command_refused");
    client.publish(&command, Vec::new(), true, PATIENCE).unwrap();
    let works = |client: &mut Client, name: &str| {
        let request = json!({"mode": "document_only", "correlation": name}).to_string().into_bytes();
        let reply = client.request(&topics(), "verify", name, request, PATIENCE).unwrap();
        assert_eq!(reply["event"]["data"]["outcome"], "document_only", "{reply}");
    };
    works(&mut client, "first");
    let before = daemon.resident_kib();

    let deep =
        format!("{{\"correlation\":\"deep\",\"camera\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let garbage: Vec<u8> = (0..5 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let big_text = json!({"correlation": "big", "portrait": "A".repeat(5 << 20)}).to_string().into_bytes();
    for payload in [
        b"not JSON".to_vec(),
        Vec::new(),
        vec![0xff; 1000],
        garbage.clone(),
        garbage,
        deep.into_bytes(),
        br#"{"correlation":"../../x/y","mode":"document_only"}"#.to_vec(),
        br##"{"correlation":"a/+/#","mode":"document_only"}"##.to_vec(),
        format!("{{\"correlation\":\"{}\",\"mode\":\"document_only\"}}", "x".repeat(100_000)).into_bytes(),
        br#"{"correlation":"twice","correlation":"twice2","mode":"document_only"}"#.to_vec(),
        vec![b'['; 1 << 20],
    ] {
        client.publish(&command, payload, false, PATIENCE).unwrap();
    }
    let mut refusals = Vec::new();
    for (correlation, payload) in [
        ("word", br#"{"correlation":"word","mode":"open_the_door"}"#.to_vec()),
        ("extra", br#"{"correlation":"extra","mode":"document_only","unlock":true}"#.to_vec()),
        ("base64", br#"{"correlation":"base64","portrait":"!!!"}"#.to_vec()),
        ("minus", br#"{"correlation":"minus","deadline_ms":-5}"#.to_vec()),
    ] {
        let reply = client.request(&topics(), "verify", correlation, payload, PATIENCE).unwrap();
        assert_eq!(
            (&reply["status"], &reply["correlation"]),
            (&json!("error"), &json!(correlation)),
            "{reply}"
        );
        refusals.push(format!("{correlation}: {}", reply["error"]["message"]));
    }
    let reply = client.request(&topics(), "verify", "big", big_text, PATIENCE).unwrap();
    assert!(reply["event"]["data"]["outcome"] != "match" && reply["correlation"] == "big", "{reply}");
    for unknown in ["open", "gallery/put", "verify/x", "../../state", "$SYS"] {
        let topic = format!("{}/cmd/{unknown}", topics().base());
        client.publish(&topic, b"{}".to_vec(), false, PATIENCE).unwrap();
    }
    works(&mut client, "between");
    // A flood, as fast as one client can, from four of them.
    let flooded = Instant::now();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (broker, command, sent) = (&broker, &command, &sent);
            scope.spawn(move || {
                let mut client = Client::connect(&broker.config(), "flood", &[]).unwrap();
                for m in 0..125 {
                    let request = json!({"mode": "document_only", "correlation": format!("flood-{n}-{m}")});
                    client.publish(command, request.to_string().into_bytes(), false, PATIENCE).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(sent.load(Ordering::SeqCst), 500);
    until("the desk after the flood", || {
        (home.document_only("at-the-desk").ok()?.1["recorded"] == true).then_some(())
    });
    until("an answer after the flood", || {
        let request = json!({"mode": "document_only", "correlation": "last"}).to_string().into_bytes();
        client.request(&topics(), "verify", "last", request, Duration::from_secs(2)).ok()
    });
    let heard = ear.on("/event/verify.result");
    let answered = heard.iter().filter(|e| e["data"]["correlation"].to_string().contains("flood-")).count();
    let replies = ear.all().iter().filter(|m| m.topic.contains("/reply/flood-")).count();
    assert!(answered > 0 && replies > 0);
    // Nothing was said where it was not allowed, nothing retained was obeyed.
    for e in &heard {
        assert_ne!(e["data"]["correlation"], "retained");
    }
    let odd: Vec<_> = ear
        .all()
        .into_iter()
        .map(|m| m.topic)
        .filter(|t| {
            !["/cmd/", "/reply/", "/event/", "/state", "/birth", "/health"].iter().any(|k| t.contains(k))
        })
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
    let after = daemon.resident_kib();
    assert!(after < before + 128 * 1024, "{before} KiB before, {after} KiB after");
    let log = home.log();
    assert!(!log.contains("panicked"), "{log}");
    eprintln!(
        "{refusals:#?}\nflood: 500 commands in {:?}, {answered} events, {replies} replies; memory {before} -> {after} KiB",
        flooded.elapsed()
    );
    daemon.stop();
}

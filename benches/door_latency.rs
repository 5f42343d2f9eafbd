//! From a credential on the broker to its `gate.decision` on the broker, with the person in view.
//!
//! `cargo bench --bench door_latency`. The real daemon (`vigil run`, as it is built here), a real
//! mosquitto, a gallery with one tenant and strangers beside them, an H.264 camera of 1280x720 at 25
//! pictures a second over RTSP/TCP, all on this machine. The time is taken by the client that reads
//! the card: from `cmd/credential` to the event on `event/gate.decision`, and to the lock's message.
//!
//! | environment | default | |
//! |---|---|---|
//! | `VIGIL_BENCH_SESSIONS` | 200 | cards read |
//! | `VIGIL_BENCH_ENTRIES` | 1000 | entries in the gallery beside the tenant |
//! | `VIGIL_BENCH_LOG` | | level of the daemon's log, on standard error |

#![allow(clippy::unwrap_used)]

mod support;
#[path = "../tests/it/support/mosquitto.rs"]
#[allow(dead_code)]
mod mosquitto;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{ms, rtsp, setting, spread};
use vigil::base::{Name, SystemClock};
use vigil::bus::client::Client;
use vigil::capture::still;
use vigil::config::Config;
use vigil::event::topic::Topics;
use vigil::event::{CameraCondition, CameraState, EntryTerms};
use vigil::face::{Calibration, Engine, Template};
use vigil::gallery::{Actor, Gallery, MasterKey};
use vigil::gate::{FaceEyes, portrait_template};
use vigil::infer::{Manifest, Runtime, Slot};

const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Two cards of the tenant, so that no read is the reader repeating itself; a tenant of a real face,
/// and strangers that are random directions.
fn fill(config: &Config, strangers: u64) {
    let manifest = Manifest::load(&config.models.dir).unwrap();
    let runtime = Runtime::load(&config.models).unwrap();
    let engine = Engine::open(&runtime, &manifest, &config.inference).unwrap();
    let embedding = manifest.model(Slot::FaceEmbedding).unwrap();
    let calibration = Calibration::of_model(embedding).unwrap();
    let clock = Arc::new(SystemClock::default());
    let (setup, master) =
        vigil::gallery::setup(config, embedding.model_ref(), calibration, clock).unwrap().unwrap();
    let gallery = Gallery::open(setup, master).unwrap();
    let mut eyes = FaceEyes::new(engine, config.verify.quality.clone());
    let limits = still::Limits { max_bytes: 1 << 24, max_pixels: 1 << 25 };
    let photo = std::fs::read(support::photo("obama2.jpg")).unwrap();
    let tenant = portrait_template(&mut eyes, &still::decode(&photo, &limits).unwrap(), |_| {}).unwrap();
    let until = Timestamp::now() + SignedDuration::from_hours(24);
    let by = Actor::new("bench").unwrap();
    let enrolment = |person: String, cards: &[String], template: Template| {
        let credentials: Vec<_> = cards.iter().map(|c| json!({"kind": "card", "value": c})).collect();
        let terms: EntryTerms = serde_json::from_value(json!({
            "person_ref": person, "purpose": "tenant", "basis": {"consent": "bench"},
            "valid_until": until.to_string(), "credentials": credentials,
        }))
        .unwrap();
        gallery.enrolment(terms, template, &[person.as_bytes()], Vec::new()).unwrap()
    };
    gallery
        .put(&enrolment("tenant".into(), &["A1".into(), "A2".into()], tenant), &by)
        .map_err(|d| format!("{d:?}"))
        .unwrap();
    let mut state = 0x5eed_u64;
    let mut dice = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f32 / (1u64 << 53) as f32 - 0.5
    };
    let strangers: Vec<_> = (0..strangers)
        .map(|n| {
            let template = Template::from_raw(&mut std::array::from_fn(|_| dice())).unwrap();
            enrolment(format!("stranger-{n}"), &[format!("B{n}")], template)
        })
        .collect();
    for some in strangers.chunks(500) {
        let _ = gallery.put_all(some, &by).unwrap();
    }
}

fn main() {
    support::serve_if_asked();
    let sessions = setting("VIGIL_BENCH_SESSIONS", 200);
    let seconds = 60 + sessions;
    let footage = support::footage(1280, 720, 25, (seconds as u32).next_multiple_of(60) * 25);
    let camera = support::CameraProcess::start(&footage);
    let broker = mosquitto::Mosquitto::open();
    // On the disk that holds `target/`, so that an fsync is one.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("vigil.toml");
    let key = dir.path().join("gallery.key");
    MasterKey::generate().unwrap().write_new(&key).unwrap();
    let text = format!(
        "[box]\nsite = \"bench\"\nname = \"gate\"\nstate_dir = {:?}\n\n[[camera]]\nname = \"gate\"\nurl = \"{}\"\n\n\
         [models]\ndir = {:?}\n\n[mqtt]\nurl = \"{}\"\n\n[outbox]\nwarn_free_mib = 16\n\n[gallery]\nkey_file = {key:?}\n\n\
         [[door]]\nname = \"house\"\ncamera = \"gate\"\npassage_ms = 0\n\n[door.actuator]\nmqtt = true\n\n\
         [desk]\nlisten = \"127.0.0.1:{}\"\n",
        dir.path().join("state"),
        camera.url,
        support::root().join("models"),
        broker.url(),
        support::rtsp::free_port(),
    );
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(&file, text).unwrap();
    fill(&Config::load(&file).unwrap(), setting("VIGIL_BENCH_ENTRIES", 1000));

    let topics = Topics::new(&Name::new("bench").unwrap(), &Name::new("gate").unwrap());
    let door = Name::new("house").unwrap();
    let decisions = format!("{}/event/gate.decision", topics.base());
    let filters = [topics.camera(&Name::new("gate").unwrap()), decisions.clone(), topics.actuate(&door)];
    let mut client = Client::connect(&broker.config(), "bench", &filters).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    command.arg("run").arg("--config").arg(&file).stdout(Stdio::null());
    match std::env::var("VIGIL_BENCH_LOG") {
        Ok(level) => command.env("VIGIL_LOG", level),
        Err(_) => command.stderr(Stdio::null()),
    };
    let daemon = Daemon(command.spawn().unwrap());
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the daemon's camera does not come up: VIGIL_BENCH_LOG=info says why");
        let Some(message) = client.recv(Duration::from_millis(100)).unwrap() else { continue };
        let state = serde_json::from_slice::<CameraState>(&message.payload);
        if state.is_ok_and(|s| s.state == CameraCondition::Live) {
            break;
        }
    }
    std::thread::sleep(Duration::from_secs(2));

    let (mut decided, mut unlocked, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..sessions {
        // At random moments of the camera's rhythm, and another card each time.
        std::thread::sleep(Duration::from_millis(150 + (n * 7919) % 300));
        let card = if n % 2 == 0 { "A1" } else { "A2" };
        let read =
            json!({"correlation": format!("bench-{n}"), "door": "house", "kind": "card", "value": card});
        let payload = read.to_string().into_bytes();
        let started = Instant::now();
        client.publish(&format!("{}/cmd/credential", topics.base()), payload, false, PATIENCE).unwrap();
        let (mut event, mut lock) = (None, false);
        while event.is_none() || !lock {
            assert!(started.elapsed() < PATIENCE, "no decision: {event:?}, lock told: {lock}");
            let Some(message) = client.recv(Duration::from_millis(100)).unwrap() else { continue };
            let body: Value = serde_json::from_slice(&message.payload).unwrap();
            if message.topic == decisions {
                decided.push(ms(started.elapsed()));
                inside.push(body["data"]["timing"]["elapsed_ms"].as_f64().unwrap());
                lock |= body["data"]["outcome"] != "granted";
                event = Some(body["data"].clone());
            } else if body["act"] == "unlock" {
                unlocked.push(ms(started.elapsed()));
                lock = true;
            }
        }
        let event = event.unwrap();
        let word = |key: &str| event[key].as_str().unwrap_or("").to_owned();
        *outcomes.entry(format!("{} {}", word("outcome"), word("reason")).trim().to_owned()).or_default() +=
            1;
    }
    println!("{sessions} cards, {outcomes:?}");
    println!("ms, credential to gate.decision          {}", spread(&decided));
    println!("  received to decided, inside the box    {}", spread(&inside));
    println!("ms, credential to the lock's message     {}", spread(&unlocked));
    client.close();
    drop(daemon);
}

//! From the request on the broker to the reply on the broker, with the guest before an RTSP camera.
//!
//! `cargo bench --bench verify_latency`. The real daemon (`vigil run`, as it is built here), a real
//! mosquitto, an H.264 camera of 1280x720 at 25 pictures a second over RTSP/TCP, all on this machine,
//! on whatever cores it has; the client too. The camera's footage is encoded beforehand, so that its
//! process only sends bytes. Requests come at random moments of the camera's rhythm.
//!
//! | environment | default | |
//! |---|---|---|
//! | `VIGIL_BENCH_SESSIONS` | 200 | verifications asked for |
//! | `VIGIL_BENCH_IDLE_S` | 10 | seconds of nobody asking, to know what a picture costs that nobody looks at |
//! | `VIGIL_BENCH_PAUSE_MS` | 300 | mean pause between a reply and the next request; 0: none |
//! | `VIGIL_BENCH_PORTRAIT` | `obama2.jpg` | the portrait |
//! | `VIGIL_BENCH_MOSQUITTO` | | one more line of mosquitto.conf, such as `set_tcp_nodelay true` |
//! | `VIGIL_BENCH_BINARY` | this build's | the daemon to be measured, to compare two builds |
//! | `VIGIL_BENCH_LOG` | | level of the daemon's log, on standard error |

#![allow(clippy::unwrap_used)]

mod support;
#[path = "../tests/it/support/mosquitto.rs"]
#[allow(dead_code)]
mod mosquitto;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{cpu_of, ms, rtsp, setting, spread};
use vigil::base::Name;
use vigil::bus::client::Client;
use vigil::event::topic::Topics;
use vigil::event::{CameraCondition, CameraState, Reply, VerifyResult};

const FPS: u32 = 25;
const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon(Child);

impl Daemon {
    fn start(config: &Path) -> Self {
        let binary = std::env::var("VIGIL_BENCH_BINARY").unwrap_or(env!("CARGO_BIN_EXE_vigil").into());
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(config).stdout(Stdio::null());
        match std::env::var("VIGIL_BENCH_LOG") {
            Ok(level) => command.env("RUST_LOG", level),
            Err(_) => command.stderr(Stdio::null()),
        };
        Self(command.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    /// 0 to 1.
    fn throw(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn main() {
    support::serve_if_asked();
    let sessions = setting("VIGIL_BENCH_SESSIONS", 200);
    let idle = Duration::from_secs(setting("VIGIL_BENCH_IDLE_S", 10));
    let pause = setting("VIGIL_BENCH_PAUSE_MS", 300) as f64 / 1e3;
    let portrait = std::env::var_os("VIGIL_BENCH_PORTRAIT")
        .map_or_else(|| support::photo("obama2.jpg"), |path| support::root().join(path));
    let portrait = std::fs::read(&portrait).unwrap();

    // Long enough for everything; the camera would have to come back otherwise.
    let seconds = idle.as_secs() + 60 + (sessions as f64 * (pause + 0.6)) as u64;
    let footage = support::footage(1280, 720, FPS, (seconds as u32).next_multiple_of(60) * FPS);
    let camera = support::CameraProcess::start(&footage);
    let extra = std::env::var("VIGIL_BENCH_MOSQUITTO").unwrap_or_default();
    let lines = ["allow_anonymous true", extra.as_str()];
    let broker =
        mosquitto::Mosquitto::with(mosquitto::Setup { lines: &lines, ..mosquitto::Setup::default() });
    // On the disk that holds `target/`, so that an fsync is one.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = dir.path().join("vigil.toml");
    let models = support::root().join("models");
    let text = format!(
        "[box]\nsite = \"bench\"\nname = \"desk\"\nstate_dir = {:?}\n\n[[camera]]\nname = \"desk\"\nurl = \"{}\"\n\n\
         [models]\ndir = {models:?}\n\n[mqtt]\nurl = \"{}\"\n\n[outbox]\nwarn_free_mib = 16\n\n\
         [desk]\nlisten = \"127.0.0.1:{}\"\n",
        dir.path().join("state"),
        camera.url,
        broker.url(),
        support::rtsp::free_port(),
    );
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(&config, text).unwrap();

    let topics = Topics::new(&Name::new("bench").unwrap(), &Name::new("desk").unwrap());
    let mut client =
        Client::connect(&broker.config(), "bench", &[topics.camera(&Name::new("desk").unwrap())]).unwrap();
    let daemon = Daemon::start(&config);
    let pid = daemon.0.id();
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

    // What an idle picture costs.
    let (before, began) = (cpu_of(pid), Instant::now());
    std::thread::sleep(idle);
    let idle_rate = (cpu_of(pid) - before).as_secs_f64() / began.elapsed().as_secs_f64();

    let mut dice = Dice(0x5eed_2026);
    let ask = |client: &mut Client, n: u64, portrait: Option<&[u8]>| {
        let correlation = format!("bench-{n}");
        let mode = if portrait.is_some() { "face" } else { "document_only" };
        let mut request = json!({ "correlation": correlation, "mode": mode, "deadline_ms": 3000 });
        if let Some(portrait) = portrait {
            request["portrait"] = STANDARD.encode(portrait).into();
        }
        let payload = request.to_string().into_bytes();
        let started = Instant::now();
        let answer = client.request(&topics, "verify", &correlation, payload, PATIENCE).unwrap();
        let took = started.elapsed();
        let reply: Reply = serde_json::from_value(answer).unwrap();
        let data = reply.event.unwrap_or_else(|| panic!("no event: {:?}", reply.error)).data;
        (took, serde_json::from_value::<VerifyResult>(data).unwrap())
    };

    // The way there and back and the disk, without a face: what no model can make faster.
    let way: Vec<f64> = (0..50)
        .map(|n| {
            std::thread::sleep(Duration::from_millis(20));
            ms(ask(&mut client, 1_000_000 + n, None).0)
        })
        .collect();

    let (mut took, mut inside, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    let (mut pictures, mut skipped, mut compared) = (0, 0, 0);
    // Whatever the first one warms up is not hidden: it is the first of those counted.
    let (before, began) = (cpu_of(pid), Instant::now());
    for n in 0..sessions {
        std::thread::sleep(Duration::from_secs_f64(pause * 2.0 * dice.throw()));
        let (t, result) = ask(&mut client, n, Some(&portrait));
        took.push(ms(t));
        inside.push(f64::from(result.timing.elapsed_ms));
        outside.push(ms(t) - f64::from(result.timing.elapsed_ms));
        *outcomes.entry(format!("{:?}", result.outcome)).or_default() += 1;
        if let Some(capture) = &result.capture {
            pictures += capture.pictures;
            skipped += capture.skipped;
        }
        compared += result.comparison.map_or(0, |c| c.pictures);
        while let Ok(Some(_)) = client.recv(Duration::ZERO) {}
    }
    let (cpu, wall) = ((cpu_of(pid) - before).as_secs_f64(), began.elapsed().as_secs_f64());
    let per = |x: u32| f64::from(x) / sessions as f64;

    println!("{sessions} sessions, {outcomes:?}");
    println!("ms, request to reply, at the client    {}", spread(&took));
    println!("  received to decided, inside the box  {}", spread(&inside));
    println!("  the rest: broker, JSON, disk         {}", spread(&outside));
    println!("ms, document only (no face), likewise  {}", spread(&way));
    println!("ms, write and fdatasync of 4 KiB       {}", spread(&syncs(dir.path())));
    println!(
        "per session: {:.2} pictures looked at, {:.2} compared, {:.2} came while it was busy with another",
        per(pictures),
        per(compared),
        per(skipped)
    );
    println!(
        "CPU: {:.2} ms per idle picture ({:.1} % of a core), {:.1} ms per session beyond that",
        idle_rate * 1e3 / f64::from(FPS),
        idle_rate * 100.0,
        (cpu - idle_rate * wall) * 1e3 / sessions as f64
    );
    if let Ok(path) = std::env::var("VIGIL_BENCH_OUT") {
        let text: String = took.iter().zip(&inside).map(|(a, b)| format!("{a:.3},{b}\n")).collect();
        std::fs::write(path, text).unwrap();
    }
    client.close();
    drop(daemon);
}

/// What the disk takes for the least that makes anything durable.
fn syncs(dir: &Path) -> Vec<f64> {
    let mut file = std::fs::File::create(dir.join("sync")).unwrap();
    (0..50)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            ms(started.elapsed())
        })
        .collect()
}

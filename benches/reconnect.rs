//! How long a lost camera stays lost, and what 300 losses leave behind.
//!
//! `cargo bench --bench reconnect [-- LOSSES] [KIND …]`. The RTSP server runs in a process of its own, so
//! that the descriptors and memory counted here are the client's alone. Every setting of the camera
//! is the default.
//!
//! Memory settles rather than stands still: glibc keeps a pool per thread, and each connection has
//! threads of its own. With `MALLOC_ARENA_MAX=1` in the environment it stands still, which tells a
//! leak from a pool.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigil::base::{Name, Shutdown, SystemClock};
use vigil::capture::{Camera, CameraStatus, GstOpener};
use vigil::config::{CameraConfig, SourceUrl};
use vigil::event::CameraCondition;

#[path = "../tests/it/support/rtsp.rs"]
mod rtsp;

const LOSSES: usize = 300;
/// The ways it is lost: closed then refused, frozen, accepted then silent, stream ended.
const KINDS: [&str; 4] = ["close", "freeze", "hang", "end"];
const GIVE_UP: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("serve") => serve(args[1].parse().unwrap()),
        _ => {
            let losses = args.iter().find_map(|a| a.parse().ok()).unwrap_or(LOSSES);
            let only: Vec<&str> = KINDS.into_iter().filter(|k| args.iter().any(|a| a == k)).collect();
            soak(losses, if only.is_empty() { &KINDS } else { &only });
        }
    }
}

/// The camera's side: does what standard input says, answers when it is done.
fn serve(port: u16) {
    let mut server = None;
    let mut silent = None;
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "start" => {
                silent = None;
                server = Some(rtsp::RtspServer::start(port, rtsp::Setup::default()));
            }
            "stop" => server = None,
            "silence" => silent = Some(rtsp::SilentPeer::start(port)),
            "freeze" => server.as_ref().unwrap().freeze(true),
            "thaw" => server.as_ref().unwrap().freeze(false),
            "end" => server.as_ref().unwrap().end_streams(),
            other => panic!("{other:?}?"),
        }
        println!("done");
    }
    drop((server, silent));
}

struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(port: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut server = Self { child, stdin, stdout: BufReader::new(stdout) };
        server.say("start");
        server
    }

    fn say(&mut self, what: &str) {
        writeln!(self.stdin, "{what}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "done", "the server process died");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Times {
    noticed: Vec<Duration>,
    back: Vec<Duration>,
}

fn soak(losses: usize, kinds: &[&'static str]) {
    let port = rtsp::free_port();
    let mut server = Server::start(port);
    let url = SourceUrl::parse(&rtsp::url("rtsp", port)).unwrap();
    let config = CameraConfig::new(Name::new("soak").unwrap(), url);
    let stop = Shutdown::new();
    let opener = Arc::new(GstOpener::new().unwrap());
    let (camera, frames) = Camera::start(&config, opener, Arc::new(SystemClock::default()), &stop).unwrap();
    let status = camera.status();
    let until = |wanted: &dyn Fn(&CameraStatus) -> bool| -> Duration {
        let started = Instant::now();
        while !wanted(&status.borrow()) {
            assert!(started.elapsed() < GIVE_UP, "{:?} {:?}", status.borrow(), camera.stats());
            let _ = frames.recv(Duration::from_millis(2));
        }
        started.elapsed()
    };
    let gone = |s: &CameraStatus| s.state != CameraCondition::Live;
    let live = |s: &CameraStatus| s.state == CameraCondition::Live;

    until(&live);
    let mut times: BTreeMap<&str, Times> = BTreeMap::new();
    let began = Instant::now();
    println!("loss  descriptors  threads  KiB in RAM");
    for n in 0..=losses {
        if n == 1 || n % 25 == 0 {
            // A moment of pictures, so that each row is taken in the same state.
            std::thread::sleep(Duration::from_millis(300));
            let _ = frames.try_recv();
            let (fds, threads, kib) = (rtsp::open_descriptors(), rtsp::threads(), rtsp::resident_kib());
            println!("{n:4}  {fds:11}  {threads:7}  {kib:10}");
        }
        if n == losses {
            break;
        }
        let kind = kinds[n % kinds.len()];
        let before = camera.stats();
        let t = times.entry(kind).or_default();
        match kind {
            "close" => {
                server.say("stop");
                t.noticed.push(until(&gone));
                server.say("start");
            }
            "freeze" => {
                server.say("freeze");
                t.noticed.push(until(&gone));
                server.say("thaw");
            }
            "hang" => {
                server.say("stop");
                until(&gone);
                server.say("silence");
                // One attempt at least has hung and was given up.
                let hung = Instant::now();
                let seen = camera.stats().attempts;
                until(&|_| camera.stats().attempts >= seen + 2);
                t.noticed.push(hung.elapsed());
                server.say("start");
            }
            _ => {
                server.say("end");
                t.noticed.push(until(&gone));
            }
        }
        t.back.push(until(&live));
        assert!(camera.stats().reconnects > before.reconnects);
    }
    let stats = camera.stats();
    println!(
        "\n{losses} losses in {:.0} s; {} attempts, {} reconnects, {} hung",
        began.elapsed().as_secs_f64(),
        stats.attempts,
        stats.reconnects,
        stats.hung_total
    );
    println!("ms        noticed p50   max     back p50   p95   max");
    for (kind, mut t) in times {
        t.noticed.sort();
        t.back.sort();
        let at = |v: &[Duration], q: f64| v[((v.len() - 1) as f64 * q).round() as usize].as_millis();
        println!(
            "{kind:8} {:12} {:5} {:12} {:5} {:5}",
            at(&t.noticed, 0.5),
            at(&t.noticed, 1.0),
            at(&t.back, 0.5),
            at(&t.back, 0.95),
            at(&t.back, 1.0)
        );
    }
    stop.request();
    assert!(camera.join(GIVE_UP));
}

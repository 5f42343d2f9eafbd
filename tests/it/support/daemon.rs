//! The real daemon as a child: started, asked, signalled, killed and started again.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use vigil::base::Name;
use vigil::bus::client::{Client, Message};
use vigil::config::MqttConfig;
use vigil::event::topic::Topics;

use super::rtsp::free_port;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for `done` to give something.
pub(crate) fn until<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    until_else(|| what.to_owned(), done)
}

/// Waits for `done` to give something; `what` says what was waited for, at the time that it did not come.
pub(crate) fn until_else<T>(what: impl Fn() -> String, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the models are that set-up fetched.
pub(crate) fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// A photograph that set-up fetched.
pub(crate) fn photo(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/photos").join(name);
    assert!(path.exists(), "{} is missing: make setup", path.display());
    path
}

pub(crate) fn topics() -> Topics {
    Topics::new(&Name::new("it").unwrap(), &Name::new("gate").unwrap())
}

/// What a box of its own is made of.
pub(crate) struct Home {
    dir: TempDir,
    pub(crate) desk: SocketAddr,
    pub(crate) state: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state");
        Self { dir, desk: ([127, 0, 0, 1], free_port()).into(), state }
    }

    /// Writes the configuration. `cameras` are lines below `[[camera]]`, `more` are further
    /// sections.
    pub(crate) fn write(&self, broker: &str, cameras: &[String], more: &str) {
        let mut text =
            format!("[box]\nsite = \"it\"\nname = \"gate\"\nstate_dir = \"{}\"\n", self.state.display());
        for camera in cameras {
            text.push_str(&format!("[[camera]]\n{camera}\n"));
        }
        text.push_str(&format!(
            "[mqtt]\nurl = \"{broker}\"\nretry_min_ms = 20\nretry_max_ms = 300\nkeep_alive_s = 120\n\
             [desk]\nlisten = \"{}\"\n{more}\n",
            self.desk
        ));
        if !more.contains("[models]") {
            text.push_str(&format!("[models]\ndir = \"{}\"\n", models().display()));
        }
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("vigil.toml")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Everything every run of the daemon wrote on standard error.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap_or_default()).into_owned()
    }

    pub(crate) fn command(&self) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.args(["run", "--config"]).arg(self.config());
        command.env_remove("NOTIFY_SOCKET").env_remove("VIGIL_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    pub(crate) fn start(&self) -> Daemon<'_> {
        self.start_with(&[])
    }

    /// Starts the daemon and waits until its desk answers.
    pub(crate) fn start_with(&self, env: &[(&str, &str)]) -> Daemon<'_> {
        let child = self.command().envs(env.iter().copied()).spawn().unwrap();
        let mut daemon = Daemon { home: self, child };
        until("the daemon's desk", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended at its start, {status}:\n{}", self.log());
            }
            (self.get("/v1/status").ok()?.0 == 200).then_some(())
        });
        daemon
    }

    /// A GET over HTTP.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<(u16, Value)> {
        self.exchange(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.desk).as_bytes(), &[])
    }

    /// A verification over HTTP, as a document reader asks.
    pub(crate) fn verify(&self, request: &Value, portrait: Option<&[u8]>) -> std::io::Result<(u16, Value)> {
        const BOUNDARY: &str = "it-7c1e";
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"request\"\r\n\
             Content-Type: application/json\r\n\r\n{request}\r\n"
        )
        .into_bytes();
        if let Some(portrait) = portrait {
            body.extend_from_slice(
                format!(
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"portrait\"; \
                     filename=\"p.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
                )
                .as_bytes(),
            );
            body.extend_from_slice(portrait);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.post(&format!("multipart/form-data; boundary={BOUNDARY}"), &body)
    }

    pub(crate) fn post(&self, content_type: &str, body: &[u8]) -> std::io::Result<(u16, Value)> {
        self.post_to("/v1/verify", content_type, body)
    }

    pub(crate) fn post_to(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Value)> {
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.desk,
            body.len()
        );
        self.exchange(head.as_bytes(), body)
    }

    /// A decision without a camera.
    pub(crate) fn document_only(&self, correlation: &str) -> std::io::Result<(u16, Value)> {
        self.verify(&json!({"mode": "document_only", "correlation": correlation}), None)
    }

    fn exchange(&self, head: &[u8], body: &[u8]) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(self.desk)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(head)?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8_lossy(&answer);
        let broken = || std::io::Error::other(format!("half an answer: {text:?}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
        Ok((status, serde_json::from_str(body).map_err(|_| broken())?))
    }
}

/// A running `vigil run`; killed when dropped.
pub(crate) struct Daemon<'a> {
    pub(crate) home: &'a Home,
    pub(crate) child: Child,
}

impl Daemon<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// As a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it in good order.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended(PATIENCE).expect("the daemon does not end");
        assert_eq!(status.code(), Some(0), "{}", self.home.log());
    }

    /// The number of its thread of this name.
    pub(crate) fn thread(&self, name: &str) -> u32 {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap() {
            let task = task.unwrap();
            if std::fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim() == name {
                return task.file_name().to_str().unwrap().parse().unwrap();
            }
        }
        panic!("the daemon has no thread {name}")
    }

    /// Memory in RAM, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon<'_> {
    /// A test that fails shows what its daemon had to say.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.home.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the daemon's log ends:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Holds one thread of another process still, as a disk or a driver does that never answers.
pub(crate) struct HeldStill(Child);

impl HeldStill {
    pub(crate) fn thread(tid: u32) -> Self {
        // PTRACE_SEIZE, PTRACE_INTERRUPT; tracing ends, and the thread goes on, with the tracer.
        let script = format!(
            "import ctypes,sys\nl=ctypes.CDLL(None)\n\
             assert l.ptrace(0x4206,{tid},0,0)==0 and l.ptrace(0x4207,{tid},0,0)==0\n\
             print('held',flush=True)\nsys.stdin.read()"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is missing: apt-get install python3");
        let mut said = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .expect("the thread cannot be traced: run as root");
        Self(child)
    }
}

impl Drop for HeldStill {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Hears everything on `vigil/#`, on a thread of its own, for as long as the broker is there.
pub(crate) struct Ear {
    heard: Arc<Mutex<Vec<(Instant, Message)>>>,
    deaf: Arc<Mutex<Option<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// The broker has consented when this returns.
    pub(crate) fn new(config: &MqttConfig) -> Self {
        let mut client = Client::connect(config, "ear", &["vigil/#".to_owned()]).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let deaf = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, gone, stopping) = (heard.clone(), deaf.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::SeqCst) {
                match client.recv(Duration::from_millis(50)) {
                    Ok(Some(message)) => into.lock().unwrap().push((Instant::now(), message)),
                    Ok(None) => {}
                    Err(e) => {
                        *gone.lock().unwrap() = Some(e.chain());
                        return;
                    }
                }
            }
        });
        Self { heard, deaf, stop, thread: Some(thread) }
    }

    /// Why it hears nothing any more, if so. Belongs into every complaint that something did not come.
    pub(crate) fn deaf(&self) -> String {
        match &*self.deaf.lock().unwrap() {
            Some(e) => format!("the test itself lost its broker: {e}"),
            None => "the test still listens".to_owned(),
        }
    }

    pub(crate) fn all(&self) -> Vec<Message> {
        self.heard.lock().unwrap().iter().map(|(_, m)| m.clone()).collect()
    }

    /// What came on topics that end with `suffix`, in order.
    pub(crate) fn on(&self, suffix: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|(_, m)| m.topic.ends_with(suffix))
            .map(|(_, m)| serde_json::from_slice(&m.payload).unwrap())
            .collect()
    }

    /// Every state of `camera` that was told, in order.
    pub(crate) fn camera(&self, camera: &str) -> Vec<Value> {
        self.on(&format!("/camera/{camera}"))
    }

    /// Alarms of this code, as (state, about, message).
    pub(crate) fn alarms(&self, code: &str) -> Vec<Value> {
        self.on("/event/box.alarm").into_iter().filter(|e| e["data"]["code"] == code).collect()
    }

    /// Waits until a message on `suffix` satisfies `is`.
    pub(crate) fn wait(&self, suffix: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.on(suffix).into_iter().find(&is) {
                return found;
            }
            assert!(
                Instant::now() < end,
                "waited in vain on {suffix}; {}; heard there: {:#?}",
                self.deaf(),
                self.on(suffix)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The checks of a result by name: (status, reason).
pub(crate) fn checks(result: &Value) -> HashMap<String, (String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = result["checks"].as_array().expect("a result has checks");
    list.iter().map(|c| (text(&c["name"]), (text(&c["status"]), text(&c["reason"])))).collect()
}

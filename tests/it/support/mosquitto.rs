//! The real broker, on a port of its own, to be stopped, frozen, killed and started again.

// A helper that cannot go on fails its test.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vigil::config::{BrokerUrl, MqttConfig};

use super::rtsp::free_port;

/// A mosquitto with its configuration in a directory of its own.
pub(crate) struct Mosquitto {
    dir: TempDir,
    port: u16,
    tls: bool,
    child: Option<Child>,
}

/// What a test wants of it, as lines of mosquitto.conf; `{dir}` becomes the directory.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    pub lines: &'a [&'a str],
    pub files: &'a [(&'a str, String)],
    pub users: &'a [(&'a str, &'a str)],
    pub tls: bool,
}

impl Mosquitto {
    /// A broker open to everybody, which keeps nothing.
    pub(crate) fn open() -> Self {
        Self::with(Setup { lines: &["allow_anonymous true"], ..Setup::default() })
    }

    pub(crate) fn with(setup: Setup<'_>) -> Self {
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let mut conf = format!("listener {port} 127.0.0.1\n");
        if std::fs::metadata(dir.path()).unwrap().uid() == 0 {
            // Otherwise it becomes a user who cannot read this directory.
            conf.push_str("user root\n");
        }
        for line in setup.lines {
            conf.push_str(&line.replace("{dir}", &dir.path().display().to_string()));
            conf.push('\n');
        }
        for (name, text) in setup.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        if !setup.users.is_empty() {
            let path = dir.path().join("passwords");
            std::fs::write(&path, "").unwrap();
            for (user, password) in setup.users {
                let done =
                    Command::new("mosquitto_passwd").arg("-b").arg(&path).args([user, password]).output();
                assert!(
                    done.expect("mosquitto_passwd is missing: apt-get install mosquitto").status.success()
                );
            }
            conf.push_str(&format!("password_file {}\n", path.display()));
        }
        std::fs::write(dir.path().join("mosquitto.conf"), conf).unwrap();
        let mut broker = Self { dir, port, tls: setup.tls, child: None };
        broker.start();
        broker
    }

    /// Starts it (again) on the same port.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none());
        let program = ["/usr/sbin/mosquitto", "mosquitto"]
            .into_iter()
            .find(|p| Path::new(p).exists() || !p.starts_with('/'));
        let child = Command::new(program.unwrap())
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is missing: apt-get install mosquitto");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none(),
                "mosquitto ended at once ({ended:?}): run it by hand with {}",
                self.dir.path().display()
            );
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.as_ref().unwrap().id() as i32), signal).unwrap();
    }

    /// Ends it with `signal` and waits until it is gone.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "mqtts" } else { "mqtt" }, self.port)
    }

    /// A client's configuration for it, with short waits before it tries again. A machine that stands still
    /// for some seconds costs no connection: a test that wants silence to be noticed says so.
    pub(crate) fn config(&self) -> MqttConfig {
        let mut config = MqttConfig::new(BrokerUrl::parse(&self.url()).unwrap());
        config.keep_alive_s = 120;
        config.retry_min_ms = vigil::config::Millis(20);
        config.retry_max_ms = vigil::config::Millis(500);
        config
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

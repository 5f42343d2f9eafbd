//! The processes of the demonstration: `vigil run` and `vigil tail`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::base::{Culprit, Error, Kind, Result, supervise};
use crate::gallery::MasterKey;

/// A process that was asked to end has this long.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of the daemon's log that are shown when it failed.
const LOG_LINES: usize = 12;

/// A process that ends with its handle.
pub(super) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    pub(super) fn start(name: &'static str, mut command: Command) -> Result<Self> {
        // Its own process group: Ctrl-C in a terminal reaches the demonstration alone, which then
        // ends the others in order.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| Error::io(Culprit::Host, format!("cannot start vigil {name}"), e))?;
        Ok(Self { name, child })
    }

    /// Whether it has ended, and well.
    pub(super) fn finished(&mut self) -> Result<Option<()>> {
        match self.child.try_wait() {
            Ok(None) => Ok(None),
            Ok(Some(status)) if status.success() => Ok(Some(())),
            Ok(Some(status)) => Err(Error::new(
                Kind::Internal,
                Culprit::Vigil,
                format!("vigil {} failed: {status}", self.name),
            )),
            Err(e) => Err(Error::io(Culprit::Host, format!("vigil {}", self.name), e)),
        }
    }

    /// Fails if it has ended.
    fn alive(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::new(
                Kind::Internal,
                Culprit::Vigil,
                format!("vigil {} ended: {status}", self.name),
            )),
            Err(e) => Err(Error::io(Culprit::Host, format!("vigil {}", self.name), e)),
        }
    }
}

impl Drop for Process {
    /// Ends the process and whatever it started.
    fn drop(&mut self) {
        // Not waited for yet, so the number still means this process and its group.
        if let Ok(group) = i32::try_from(self.child.id()).map(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = killpg(group, Signal::SIGTERM);
            let end = Instant::now() + GRACE;
            while matches!(self.child.try_wait(), Ok(None)) {
                if Instant::now() >= end {
                    eprintln!("vigil {} did not end within {} s: killed", self.name, GRACE.as_secs());
                    let _ = killpg(group, Signal::SIGKILL);
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.wait();
    }
}

/// Where everything is.
pub(super) struct Plan {
    pub(super) config: PathBuf,
    pub(super) broker: SocketAddr,
    pub(super) desk: SocketAddr,
    log: PathBuf,
}

/// A free port of this machine. Somebody else could take it before the daemon does; the daemon
/// then says so.
fn free_port() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map_err(|e| Error::io(Culprit::Host, "no free port on the loopback interface", e))
}

impl Plan {
    /// Writes the daemon's configuration.
    pub(super) fn write(dir: &Path, camera: &str, models: &Path) -> Result<Self> {
        let (broker, desk) = (free_port()?, free_port()?);
        let models = std::path::absolute(models)
            .map_err(|e| Error::io(Culprit::Host, format!("cannot resolve {}", models.display()), e))?;
        let key = dir.join("gallery.key");
        MasterKey::generate()?.write_new(&key)?;
        let path = |p: &Path| toml::Value::String(p.display().to_string()).to_string();
        let text = format!(
            "[box]\nsite = \"demo\"\nname = \"front-desk\"\nstate_dir = {state}\n\n\
             [[camera]]\nname = \"desk\"\nurl = \"{camera}\"\n\n\
             [models]\ndir = {models}\n\n\
             [mqtt]\nurl = \"mqtt://{broker}\"\n\n\
             [broker]\nlisten = \"{broker}\"\n\n\
             [outbox]\nwarn_free_mib = 16\n\n\
             [gallery]\nkey_file = {key}\n\n\
             [[door]]\nname = \"house\"\ncamera = \"desk\"\nwindow_ms = 4000\npassage_ms = 1500\n\n\
             [door.actuator]\nmqtt = true\n\n\
             [desk]\nlisten = \"{desk}\"\n",
            state = path(&dir.join("state")),
            key = path(&key),
            models = path(&models),
        );
        let config = dir.join("vigil.toml");
        std::fs::write(&config, text)
            .and_then(|()| std::fs::create_dir(dir.join("state")))
            .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", config.display()), e))?;
        Ok(Self { config, broker, desk, log: dir.join("daemon.log") })
    }
}

impl Plan {
    /// Writes the configuration of a ground station that takes `video` over level ground.
    pub(super) fn ground_station(dir: &Path, video: &Path, ground_hae_m: f64, models: &Path) -> Result<Self> {
        let (broker, desk) = (free_port()?, free_port()?);
        let models = std::path::absolute(models)
            .map_err(|e| Error::io(Culprit::Host, format!("cannot resolve {}", models.display()), e))?;
        let path = |p: &Path| toml::Value::String(p.display().to_string()).to_string();
        let text = format!(
            "[box]\nsite = \"demo\"\nname = \"ground-1\"\nstate_dir = {state}\n\n\
             [[camera]]\nname = \"drone\"\nurl = {video}\n\n\
             [models]\ndir = {models}\n\n\
             [search]\ncamera = \"drone\"\ncoverage_s = 5\n\n\
             [search.thermal]\npolarity = \"white_hot\"\n\n\
             [search.terrain]\nflat_m = {ground_hae_m:.2}\nflat_above = \"ellipsoid\"\nflat_sigma_m = 2.0\n\n\
             [mqtt]\nurl = \"mqtt://{broker}\"\n\n\
             [broker]\nlisten = \"{broker}\"\n\n\
             [outbox]\nwarn_free_mib = 16\n\n\
             [desk]\nlisten = \"{desk}\"\n",
            state = path(&dir.join("ground-state")),
            video = toml::Value::String(format!("file:{}", video.display())),
            models = path(&models),
        );
        let config = dir.join("ground.toml");
        std::fs::write(&config, text)
            .and_then(|()| std::fs::create_dir(dir.join("ground-state")))
            .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", config.display()), e))?;
        Ok(Self { config, broker, desk, log: dir.join("ground.log") })
    }
}

fn vigil(subcommand: &str, plan: &Plan) -> Result<Command> {
    let exe = std::env::current_exe().map_err(|e| Error::io(Culprit::Host, "cannot find this program", e))?;
    let mut command = Command::new(exe);
    command.arg(subcommand).arg("--config").arg(&plan.config);
    Ok(command)
}

/// `vigil run`.
pub(super) struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let log = File::create(&plan.log)
            .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", plan.log.display()), e))?;
        let mut command = vigil("run", plan)?;
        command.stdout(Stdio::null()).stderr(log);
        Ok(Self { process: Process::start("run", command)?, log: plan.log.clone() })
    }

    /// Fails, with the end of its log on standard error, if the daemon has ended.
    pub(super) fn alive(&mut self) -> Result<()> {
        self.process.alive().inspect_err(|_| self.show_log())
    }

    /// The end of the daemon's log on standard error.
    pub(super) fn show_log(&self) {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            eprintln!("  daemon: {line}");
        }
    }
}

/// `vigil tail`, its lines on standard output.
pub(super) struct Tail {
    process: Process,
    lines: Arc<AtomicUsize>,
}

impl Tail {
    pub(super) fn start(plan: &Plan, json: bool) -> Result<Self> {
        let mut command = vigil("tail", plan)?;
        if json {
            command.arg("--json");
        }
        command.stdout(Stdio::piped());
        let mut process = Process::start("tail", command)?;
        let lines = Arc::new(AtomicUsize::new(0));
        if let Some(out) = process.child.stdout.take() {
            let lines = lines.clone();
            supervise::spawn("tail-lines", move || {
                for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
                    println!("{}{line}", if json { "" } else { "  " });
                    lines.fetch_add(1, Ordering::Relaxed);
                }
            })?;
        }
        Ok(Self { process, lines })
    }

    /// Lines printed.
    pub(super) fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    pub(super) fn alive(&mut self) -> Result<()> {
        self.process.alive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_written_is_one_that_loads() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::write(dir.path(), "http://127.0.0.1:9/camera.mjpg", Path::new("models")).unwrap();
        let config = crate::config::Config::load(&plan.config).unwrap();
        assert_eq!(config.mqtt.url.port, plan.broker.port());
        assert_eq!(config.broker.unwrap().listen, plan.broker);
        assert_eq!(config.desk.listen, plan.desk);
        assert_eq!(config.identity.state_dir, dir.path().join("state"));
        assert!(config.models.dir.is_absolute());
    }

    #[test]
    fn a_process_ends_with_its_handle_even_if_it_does_not_want_to() {
        for script in ["sleep 1000; true", "trap '' TERM; while :; do sleep 0.1; done"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let mut process = Process::start("sleeper", command).unwrap();
            process.alive().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            let group = Pid::from_raw(i32::try_from(process.child.id()).unwrap());
            drop(process);
            // What it started is gone too, once the system has cleared it away.
            let end = Instant::now() + Duration::from_secs(20);
            while killpg(group, None).is_ok() {
                assert!(Instant::now() < end, "{script} is still there");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

//! Layer 3: the world itself. Every camera is opened until a picture comes, and the broker has to
//! acknowledge a publication.

use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Looker;
use crate::base::mailbox::Received;
use crate::base::{Culprit, Error, Result, Shutdown, SystemClock, TimeSource};
use crate::bus;
use crate::capture::{self, Camera, GstOpener, Opener};
use crate::config::{CameraConfig, Config, HookUrl};
use crate::event::topic::Topics;

/// How long a camera is watched. Its own clock is known from its first RTCP report on, which comes
/// within two and a half seconds.
const WATCH: Duration = Duration::from_secs(3);
/// Longest wait for one picture before looking at the time.
const POLL: Duration = Duration::from_millis(200);
/// A camera that hangs on closing is left behind after this.
const CLOSE: Duration = Duration::from_secs(5);

/// Looks at everything that is live, all cameras at once.
pub(super) fn look(config: &Config, to: &mut Looker<'_>) {
    cameras(config, to);
    broker(config, to);
}

/// Connects to the broker and waits until it acknowledges a publication. A box that stands alone
/// has its broker inside: it is started for the check, unless the daemon runs already.
fn broker(config: &Config, to: &mut Looker<'_>) {
    let inside = match &config.broker {
        Some(own) if TcpListener::bind(own.listen).is_ok() => match bus::embedded::start(own) {
            Ok(broker) => Some(broker),
            Err(e) => {
                to.note("broker inside", "broker.listen", Err(e));
                return;
            }
        },
        _ => None,
    };
    let topics = Topics::new(&config.identity.site, &config.identity.name);
    let result = bus::probe(&config.mqtt, &topics).map(|took| {
        let where_ = if inside.is_some() { ", started for the check" } else { "" };
        format!("{}{where_}, acknowledged after {} ms", config.mqtt.url, took.as_millis())
    });
    to.note("broker live", "mqtt.url", result);
    if let Some(locks) = &config.locks {
        let result = bus::probe(locks, &topics)
            .map(|took| format!("{}, acknowledged after {} ms", locks.url, took.as_millis()));
        to.note("the locks' broker live", "locks.url", result);
    }
    // Nothing is posted to a hook: it would open the door.
    for (n, door) in config.doors.iter().enumerate() {
        let Some(url) = door.actuator.as_ref().and_then(|a| a.url.as_ref()) else { continue };
        to.note(&format!("door {}: hook", door.name), &format!("door[{n}].actuator.url"), reach(url));
    }
}

/// Whether somebody listens at a hook's address.
fn reach(url: &HookUrl) -> Result<String> {
    let cannot = |e| {
        Error::io(Culprit::Host, format!("nobody listens at {}", url.authority()), e)
            .remedy("is the relay on, and is this its address?")
    };
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in (url.host.as_str(), url.port).to_socket_addrs().map_err(cannot)? {
        match TcpStream::connect_timeout(&address, CLOSE) {
            Ok(_) => return Ok(format!("{address} listens")),
            Err(e) => last = e,
        }
    }
    Err(cannot(last))
}

fn cameras(config: &Config, to: &mut Looker<'_>) {
    if config.cameras.is_empty() {
        to.not_checked("cameras", "there is none");
        return;
    }
    let opener: Arc<dyn Opener> = match GstOpener::new() {
        Ok(opener) => Arc::new(opener),
        Err(e) => {
            to.note("cameras", "camera", Err(e));
            return;
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = config
            .cameras
            .iter()
            .map(|camera| {
                let opener = &opener;
                scope.spawn(move || camera_live(camera, opener))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("looking at the camera panicked")))
            })
            .collect()
    });
    for (n, (camera, result)) in config.cameras.iter().zip(results).enumerate() {
        to.note(&format!("camera {} live", camera.name), &format!("camera[{n}].url"), result);
    }
}

/// Opens the camera until a picture comes, then runs it as the daemon would for [`WATCH`].
fn camera_live(camera: &CameraConfig, opener: &Arc<dyn Opener>) -> Result<String> {
    let p = capture::probe(camera, opener)?;
    let seen =
        format!("{}x{} {}, first picture after {} ms", p.width, p.height, p.format, p.took.as_millis());
    Ok(match watch(camera, opener)? {
        Some((fps, source, packets)) => {
            let times = match source {
                Some(TimeSource::Camera) => "times from the camera",
                _ => "times of arrival",
            };
            let telemetry = match packets {
                0 => String::new(),
                n => format!(", {:.1} KLV packets a second", n as f64 / WATCH.as_secs_f64()),
            };
            format!("{seen}, {fps:.1} a second, {times}{telemetry}")
        }
        // Some cameras take no new session for a minute after one has ended.
        None => format!("{seen}; it took no second connection, so its rate was not measured"),
    })
}

/// Pictures a second, the source of their times, and how many KLV packets came; `None` if no picture
/// came.
fn watch(
    camera: &CameraConfig,
    opener: &Arc<dyn Opener>,
) -> Result<Option<(f64, Option<TimeSource>, usize)>> {
    let stop = Shutdown::new();
    let (running, frames) = Camera::start(camera, opener.clone(), Arc::new(SystemClock::default()), &stop)?;
    let packets = running.metadata();
    let connect_by = Instant::now() + camera.connect_within_ms.duration();
    let mut until = None;
    while Instant::now() < until.unwrap_or(connect_by) {
        match frames.recv(POLL) {
            Received::Value(_) if until.is_none() => until = Some(Instant::now() + WATCH),
            Received::Value(_) | Received::Empty => {}
            // A recording that is not repeated is at its end.
            Received::Closed => break,
        }
    }
    let stats = running.stats();
    stop.request();
    running.join(CLOSE);
    let telemetry = std::iter::from_fn(|| packets.try_recv()).count();
    Ok(until.map(|_| (stats.fps, stats.time_source, telemetry)))
}

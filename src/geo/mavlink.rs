//! MAVLink 2: what an autopilot and its gimbal say, over UDP, TCP or a serial port.
//!
//! [`Decoder`] turns bytes into telemetry and knows no sockets; [`Listener`] is a thread that keeps a
//! link open and puts what it decodes into a bounded queue. The box only listens: it sends nothing,
//! asks for no streams, and checks no signatures (whoever can write to the link can move the drone on
//! the map; give the link a cable or a network of its own).
//!
//! # What is taken from which message
//! | message | what |
//! |---|---|
//! | `HEARTBEAT` | which system is the drone: the first with an autopilot, unless one is configured |
//! | `GLOBAL_POSITION_INT` | position, and height above sea level; nothing while the receiver has no fix |
//! | `GPS_RAW_INT` | whether there is a fix, and how far off it may be |
//! | `ATTITUDE`, `ATTITUDE_QUATERNION` | how the platform is turned |
//! | `GIMBAL_DEVICE_ATTITUDE_STATUS` | how the camera is turned; roll and pitch are against the horizon, the yaw against north or against the platform's heading, as the flags say |
//! | `MOUNT_ORIENTATION` | the same from an older gimbal, while no newer one speaks |
//! | `CAMERA_FOV_STATUS` | field of view |
//! | `SYSTEM_TIME` | what UTC is at which time since the autopilot's start |
//! | `HOME_POSITION` | where the drone took off, and how high that is |
//!
//! Messages carry the time since the autopilot's start. Until `SYSTEM_TIME` says what that is in UTC,
//! it is counted from the arrivals, by the smallest delay seen.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::mavlink::MavlinkVersion;
use ::mavlink::Message as _;
use ::mavlink::dialects::common::{GimbalDeviceFlags, GpsFixType, MavAutopilot, MavMessage, MavType};
use jiff::{SignedDuration, Timestamp};
use nix::sys::termios::{self, BaudRate, ControlFlags, SetArg};

use super::pose::{Attitude, FieldOfView, Gimbal, Telemetry, TelemetrySource};
use super::turn::Turn;
use super::units::{Angle, Height, LatLon, SeaLevelHeight};
use crate::base::backoff::Backoff;
use crate::base::supervise::{End, spawn, supervise};
use crate::base::{Culprit, Error, Kind, Result, Shutdown};
use crate::config::TelemetryLink;

const START: u8 = 0xfd;
const START_V1: u8 = 0xfe;
const HEADER: usize = 10;
const CHECKSUM: usize = 2;
const SIGNATURE: usize = 13;
/// The flag of a signed message; all others are unknown, and the message must not be read.
const SIGNED: u8 = 1;
/// The autopilot's usual component.
const AUTOPILOT: u8 = 1;
/// A start later than this, by which the time since the start went back, was a start anew.
const RESTART_MS: u32 = 10_000;
/// UTC that differs by less is jitter.
const CLOCK_JITTER: SignedDuration = SignedDuration::from_millis(100);
/// No autopilot that was told the time says an earlier one: 2016-01-01.
const EARLIEST_US: u64 = 1_451_606_400_000_000;
/// The heading that goes with a gimbal's yaw may be this old.
const HEADING_MS: u32 = 500;
/// Messages that wait to be fetched.
const QUEUE: usize = 1_024;
/// A link on which nothing comes for this long is opened anew.
const SILENCE: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_millis(200);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Part of a pose.
    Telemetry(Telemetry),
    /// How far off positions may be: one standard deviation in metres, horizontally and vertically.
    Accuracy {
        /// North and east alike.
        horizontal_m: f64,
        /// Up.
        vertical_m: f64,
    },
    /// Where the drone took off.
    Home(LatLon, SeaLevelHeight),
}

/// What became of bytes and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MavlinkCounts {
    /// Messages of the drone.
    pub messages: u64,
    /// Messages of other systems.
    pub foreign: u64,
    /// Messages of the drone that did not arrive, by the gaps in their numbers.
    pub lost: u64,
    /// Messages with a wrong checksum, or with flags that nobody knows.
    pub damaged: u64,
    /// Messages of MAVLink 1, which is not read.
    pub version_1: u64,
    /// Bytes that belonged to no message.
    pub strange_bytes: u64,
    /// Positions that were not taken because the receiver had no fix.
    pub without_fix: u64,
    /// Values that are none: not a number, a quaternion of no length.
    pub no_value: u64,
    /// Gimbal messages that could not be used because the platform's heading was not known.
    pub no_heading: u64,
    /// Times that the autopilot started anew.
    pub restarts: u64,
    /// What was decoded and not fetched in time.
    pub overflow: u64,
}

/// The autopilot's time since its start, as UTC.
#[derive(Debug, Default)]
struct BootClock {
    /// UTC at the start.
    start: Option<Timestamp>,
    /// It comes from the autopilot, not from arrivals.
    told: bool,
    newest_ms: u32,
}

impl BootClock {
    /// UTC of `boot_ms`; whether the autopilot started anew.
    fn time(&mut self, boot_ms: u32, arrival: Timestamp) -> (Option<Timestamp>, bool) {
        let restarted = boot_ms.saturating_add(RESTART_MS) < self.newest_ms;
        if restarted {
            *self = Self::default();
        }
        self.newest_ms = self.newest_ms.max(boot_ms);
        let since = SignedDuration::from_millis(i64::from(boot_ms));
        if !self.told
            && let Ok(start) = arrival.checked_sub(since)
        {
            self.start = Some(self.start.map_or(start, |s| s.min(start)));
        }
        (self.start.and_then(|start| start.checked_add(since).ok()), restarted)
    }

    fn tell(&mut self, boot_ms: u32, unix_us: u64) {
        if unix_us < EARLIEST_US {
            return;
        }
        let start = i64::try_from(unix_us)
            .ok()
            .and_then(|us| Timestamp::from_microsecond(us).ok())
            .and_then(|now| now.checked_sub(SignedDuration::from_millis(i64::from(boot_ms))).ok());
        if let Some(start) = start {
            let same = self.told && self.start.is_some_and(|s| s.duration_since(start).abs() < CLOCK_JITTER);
            if !same {
                self.start = Some(start);
            }
            self.told = true;
        }
    }
}

/// Bytes of one link become telemetry.
///
/// It keeps at most one message that is not whole yet.
#[derive(Debug)]
pub struct Decoder {
    kept: Vec<u8>,
    /// Set by the configuration, or by the first autopilot heard.
    system: Option<u8>,
    autopilot: u8,
    gimbal: Option<u8>,
    /// The number that the next message of each component should have.
    expected: HashMap<u8, u8>,
    clock: BootClock,
    /// When, yaw, and its speed in radians a second.
    heading: Option<(u32, Angle, f64)>,
    fix: Option<bool>,
    counts: MavlinkCounts,
}

impl Decoder {
    /// Reads the messages of `system`; of the first autopilot heard without it.
    pub fn new(system: Option<u8>) -> Self {
        Self {
            kept: Vec::new(),
            system,
            autopilot: AUTOPILOT,
            gimbal: None,
            expected: HashMap::new(),
            clock: BootClock::default(),
            heading: None,
            fix: None,
            counts: MavlinkCounts::default(),
        }
    }

    /// What became of bytes and messages so far.
    pub fn counts(&self) -> MavlinkCounts {
        self.counts
    }

    /// The drone's system, once it is known.
    pub fn system(&self) -> Option<u8> {
        self.system
    }

    /// Whether the receiver has a fix; `None` while it did not say.
    pub fn fix(&self) -> Option<bool> {
        self.fix
    }

    /// Whether times come from the autopilot, not from arrivals.
    pub fn knows_utc(&self) -> bool {
        self.clock.told
    }

    /// The link was opened anew: what was begun on the old one goes on nowhere.
    pub fn reopened(&mut self) {
        self.counts.strange_bytes += self.kept.len() as u64;
        self.kept.clear();
    }

    /// Takes the next bytes, which arrived at `arrival` by this box's clock.
    pub fn push(&mut self, bytes: &[u8], arrival: Timestamp) -> Vec<Said> {
        let mut said = Vec::new();
        let mut all = std::mem::take(&mut self.kept);
        all.extend_from_slice(bytes);
        let mut at = 0;
        while at < all.len() {
            match Frame::find(&all[at..]) {
                Found::Whole(frame, length) => {
                    self.frame(&frame, arrival, &mut said);
                    at += length;
                }
                Found::Version1(length) => {
                    self.counts.version_1 += 1;
                    at += length;
                }
                Found::Damaged => {
                    self.counts.damaged += 1;
                    self.counts.strange_bytes += 1;
                    at += 1;
                }
                Found::Strange => {
                    self.counts.strange_bytes += 1;
                    at += 1;
                }
                Found::Short => break,
            }
        }
        all.drain(..at);
        self.kept = all;
        said
    }

    fn frame(&mut self, frame: &Frame<'_>, arrival: Timestamp, said: &mut Vec<Said>) {
        let message = frame.message();
        if self.system.is_none()
            && let Some(MavMessage::HEARTBEAT(beat)) = &message
            && beat.autopilot != MavAutopilot::MAV_AUTOPILOT_INVALID
            && beat.mavtype != MavType::MAV_TYPE_GCS
        {
            self.system = Some(frame.system);
            self.autopilot = frame.component;
        }
        if self.system != Some(frame.system) {
            self.counts.foreign += 1;
            return;
        }
        self.counts.messages += 1;
        let expected = self.expected.insert(frame.component, frame.number.wrapping_add(1));
        self.counts.lost += u64::from(expected.map_or(0, |e| frame.number.wrapping_sub(e)));
        let from_autopilot = frame.component == self.autopilot;
        match message {
            Some(MavMessage::SYSTEM_TIME(m)) if from_autopilot => {
                self.time(m.time_boot_ms, arrival);
                self.clock.tell(m.time_boot_ms, m.time_unix_usec);
            }
            Some(MavMessage::GPS_RAW_INT(m)) if from_autopilot => {
                let fixed = !matches!(
                    m.fix_type,
                    GpsFixType::GPS_FIX_TYPE_NO_GPS
                        | GpsFixType::GPS_FIX_TYPE_NO_FIX
                        | GpsFixType::GPS_FIX_TYPE_2D_FIX
                );
                self.fix = Some(fixed);
                // Zero: a receiver that does not know.
                if fixed && m.h_acc > 0 && m.v_acc > 0 {
                    let m_of = |mm: u32| f64::from(mm) / 1000.0;
                    said.push(Said::Accuracy { horizontal_m: m_of(m.h_acc), vertical_m: m_of(m.v_acc) });
                }
            }
            Some(MavMessage::HOME_POSITION(m)) if from_autopilot => {
                if let Some(at) = place(m.latitude, m.longitude) {
                    said.push(Said::Home(at, SeaLevelHeight(f64::from(m.altitude) / 1000.0)));
                }
            }
            Some(MavMessage::GLOBAL_POSITION_INT(m)) if from_autopilot => {
                if self.fix == Some(false) {
                    self.counts.without_fix += 1;
                    return;
                }
                let Some(position) = place(m.lat, m.lon) else {
                    self.counts.no_value += 1;
                    return;
                };
                let height = Height::SeaLevel(SeaLevelHeight(f64::from(m.alt) / 1000.0));
                said.extend(self.telemetry(m.time_boot_ms, arrival, |t| {
                    (t.position, t.height) = (Some(position), Some(height));
                }));
            }
            Some(MavMessage::ATTITUDE(m)) if from_autopilot => {
                let a = |radians: f32| Angle::from_radians(f64::from(radians));
                let platform = Attitude { yaw: a(m.yaw).compass(), pitch: a(m.pitch), roll: a(m.roll) };
                self.platform(m.time_boot_ms, platform, m.yawspeed, arrival, said);
            }
            Some(MavMessage::ATTITUDE_QUATERNION(m)) if from_autopilot => {
                match Turn::from_quaternion([m.q1, m.q2, m.q3, m.q4].map(f64::from)) {
                    Some(turn) => {
                        self.platform(m.time_boot_ms, turn.attitude(), m.yawspeed, arrival, said);
                    }
                    None => self.counts.no_value += 1,
                }
            }
            Some(MavMessage::GIMBAL_DEVICE_ATTITUDE_STATUS(m)) => {
                if *self.gimbal.get_or_insert(frame.component) != frame.component {
                    return;
                }
                let Some(turn) = Turn::from_quaternion(m.q.map(f64::from)) else {
                    self.counts.no_value += 1;
                    return;
                };
                // Older gimbals set neither flag, and the lock says it (gimbal protocol v2).
                let vehicle = m.flags.contains(GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME);
                let earth = m.flags.contains(GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME)
                    || !vehicle && m.flags.contains(GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_LOCK);
                self.camera(m.time_boot_ms, turn.attitude(), earth, arrival, said);
            }
            // Superseded, and still what many gimbals speak.
            #[allow(deprecated)]
            Some(MavMessage::MOUNT_ORIENTATION(m)) if self.gimbal.is_none() => {
                let a = |degrees: f32| Angle::from_degrees(f64::from(degrees));
                let camera = Attitude { yaw: a(m.yaw).compass(), pitch: a(m.pitch), roll: a(m.roll) };
                self.camera(m.time_boot_ms, camera, false, arrival, said);
            }
            Some(MavMessage::CAMERA_FOV_STATUS(m)) => {
                let wide = |degrees: f32| {
                    (degrees > 0.0 && degrees < 180.0).then(|| Angle::from_degrees(f64::from(degrees)))
                };
                match wide(m.hfov) {
                    Some(horizontal) => {
                        let view = FieldOfView { horizontal, vertical: wide(m.vfov) };
                        said.extend(
                            self.telemetry(m.time_boot_ms, arrival, |t| t.field_of_view = Some(view)),
                        );
                    }
                    None => self.counts.no_value += 1,
                }
            }
            _ => {}
        }
    }

    fn platform(
        &mut self,
        boot_ms: u32,
        platform: Attitude,
        yaw_speed: f32,
        arrival: Timestamp,
        said: &mut Vec<Said>,
    ) {
        if !finite(&platform) {
            self.counts.no_value += 1;
            return;
        }
        let speed = f64::from(yaw_speed);
        self.heading = Some((boot_ms, platform.yaw, if speed.abs() < 20.0 { speed } else { 0.0 }));
        said.extend(self.telemetry(boot_ms, arrival, |t| t.platform = Some(platform)));
    }

    /// Roll and pitch are against the horizon in either frame; only the yaw may be against the platform's
    /// heading.
    fn camera(
        &mut self,
        boot_ms: u32,
        mut camera: Attitude,
        north: bool,
        arrival: Timestamp,
        said: &mut Vec<Said>,
    ) {
        if !finite(&camera) {
            self.counts.no_value += 1;
            return;
        }
        if !north {
            let Some((at, yaw, speed)) = self.heading.filter(|(at, ..)| at.abs_diff(boot_ms) <= HEADING_MS)
            else {
                self.counts.no_heading += 1;
                return;
            };
            let since = (f64::from(boot_ms) - f64::from(at)) / 1000.0;
            camera.yaw = (camera.yaw + yaw + Angle::from_radians(speed * since)).compass();
        }
        said.extend(self.telemetry(boot_ms, arrival, |t| t.gimbal = Some(Gimbal::World(camera))));
    }

    fn time(&mut self, boot_ms: u32, arrival: Timestamp) -> Option<Timestamp> {
        let (time, restarted) = self.clock.time(boot_ms, arrival);
        if restarted {
            self.counts.restarts += 1;
            (self.heading, self.fix) = (None, None);
        }
        time
    }

    fn telemetry(
        &mut self,
        boot_ms: u32,
        arrival: Timestamp,
        say: impl FnOnce(&mut Telemetry),
    ) -> Option<Said> {
        let mut telemetry = Telemetry {
            time: self.time(boot_ms, arrival)?,
            source: TelemetrySource::Mavlink,
            position: None,
            height: None,
            platform: None,
            gimbal: None,
            field_of_view: None,
            slant_range_m: None,
        };
        say(&mut telemetry);
        Some(Said::Telemetry(telemetry))
    }
}

fn finite(attitude: &Attitude) -> bool {
    [attitude.yaw, attitude.pitch, attitude.roll].iter().all(|a| a.radians().is_finite())
}

/// Degrees times ten million. Zero and zero is what an autopilot says that does not know.
fn place(lat: i32, lon: i32) -> Option<LatLon> {
    if lat == 0 && lon == 0 {
        return None;
    }
    LatLon::from_degrees(f64::from(lat) / 1e7, f64::from(lon) / 1e7)
}

/// A message's frame, its checksum right where the dialect knows the message.
struct Frame<'a> {
    number: u8,
    system: u8,
    component: u8,
    id: u32,
    payload: &'a [u8],
}

enum Found<'a> {
    Whole(Frame<'a>, usize),
    Version1(usize),
    Damaged,
    Strange,
    Short,
}

impl<'a> Frame<'a> {
    /// What stands at the beginning of `bytes`, of which there is one at least.
    fn find(bytes: &'a [u8]) -> Found<'a> {
        match bytes[0] {
            START => {}
            START_V1 => return Self::find_version_1(bytes),
            _ => return Found::Strange,
        }
        let Some(header) = bytes.get(..HEADER) else { return Found::Short };
        if header[2] & !SIGNED != 0 {
            return Found::Damaged;
        }
        let id = u32::from_le_bytes([header[7], header[8], header[9], 0]);
        let end = HEADER + usize::from(header[1]);
        let whole = end + CHECKSUM + if header[2] & SIGNED != 0 { SIGNATURE } else { 0 };
        if bytes.len() < whole {
            return Found::Short;
        }
        let stated = u16::from_le_bytes([bytes[end], bytes[end + 1]]);
        let known = MavMessage::default_message_from_id(id).is_some();
        if known && ::mavlink::calculate_crc(&bytes[1..end], MavMessage::extra_crc(id)) != stated {
            return Found::Damaged;
        }
        // Whether a message of another dialect is sound nobody can say; where it ends another must
        // begin, or its length is as doubtful.
        if !known && bytes.get(whole).is_some_and(|next| !matches!(*next, START | START_V1)) {
            return Found::Damaged;
        }
        let frame = Self {
            number: header[4],
            system: header[5],
            component: header[6],
            id,
            payload: &bytes[HEADER..end],
        };
        Found::Whole(frame, whole)
    }

    fn find_version_1(bytes: &[u8]) -> Found<'_> {
        const HEADER: usize = 6;
        let Some(header) = bytes.get(..HEADER) else { return Found::Short };
        let end = HEADER + usize::from(header[1]);
        let Some(stated) = bytes.get(end..end + CHECKSUM) else { return Found::Short };
        let crc = ::mavlink::calculate_crc(&bytes[1..end], MavMessage::extra_crc(u32::from(header[5])));
        if crc.to_le_bytes() == stated { Found::Version1(end + CHECKSUM) } else { Found::Strange }
    }

    /// The message, if the dialect knows it and its values are of it.
    fn message(&self) -> Option<MavMessage> {
        MavMessage::parse(MavlinkVersion::V2, self.id, self.payload).ok()
    }
}

/// Something that came over the link.
#[derive(Clone, Debug)]
pub struct Received {
    /// What was said.
    pub said: Said,
    /// When it arrived, by this box's monotonic clock: that which pictures without a time of their own
    /// are stamped with.
    pub arrival: Instant,
}

/// How the link is.
#[derive(Clone, Debug, Default)]
pub struct LinkStatus {
    /// Messages of the drone came within the last 10 s.
    pub alive: bool,
    /// Why it is not open, if it is not.
    pub fault: Option<String>,
    /// What became of bytes and messages.
    pub counts: MavlinkCounts,
    /// The drone's system.
    pub system: Option<u8>,
    /// Whether the receiver has a fix.
    pub fix: Option<bool>,
    /// Whether times come from the autopilot.
    pub knows_utc: bool,
}

/// A thread that keeps a link open, and its queue. It ends with its [`Shutdown`], or when the listener
/// is dropped.
#[derive(Debug)]
pub struct Listener {
    receiver: Receiver<Received>,
    status: Arc<Mutex<LinkStatus>>,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
    /// Where it listens, once it does; of UDP.
    address: Arc<Mutex<Option<std::net::SocketAddr>>>,
}

impl Listener {
    /// Starts the thread `telemetry`. The link itself is opened by it, again and again until it opens.
    pub fn start(link: &TelemetryLink, system: Option<u8>) -> Result<Self> {
        let backoff = Backoff::try_new(Duration::from_millis(200), Duration::from_secs(5))?;
        let (sender, receiver) = sync_channel(QUEUE);
        let status = Arc::new(Mutex::new(LinkStatus::default()));
        let (stop, address) = (Shutdown::new(), Arc::new(Mutex::new(None)));
        let mut worker = Worker {
            link: link.clone(),
            decoder: Decoder::new(system),
            sender,
            status: status.clone(),
            stop: stop.clone(),
            address: address.clone(),
            overflow: 0,
        };
        let thread = spawn("telemetry", move || {
            let (stop, status, link) = (worker.stop.clone(), worker.status.clone(), worker.link.clone());
            supervise(
                "telemetry",
                backoff,
                &stop,
                || worker.run_once(),
                |error, wait| {
                    tracing::warn!(link = %link, ?wait, "telemetry: {}", error.chain());
                    let mut status = status.lock().unwrap_or_else(|e| e.into_inner());
                    (status.alive, status.fault) = (false, Some(error.what()));
                },
            );
        })?;
        Ok(Self { receiver, status, stop, thread: Some(thread), address })
    }

    /// The next thing said, waiting for at most `timeout`. An error: the thread has ended.
    pub fn recv(&self, timeout: Duration) -> Result<Option<Received>> {
        match self.receiver.recv_timeout(timeout) {
            Ok(received) => Ok(Some(received)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::new(Kind::Cancelled, Culprit::Vigil, "the telemetry thread has ended"))
            }
        }
    }

    /// How the link is.
    pub fn status(&self) -> LinkStatus {
        self.status.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Where it listens, of a UDP link that is open.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        *self.address.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            // It looks at the signal between reads, and a connect has a deadline.
            let _ = thread.join();
        }
    }
}

struct Worker {
    link: TelemetryLink,
    decoder: Decoder,
    sender: SyncSender<Received>,
    status: Arc<Mutex<LinkStatus>>,
    stop: Shutdown,
    address: Arc<Mutex<Option<std::net::SocketAddr>>>,
    overflow: u64,
}

/// An open link.
enum Port {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Serial(std::fs::File),
}

impl Worker {
    fn run_once(&mut self) -> Result<End> {
        let mut port = Port::open(&self.link)?;
        if let Port::Udp(socket) = &port {
            *self.address.lock().unwrap_or_else(|e| e.into_inner()) = socket.local_addr().ok();
        }
        self.decoder.reopened();
        let mut buffer = [0; 4096];
        let mut heard = Instant::now();
        let mut known = self.decoder.counts().messages;
        self.report(false);
        while !self.stop.requested() {
            let read = port.read(&mut buffer)?;
            let arrival = Instant::now();
            for said in self.decoder.push(&buffer[..read], Timestamp::now()) {
                match self.sender.try_send(Received { said, arrival }) {
                    Ok(()) => {}
                    // The oldest would be better gone; but who reads this late has other troubles.
                    Err(TrySendError::Full(_)) => self.overflow += 1,
                    Err(TrySendError::Disconnected(_)) => return Ok(End::Finished),
                }
            }
            let messages = self.decoder.counts().messages;
            if messages != known {
                (known, heard) = (messages, arrival);
            }
            let silent = heard.elapsed() >= SILENCE;
            self.report(messages > 0 && !silent);
            // A datagram's sender may come back whenever it likes; a connection that is silent may be
            // dead without saying so.
            if silent && !matches!(port, Port::Udp(_)) {
                let says = format!("the drone was silent for {} s", SILENCE.as_secs());
                return Err(Error::new(Kind::Timeout, Culprit::Camera, says)
                    .remedy("look at the cable, the radio, and that the port speaks MAVLink 2")
                    .context(self.link.to_string()));
            }
        }
        Ok(End::Finished)
    }

    fn report(&self, alive: bool) {
        let counts = MavlinkCounts { overflow: self.overflow, ..self.decoder.counts() };
        *self.status.lock().unwrap_or_else(|e| e.into_inner()) = LinkStatus {
            alive,
            fault: None,
            counts,
            system: self.decoder.system(),
            fix: self.decoder.fix(),
            knows_utc: self.decoder.knows_utc(),
        };
    }
}

impl Port {
    fn open(link: &TelemetryLink) -> Result<Self> {
        let cannot = |what: &str, remedy: &str, e: std::io::Error| {
            Error::io(Culprit::Host, what.to_owned(), e).remedy(remedy).context(link.to_string())
        };
        match link {
            TelemetryLink::Udp(address) => {
                let taken = "is another program listening there? `ss -ulpn` says which";
                let socket =
                    UdpSocket::bind(address).map_err(|e| cannot("cannot listen for telemetry", taken, e))?;
                socket
                    .set_read_timeout(Some(READ_TIMEOUT))
                    .map_err(|e| cannot("cannot listen for telemetry", taken, e))?;
                Ok(Self::Udp(socket))
            }
            TelemetryLink::Tcp(host, port) => {
                let reach = "is the telemetry's sender on, and is the address right?";
                let no = |e| cannot("cannot connect to the telemetry", reach, e);
                let address = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(no)?
                    .next()
                    .ok_or_else(|| no(std::io::Error::other("the name has no address")))?;
                let stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(no)?;
                stream.set_read_timeout(Some(READ_TIMEOUT)).map_err(no)?;
                Ok(Self::Tcp(stream))
            }
            TelemetryLink::Serial(path, baud) => serial(path, *baud).map(Self::Serial).map_err(|e| {
                let remedy = "is it plugged in, and is the daemon's user in the group dialout?";
                cannot("cannot open the telemetry's serial port", remedy, e)
            }),
        }
    }

    /// Reads what is there; 0 if nothing came for a while.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let result = match self {
            Self::Udp(socket) => socket.recv(buffer),
            Self::Tcp(stream) => match stream.read(buffer) {
                Ok(0) => {
                    return Err(Error::new(
                        Kind::Unavailable,
                        Culprit::Camera,
                        "the telemetry's sender closed the connection",
                    ));
                }
                other => other,
            },
            Self::Serial(file) => {
                if !ready(file.as_fd()) {
                    return Ok(0);
                }
                match file.read(buffer) {
                    Ok(0) => {
                        return Err(Error::new(
                            Kind::Unavailable,
                            Culprit::Camera,
                            "the telemetry's serial port is gone",
                        ));
                    }
                    other => other,
                }
            }
        };
        match result {
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            other => other.map_err(|e| Error::io(Culprit::Camera, "the telemetry's link broke", e)),
        }
    }
}

fn ready(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(READ_TIMEOUT).unwrap_or(PollTimeout::ZERO);
    // An error of the port shows when it is read.
    poll(&mut fds, timeout).is_ok_and(|n| n > 0)
}

/// Opens a serial port: eight bits, no parity, nothing translated, no waiting for a carrier.
fn serial(path: &Path, baud: u32) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)?;
    let mut settings = termios::tcgetattr(&file)?;
    termios::cfmakeraw(&mut settings);
    settings.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
    settings.control_flags &= !(ControlFlags::CRTSCTS | ControlFlags::CSTOPB);
    let rate = match baud {
        9_600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        460_800 => BaudRate::B460800,
        500_000 => BaudRate::B500000,
        921_600 => BaudRate::B921600,
        _ => return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no such speed")),
    };
    termios::cfsetspeed(&mut settings, rate)?;
    termios::tcsetattr(&file, SetArg::TCSANOW, &settings)?;
    Ok(file)
}

#[cfg(test)]
mod tests;

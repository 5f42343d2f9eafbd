//! What the retained topics say: how the box and its cameras are, as opposed to what was decided.
//!
//! A retained payload describes a state, never an occasion: nothing may be actuated by one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DoorCondition, Waiting, WhenIll};
use super::{ModelRef, SearchHealth, WatchHealth};
use crate::base::{Name, TimeQuality, TimeSource};

/// Whether the box is connected to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// The box is connected.
    Online,
    /// It is not.
    Offline,
}

/// Why the box is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OfflineReason {
    /// It stopped in good order.
    Stopped,
    /// Its connection broke: the broker says so, by the last will.
    Lost,
}

/// The payload of `state`. The broker publishes the `offline` one by itself, as the last will, when
/// the connection breaks; the box publishes it when it stops in good order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// Whether the box is connected to the broker.
    pub state: Presence,
    /// The run of the daemon that says so.
    pub bootid: Uuid,
    /// When the connection was made; of an `offline` sent in good order, when the box stopped.
    /// A last will was written when the connection was made, so it cannot say when it broke.
    pub time: Timestamp,
    /// Why it is not connected; only with `offline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<OfflineReason>,
}

impl State {
    /// The box is connected since `time`.
    pub fn online(bootid: Uuid, time: Timestamp) -> Self {
        Self { state: Presence::Online, bootid, time, reason: None }
    }

    /// The last will of a connection made at `time`.
    pub fn last_will(bootid: Uuid, time: Timestamp) -> Self {
        Self { state: Presence::Offline, bootid, time, reason: Some(OfflineReason::Lost) }
    }

    /// The box stops at `time`, in good order.
    pub fn stopped(bootid: Uuid, time: Timestamp) -> Self {
        Self { state: Presence::Offline, bootid, time, reason: Some(OfflineReason::Stopped) }
    }
}

/// What kind of source a camera is. Its address is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraKind {
    /// A network camera, RTSP.
    Rtsp,
    /// A network camera, MJPEG over HTTP.
    Http,
    /// A camera on a cable, Video4Linux.
    V4l2,
    /// A recording played as a camera.
    File,
    /// A test pattern.
    Test,
    /// An MPEG transport stream over UDP.
    Udp,
    /// An MPEG transport stream over SRT.
    Srt,
    /// A folder of TIFF pictures played as a camera.
    Tiff,
}

/// A camera, as `birth` introduces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BirthCamera {
    /// The camera, as in the topics.
    pub name: Name,
    /// What kind of source it is.
    pub kind: CameraKind,
}

/// The payload of `birth`: what the box is. Published on every connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Birth {
    /// Version of the software.
    pub software: String,
    /// The contract its topics and payloads follow: `vigil/v1`.
    pub schema: String,
    /// This run of the daemon.
    pub bootid: Uuid,
    /// When this payload was made, UTC.
    pub time: Timestamp,
    /// How far `time` can be trusted.
    pub timequality: TimeQuality,
    /// The sequence number that the first event of this run has, or will have: a consumer that
    /// starts now knows from it whether it missed any.
    pub first_seq: u64,
    /// The cameras, in the order of the configuration.
    pub cameras: Vec<BirthCamera>,
    /// The models in use, with the hashes of their files.
    pub models: Vec<ModelRef>,
}

/// How a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraCondition {
    /// New pictures arrive.
    Live,
    /// It is open, and no new picture arrives.
    Stalled,
    /// It is not there.
    Lost,
}

impl CameraCondition {
    /// As in the topics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }
}

impl std::fmt::Display for CameraCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The payload of `camera/{camera}`, published on every change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CameraState {
    /// The camera, as in the topic.
    pub camera: Name,
    /// How it is.
    pub state: CameraCondition,
    /// Since when it is so, UTC.
    pub since: Timestamp,
    /// Why it is not live, one line for a person; of a live camera, why it was not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One camera in `health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraHealth {
    /// The camera, as in the topics.
    pub name: Name,
    /// How it is.
    pub state: CameraCondition,
    /// Since when it is so, UTC.
    pub since: Timestamp,
    /// Why it is not live; of a live camera, why it was not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds since its last picture came; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_age_ms: Option<u64>,
    /// Pictures a second, lately.
    pub fps: f32,
    /// Where picture times come from, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_source: Option<TimeSource>,
    /// Pictures that came since the daemon started.
    pub frames: u64,
    /// How often it was opened again since the daemon started.
    pub reconnects: u64,
    /// Pictures that nobody looked at since the daemon started, by cause. The causes are a short,
    /// fixed list; a fresher picture replacing one that nobody had asked for is the usual one.
    pub drops: BTreeMap<String, u64>,
}

/// The durable queue in `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutboxHealth {
    /// Events on disk that the broker has not acknowledged.
    pub depth: u64,
    /// Seconds since the oldest of them was decided; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_s: Option<u64>,
    /// Size on disk, bytes.
    pub bytes: u64,
    /// Free bytes on the disk under it; absent if that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_disk_bytes: Option<u64>,
    /// Events made durable since the daemon started.
    pub recorded: u64,
    /// Events that the broker acknowledged since the daemon started.
    pub acknowledged: u64,
    /// Why no event can be recorded now; while it is so, no decision is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
}

/// The link to the broker in `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BusHealth {
    /// Whether the box is connected.
    pub connected: bool,
    /// Since when it is so, UTC.
    pub since: Timestamp,
    /// Why it is not connected; of a connected box, why it was not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often a connection came up since the daemon started.
    pub connects: u64,
    /// Events published and not yet acknowledged.
    pub in_flight: u64,
    /// Events published again because no acknowledgement came, since the daemon started.
    pub resent: u64,
}

/// One door in `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorHealth {
    /// The door, as in the topics.
    pub name: Name,
    /// How it is.
    pub state: DoorCondition,
    /// Since when it is so, UTC.
    pub since: Timestamp,
    /// Why it cannot decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What that means for the lock.
    pub when_ill: WhenIll,
    /// Who waits for staff.
    pub waiting: Vec<Waiting>,
    /// Decisions that granted, since the daemon started.
    pub granted: u64,
    /// Decisions that did not.
    pub denied: u64,
    /// What is wrong with its lock, readers and voice.
    pub troubles: Vec<String>,
}

/// What locks were told over MQTT since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocksHealth {
    /// Messages that the broker acknowledged.
    pub said: u64,
    /// Messages not sent because their time was over.
    pub late: u64,
    /// Messages dropped or refused.
    pub dropped: u64,
    /// Messages of which it is not known whether they were heard; they are not sent again.
    pub unknown: u64,
}

/// What the doors said since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromptsHealth {
    /// Utterances played.
    pub said: u64,
    /// Utterances dropped: too many waited, or there is no device.
    pub dropped: u64,
    /// Recordings that were not there.
    pub missing: u64,
}

/// The payload of `health`, every 30 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// When this payload was made, UTC.
    pub time: Timestamp,
    /// How far the box's clock can be trusted.
    pub timequality: TimeQuality,
    /// This run of the daemon.
    pub bootid: Uuid,
    /// Seconds since the daemon started, monotonic.
    pub uptime_s: u64,
    /// The cameras, in the order of the configuration.
    pub cameras: Vec<CameraHealth>,
    /// The durable queue.
    pub outbox: OutboxHealth,
    /// The link to the broker.
    pub bus: BusHealth,
    /// The doors, in the order of the configuration; absent if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doors: Vec<DoorHealth>,
    /// What locks were told over MQTT; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<LocksHealth>,
    /// What the doors said; absent if they are silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptsHealth>,
    /// What is looked for outside a request, for whom, and by which cameras; absent if nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchHealth>,
    /// Guests looked up whose candidates wait for a clerk; absent if guests are not looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identify_waiting: Option<u32>,
    /// Looking for people from the air; absent if this box does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchHealth>,
    /// Memory of the process, resident, bytes; absent if that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
}

//! `[search]`: looking for people from the air.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OpticsConfig, TelemetryConfig, TelemetryKind, TerrainConfig, ThermalConfig};
use crate::base::{Error, Name, Result};

/// What a team bears where somebody may lie in the cold. It is a bound: of 5 allowed, 2 were told in simulated nights, and
/// twice as many people as with 1.
const DEFAULT_FALSE_PER_KM2: f64 = 5.0;
/// A stone that hides behind a branch is seen past it after this turn of the line of sight.
const DEFAULT_VIEW_DEG: f64 = 15.0;
/// A team on foot looks at its screen about as often.
const DEFAULT_UPDATE_S: u32 = 20;
/// A map of what was searched changes slowly.
const DEFAULT_COVERAGE_S: u32 = 30;
/// A lying person fits into one.
const DEFAULT_CELL_M: f64 = 3.0;
/// A season of searches.
const DEFAULT_KEEP: u32 = 200;
/// A TAK client greys a marker out after this.
const DEFAULT_STALE_S: u32 = 300;
/// Routers between the box and the teams.
const DEFAULT_TTL: u8 = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchTarget {
    /// People.
    #[default]
    Person,
    /// Vehicles.
    Vehicle,
    /// People and vehicles.
    Any,
}

/// What grows where is searched: how much of the ground no view from above shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vegetation {
    /// Fields, meadows, sand.
    #[default]
    Open,
    /// Scrub, tall crops, single trees.
    Scrub,
    /// Forest in leaf.
    Forest,
}

/// Where Cursor-on-Target messages go: `udp://HOST:PORT` or `tcp://HOST:PORT`, the host an address; a
/// multicast address joins nothing and sends to all who did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CotUrl {
    /// One message in each datagram.
    Udp(SocketAddr),
    /// One message after the other on a connection that is kept.
    Tcp(SocketAddr),
}

impl CotUrl {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            // The text is an operator's own, of bounded length in the message.
            let shown: String = text.chars().take(60).collect();
            Error::config(format!("{shown:?} is no place for Cursor-on-Target"))
                .remedy("write udp://239.2.3.1:6969 or tcp://192.0.2.7:8087, an address and a port")
        };
        let (scheme, place) = text.split_once("://").ok_or_else(wrong)?;
        let place: SocketAddr = place.parse().map_err(|_| wrong())?;
        if place.port() == 0 || place.ip().is_unspecified() {
            return Err(wrong());
        }
        match scheme {
            "udp" => Ok(Self::Udp(place)),
            "tcp" if !place.ip().is_multicast() => Ok(Self::Tcp(place)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for CotUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(place) => write!(f, "udp://{place}"),
            Self::Tcp(place) => write!(f, "tcp://{place}"),
        }
    }
}

impl TryFrom<String> for CotUrl {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<CotUrl> for String {
    fn from(url: CotUrl) -> String {
        url.to_string()
    }
}

/// A Cursor-on-Target output, for TAK clients.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CotConfig {
    /// `udp://239.2.3.1:6969` (the group on which TAK clients listen) or `tcp://192.0.2.7:8087` (a TAK
    /// server's streaming input without TLS).
    pub url: CotUrl,
    /// After this many seconds without a word a marker is stale; it is said again after half of them.
    #[serde(default = "default_stale")]
    #[schemars(range(min = 10, max = 86400))]
    pub stale_s: u32,
    /// Tell candidates too that are probably not what is looked for.
    #[serde(default)]
    pub others: bool,
    /// How many routers a multicast message may cross.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 64))]
    pub ttl: u8,
}

fn default_stale() -> u32 {
    DEFAULT_STALE_S
}
fn default_ttl() -> u8 {
    DEFAULT_TTL
}

impl CotConfig {
    /// An output with every default.
    pub fn new(url: CotUrl) -> Self {
        Self { url, stale_s: DEFAULT_STALE_S, others: false, ttl: DEFAULT_TTL }
    }
}

/// Looking for people from the air.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// The thermal camera.
    pub camera: Name,
    /// How the drone says where it is and how its camera looks.
    #[serde(default = "default_telemetry")]
    pub telemetry: TelemetryConfig,
    /// How the camera shows warmth, and what its numbers mean.
    #[serde(default)]
    pub thermal: ThermalConfig,
    /// The camera's lens and how it is mounted.
    #[serde(default)]
    pub optics: OpticsConfig,
    /// What the ground is known to be.
    #[serde(default)]
    pub terrain: TerrainConfig,
    /// Processor threads of the detectors. More than one helps where the box does nothing else.
    #[serde(default = "default_threads")]
    #[schemars(range(min = 1, max = 16))]
    pub threads: u16,
    /// What is looked for, unless a mission says otherwise.
    #[serde(default)]
    pub target: SearchTarget,
    /// How many candidates per square kilometre may be told although nothing is there, and as many again as
    /// the target although they are something else. The evidence that a candidate needs follows from it.
    #[serde(default = "default_false_per_km2")]
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub false_alarms_per_km2: f64,
    /// Search although nobody started a mission: one begins with the first frame.
    #[serde(default = "default_true")]
    pub auto_start: bool,
    /// What grows there, unless a mission says otherwise.
    #[serde(default)]
    pub vegetation: Vegetation,
    /// By so many degrees the line of sight turns until a look counts as one of its own.
    #[serde(default = "default_view")]
    #[schemars(range(min = 3.0, max = 90.0))]
    pub view_deg: f64,
    /// A candidate that is seen on and on is told again after so many seconds at most.
    #[serde(default = "default_update")]
    #[schemars(range(min = 1, max = 3600))]
    pub update_s: u32,
    /// Seconds between two maps of what was searched.
    #[serde(default = "default_coverage")]
    #[schemars(range(min = 5, max = 3600))]
    pub coverage_s: u32,
    /// Smallest side of the map's cells, metres. A large area has larger ones.
    #[serde(default = "default_cell")]
    #[schemars(range(min = 1.0, max = 10.0))]
    pub cell_m: f64,
    /// Send a small thermal picture with each candidate. People may be seen on it.
    #[serde(default)]
    pub chips: bool,
    /// Missions kept on the box; the oldest goes first.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 10000))]
    pub keep_missions: u32,
    /// Where GeoJSON and KML of a mission are written when it ends; without it they are written by
    /// `vigil mission export` alone.
    #[serde(default)]
    pub export_dir: Option<PathBuf>,
    /// Cursor-on-Target outputs.
    #[serde(default, rename = "cot")]
    #[schemars(length(max = 8))]
    pub cot: Vec<CotConfig>,
}

fn default_telemetry() -> TelemetryConfig {
    TelemetryConfig::new(TelemetryKind::Klv)
}
fn default_threads() -> u16 {
    1
}
fn default_true() -> bool {
    true
}
fn default_false_per_km2() -> f64 {
    DEFAULT_FALSE_PER_KM2
}
fn default_view() -> f64 {
    DEFAULT_VIEW_DEG
}
fn default_update() -> u32 {
    DEFAULT_UPDATE_S
}
fn default_coverage() -> u32 {
    DEFAULT_COVERAGE_S
}
fn default_cell() -> f64 {
    DEFAULT_CELL_M
}
fn default_keep() -> u32 {
    DEFAULT_KEEP
}

impl SearchConfig {
    /// A search with every default.
    pub fn new(camera: Name) -> Self {
        Self {
            camera,
            telemetry: default_telemetry(),
            thermal: ThermalConfig::default(),
            optics: OpticsConfig::default(),
            terrain: TerrainConfig::default(),
            threads: default_threads(),
            target: SearchTarget::Person,
            false_alarms_per_km2: DEFAULT_FALSE_PER_KM2,
            auto_start: true,
            vegetation: Vegetation::Open,
            view_deg: DEFAULT_VIEW_DEG,
            update_s: DEFAULT_UPDATE_S,
            coverage_s: DEFAULT_COVERAGE_S,
            cell_m: DEFAULT_CELL_M,
            chips: false,
            keep_missions: DEFAULT_KEEP,
            export_dir: None,
            cot: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_cursor_on_target_is_an_address_and_a_port() {
        for good in ["udp://239.2.3.1:6969", "tcp://192.0.2.7:8087", "udp://[ff02::1]:6969"] {
            assert_eq!(CotUrl::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "239.2.3.1:6969",
            "udp://tak:6969",
            "udp://239.2.3.1",
            "tcp://239.2.3.1:8087",
            "udp://0.0.0.0:6969",
            "udp://192.0.2.1:0",
            "http://192.0.2.1:80",
            "",
        ] {
            assert!(CotUrl::parse(bad).is_err(), "{bad}");
        }
    }
}

//! `[search.telemetry]`: how the drone says where it is, and what to make of it.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Millis;
use crate::base::{Error, Result};

/// Ten messages of a slow drone. Older than this, a pose names the input as stale.
const DEFAULT_MAX_AGE: Millis = Millis(1_000);
/// KLV comes behind its picture by what a muxer and a link hold back.
const DEFAULT_WAIT: Millis = Millis(500);
/// Two messages at 10 Hz: longer, and a turn that was begun is no guide any more.
const DEFAULT_EXTRAPOLATE: Millis = Millis(200);
/// Nothing that carries a camera over fields is faster.
const DEFAULT_MAX_SPEED: f32 = 60.0;
// Where these come from is in docs/positions.md.
/// A single-frequency receiver in the open: half of its fixes within 1.8 m.
const DEFAULT_HORIZONTAL_M: f32 = 1.5;
/// The same receiver's height, twice as far off.
const DEFAULT_VERTICAL_M: f32 = 3.0;
/// A calibrated compass beside motors and batteries: the worst of all inputs.
const DEFAULT_YAW_DEG: f32 = 3.0;
/// A gimbal's sense of down in flight. Its data sheet's ±0.01° is how still it holds.
const DEFAULT_PITCH_DEG: f32 = 0.5;
const DEFAULT_ROLL_DEG: f32 = 0.5;
const DEFAULT_FOV_DEG: f32 = 0.5;
/// Half a picture at 25 a second, and what nobody measured.
const DEFAULT_TIME_MS: f32 = 50.0;

/// What the drone speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TelemetryKind {
    /// MISB ST 0601 KLV in the video's own transport stream.
    Klv,
    /// MAVLink 2, on `link`.
    Mavlink,
    /// A DJI subtitle file, `file`.
    DjiSrt,
}

/// Where MAVLink comes from, checked: `udp:0.0.0.0:14550` (listens), `tcp:host:5760` (connects) or
/// `serial:/dev/ttyACM0:57600`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum TelemetryLink {
    /// The address and port to listen on.
    Udp(std::net::SocketAddr),
    /// Host and port to connect to.
    Tcp(String, u16),
    /// Device and bits a second.
    Serial(PathBuf, u32),
}

/// Speeds that a serial port can be set to.
pub const BAUD_RATES: [u32; 9] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000, 921_600];

impl TelemetryLink {
    /// Reads a link.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::config(what).remedy("use udp:0.0.0.0:14550, tcp:host:5760 or serial:/dev/ttyACM0:57600")
        };
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let rest = rest.trim_start_matches("//");
        match scheme {
            "udp" => rest
                .parse()
                .map(Self::Udp)
                .map_err(|_| wrong(format!("{rest:?} is no address and port to listen on"))),
            "tcp" => match rest.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                Some((host, Ok(port))) if !host.is_empty() && port != 0 => {
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    Ok(Self::Tcp(host.to_owned(), port))
                }
                _ => Err(wrong(format!("{rest:?} is no host and port to connect to"))),
            },
            "serial" => match rest.rsplit_once(':').map(|(path, baud)| (path, baud.parse::<u32>())) {
                Some((path, Ok(baud))) if path.starts_with('/') && BAUD_RATES.contains(&baud) => {
                    Ok(Self::Serial(path.into(), baud))
                }
                Some((path, Ok(baud))) if path.starts_with('/') => {
                    Err(Error::config(format!("a serial port has no speed of {baud}"))
                        .remedy(format!("use one of {BAUD_RATES:?}")))
                }
                _ => Err(wrong(format!("{rest:?} is no device and speed"))),
            },
            _ => Err(wrong(format!("{scheme:?} is not a kind of telemetry link"))),
        }
    }
}

impl fmt::Display for TelemetryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
            Self::Serial(path, baud) => write!(f, "serial:{}:{baud}", path.display()),
        }
    }
}

impl TryFrom<String> for TelemetryLink {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<TelemetryLink> for String {
    fn from(link: TelemetryLink) -> String {
        link.to_string()
    }
}

/// What an altitude of DJI's that says nothing more is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AltitudeAbove {
    /// The place of take-off.
    Takeoff,
    /// Sea level.
    SeaLevel,
}

/// How far a clock is ahead of UTC, `+08:00`; `Z` is UTC itself. Up to 14 hours either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct UtcOffset {
    minutes: i16,
}

impl UtcOffset {
    /// Reads an offset.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            || Error::config(format!("{text:?} is no offset from UTC")).remedy("write it as +08:00 or Z");
        if text == "Z" {
            return Ok(Self::default());
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let two = |digits: &str| {
            (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse::<i16>().ok())
                .flatten()
        };
        match rest.split_once(':').map(|(hours, minutes)| (two(hours), two(minutes))) {
            Some((Some(hours), Some(minutes))) if minutes < 60 && hours * 60 + minutes <= 14 * 60 => {
                Ok(Self { minutes: sign * (hours * 60 + minutes) })
            }
            _ => Err(wrong()),
        }
    }

    /// Seconds that the clock is ahead of UTC.
    pub fn seconds(self) -> i32 {
        i32::from(self.minutes) * 60
    }
}

impl TryFrom<String> for UtcOffset {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> String {
        let (sign, minutes) = if offset.minutes < 0 { ('-', -offset.minutes) } else { ('+', offset.minutes) };
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// How the drone says where it is and how its camera looks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What the drone speaks.
    pub kind: TelemetryKind,
    /// Where MAVLink comes from: `udp:0.0.0.0:14550` listens, `tcp:host:5760` connects,
    /// `serial:/dev/ttyACM0:57600` opens a port.
    #[serde(default)]
    pub link: Option<TelemetryLink>,
    /// The MAVLink system that carries the camera. Without it, the first autopilot heard; others are
    /// counted and ignored.
    #[serde(default)]
    #[schemars(range(min = 1, max = 255))]
    pub system_id: Option<u8>,
    /// The DJI subtitle file of the video.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// How far the drone's clock was ahead of UTC when it wrote the subtitle file, whose times have no
    /// zone: `+08:00`. Without it times are taken as UTC.
    #[serde(default)]
    pub utc_offset: Option<UtcOffset>,
    /// What the subtitle file's `altitude` is measured from. Drones differ and the file does not say:
    /// fly up by a known height and look. Without it such an altitude is not used.
    #[serde(default)]
    pub altitude_above: Option<AltitudeAbove>,
    /// How far the telemetry's clock is ahead of the video's.
    #[serde(default)]
    #[schemars(range(min = -60000, max = 60000))]
    pub offset_ms: i32,
    /// An input whose nearest message is further from a frame than this is named as stale.
    #[serde(default = "default_max_age")]
    #[schemars(range(min = 50, max = 60000))]
    pub max_age_ms: Millis,
    /// Longest time that a frame waits for its telemetry.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 0, max = 10000))]
    pub wait_ms: Millis,
    /// Longest time over which a movement is carried on beyond its last message.
    #[serde(default = "default_extrapolate")]
    #[schemars(range(min = 0, max = 2000))]
    pub extrapolate_ms: Millis,
    /// A position that would need a higher speed than this is a jump: it is not believed until others
    /// agree with it.
    #[serde(default = "default_max_speed")]
    #[schemars(range(min = 1.0, max = 300.0))]
    pub max_speed_mps: f32,
    /// How far off the drone's measurements are: one standard deviation each.
    #[serde(default)]
    pub sigma: TelemetrySigmaConfig,
    /// What is taken for inputs that the drone does not say; an event names them as assumed. What
    /// is neither said nor written here is missing, and there is no position on the ground.
    #[serde(default)]
    pub assume: AssumeConfig,
}

/// How far off the drone's measurements are: one standard deviation each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySigmaConfig {
    /// North and east alike. A receiver that says a larger one is believed.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub horizontal_m: f32,
    /// Of the height.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub vertical_m: f32,
    /// Of heading and gimbal's azimuth together.
    #[schemars(range(min = 0.01, max = 90.0))]
    pub yaw_deg: f32,
    /// Of elevation and pitch together.
    #[schemars(range(min = 0.01, max = 90.0))]
    pub pitch_deg: f32,
    /// Of roll.
    #[schemars(range(min = 0.01, max = 90.0))]
    pub roll_deg: f32,
    /// Of the horizontal field of view.
    #[schemars(range(min = 0.01, max = 30.0))]
    pub field_of_view_deg: f32,
    /// Of the time between telemetry and video, after `offset_ms`.
    #[schemars(range(min = 0.0, max = 5000.0))]
    pub time_ms: f32,
}

/// What is taken for inputs that the drone does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssumeConfig {
    /// Metres above the place of take-off.
    #[schemars(range(min = 1.0, max = 10000.0))]
    pub height_m: Option<f32>,
    /// The elevation of a camera that is fixed to the platform: -90 looks straight down.
    #[schemars(range(min = -180.0, max = 180.0))]
    pub camera_elevation_deg: Option<f32>,
    /// The azimuth of such a camera, clockwise from the platform's nose. Without it 0.
    #[schemars(range(min = -360.0, max = 360.0))]
    pub camera_azimuth_deg: Option<f32>,
}

fn default_max_age() -> Millis {
    DEFAULT_MAX_AGE
}
fn default_wait() -> Millis {
    DEFAULT_WAIT
}
fn default_extrapolate() -> Millis {
    DEFAULT_EXTRAPOLATE
}
fn default_max_speed() -> f32 {
    DEFAULT_MAX_SPEED
}

impl Default for TelemetrySigmaConfig {
    fn default() -> Self {
        Self {
            horizontal_m: DEFAULT_HORIZONTAL_M,
            vertical_m: DEFAULT_VERTICAL_M,
            yaw_deg: DEFAULT_YAW_DEG,
            pitch_deg: DEFAULT_PITCH_DEG,
            roll_deg: DEFAULT_ROLL_DEG,
            field_of_view_deg: DEFAULT_FOV_DEG,
            time_ms: DEFAULT_TIME_MS,
        }
    }
}

impl TelemetryConfig {
    /// Telemetry with every default.
    pub fn new(kind: TelemetryKind) -> Self {
        Self {
            kind,
            link: None,
            system_id: None,
            file: None,
            utc_offset: None,
            altitude_above: None,
            offset_ms: 0,
            max_age_ms: DEFAULT_MAX_AGE,
            wait_ms: DEFAULT_WAIT,
            extrapolate_ms: DEFAULT_EXTRAPOLATE,
            max_speed_mps: DEFAULT_MAX_SPEED,
            sigma: TelemetrySigmaConfig::default(),
            assume: AssumeConfig::default(),
        }
    }

    /// The rules between its keys that are broken: the key within this section, what is wrong, and the
    /// remedy.
    pub fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut out = Vec::new();
        let mut rule = |broken: bool, key: &'static str, says: &str, remedy: &'static str| {
            if broken {
                out.push((key, says.to_owned(), remedy));
            }
        };
        let (mavlink, srt) = (self.kind == TelemetryKind::Mavlink, self.kind == TelemetryKind::DjiSrt);
        rule(
            mavlink && self.link.is_none(),
            "kind",
            "MAVLink needs a link",
            "add link = \"udp:0.0.0.0:14550\"",
        );
        rule(
            !mavlink && self.link.is_some(),
            "link",
            "only MAVLink has a link",
            "take it out, or write kind = \"mavlink\"",
        );
        rule(
            !mavlink && self.system_id.is_some(),
            "system_id",
            "only MAVLink has systems",
            "take it out, or write kind = \"mavlink\"",
        );
        rule(
            srt && self.file.is_none(),
            "kind",
            "a DJI subtitle file is not named",
            "add file = \"/path/to/video.SRT\"",
        );
        rule(
            !srt && self.file.is_some(),
            "file",
            "only DJI subtitles are in a file",
            "take it out, or write kind = \"dji_srt\"",
        );
        rule(
            !srt && self.utc_offset.is_some(),
            "utc_offset",
            "only DJI subtitles have times without a zone",
            "take it out",
        );
        rule(
            !srt && self.altitude_above.is_some(),
            "altitude_above",
            "only DJI subtitles have an altitude of which nobody says above what",
            "take it out",
        );
        rule(
            self.extrapolate_ms > self.max_age_ms,
            "extrapolate_ms",
            "a movement is carried on beyond the age at which it is stale",
            "lower extrapolate_ms or raise max_age_ms",
        );
        rule(
            self.assume.camera_azimuth_deg.is_some() && self.assume.camera_elevation_deg.is_none(),
            "assume.camera_azimuth_deg",
            "a camera's azimuth without its elevation",
            "add camera_elevation_deg; -90 looks straight down",
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_and_written_back() {
        for good in [
            "udp:0.0.0.0:14550",
            "udp:[::]:14550",
            "tcp:10.0.0.2:5760",
            "tcp:[fe80::1]:5760",
            "tcp:drone.local:5760",
            "serial:/dev/ttyACM0:57600",
        ] {
            assert_eq!(TelemetryLink::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(TelemetryLink::parse("tcp://a:1").unwrap().to_string(), "tcp:a:1");
        for (bad, says) in [
            ("udp:14550", "no address and port"),
            ("udp:drone:14550", "no address and port"),
            ("tcp:10.0.0.2", "no host and port"),
            ("tcp::5760", "no host and port"),
            ("tcp:a:0", "no host and port"),
            ("serial:/dev/ttyACM0", "no device and speed"),
            ("serial:ttyACM0:57600", "no device and speed"),
            ("serial:/dev/ttyACM0:57601", "no speed of 57601"),
            ("http://x", "not a kind of telemetry link"),
            ("", "not a kind of telemetry link"),
        ] {
            let e = TelemetryLink::parse(bad).unwrap_err().to_string();
            assert!(e.contains(says), "{bad}: {e}");
        }
    }

    #[test]
    fn offsets_from_utc() {
        for (text, seconds) in [("+08:00", 28_800), ("-03:30", -12_600), ("Z", 0), ("+14:00", 50_400)] {
            let offset = UtcOffset::parse(text).unwrap();
            assert_eq!(offset.seconds(), seconds);
            assert_eq!(UtcOffset::parse(&String::from(offset)).unwrap(), offset);
        }
        for bad in ["", "8", "+8:00", "+08:60", "+14:01", "08:00", "+aa:00", "+-1:00"] {
            assert!(UtcOffset::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_between_keys() {
        let fine = |kind| TelemetryConfig::new(kind);
        assert!(fine(TelemetryKind::Klv).faults().is_empty());
        assert_eq!(fine(TelemetryKind::Mavlink).faults()[0].0, "kind");
        assert_eq!(fine(TelemetryKind::DjiSrt).faults()[0].0, "kind");
        let all_wrong = TelemetryConfig {
            link: Some(TelemetryLink::Tcp("a".into(), 1)),
            system_id: Some(1),
            file: Some("a".into()),
            utc_offset: Some(UtcOffset::default()),
            extrapolate_ms: Millis(2000),
            assume: AssumeConfig { camera_azimuth_deg: Some(1.0), ..AssumeConfig::default() },
            ..fine(TelemetryKind::Klv)
        };
        let keys: Vec<_> = all_wrong.faults().into_iter().map(|f| f.0).collect();
        assert_eq!(
            keys,
            ["link", "system_id", "file", "utc_offset", "extrapolate_ms", "assume.camera_azimuth_deg"]
        );
    }

    #[test]
    fn a_section_is_read_with_its_defaults() {
        let config: TelemetryConfig =
            toml::from_str("kind = \"mavlink\"\nlink = \"udp:0.0.0.0:14550\"\n[sigma]\nyaw_deg = 5.0")
                .unwrap();
        assert_eq!((config.sigma.yaw_deg, config.sigma.pitch_deg), (5.0, DEFAULT_PITCH_DEG));
        assert_eq!(config.max_age_ms, DEFAULT_MAX_AGE);
        for bad in ["kind = \"x\"", "kind = \"klv\"\nspeed = 1", "kind = \"klv\"\n[assume]\nx = 1"] {
            assert!(toml::from_str::<TelemetryConfig>(bad).is_err(), "{bad}");
        }
    }
}

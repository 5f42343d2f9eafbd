//! `[[camera]]`: where pictures come from.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stream::{SrtAddress, UdpAddress};
use super::units::{Millis, Secret};
use crate::base::{Error, Name, Result};

/// A camera that shows no new picture for this long is stalled. Ten pictures of a slow camera.
const DEFAULT_STALL_AFTER: Millis = Millis(2_000);
/// The first connect may take longer than the gap between two pictures.
const DEFAULT_CONNECT_WITHIN: Millis = Millis(8_000);
/// Shortest wait before opening a lost camera again.
const DEFAULT_RETRY_MIN: Millis = Millis(200);
/// Longest wait: a camera that is back is seen within two seconds.
const DEFAULT_RETRY_MAX: Millis = Millis(1_500);
/// Jitter buffer of network cameras. None: the freshest picture wins.
const DEFAULT_LATENCY: Millis = Millis(0);

/// One camera.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// The camera, as in the topics.
    pub name: Name,
    /// Where its pictures come from: `rtsp://`, `rtsps://`, `http://` or `https://` (MJPEG),
    /// `udp://:5000` (an MPEG transport stream sent here; `udp://239.1.1.1:5000` or
    /// `udp://239.1.1.1@eth0:5000` joins a group), `srt://host:9000` (a transport stream; with
    /// `?mode=listener` the camera calls), `v4l2:/dev/video0`, `file:/path/video.mp4`,
    /// `tiff:/folder` (16-bit pictures in the order of their names) or `test:` (a test pattern).
    pub url: SourceUrl,
    /// User name for `rtsp` and `http`, unless the URL needs none.
    #[serde(default)]
    pub username: Option<String>,
    /// Password for `rtsp` and `http`; passphrase for `srt`, 10 to 79 characters.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File with the password, for instance a systemd credential; instead of `password`.
    #[serde(default)]
    pub password_file: Option<std::path::PathBuf>,
    /// Transport of `rtsp`.
    #[serde(default)]
    pub transport: Transport,
    /// Jitter buffer of `rtsp` and `srt`. SRT asks again for what was lost within this time, and
    /// takes its own usual 120 ms where this is 0.
    #[serde(default = "default_latency")]
    #[schemars(range(min = 0, max = 10000))]
    pub latency_ms: Millis,
    /// A `file:` or `tiff:` starts over at its end, as a camera never ends. Meant for tests and demos.
    #[serde(default)]
    pub repeat: bool,
    /// Pictures a second that `tiff:` shows.
    #[serde(default)]
    #[schemars(range(min = 0.1, max = 120))]
    pub fps: Option<FrameRate>,
    /// What a `v4l2:` device is asked for; without it, the device chooses. A radiometric thermal
    /// camera may offer its counts as `gray16` beside a coloured picture.
    #[serde(default)]
    pub pixel_format: Option<PixelFormat>,
    /// No new picture for this long: the camera is stalled and is opened anew.
    #[serde(default = "default_stall_after")]
    #[schemars(range(min = 200, max = 120000))]
    pub stall_after_ms: Millis,
    /// No first picture for this long after opening: the attempt is given up.
    #[serde(default = "default_connect_within")]
    #[schemars(range(min = 500, max = 120000))]
    pub connect_within_ms: Millis,
    /// Shortest wait before opening a lost camera again.
    #[serde(default = "default_retry_min")]
    #[schemars(range(min = 1, max = 600000))]
    pub retry_min_ms: Millis,
    /// Longest wait before opening a lost camera again.
    #[serde(default = "default_retry_max")]
    #[schemars(range(min = 1, max = 600000))]
    pub retry_max_ms: Millis,
}

fn default_latency() -> Millis {
    DEFAULT_LATENCY
}
fn default_stall_after() -> Millis {
    DEFAULT_STALL_AFTER
}
fn default_connect_within() -> Millis {
    DEFAULT_CONNECT_WITHIN
}
fn default_retry_min() -> Millis {
    DEFAULT_RETRY_MIN
}
fn default_retry_max() -> Millis {
    DEFAULT_RETRY_MAX
}

impl CameraConfig {
    /// A camera with every default.
    pub fn new(name: Name, url: SourceUrl) -> Self {
        Self {
            name,
            url,
            username: None,
            password: None,
            password_file: None,
            transport: Transport::default(),
            latency_ms: DEFAULT_LATENCY,
            repeat: false,
            fps: None,
            pixel_format: None,
            stall_after_ms: DEFAULT_STALL_AFTER,
            connect_within_ms: DEFAULT_CONNECT_WITHIN,
            retry_min_ms: DEFAULT_RETRY_MIN,
            retry_max_ms: DEFAULT_RETRY_MAX,
        }
    }
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Interleaved in the RTSP connection: passes firewalls, loses nothing.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// What a camera on a cable is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PixelFormat {
    /// One byte a pixel (V4L2's `GREY`).
    Gray8,
    /// Two bytes a pixel, the low one first (V4L2's `Y16`).
    Gray16,
}

/// Pictures a second, 0.1 to 120.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct FrameRate(f64);

impl FrameRate {
    /// What thermal cameras outside the export lists show.
    pub const DEFAULT: Self = Self(9.0);

    /// Checks and wraps a rate.
    pub fn try_new(rate: f64) -> Result<Self> {
        if (0.1..=120.0).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(Error::config(format!("{rate} is not a usable frame rate")).remedy("use 0.1 to 120"))
        }
    }

    /// Pictures a second.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for FrameRate {
    type Error = Error;
    fn try_from(rate: f64) -> Result<Self> {
        Self::try_new(rate)
    }
}

impl From<FrameRate> for f64 {
    fn from(rate: FrameRate) -> f64 {
        rate.0
    }
}

/// Where pictures come from, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum SourceUrl {
    /// `rtsp://` or `rtsps://`, whole.
    Rtsp(String),
    /// `http://` or `https://` with a multipart MJPEG answer, whole.
    Http(String),
    /// `v4l2:/dev/video0`: the device.
    V4l2(String),
    /// `file:/path`: the path.
    File(String),
    /// `udp://…`, whole, and what it says.
    Udp(String, UdpAddress),
    /// `srt://…`, whole, and what it says.
    Srt(String, SrtAddress),
    /// `tiff:/folder`: the folder.
    Tiff(String),
    /// `test:`: a moving pattern without a face.
    Test,
}

impl SourceUrl {
    /// Reads a URL. Credentials inside it are refused: they would end up in logs.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let parsed = match scheme {
            "rtsp" | "rtsps" => Self::Rtsp(url.to_owned()),
            "http" | "https" => Self::Http(url.to_owned()),
            "v4l2" => Self::V4l2(rest.trim_start_matches("//").to_owned()),
            "file" => Self::File(rest.strip_prefix("//").unwrap_or(rest).to_owned()),
            "udp" => Self::Udp(url.to_owned(), UdpAddress::parse(rest.trim_start_matches("//"))?),
            "srt" => Self::Srt(url.to_owned(), SrtAddress::parse(rest.trim_start_matches("//"))?),
            "tiff" => Self::Tiff(rest.strip_prefix("//").unwrap_or(rest).to_owned()),
            "test" => Self::Test,
            _ => {
                return Err(Error::config(format!("{scheme:?} is not a kind of camera"))
                    .remedy("use rtsp://, rtsps://, http://, https://, udp://, srt://, v4l2:/dev/…, file:/…, tiff:/… or test:"));
            }
        };
        if let Self::Rtsp(u) | Self::Http(u) = &parsed {
            let host = u.split("//").nth(1).unwrap_or("").split('/').next().unwrap_or("");
            if host.is_empty() || host.starts_with(':') {
                return Err(Error::config("the camera URL names no host")
                    .remedy("write it as rtsp://host/path or http://host/path"));
            }
            // A port that is no number may be a password cut at its slash. The URL itself is not
            // repeated: the message ends up in logs.
            let port = match host.rsplit_once(']') {
                Some((_, rest)) => rest.strip_prefix(':'),
                None => host.split_once(':').map(|(_, port)| port),
            };
            if host.contains('@') || port.is_some_and(|p| p.parse::<u16>().is_err()) {
                return Err(Error::config("the camera URL contains a password, or a port that is no number")
                    .remedy("move the password to `username` and `password_file`"));
            }
        }
        match &parsed {
            Self::V4l2(path) | Self::File(path) | Self::Tiff(path) if path.is_empty() => {
                Err(Error::config(format!("{url:?} names no path")))
            }
            _ => Ok(parsed),
        }
    }
}

impl TryFrom<String> for SourceUrl {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        Self::parse(&s)
    }
}

impl From<SourceUrl> for String {
    fn from(url: SourceUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp(u) | Self::Http(u) | Self::Udp(u, _) | Self::Srt(u, _) => f.write_str(u),
            Self::V4l2(p) => write!(f, "v4l2:{p}"),
            Self::File(p) => write!(f, "file:{p}"),
            Self::Tiff(p) => write!(f, "tiff:{p}"),
            Self::Test => f.write_str("test:"),
        }
    }
}

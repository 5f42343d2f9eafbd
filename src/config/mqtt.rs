//! `[mqtt]` and `[broker]`: the way to the hub.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Millis, Secret};
use crate::base::{Error, Result};

/// The broker notices a dead box after one and a half of these.
const DEFAULT_KEEP_ALIVE_S: u16 = 15;
/// The client library refuses less.
pub const MIN_KEEP_ALIVE_S: u16 = 5;
/// Unacknowledged events in flight.
const DEFAULT_WINDOW: u16 = 32;
/// Shortest wait before connecting again.
const DEFAULT_RETRY_MIN: Millis = Millis(250);
/// Longest wait before connecting again.
const DEFAULT_RETRY_MAX: Millis = Millis(15_000);
/// Largest command accepted: a 4 MiB portrait in base64, and room for the rest.
const DEFAULT_MAX_COMMAND_BYTES: u32 = 6 * 1024 * 1024;

/// The broker that the box speaks to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub url: BrokerUrl,
    /// Protocol version.
    #[serde(default)]
    pub version: MqttVersion,
    /// Client identifier. Default: `vigil-{site}-{box}`; two boxes must never share one.
    #[serde(default)]
    pub client_id: Option<String>,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File with the password, for instance a systemd credential; instead of `password`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates of `mqtts`.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Seconds between signs of life, at least 5.
    #[serde(default = "default_keep_alive")]
    #[schemars(range(min = MIN_KEEP_ALIVE_S, max = 3600))]
    pub keep_alive_s: u16,
    /// Unacknowledged events in flight.
    #[serde(default = "default_window")]
    #[schemars(range(min = 1, max = 1000))]
    pub window: u16,
    /// Shortest wait before connecting again.
    #[serde(default = "default_retry_min")]
    #[schemars(range(min = 1, max = 600000))]
    pub retry_min_ms: Millis,
    /// Longest wait before connecting again.
    #[serde(default = "default_retry_max")]
    #[schemars(range(min = 1, max = 600000))]
    pub retry_max_ms: Millis,
    /// Largest command accepted.
    #[serde(default = "default_max_command")]
    #[schemars(range(min = 1024, max = 16777216))]
    pub max_command_bytes: u32,
}

fn default_keep_alive() -> u16 {
    DEFAULT_KEEP_ALIVE_S
}
fn default_window() -> u16 {
    DEFAULT_WINDOW
}
fn default_retry_min() -> Millis {
    DEFAULT_RETRY_MIN
}
fn default_retry_max() -> Millis {
    DEFAULT_RETRY_MAX
}
fn default_max_command() -> u32 {
    DEFAULT_MAX_COMMAND_BYTES
}

impl MqttConfig {
    /// A broker with every default.
    pub fn new(url: BrokerUrl) -> Self {
        Self {
            url,
            version: MqttVersion::default(),
            client_id: None,
            username: None,
            password: None,
            password_file: None,
            tls: TlsConfig::default(),
            keep_alive_s: DEFAULT_KEEP_ALIVE_S,
            window: DEFAULT_WINDOW,
            retry_min_ms: DEFAULT_RETRY_MIN,
            retry_max_ms: DEFAULT_RETRY_MAX,
            max_command_bytes: DEFAULT_MAX_COMMAND_BYTES,
        }
    }
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MqttVersion {
    /// MQTT 5.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// Certificates.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the authorities that may sign the broker's certificate. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this box's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
}

/// Where a broker is, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct BrokerUrl {
    /// Encrypted.
    pub tls: bool,
    /// Host name or address, an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl BrokerUrl {
    /// Reads `mqtt://host[:port]` or `mqtts://host[:port]`.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Err(Error::config(format!("{url:?} {what}"))
                .remedy("write mqtt://host:1883 or mqtts://host:8883"))
        };
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return wrong("is not a broker's address"),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains('@') {
            // The URL itself is not repeated: the message ends up in logs.
            return Err(Error::config("the broker's address contains a user name or password")
                .remedy("move it to `username` and `password_file`"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => match v6.split_once(']') {
                Some((host, port)) => (host, port.strip_prefix(':')),
                None => return wrong("has an address without its closing bracket"),
            },
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port.map(str::parse) {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return wrong("has a port that is not a number from 1 to 65535"),
        };
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return wrong("names no host");
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }

    /// Whether the broker is on this machine.
    pub fn on_this_machine(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
    }
}

impl TryFrom<String> for BrokerUrl {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        Self::parse(&s)
    }
}

impl From<BrokerUrl> for String {
    fn from(url: BrokerUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// The broker inside the box. It keeps nothing on disk: the outbox does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Address to listen on. Anything but loopback needs `username` and `password_file`.
    pub listen: SocketAddr,
    /// User name that clients must give.
    #[serde(default)]
    pub username: Option<String>,
    /// Password that clients must give.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File with the password; instead of `password`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

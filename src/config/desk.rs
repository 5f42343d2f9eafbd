//! `[desk]`: the box's local face.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Error, Name, Result};

/// Loopback: the document reader's software runs on the desk's own machine.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8640);
/// Largest portrait file accepted.
const DEFAULT_MAX_PORTRAIT_BYTES: u32 = 4 * 1024 * 1024;
/// A page asks once a second, a reader less; this is for a program that has run wild.
const DEFAULT_REQUESTS_PER_MINUTE: u32 = 3000;

/// The local HTTP face: requests of the document reader, status page, metrics, health.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeskConfig {
    /// Address to listen on. Anything but loopback needs `[desk.tls]` and a `[[desk.token]]`.
    pub listen: SocketAddr,
    /// Largest portrait file accepted.
    #[schemars(range(min = 1024, max = 8388608))]
    pub max_portrait_bytes: u32,
    /// Whether programs of this machine may do without a token: verify, see results and confirm, but
    /// not touch the gallery. Left out: only as long as there is no `[[desk.token]]`.
    pub open_on_loopback: Option<bool>,
    /// So many requests a minute of one address, and of one token; a sixth of it at once. A wrong
    /// token counts as ten requests.
    #[schemars(range(min = 60, max = 600000))]
    pub requests_per_minute: u32,
    /// The certificate with which the desk speaks HTTPS.
    pub tls: Option<DeskTlsConfig>,
    /// Who may ask, each by a token made with `vigil desk token`.
    #[serde(rename = "token")]
    #[schemars(length(max = 64))]
    pub tokens: Vec<DeskTokenConfig>,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            max_portrait_bytes: DEFAULT_MAX_PORTRAIT_BYTES,
            open_on_loopback: None,
            requests_per_minute: DEFAULT_REQUESTS_PER_MINUTE,
            tls: None,
            tokens: Vec::new(),
        }
    }
}

impl DeskConfig {
    /// Whether a program of this machine may do without a token.
    pub fn open(&self) -> bool {
        self.listen.ip().is_loopback() && self.open_on_loopback.unwrap_or(self.tokens.is_empty())
    }
}

/// The desk's certificate. Both files are looked at again every 10 s, so a renewed certificate is used
/// without a restart; one that cannot be used leaves the old one in place, and the log says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeskTlsConfig {
    /// PEM file of the certificate and those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
}

/// What the holder of a token may do; each role may do what those before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A document reader or a card reader: asks for verifications, hands in what it read.
    Reader,
    /// A clerk: sees results, confirms and rejects, admits people who decline the camera.
    Desk,
    /// Everything, the gallery included.
    Installer,
}

impl Role {
    /// The role as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Desk => "desk",
            Self::Installer => "installer",
        }
    }
}

/// A token that the desk knows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeskTokenConfig {
    /// Whose it is, as logs and the audit log call the holder.
    pub name: Name,
    /// What the holder may do.
    pub role: Role,
    /// SHA-256 of the token, as `vigil desk token` prints it. The token itself stands nowhere on
    /// the box.
    pub sha256: TokenHash,
    /// Until when it counts; always if left out.
    #[serde(default)]
    pub valid_until: Option<Timestamp>,
}

/// SHA-256 of a token, 64 hexadecimal digits. A fast hash is enough: a token has 256 random bits, and
/// nobody tries those through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9a-fA-F]{64}$"))]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Wraps a hash.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for TokenHash {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        let wrong = || {
            Error::config("this is not the SHA-256 of a token")
                .remedy("copy the line that `vigil desk token` prints; the token itself does not belong here")
        };
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (n, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> String {
        hash.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

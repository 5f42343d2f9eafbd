//! Values that could be wrong, as types that cannot.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::base::{Culprit, Error, Kind, Result};

/// A false match rate: the share of comparisons of two different people that may pass.
/// Between 1e-7 and 0.1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct FalseMatchRate(f64);

impl FalseMatchRate {
    /// Checks and wraps a rate.
    pub fn try_new(rate: f64) -> Result<Self> {
        if (1e-7..=0.1).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(Error::config(format!("{rate} is not a usable false match rate"))
                .remedy("use a share between 0.0000001 and 0.1; 0.001 is one in a thousand"))
        }
    }

    /// The rate as a share.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for FalseMatchRate {
    type Error = Error;
    fn try_from(rate: f64) -> Result<Self> {
        Self::try_new(rate)
    }
}

impl From<FalseMatchRate> for f64 {
    fn from(r: FalseMatchRate) -> f64 {
        r.0
    }
}

/// A time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Millis(pub u32);

impl Millis {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0))
    }
}

/// A password or key: never printed, overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret that a section names: the one written in place, or the content of `file`
    /// without one line break at its end. `None` if there is neither.
    ///
    /// A file that everybody on the machine may read is refused, and so is one larger than
    /// [`Secret::MAX_BYTES`], empty, or not UTF-8. The message names the file, never its content.
    pub fn resolve(inline: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>> {
        match (inline, file) {
            (Some(secret), _) => Ok(Some(secret.clone())),
            (None, Some(file)) => Self::read(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Largest secret in a file.
    pub const MAX_BYTES: usize = 4096;

    fn read(file: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let path = super::resolve_path(file, Path::new(""));
        let place = format!("password file {}", path.display());
        if path.starts_with("${CREDENTIALS_DIRECTORY}") {
            return Err(Error::new(Kind::NotFound, Culprit::Config, "CREDENTIALS_DIRECTORY is not set")
                .remedy("start the systemd unit, which sets it, with LoadCredential= for this file")
                .context(place));
        }
        let cannot = |e| {
            Error::io(Culprit::Config, "cannot be read", e)
                .remedy("the file must exist and belong to the daemon's user")
                .context(place.clone())
        };
        let wrong = |what: &str, remedy: String| Error::config(what).remedy(remedy).context(place.clone());
        let open = std::fs::File::open(&path).map_err(cannot)?;
        let meta = open.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err(wrong("is not a file", "name a file that holds the password".to_owned()));
        }
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(wrong(
                "is open to everybody on this machine",
                format!("run chmod o= {}", path.display()),
            ));
        }
        // One allocation, so that no copy of the secret is left behind by growth.
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::MAX_BYTES + 1));
        open.take(Self::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() > Self::MAX_BYTES {
            return Err(wrong("is too large for a password", "name the file that holds it".to_owned()));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok("") => Err(wrong("is empty", "write the password into it".to_owned())),
            Ok(secret) => Ok(Self::new(secret)),
            Err(_) => Err(wrong("is not UTF-8 text", "write the password as text".to_owned())),
        }
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

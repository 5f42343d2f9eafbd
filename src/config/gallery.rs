//! `[gallery]`: whom this box may know, and what being known takes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::FalseMatchRate;
use crate::base::{Culprit, Error, Kind, Result};

/// Where systemd puts the master key.
const DEFAULT_KEY_FILE: &str = "${CREDENTIALS_DIRECTORY}/gallery-key";
/// One search in a hundred of a stranger may name somebody.
const DEFAULT_FPIR: f64 = 0.01;
/// Another picture of the same person moves a score by about 0.03: a runner-up this close could
/// as well be first.
const DEFAULT_MARGIN: f32 = 0.05;
/// The strictest rate that the shipped calibration has the data for.
const DEFAULT_DUPLICATE_FMR: f64 = 1e-5;
/// Some regulators want a filing for face data of 100,000 people; the box holds no more.
const MAX_ENTRIES: u32 = 100_000;
/// The warning comes while there is time to act on it.
const DEFAULT_WARN_ENTRIES: u32 = 90_000;
/// Three years: what China's rules ask of records of processing (impact assessments, PIPL art. 56).
const DEFAULT_AUDIT_DAYS: u32 = 1096;

/// Why a person is in the gallery.
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
#[clap(rename_all = "snake_case")]
pub enum Purpose {
    /// Lives here, while the lease runs.
    Tenant,
    /// Works here.
    Staff,
    /// Stays here.
    Guest,
    /// Is looked for, at the request of an authority.
    MissingPerson,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Staff, Self::Guest, Self::MissingPerson];

    /// The purpose as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Staff => "staff",
            Self::Guest => "guest",
            Self::MissingPerson => "missing_person",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == s).ok_or_else(|| {
            Error::new(Kind::Usage, Culprit::Request, format!("{s:?} is not a purpose"))
                .remedy("write tenant, staff, guest or missing_person")
        })
    }
}

/// A false positive identification rate: the share of searches of people who are *not* in the
/// gallery that may name somebody (ISO/IEC 19795-1). Between 1e-6 and 0.5.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct FalsePositiveRate(f64);

impl FalsePositiveRate {
    /// Checks and wraps a rate.
    pub fn try_new(rate: f64) -> Result<Self> {
        if (1e-6..=0.5).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(Error::config(format!("{rate} is not a usable false positive identification rate"))
                .remedy("use a share between 0.000001 and 0.5; 0.01 is one search in a hundred"))
        }
    }

    /// The rate as a share.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for FalsePositiveRate {
    fn default() -> Self {
        Self(DEFAULT_FPIR)
    }
}

impl TryFrom<f64> for FalsePositiveRate {
    type Error = Error;
    fn try_from(rate: f64) -> Result<Self> {
        Self::try_new(rate)
    }
}

impl From<FalsePositiveRate> for f64 {
    fn from(r: FalsePositiveRate) -> f64 {
        r.0
    }
}

/// A time zone of the IANA database, as `Asia/Shanghai`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(#[schemars(with = "String")] TimeZone);

impl Zone {
    /// Looks the zone up.
    pub fn try_new(name: &str) -> Result<Self> {
        TimeZone::get(name).map(Self).map_err(|_| {
            Error::config(format!("{name:?} is not a time zone"))
                .remedy("write a name of the IANA database, such as \"Asia/Shanghai\"")
        })
    }

    /// The zone.
    pub fn get(&self) -> &TimeZone {
        &self.0
    }
}

impl TryFrom<String> for Zone {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::try_new(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.0.iana_name().unwrap_or("UTC").to_owned()
    }
}

/// The people this box may recognise. Without this section it recognises nobody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GalleryConfig {
    /// File of the master key, made by `vigil gallery key init`.
    pub key_file: PathBuf,
    /// Purposes that an entry may have on this box. `missing_person` only where an authority asked
    /// for it.
    #[schemars(length(min = 1, max = 4))]
    pub purposes: Vec<Purpose>,
    /// Of people who are not in the gallery, the share of searches that may name somebody, at the
    /// gallery's present size.
    #[schemars(range(min = 1e-6, max = 0.5))]
    pub fpir: FalsePositiveRate,
    /// By how much the best score must exceed the runner-up's; less is answered `ambiguous`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f32,
    /// Somebody as like an enrolled person as this false match rate allows is not enrolled under
    /// another reference.
    #[schemars(range(min = 1e-7, max = 0.1))]
    pub duplicate_fmr: FalseMatchRate,
    /// The site's time zone, for weekly hours. Default: the machine's.
    pub timezone: Option<Zone>,
    /// The most entries.
    #[schemars(range(min = 1, max = 100000))]
    pub max_entries: u32,
    /// From this many entries on the box warns.
    #[schemars(range(min = 1, max = 100000))]
    pub warn_entries: u32,
    /// Days that the audit log keeps its records.
    #[schemars(range(min = 30, max = 3660))]
    pub audit_days: u32,
}

impl Default for GalleryConfig {
    fn default() -> Self {
        Self {
            key_file: PathBuf::from(DEFAULT_KEY_FILE),
            purposes: vec![Purpose::Tenant, Purpose::Staff, Purpose::Guest],
            fpir: FalsePositiveRate::default(),
            margin: DEFAULT_MARGIN,
            duplicate_fmr: FalseMatchRate::try_new(DEFAULT_DUPLICATE_FMR)
                .unwrap_or_else(|_| unreachable!("a constant in range")),
            timezone: None,
            max_entries: MAX_ENTRIES,
            warn_entries: DEFAULT_WARN_ENTRIES,
            audit_days: DEFAULT_AUDIT_DAYS,
        }
    }
}

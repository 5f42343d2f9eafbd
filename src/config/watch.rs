//! `[watch]`: looking for missing persons among those who walk by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::base::{Error, Name, Result};

/// One wrong call a day is what people who have to answer it bear.
const DEFAULT_FALSE_PER_DAY: f64 = 1.0;
/// Somebody who walks by is in view for two seconds or more: ten pictures.
const DEFAULT_RATE: f32 = 5.0;
/// A quarter of one core: the guest at the desk has the rest.
const DEFAULT_SHARE: f32 = 0.25;
/// More add little to the template of one passage.
const DEFAULT_PICTURES: u32 = 4;
/// Somebody who comes back later passes again.
const DEFAULT_PASS_GAP_S: u32 = 30;

/// Who is in charge of a search: an office and how to reach it, 1 to 200 characters on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Authority(#[schemars(length(min = 1, max = 200))] String);

impl Authority {
    /// Checks and wraps a text.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let length = text.chars().count();
        if !(1..=200).contains(&length) || text.trim() != text || text.chars().any(char::is_control) {
            return Err(Error::config("this does not name an authority")
                .remedy("write its office and how to reach it, on one line of at most 200 characters"));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Authority {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Authority> for String {
    fn from(a: Authority) -> String {
        a.0
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Looking for missing persons at an authority's request. Without this section nobody is looked for
/// outside a request. While nobody is missing no picture is looked at either.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// What for, in words: only `missing_person` is taken.
    pub purpose: Purpose,
    /// The authority in charge, as the status page and every sighting name it.
    pub authority: Authority,
    /// The cameras.
    #[schemars(length(min = 1, max = 16))]
    pub cameras: Vec<Name>,
    /// How many people are expected to pass these cameras in a day, all together. The threshold
    /// follows from it; when more pass, more false sightings are to be expected, and the box says so.
    #[schemars(range(min = 1, max = 1000000))]
    pub passages_per_day: u32,
    /// How many of them a day may be taken for a missing person wrongly, on average.
    #[serde(default = "default_false_per_day")]
    #[schemars(range(min = 0.001, max = 100.0))]
    pub false_sightings_per_day: f64,
    /// Most pictures a second that are looked at, of each camera.
    #[serde(default = "default_rate")]
    #[schemars(range(min = 0.5, max = 15.0))]
    pub pictures_per_second: f32,
    /// Most of one core's time that looking may take, of each camera. What a verification needs comes first.
    #[serde(default = "default_share")]
    #[schemars(range(min = 0.02, max = 1.0))]
    pub cpu_share: f32,
    /// Pictures of one person, the best, fused into the template that is looked up.
    #[serde(default = "default_pictures")]
    #[schemars(range(min = 1, max = 16))]
    pub pictures: u32,
    /// Who was not recognised for this long passes anew.
    #[serde(default = "default_pass_gap")]
    #[schemars(range(min = 1, max = 3600))]
    pub pass_gap_s: u32,
}

fn default_false_per_day() -> f64 {
    DEFAULT_FALSE_PER_DAY
}
fn default_rate() -> f32 {
    DEFAULT_RATE
}
fn default_share() -> f32 {
    DEFAULT_SHARE
}
fn default_pictures() -> u32 {
    DEFAULT_PICTURES
}
fn default_pass_gap() -> u32 {
    DEFAULT_PASS_GAP_S
}

impl WatchConfig {
    /// A watch with every default.
    pub fn new(authority: Authority, cameras: Vec<Name>, passages_per_day: u32) -> Self {
        Self {
            purpose: Purpose::MissingPerson,
            authority,
            cameras,
            passages_per_day,
            false_sightings_per_day: DEFAULT_FALSE_PER_DAY,
            pictures_per_second: DEFAULT_RATE,
            cpu_share: DEFAULT_SHARE,
            pictures: DEFAULT_PICTURES,
            pass_gap_s: DEFAULT_PASS_GAP_S,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_line_that_a_person_can_read() {
        for good in ["Police, Missing Persons, +86 571 0000", "西湖区公安分局"] {
            assert_eq!(Authority::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", " a", "a\nb", &"x".repeat(201)] {
            assert!(Authority::new(bad).is_err(), "{bad:?}");
        }
    }
}

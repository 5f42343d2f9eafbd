//! `[[door]]`, `[[equipment]]` and `[prompts]`: who may pass where, and what the door does then.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{FalseMatchRate, Millis, Secret};
use super::verify::PresentationMode;
use crate::base::{Error, Name, Result};

/// How long a person has to stand before the camera after the credential was read.
const DEFAULT_WINDOW: Millis = Millis(8_000);
/// Long enough for a lock on the other end of the house, too short for anybody else.
const DEFAULT_VALID_FOR: Millis = Millis(3_000);
/// A member of staff has to look up and walk over.
const DEFAULT_STAFF_WITHIN: Millis = Millis(60_000);
/// A door closes behind a person in about this.
const DEFAULT_PASSAGE: Millis = Millis(4_000);
/// Nobody gets from one door to the next faster.
const DEFAULT_TRAVEL: Millis = Millis(5_000);
/// After half a day nobody knows any more on which side somebody is.
const DEFAULT_FORGIVE_MIN: u32 = 720;
/// A person whose face is not recognised tries again twice; five are a try at something else.
const DEFAULT_FAILURES: u32 = 5;
/// They count together for this long.
const DEFAULT_WITHIN_MIN: u32 = 15;
/// And nothing is looked at for this long.
const DEFAULT_LOCKED_MIN: u32 = 15;
/// Keyboards type a digit every few milliseconds; a person at one does not.
const DEFAULT_FRAME: Millis = Millis(500);

/// Which way a door leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Into the zone.
    #[default]
    In,
    /// Out of it.
    Out,
}

/// What becomes of a lock while the box cannot decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenIll {
    /// Fail-secure: the lock is told to lock.
    #[default]
    Locked,
    /// Fail-safe: the lock is told to stay open for as long as it lasts.
    Unlocked,
}

/// What a reader on a cable reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReaderKind {
    /// People's cards.
    Card,
    /// People's tags.
    Tag,
    /// A keypad for PINs.
    Pin,
    /// Tags on equipment.
    Equipment,
}

/// A door: one way through it. A door with readers on both sides is two of these.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DoorConfig {
    /// The door, as in the topics.
    pub name: Name,
    /// The camera that sees who stands at the reader.
    pub camera: Name,
    /// Which way it leads.
    #[serde(default)]
    pub direction: Way,
    /// The zone it leads into or out of. With one, nobody goes in twice by the same credential
    /// without coming out in between.
    #[serde(default)]
    pub zone: Option<Name>,
    /// After so many minutes the box no longer holds it against anybody that they did not come out.
    #[serde(default = "default_forgive")]
    #[schemars(range(min = 1, max = 43200))]
    pub forgive_min: u32,
    /// After a credential was read its holder's face must be seen within this time.
    #[serde(default = "default_window")]
    #[schemars(range(min = 500, max = 60000))]
    pub window_ms: Millis,
    /// The false match rate of the comparison; `verify.fmr` if left out.
    #[serde(default)]
    #[schemars(range(min = 1e-7, max = 0.1))]
    pub fmr: Option<FalseMatchRate>,
    /// Whether people are asked to turn their head; `verify.presentation.mode` if left out.
    #[serde(default)]
    pub presentation: Option<PresentationMode>,
    /// After a decision the door may open for this long (`notafter`).
    #[serde(default = "default_valid_for")]
    #[schemars(range(min = 100, max = 60000))]
    pub valid_for_ms: Millis,
    /// What people do who decline the camera.
    #[serde(default)]
    pub fallback: Fallback,
    /// Staff decide about them within this time.
    #[serde(default = "default_staff_within")]
    #[schemars(range(min = 1000, max = 600000))]
    pub staff_within_ms: Millis,
    /// After a door was opened it is watched for this long: a second face close behind is told.
    /// 0: it is not watched.
    #[serde(default = "default_passage")]
    #[schemars(range(min = 0, max = 30000))]
    pub passage_ms: Millis,
    /// A credential that was read at another door less than this ago cannot be here. 0: it can.
    #[serde(default = "default_travel")]
    #[schemars(range(min = 0, max = 600000))]
    pub travel_ms: Millis,
    /// When a person has failed too often.
    #[serde(default)]
    pub lockout: LockoutConfig,
    /// What becomes of the lock while the box cannot decide.
    #[serde(default)]
    pub when_ill: WhenIll,
    /// The languages in which the door speaks, one after the other; none: it is silent.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub prompts: Vec<Language>,
    /// Readers on a cable.
    #[serde(default, rename = "reader")]
    #[schemars(length(max = 8))]
    pub readers: Vec<ReaderConfig>,
    /// What opens it; none: whoever listens to `event/gate.decision` does.
    #[serde(default)]
    pub actuator: Option<ActuatorConfig>,
}

fn default_forgive() -> u32 {
    DEFAULT_FORGIVE_MIN
}
fn default_window() -> Millis {
    DEFAULT_WINDOW
}
fn default_valid_for() -> Millis {
    DEFAULT_VALID_FOR
}
fn default_staff_within() -> Millis {
    DEFAULT_STAFF_WITHIN
}
fn default_passage() -> Millis {
    DEFAULT_PASSAGE
}
fn default_travel() -> Millis {
    DEFAULT_TRAVEL
}
fn default_frame() -> Millis {
    DEFAULT_FRAME
}

impl DoorConfig {
    /// A door with every default.
    pub fn new(name: Name, camera: Name) -> Self {
        Self {
            name,
            camera,
            direction: Way::default(),
            zone: None,
            forgive_min: DEFAULT_FORGIVE_MIN,
            window_ms: DEFAULT_WINDOW,
            fmr: None,
            presentation: None,
            valid_for_ms: DEFAULT_VALID_FOR,
            fallback: Fallback::default(),
            staff_within_ms: DEFAULT_STAFF_WITHIN,
            passage_ms: DEFAULT_PASSAGE,
            travel_ms: DEFAULT_TRAVEL,
            lockout: LockoutConfig::default(),
            when_ill: WhenIll::default(),
            prompts: Vec::new(),
            readers: Vec::new(),
            actuator: None,
        }
    }
}

/// What people do who decline the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// A PIN, and a member of staff who admits them. No face is looked at.
    #[default]
    PinAndStaff,
    /// They have another door.
    None,
}

/// The language of prompts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Chinese.
    #[default]
    Zh,
    /// English.
    En,
}

/// When a person has failed too often. At doors failures are counted on disk: a restart forgives
/// nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LockoutConfig {
    /// So many failures: another face, a picture of one, a reader's no, a wrong PIN.
    #[schemars(range(min = 1, max = 100))]
    pub failures: u32,
    /// Within so many minutes.
    #[schemars(range(min = 1, max = 1440))]
    pub within_min: u32,
    /// Then for so many minutes nothing is looked at.
    #[schemars(range(min = 1, max = 10080))]
    pub locked_min: u32,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self { failures: DEFAULT_FAILURES, within_min: DEFAULT_WITHIN_MIN, locked_min: DEFAULT_LOCKED_MIN }
    }
}

/// A reader that types like a keyboard (USB HID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReaderConfig {
    /// The device, best by a path that survives plugging: `/dev/input/by-id/…` or
    /// `/dev/input/by-path/…`. It is taken for the box alone.
    pub device: PathBuf,
    /// What it reads.
    pub kind: ReaderKind,
    /// Whoever uses this one declines the camera: a keypad for the door's fallback.
    #[serde(default)]
    pub declines_camera: bool,
    /// Two keys further apart than this do not belong to one read. A keypad for people wants
    /// seconds.
    #[serde(default = "default_frame")]
    #[schemars(range(min = 20, max = 30000))]
    pub frame_ms: Millis,
}

/// What opens a door.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActuatorConfig {
    /// Say it on `door/{door}/actuate`, at the broker of `[locks]` or, without that, of `[mqtt]`.
    pub mqtt: bool,
    /// Post it to this address: `http://host[:port]/path`.
    pub url: Option<HookUrl>,
    /// A word that the post carries as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// File with that word, instead of `token`.
    pub token_file: Option<PathBuf>,
}

/// Address of an HTTP hook, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HookUrl {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub path: String,
}

impl HookUrl {
    /// Reads `http://host[:port][/path]`. A password inside it is refused: it would end up in logs.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str, remedy: &str| Err(Error::config(what).remedy(remedy));
        let Some(rest) = url.strip_prefix("http://") else {
            return wrong(
                "the address of a hook does not begin with http://",
                "write http://host/path; the box and the relay share a network of their own",
            );
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return wrong("the address contains a password", "move it to `token_file`");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return wrong("the address's port is no number", "write http://host:8080/path"),
            },
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !plain(host) || !plain(path) || path.len() > 1024 || host.len() > 253 {
            return wrong("this is not an address", "write http://host/path");
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for HookUrl {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        Self::parse(&s)
    }
}

impl From<HookUrl> for String {
    fn from(url: HookUrl) -> String {
        format!("http://{}{}", url.authority(), url.path)
    }
}

impl Language {
    /// Its word in file names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }
}

/// A piece of equipment with a tag on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EquipmentConfig {
    /// What the events call it.
    pub name: Name,
    /// Its tag's number, as its reader gives it.
    #[schemars(length(min = 1, max = 128))]
    pub tag: String,
    /// What a door calls it in Chinese; its name if left out.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub zh: Option<String>,
    /// What a door calls it in English; its name if left out.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub en: Option<String>,
}

/// The voice of the doors.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptsConfig {
    /// Where the recordings are, `{language}/{name}.wav`, rendered by `vigil prompts`. A site puts
    /// its own in their place.
    pub dir: PathBuf,
    /// Where they are heard: `auto` (the machine's own choice), `none`, or a GStreamer sink with its
    /// settings, `alsasink device=hw:1`.
    pub output: String,
}

/// Beside the models of a packaged box.
const DEFAULT_PROMPTS_DIR: &str = "/usr/share/vigil/prompts";

impl Default for PromptsConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from(DEFAULT_PROMPTS_DIR), output: "auto".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_hook_is_read_and_holds_no_password() {
        let url = HookUrl::parse("http://192.0.2.40:8080/relay/1?on").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("192.0.2.40", 8080, "/relay/1?on"));
        let url = HookUrl::parse("http://[2001:db8::1]").unwrap();
        assert_eq!((url.authority().as_str(), url.path.as_str()), ("[2001:db8::1]:80", "/"));
        for bad in [
            "https://a/b",
            "http://",
            "http://:80/",
            "http://a:b/",
            "http://u:p@a/",
            "http://a b/",
            "http://a/\r\nX: y",
        ] {
            assert!(HookUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! `[hub]` and `[[hub_key]]`: who may order what over MQTT.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MqttConfig;
use crate::base::{Error, Name, Result};

/// A hub's clock and this box's may differ by this much, and a command may be this long under way.
const DEFAULT_SKEW_S: u32 = 120;
/// An Ed25519 key as `SubjectPublicKeyInfo` (RFC 8410 section 4) is these bytes and the key.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A command, as in the topic `cmd/{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CommandName {
    /// Compare a guest with a document.
    #[serde(rename = "verify")]
    Verify,
    /// Something was read at a door.
    #[serde(rename = "credential")]
    Credential,
    /// Staff decide about a person at a door.
    #[serde(rename = "confirm")]
    Confirm,
    /// Look up a guest without papers.
    #[serde(rename = "identify")]
    Identify,
    /// Enrol a person.
    #[serde(rename = "gallery/put")]
    GalleryPut,
    /// End a person's entry.
    #[serde(rename = "gallery/revoke")]
    GalleryRevoke,
    /// List who is enrolled.
    #[serde(rename = "gallery/list")]
    GalleryList,
    /// Begin a search from the air.
    #[serde(rename = "mission/start")]
    MissionStart,
    /// End it.
    #[serde(rename = "mission/stop")]
    MissionStop,
}

impl CommandName {
    /// Every command.
    pub const ALL: [Self; 9] = [
        Self::Verify,
        Self::Credential,
        Self::Confirm,
        Self::Identify,
        Self::GalleryPut,
        Self::GalleryRevoke,
        Self::GalleryList,
        Self::MissionStart,
        Self::MissionStop,
    ];

    /// The name in the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Credential => "credential",
            Self::Confirm => "confirm",
            Self::Identify => "identify",
            Self::GalleryPut => "gallery/put",
            Self::GalleryRevoke => "gallery/revoke",
            Self::GalleryList => "gallery/list",
            Self::MissionStart => "mission/start",
            Self::MissionStop => "mission/stop",
        }
    }

    /// The command of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == name)
    }

    /// Whether a site may take it unsigned: only what a reader beside the box says, which is
    /// followed by a look at a face. What changes the gallery or admits somebody never is.
    pub fn may_be_open(self) -> bool {
        matches!(self, Self::Verify | Self::Credential)
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Commands over MQTT: which need no signature, and how old a signed one may be.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HubConfig {
    /// Commands that are carried out without a signature: `verify`, `credential`. Whoever may publish
    /// on the broker can give them, with a portrait of their own. Left out: both where the broker
    /// of `[mqtt]` is on this machine, none where it is elsewhere.
    pub open: Option<Vec<CommandName>>,
    /// By so many seconds a command's time may differ from the box's clock, either way.
    #[schemars(range(min = 5, max = 3600))]
    pub skew_s: u32,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { open: None, skew_s: DEFAULT_SKEW_S }
    }
}

impl HubConfig {
    /// The commands that need no signature.
    pub fn open(&self, mqtt: &MqttConfig) -> Vec<CommandName> {
        match &self.open {
            // The rules have refused the others.
            Some(open) => open.iter().copied().filter(|c| c.may_be_open()).collect(),
            None if mqtt.url.on_this_machine() => vec![CommandName::Verify, CommandName::Credential],
            None => Vec::new(),
        }
    }
}

/// A key whose holder may give commands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubKeyConfig {
    /// What commands call it (`kid`).
    pub id: Name,
    /// The Ed25519 public key, as `vigil hub key` prints it.
    pub public_key: PublicKeyText,
    /// The commands it may give.
    #[schemars(length(min = 1, max = 9))]
    pub commands: Vec<CommandName>,
    /// Until when, `"2027-06-30T00:00:00Z"`: nothing signed with it counts afterwards.
    pub valid_until: Timestamp,
}

/// The 32 bytes of an Ed25519 public key (RFC 8032), in base64: as they are (the `x` of a JWK, RFC
/// 8037), or as the body of a PEM `PUBLIC KEY` (RFC 8410).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PublicKeyText([u8; 32]);

impl PublicKeyText {
    /// Reads the base64 text.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config("this is not an Ed25519 public key")
                .remedy("copy the line that `vigil hub key` prints, or the body of a PEM PUBLIC KEY")
        };
        let text = text.trim();
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .or_else(|_| STANDARD.decode(text))
            .map_err(|_| wrong())?;
        let key = bytes.strip_prefix(&SPKI).unwrap_or(&bytes);
        key.try_into().map(Self).map_err(|_| wrong())
    }

    /// Wraps a key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for PublicKeyText {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<PublicKeyText> for String {
    fn from(key: PublicKeyText) -> String {
        URL_SAFE_NO_PAD.encode(key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_each_of_its_forms() {
        // RFC 8037 appendix A.2, and the same key as OpenSSL prints it.
        let jwk = PublicKeyText::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let pem = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        assert_eq!(PublicKeyText::parse(pem).unwrap(), jwk);
        assert_eq!(PublicKeyText::parse(&String::from(jwk)).unwrap(), jwk);
        for wrong in [
            "",
            "abc",
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR",
            "MCowBQYDK2VuAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        ] {
            assert!(PublicKeyText::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_that_changes_or_admits_is_ever_open() {
        let mut hub = HubConfig { open: Some(CommandName::ALL.to_vec()), ..HubConfig::default() };
        let here = MqttConfig::new("mqtt://127.0.0.1".to_owned().try_into().unwrap());
        let there = MqttConfig::new("mqtts://hub.example".to_owned().try_into().unwrap());
        assert_eq!(hub.open(&there), [CommandName::Verify, CommandName::Credential]);
        hub.open = None;
        assert_eq!(hub.open(&here), [CommandName::Verify, CommandName::Credential]);
        assert!(hub.open(&there).is_empty(), "a broker elsewhere");
        hub.open = Some(Vec::new());
        assert!(hub.open(&here).is_empty());
    }
}

//! One person's entry, as it is kept in memory and, sealed, on disk.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize;

use super::crypto::{Key, fill, same, unhex};
use super::index::Brief;
use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::event::{
    Basis, CredentialKind, CredentialText, EntryState, EntryTerms, EntryView, GalleryReason, Language,
    Minute, PersonRef, Purpose, WeeklyHours,
};

/// Sealed records are padded to a multiple of this, so that their length tells little.
const PAD: usize = 256;
/// Argon2id, RFC 9106 with the parameters of OWASP's password storage page: 19 MiB, two passes.
const ARGON: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Who asked for something: `operator:alice`, `hub:hub-1`, `desk:reception`, `system`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Actor(String);

impl Actor {
    /// Checks and wraps: 1 to 64 letters, digits and `.`, `_`, `-`, `:`.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'));
        if ok {
            Ok(Self(text))
        } else {
            Err(Error::new(Kind::Usage, Culprit::Request, "this does not name who asks")
                .remedy("use 1 to 64 letters, digits, ., _, - and :"))
        }
    }

    /// The box itself: expiry, housekeeping.
    pub fn system() -> Self {
        Self("system".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Actor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Actor {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Actor> for String {
    fn from(a: Actor) -> String {
        a.0
    }
}

/// A keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest(pub(super) [u8; 32]);

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        unhex(&text).map(Self).ok_or("not 64 hex digits")
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> String {
        hex(&d.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// A credential as it is kept: what it is looked up by, and for a PIN what it is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredCredential {
    pub(super) kind: CredentialKind,
    pub(super) lookup: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pin: Option<StoredPin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPin {
    salt: Digest,
    hash: Digest,
}

/// A credential's value in its one spelling, overwritten when dropped.
struct Spelled(String);

impl Drop for Spelled {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Spelled {
    /// The value that is looked up, and the PIN behind it.
    fn of(credential: &CredentialText) -> std::result::Result<(Self, Option<Self>), GalleryReason> {
        let malformed = Err(GalleryReason::CredentialMalformed);
        if credential.value.is_empty() || credential.value.len() > 128 {
            return malformed;
        }
        if credential.kind == CredentialKind::Pin {
            let Some((number, pin)) = credential.value.split_once('#') else { return malformed };
            let digits = |text: &str, least: usize| {
                (least..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
            };
            if !digits(number, 1) || !digits(pin, 4) {
                return malformed;
            }
            return Ok((Self(number.to_owned()), Some(Self(pin.to_owned()))));
        }
        let mut plain = Self(String::with_capacity(credential.value.len()));
        for c in credential.value.chars().filter(|c| !matches!(c, ' ' | ':' | '-')) {
            if !c.is_ascii_graphic() {
                return malformed;
            }
            plain.0.push(c.to_ascii_uppercase());
        }
        if plain.0.is_empty() { malformed } else { Ok((plain, None)) }
    }
}

/// What a credential is looked up by, without checking a PIN.
pub(super) fn lookup(key: &Key, credential: &CredentialText) -> std::result::Result<Digest, GalleryReason> {
    let (plain, _) = Spelled::of(credential)?;
    Ok(digest(key, credential.kind, &plain))
}

fn digest(key: &Key, kind: CredentialKind, plain: &Spelled) -> Digest {
    Digest(key.mac("vigil/gallery/credential/1", &[kind.as_str().as_bytes(), plain.0.as_bytes()]))
}

impl StoredCredential {
    /// The form that is kept.
    pub(super) fn make(
        key: &Key,
        credential: &CredentialText,
    ) -> Result<std::result::Result<Self, GalleryReason>> {
        let (plain, pin) = match Spelled::of(credential) {
            Ok(spelled) => spelled,
            Err(reason) => return Ok(Err(reason)),
        };
        let pin = match pin {
            None => None,
            Some(pin) => {
                let mut salt = [0; 32];
                fill(&mut salt)?;
                Some(StoredPin { salt: Digest(salt), hash: Digest(argon(key, &salt, &pin.0)?) })
            }
        };
        Ok(Ok(Self { kind: credential.kind, lookup: digest(key, credential.kind, &plain), pin }))
    }

    /// Whether the PIN in `credential` is this one's; a credential without a PIN needs none. Takes
    /// some 20 ms and 19 MiB on purpose.
    pub(super) fn proves(&self, key: &Key, credential: &CredentialText) -> Result<bool> {
        let Some(stored) = &self.pin else { return Ok(true) };
        match Spelled::of(credential) {
            Ok((_, Some(pin))) => Ok(same(&argon(key, &stored.salt.0, &pin.0)?, &stored.hash.0)),
            _ => Ok(false),
        }
    }
}

/// A PIN is short: without the box's own key its hash is worth nothing to whoever copies the disk.
fn argon(key: &Key, salt: &[u8; 32], pin: &str) -> Result<[u8; 32]> {
    let failed = |e: argon2::Error| Error::internal(format!("a PIN cannot be hashed: {e}"));
    let pepper = key.derive(b"vigil/gallery/1", b"pin")?;
    let (memory, passes, lanes) = ARGON;
    let params = argon2::Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
    let hasher = argon2::Argon2::new_with_secret(
        pepper.bytes(),
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        params,
    )
    .map_err(failed)?;
    let mut out = [0; 32];
    hasher.hash_password_into(pin.as_bytes(), salt, &mut out).map_err(failed)?;
    Ok(out)
}

/// What is sealed beside the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) person: PersonRef,
    pub(super) purpose: Purpose,
    pub(super) basis: Basis,
    pub(super) state: EntryState,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hours: Option<WeeklyHours>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<Language>,
    pub(super) created: Timestamp,
    pub(super) by: Actor,
    /// SHA-256 of the model that made the template.
    pub(super) model: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<StoredCredential>,
    /// What the enrolment was made from, as a keyed hash: the same again changes nothing.
    pub(super) source: Digest,
}

impl Record {
    /// JSON, padded with spaces.
    pub(super) fn to_bytes(&self) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(2048));
        serde_json::to_writer(&mut *bytes, self)
            .map_err(|e| Error::internal("an entry is not JSON").with_source(e))?;
        let padded = bytes.len().next_multiple_of(PAD);
        bytes.resize(padded, b' ');
        Ok(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::new(Kind::Corrupt, Culprit::Disk, "an entry's record cannot be read").with_source(e)
        })
    }
}

/// An entry in memory.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) slot: u32,
    pub(super) record: Record,
}

/// How an entry stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It holds.
    Valid,
    /// It does not hold yet.
    NotYet,
    /// It has expired.
    Expired,
    /// It holds, but not at this hour of the week.
    OutOfHours,
    /// It was revoked.
    Revoked,
    /// Its template is gone with its model: the person has to be photographed again.
    Awaiting,
}

impl Row {
    pub(super) fn standing(&self, now: Timestamp, minute: Minute) -> Standing {
        match Brief::of(&self.record).standing(now.as_second()) {
            Standing::Valid if self.record.hours.as_ref().is_some_and(|h| !h.contain_minute(minute)) => {
                Standing::OutOfHours
            }
            standing => standing,
        }
    }

    pub(super) fn view(&self) -> EntryView {
        let r = &self.record;
        EntryView {
            entry: self.id,
            person_ref: r.person.clone(),
            purpose: r.purpose,
            basis: r.basis.clone(),
            state: r.state,
            valid_from: r.from,
            valid_until: r.until,
            hours: r.hours.clone(),
            language: r.language,
            created: r.created,
            created_by: r.by.to_string(),
            model: r.model.clone(),
            credentials: r.credentials.iter().map(|c| c.kind).collect(),
        }
    }
}

/// A keyed hash over what an enrolment is made from.
pub(super) fn source_digest(
    key: &Key,
    terms: &EntryTerms,
    model: &str,
    pictures: &[&[u8]],
) -> Result<Digest> {
    let terms = zeroize::Zeroizing::new(
        serde_json::to_vec(terms).map_err(|e| Error::internal("terms are not JSON").with_source(e))?,
    );
    let mut parts: Vec<&[u8]> = vec![&terms, model.as_bytes()];
    parts.extend_from_slice(pictures);
    Ok(Digest(key.mac("vigil/gallery/source/1", &parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: CredentialKind, value: &str) -> CredentialText {
        CredentialText { kind, value: value.to_owned() }
    }

    #[test]
    fn a_card_is_the_same_however_its_reader_spells_it() {
        let key = Key::generate().unwrap();
        let of = |kind, value: &str| lookup(&key, &text(kind, value));
        let card = of(CredentialKind::Card, "04:A1:b2:C3").unwrap();
        assert_eq!(of(CredentialKind::Card, "04a1-B2c3 ").unwrap(), card);
        assert_ne!(of(CredentialKind::Tag, "04A1B2C3").unwrap(), card, "a tag is no card");
        assert_ne!(lookup(&Key::generate().unwrap(), &text(CredentialKind::Card, "04A1B2C3")).unwrap(), card);
        for wrong in ["", " - ", "a\nb", "卡", &"1".repeat(129)] {
            assert_eq!(of(CredentialKind::Card, wrong), Err(GalleryReason::CredentialMalformed), "{wrong:?}");
        }
    }

    #[test]
    fn a_pin_is_found_by_its_number_and_proved_by_itself() {
        let key = Key::generate().unwrap();
        let pin = text(CredentialKind::Pin, "104#471100");
        let stored = StoredCredential::make(&key, &pin).unwrap().unwrap();
        let wrong = text(CredentialKind::Pin, "104#471101");
        assert_eq!(lookup(&key, &wrong).unwrap(), stored.lookup);
        assert!(stored.proves(&key, &pin).unwrap());
        assert!(!stored.proves(&key, &wrong).unwrap());
        assert!(!stored.proves(&Key::generate().unwrap(), &pin).unwrap(), "the box's key is part of it");
        for wrong in ["471100", "104#47", "104#47110a", "#471100"] {
            assert_eq!(
                StoredCredential::make(&key, &text(CredentialKind::Pin, wrong)).unwrap(),
                Err(GalleryReason::CredentialMalformed)
            );
        }
    }
}

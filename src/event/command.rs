//! Commands to the box and its replies.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{
    CheckStatus, Envelope, GalleryDone, GalleryPage, MissionView, Refusal, VerifyMode, VerifyResult,
};
use crate::base::{Error, Name};

/// A portrait as base64 text (RFC 4648 section 4, with padding): a JPEG, PNG, BMP or JPEG 2000
/// file. It shows a face: it is never printed and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PortraitText(#[schemars(extend("contentEncoding" = "base64"))] String);

impl PortraitText {
    /// Wraps base64 text; whether it is base64 shows when it is decoded.
    pub fn new(base64: impl Into<String>) -> Self {
        Self(base64.into())
    }

    /// The base64 text.
    pub fn as_base64(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PortraitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortraitText({} characters)", self.0.len())
    }
}

impl Drop for PortraitText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A text that says who somebody is: never printed, overwritten when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PersonalText(String);

impl PersonalText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonalText({} bytes)", self.0.len())
    }
}

impl Drop for PersonalText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A file of the chip as base64 text (RFC 4648 section 4, with padding). Never printed,
/// overwritten when dropped.
pub type FileText = PortraitText;

/// What the document reader's own software found out. It is repeated in the result: send its words,
/// nothing of the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReaderReport {
    /// What the software calls itself, 1 to 64 characters.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Its checks.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub checks: Vec<ReaderCheck>,
}

/// One check of the reader's own software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReaderCheck {
    /// Its name there. `authenticity` is the one that says whether the document is genuine.
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,32}$"))]
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// The software's own word for that, up to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub word: Option<String>,
}

/// What the document reader read. Everything may be left out; what is there is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentCommand {
    /// The number: of a Chinese identity card, a residence permit or a permanent residence card; or,
    /// beside a machine-readable zone, the number printed elsewhere on the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<PersonalText>,
    /// First day of validity: `2015-03-01`, `20150301` or `2015.03.01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<PersonalText>,
    /// Last day of validity, in the same forms, or `长期` or `long_term`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<PersonalText>,
    /// The name as it is printed, in Latin or Cyrillic letters, to be compared with the
    /// machine-readable zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<PersonalText>,
    /// The lines of the machine-readable zone as they were read optically, with or without line
    /// breaks between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrz: Option<PersonalText>,
    /// Files of the chip by name, `ef_com`, `ef_sod`, `dg1` to `dg16`, each in base64; 1 MiB in all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileText>,
    /// What the document reader's own software found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<ReaderReport>,
}

/// The payload of `cmd/verify`: compare the guest in front of a camera with a portrait. A key that
/// is not listed here is refused, because somebody relies on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyCommand {
    /// What the requester calls this request; the answer comes on `reply/{correlation}`. With MQTT
    /// 5 it may be left out here and given as the correlation data property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// Compare the face, or the guest declines the camera.
    #[serde(default)]
    pub mode: VerifyMode,
    /// The document's portrait; required with `mode` = `face` unless `document` has `dg2`, whose portrait
    /// is then preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portrait: Option<PortraitText>,
    /// What else the document reader read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentCommand>,
    /// Which camera sees the guest; `verify.camera` of the configuration if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<Name>,
    /// The answer comes within this many milliseconds of the request's arrival;
    /// `verify.deadline_ms` of the configuration if left out, `verify.max_deadline_ms` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub deadline_ms: Option<u32>,
    /// Whether the guest is asked to turn the head; `verify.presentation.mode` of the
    /// configuration if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presentation: Option<bool>,
}

/// The payload of `cmd/identify`: look up the guest in front of a camera, who has no papers. The reply
/// says how many candidates there are; who they are, the desk alone is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentifyCommand {
    /// What the requester calls this request; the result comes on `reply/{correlation}`. With MQTT 5
    /// it may be left out here and given as the correlation data property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// Which camera sees the guest; `identify.camera` of the configuration if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<Name>,
    /// Only entries of these purposes; out of `identify.purposes` of the configuration, which are
    /// searched if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub purposes: Option<Vec<crate::config::Purpose>>,
    /// The answer comes within this many milliseconds of the request's arrival;
    /// `identify.deadline_ms` of the configuration if left out, `verify.max_deadline_ms` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub deadline_ms: Option<u32>,
    /// Whether the guest is asked to turn the head; `verify.presentation.mode` of the configuration
    /// if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presentation: Option<bool>,
}

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// It was carried out. Of a verification that says nothing about its outcome.
    Ok,
    /// It was not carried out.
    Error,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyError {
    /// One word for programs: `usage` or `malformed` (the request is wrong), `too_large`,
    /// `unsupported`, `not_found`, `unavailable`, `timeout`, `refused`, `no_space`, `internal` …
    pub code: String,
    /// One line for a person.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Why it was refused; only where whoever asked may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
}

impl From<&Error> for ReplyError {
    fn from(e: &Error) -> Self {
        Self {
            code: e.kind().as_str().to_owned(),
            message: e.what(),
            remedy: e.advice().map(str::to_owned),
            reason: None,
        }
    }
}

/// The payload of `reply/{correlation}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// What the requester called the request.
    pub correlation: String,
    /// How the command went.
    pub status: ReplyStatus,
    /// Why it was not carried out; only with `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReplyError>,
    /// The event that the command led to, as it is published on `event/{kind}`: durable on the
    /// box, with the same `id`. `notafter` binds whoever acts on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Envelope>,
    /// The result of a verification that could not be recorded, and therefore actuates nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<VerifyResult>,
    /// How an order about the gallery ended; a refusal of the gallery's own is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery: Option<GalleryDone>,
    /// Who is enrolled: the answer to `gallery/list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<GalleryPage>,
    /// The mission that an order was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mission: Option<MissionView>,
}

impl Reply {
    /// The command was carried out, and there is nothing to say about it.
    pub fn done(correlation: impl Into<String>) -> Self {
        Self {
            correlation: correlation.into(),
            status: ReplyStatus::Ok,
            error: None,
            event: None,
            unrecorded: None,
            gallery: None,
            page: None,
            mission: None,
        }
    }

    /// The command led to `event`.
    pub fn event(correlation: impl Into<String>, event: Envelope) -> Self {
        Self { event: Some(event), ..Self::done(correlation) }
    }

    /// The command was not carried out.
    pub fn error(correlation: impl Into<String>, error: &Error) -> Self {
        Self { status: ReplyStatus::Error, error: Some(error.into()), ..Self::done(correlation) }
    }

    /// Whoever gave the command may not.
    pub fn refused(correlation: impl Into<String>, error: &Error, reason: Refusal) -> Self {
        let error = ReplyError { reason: Some(reason), ..error.into() };
        Self { status: ReplyStatus::Error, error: Some(error), ..Self::done(correlation) }
    }

    /// A verification ended, but could not be recorded for the reason that `error` gives.
    pub fn unrecorded(correlation: impl Into<String>, result: VerifyResult, error: &Error) -> Self {
        Self { unrecorded: Some(result), ..Self::error(correlation, error) }
    }

    /// An order about the gallery was dealt with.
    pub fn gallery(correlation: impl Into<String>, done: GalleryDone) -> Self {
        Self { gallery: Some(done), ..Self::done(correlation) }
    }

    /// A page of entries.
    pub fn page(correlation: impl Into<String>, page: GalleryPage) -> Self {
        Self { page: Some(page), ..Self::done(correlation) }
    }

    /// An order about a mission was carried out.
    pub fn mission(correlation: impl Into<String>, mission: MissionView) -> Self {
        Self { mission: Some(mission), ..Self::done(correlation) }
    }
}

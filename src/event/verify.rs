//! `verify.result`: a live face compared with the portrait of a document.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DocumentReport;
use crate::base::{Name, TimeSource};

/// How a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The live face and the portrait belong to one person, at the stated false match rate.
    Match,
    /// They do not, or not clearly enough for the stated false match rate.
    NoMatch,
    /// Nobody was seen until the deadline.
    NoFace,
    /// Several people stood equally close: the box does not choose.
    MultipleFaces,
    /// A face was seen, or a portrait given, but never well enough to compare.
    PoorQuality,
    /// The presentation check failed.
    PresentationAttackSuspected,
    /// The deadline came before an answer.
    Timeout,
    /// Something other than the guest prevented the comparison; the reason says what.
    Error,
    /// The guest declined the camera: the document alone was handed over, no face was looked at.
    DocumentOnly,
    /// The document failed its checks (or, where the site requires it, did not pass them): whatever
    /// the faces said, nothing may open. In place of `match` and `document_only`.
    DocumentRejected,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyMode {
    /// Compare the live face with the portrait.
    #[default]
    Face,
    /// The guest declines the camera.
    DocumentOnly,
}

/// Whether a check was made, and how it ended. Not checked is never passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Made and passed.
    Pass,
    /// Made and failed.
    Fail,
    /// Not made; the reason says why.
    NotChecked,
}

/// The checks of a verification, in the order in which a guest meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The document itself: number, machine-readable zone, chip.
    Document,
    /// The portrait can be decoded and shows one usable face.
    ReferencePortrait,
    /// The camera delivers fresh pictures.
    Camera,
    /// One person stands in front of the camera.
    LiveFace,
    /// That face is large, sharp, lit and frontal enough.
    FaceQuality,
    /// The face is a live head and not a picture of one (ISO/IEC 30107-3: PAD).
    PresentationAttack,
    /// The live face and the portrait belong to one person.
    FaceComparison,
    /// At a door: the credential is one that somebody here holds.
    Credential,
    /// At a door: the credential's time has begun and is not over.
    Lease,
    /// At a door: it is one of the hours in which the person may pass.
    WeeklyHours,
    /// At a door: there were not too many failures before.
    Lockout,
    /// At a door: the credential is not at another door at this moment.
    OnePlace,
    /// At a door: the person is on the side from which the door is entered.
    PassBack,
    /// At a door: the gallery has a template of the person, made by the model in use.
    ReferenceTemplate,
    /// A member of staff admits the person at a door, or recognises the guest whom a search named.
    StaffConfirmation,
    /// At a door: nobody followed the person through it.
    Tailgating,
    /// The face was looked up among the people who may be named.
    GallerySearch,
}

/// Why a check did not pass, in words that a program can branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The box has no such check installed or turned on.
    NotConfigured,
    /// The request did not ask for it or did not carry what it needs.
    NotRequested,
    /// The guest declined the camera.
    DeclinedByGuest,
    /// A check before it failed.
    EarlierCheckFailed,
    /// The deadline came first.
    DeadlineReached,
    /// The chip's files are not what the issuer signed, or the reader says that the document is not
    /// genuine.
    DocumentNotAuthentic,
    /// The document is not valid today.
    DocumentExpired,
    /// Number, check digits, dates or texts of the document contradict each other or what exists.
    DocumentInconsistent,
    /// Of what makes a document pass, something did not come: number or machine-readable zone,
    /// validity.
    DocumentIncomplete,
    /// Nothing proves that the document is genuine: no chip, no trusted issuer, no word of a reader
    /// that counts.
    DocumentUnproven,
    /// The portrait's bytes cannot be decoded, or are larger than accepted.
    PortraitUnreadable,
    /// No face was found in the portrait.
    PortraitNoFace,
    /// More than one face was found in the portrait.
    PortraitSeveralFaces,
    /// The portrait's face is too small to compare.
    PortraitTooSmall,
    /// The portrait's face is too blurred, dark or turned to compare.
    PortraitPoor,
    /// The camera is not delivering.
    CameraUnavailable,
    /// Nobody stands in front of the camera.
    NoFaceSeen,
    /// Several people stand equally close.
    SeveralPeople,
    /// The face is too far away: too few pixels between the eyes.
    TooSmall,
    /// The face is blurred.
    Blurred,
    /// The face is too dark.
    TooDark,
    /// The face is too bright.
    TooBright,
    /// The face is turned away.
    TurnedAway,
    /// The face touches the picture's edge.
    CutOff,
    /// The comparison stayed below the threshold.
    BelowThreshold,
    /// The face moved as a flat picture does.
    MovedAsFlat,
    /// The requested movement was not seen.
    ChallengeNotPerformed,
    /// The face changed to another person's during the check.
    FaceChanged,
    /// Another session holds this camera.
    CameraBusy,
    /// The box cannot record decisions now, so it takes none.
    StorageUnavailable,
    /// A fault inside the box; its log has the details.
    InternalFault,
    /// Nobody here holds this credential.
    UnknownCredential,
    /// The reader compared by itself, and says no.
    ReaderSaidNo,
    /// Nobody presented anything.
    NothingPresented,
    /// The credential's time has not begun.
    LeaseNotBegun,
    /// The credential's time is over.
    LeaseExpired,
    /// The credential was taken back before its time was over.
    LeaseRevoked,
    /// Not at this hour.
    OutsideHours,
    /// Too many failures: nothing is looked at for a while.
    LockedOut,
    /// The same credential is at another door, or was too short a time ago.
    AtAnotherDoor,
    /// The person went in by this credential and has not come out.
    PassedBack,
    /// The box does not know on which side of the door the person is.
    WhereaboutsUnknown,
    /// The gallery has no template of the person that the model in use could compare.
    NoTemplate,
    /// The gallery cannot be read.
    GalleryUnavailable,
    /// Staff did not admit the person.
    RefusedByStaff,
    /// No member of staff decided in time.
    StaffAbsent,
    /// A second face came close behind.
    FollowedClosely,
    /// A member of staff has to decide.
    AwaitsStaff,
    /// The calibration has no data for a threshold that keeps the rate at this size of the gallery.
    ThresholdUnsupported,
    /// There is nobody to be compared with.
    NobodyEnrolled,
}

/// One check and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Which check.
    pub name: CheckName,
    /// How it ended.
    pub status: CheckStatus,
    /// Why it did not pass; absent when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Check {
    /// Made and passed.
    pub fn pass(name: CheckName) -> Self {
        Self { name, status: CheckStatus::Pass, reason: None }
    }

    /// Made and failed.
    pub fn fail(name: CheckName, reason: Reason) -> Self {
        Self { name, status: CheckStatus::Fail, reason: Some(reason) }
    }

    /// Not made.
    pub fn not_checked(name: CheckName, reason: Reason) -> Self {
        Self { name, status: CheckStatus::NotChecked, reason: Some(reason) }
    }
}

/// A comparison score without its number: an attacker who sees scores can climb them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Nothing in common: strangers' median or less.
    FarBelow,
    /// Under the threshold.
    Below,
    /// Within the measurement's noise around the threshold; which side, the outcome says.
    Near,
    /// Over the threshold.
    Above,
    /// Over the threshold of a false match rate a hundred times stricter, or of the strictest
    /// rate the calibration knows.
    FarAbove,
}

/// Which model, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRef {
    /// Name in the model manifest.
    pub name: String,
    /// SHA-256 of the model file, lower-case hex.
    pub sha256: String,
}

/// What the comparison said, and what that is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Where the score lies relative to the threshold.
    pub band: Band,
    /// The false match rate the threshold was set for (ISO/IEC 19795-1): the share of
    /// comparisons of two different people that would pass.
    pub fmr: f64,
    /// The population whose calibration row set the threshold.
    pub population: String,
    /// The embedding model.
    pub model: ModelRef,
    /// How many live pictures were fused into the compared template.
    pub pictures: u32,
    /// Raw numbers, only with `privacy.diagnostics = true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Diagnostics>,
}

/// Raw numbers for commissioning a site, only with `privacy.diagnostics = true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostics {
    /// Cosine similarity, −1 to 1.
    pub score: f32,
    /// The threshold it was compared with.
    pub threshold: f32,
}

/// What was known of the camera's pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureFacts {
    /// Which camera.
    pub camera: Name,
    /// Where picture times come from.
    pub time_source: TimeSource,
    /// Time of the last picture the answer rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_picture: Option<Timestamp>,
    /// Pictures looked at.
    pub pictures: u32,
    /// Pictures that came while the box was busy with an earlier one.
    pub skipped: u32,
}

/// Where the portrait came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortraitSource {
    /// A file of the request.
    #[default]
    Request,
    /// Data group 2 of the document's chip.
    Chip,
}

/// What was known of the portrait. Nothing in here describes the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceFacts {
    /// Where it came from. A chip's portrait is preferred to one of the request.
    #[serde(default)]
    pub source: PortraitSource,
    /// Columns and rows of the picture as sent.
    pub width: u32,
    /// Rows of the picture as sent.
    pub height: u32,
    /// Pixels between the eyes, if a face was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_ocular_px: Option<u32>,
}

/// Where the time went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// From the request's arrival to the decision, milliseconds.
    pub elapsed_ms: u32,
    /// The deadline that was asked for, milliseconds.
    pub deadline_ms: u32,
}

/// The data of a `verify.result` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyResult {
    /// This verification.
    pub session: Uuid,
    /// What the requester called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What was asked for.
    pub mode: VerifyMode,
    /// How it ended.
    pub outcome: Outcome,
    /// Every check, made or not.
    pub checks: Vec<Check>,
    /// Present once a comparison was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Present unless the guest declined the camera or no camera was concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureFacts>,
    /// Present once the portrait could be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceFacts>,
    /// Present once a document that came with the request was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentReport>,
    /// Where the time went.
    pub timing: Timing,
}

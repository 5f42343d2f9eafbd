//! What the world is told: event types, the CloudEvents envelope, JSON Schema, AsyncAPI.
//!
//! Nothing here knows how an event was decided or how it travels. A field that would carry a
//! picture, a template or a raw score does not exist, except where its documentation names the
//! configuration key that turns it on.

mod alarm;
mod command;
mod document;
mod papers;
mod envelope;
mod gate;
mod gallery;
mod refusal;
mod search;
pub mod schema;
mod signed;
mod status;
pub mod topic;
mod verify;
mod watch;

pub use alarm::{AlarmCode, AlarmState, BoxAlarm};
pub use command::{
    DocumentCommand, FileText, IdentifyCommand, PersonalText, PortraitText, ReaderCheck, ReaderReport, Reply,
    ReplyError, ReplyStatus, VerifyCommand,
};
pub use document::{
    ChipChain, ChipChainReason, ChipChainStatus, ChipCom, ChipComStatus, ChipDataGroup, ChipDataGroupStatus,
    ChipIrregularity, ChipReport, ChipRevocation, ChipSignature, ChipSignatureReason, ChipSignatureStatus,
    ChipValidAt,
};
pub use envelope::{Draft, Envelope, EventKind, SPEC_VERSION};
pub use gallery::{
    AuditMark, Basis, Candidate, CredentialKind, CredentialText, EntryState, EntryTerms, EntryView,
    GalleryChange, GalleryChanged, GalleryDone, GalleryList, GalleryPage, GalleryPut, GalleryReason,
    GalleryRevoke, IdentifyAnswer, IdentifyOutcome, IdentifyResult, IdentifyWaiting, Language,
    MAX_CREDENTIALS, MAX_LIFE_DAYS, MAX_NAMED, MAX_PHOTOS, MISSING_PERSON_DAYS, Minute, PersonRef, Purpose,
    Reference, SearchTerms, WeeklyHours,
};
pub use gate::{
    Act, Actuation, ConfirmCommand, CredentialCommand, DoorCondition, DoorState, EquipmentRead, GateDecision,
    GateOutcome, GatePassage, Means, Movement, ReadKind, ReadText, ReaderVerdict, Waiting, Way, WhenIll,
};
pub use papers::{
    Disclosed, DocumentCheck, DocumentCheckName, DocumentKind, DocumentReason, DocumentReport, Examiner, Sex,
};
pub use refusal::Refusal;
pub use search::{
    Chip, ClassLikelihoods, CotHealth, CoverageFeature, CoverageGeometry, CoverageMap, CoverageProperties,
    DetectionState, DetectorName, Ellipse90, EndReason, Evidence, FeatureCollectionType, FeatureType,
    GeoJsonText, LonLat, MissionStart, MissionStop, MissionView, Movement2d, MultiPolygonType, PodClass,
    PoseInput, PoseInputs, Position, PositionMethod, Radiometry, SearchCoverage, SearchDetection,
    SearchHealth, SearchState, SearchTarget, TargetClass, ThermalPolarity, Vegetation,
};
pub use signed::{CommandClaims, SignedCommand};
pub use status::{
    Birth, BirthCamera, BusHealth, CameraCondition, CameraHealth, CameraKind, CameraState, DoorHealth,
    Health, LocksHealth, OfflineReason, OutboxHealth, Presence, PromptsHealth, State,
};
pub use verify::{
    Band, CaptureFacts, Check, CheckName, CheckStatus, Comparison, Diagnostics, ModelRef, Outcome,
    PortraitSource, Reason, ReferenceFacts, Timing, VerifyMode, VerifyResult,
};
pub use watch::{Authority, Travel, WatchCamera, WatchHealth, WatchSighting};

/// Where a decided event goes to be made durable. The outbox is one.
pub trait Recorder: Send + Sync {
    /// Hands `draft` over without waiting. The receiver yields the finished event once it is on
    /// disk, or the reason why it is not; nothing may be done on the strength of a decision before.
    fn record(&self, draft: Draft) -> tokio::sync::oneshot::Receiver<crate::base::Result<Envelope>>;

    /// Whether a decision taken now could be recorded. While it could not, none is taken.
    fn ready(&self) -> crate::base::Result<()>;
}

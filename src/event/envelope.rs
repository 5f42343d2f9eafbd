//! The CloudEvents 1.0 envelope (JSON event format), and the draft it is made from.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    BoxAlarm, GalleryChanged, GateDecision, GatePassage, IdentifyResult, SearchCoverage, SearchDetection,
    VerifyResult, WatchSighting,
};
use crate::base::{Culprit, Error, Kind, Result, TimeQuality};

/// The version of CloudEvents.
pub const SPEC_VERSION: &str = "1.0";

/// The kinds of event, as in the topic `event/{kind}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventKind {
    /// A live face against a document's portrait.
    #[serde(rename = "verify.result")]
    VerifyResult,
    /// Something about the box itself.
    #[serde(rename = "box.alarm")]
    BoxAlarm,
    /// Whether a door may open.
    #[serde(rename = "gate.decision")]
    GateDecision,
    /// What happened at a door besides.
    #[serde(rename = "gate.passage")]
    GatePassage,
    /// Who is in the gallery changed.
    #[serde(rename = "gallery.changed")]
    GalleryChanged,
    /// A guest without papers was looked up.
    #[serde(rename = "identify.result")]
    IdentifyResult,
    /// A missing person was seen.
    #[serde(rename = "watch.sighting")]
    WatchSighting,
    /// Something warm on the ground.
    #[serde(rename = "search.detection")]
    SearchDetection,
    /// Which ground was looked at.
    #[serde(rename = "search.coverage")]
    SearchCoverage,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::VerifyResult,
        Self::BoxAlarm,
        Self::GateDecision,
        Self::GatePassage,
        Self::GalleryChanged,
        Self::IdentifyResult,
        Self::WatchSighting,
        Self::SearchDetection,
        Self::SearchCoverage,
    ];

    /// The kind's name in a topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyResult => "verify.result",
            Self::BoxAlarm => "box.alarm",
            Self::GateDecision => "gate.decision",
            Self::GatePassage => "gate.passage",
            Self::GalleryChanged => "gallery.changed",
            Self::IdentifyResult => "identify.result",
            Self::WatchSighting => "watch.sighting",
            Self::SearchDetection => "search.detection",
            Self::SearchCoverage => "search.coverage",
        }
    }

    /// The CloudEvents `type` attribute.
    pub fn cloud_event_type(self) -> String {
        format!("vigil.v1.{}", self.as_str())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == s).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|k| k.as_str()).collect();
            Error::new(Kind::Usage, Culprit::Request, format!("{s:?} is not a kind of event"))
                .remedy(format!("known kinds: {}", known.join(", ")))
        })
    }
}

/// A decided event before it is made durable: it gets its id, sequence number and time quality
/// from the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Which kind.
    pub kind: EventKind,
    /// What it is about, in one word an operator can filter on: a camera, a component.
    pub subject: Option<String>,
    /// When it was decided.
    pub time: Timestamp,
    /// After this moment the event must not actuate anything.
    pub not_after: Option<Timestamp>,
    /// The payload.
    pub data: serde_json::Value,
}

impl Draft {
    /// A verification's result.
    pub fn verify_result(result: &VerifyResult, time: Timestamp, not_after: Timestamp) -> Result<Self> {
        Ok(Self {
            kind: EventKind::VerifyResult,
            subject: result.capture.as_ref().map(|c| c.camera.to_string()),
            time,
            not_after: Some(not_after),
            data: to_json(result)?,
        })
    }

    /// Whether a door may open.
    pub fn gate_decision(decision: &GateDecision, time: Timestamp, not_after: Timestamp) -> Result<Self> {
        Ok(Self {
            kind: EventKind::GateDecision,
            subject: Some(decision.door.to_string()),
            time,
            not_after: Some(not_after),
            data: to_json(decision)?,
        })
    }

    /// What happened at a door besides.
    pub fn gate_passage(passage: &GatePassage, time: Timestamp) -> Result<Self> {
        Ok(Self {
            kind: EventKind::GatePassage,
            subject: Some(passage.door.to_string()),
            time,
            not_after: None,
            data: to_json(passage)?,
        })
    }

    /// An alarm about the box.
    pub fn box_alarm(alarm: &BoxAlarm, time: Timestamp) -> Result<Self> {
        Ok(Self {
            kind: EventKind::BoxAlarm,
            subject: alarm.about.clone(),
            time,
            not_after: None,
            data: to_json(alarm)?,
        })
    }
}

impl Draft {
    /// A change of the gallery. It has no subject: a pseudonym belongs into the data alone.
    pub fn gallery_changed(change: &GalleryChanged, time: Timestamp) -> Result<Self> {
        let data = to_json(change)?;
        Ok(Self { kind: EventKind::GalleryChanged, subject: None, time, not_after: None, data })
    }

    /// A search of the gallery, or a clerk's decision about it. It actuates nothing.
    pub fn identify_result(result: &IdentifyResult, time: Timestamp) -> Result<Self> {
        let data = to_json(result)?;
        Ok(Self { kind: EventKind::IdentifyResult, subject: None, time, not_after: None, data })
    }

    /// A missing person was seen. It actuates nothing.
    pub fn watch_sighting(sighting: &WatchSighting, time: Timestamp) -> Result<Self> {
        let subject = Some(sighting.camera.to_string());
        Ok(Self { kind: EventKind::WatchSighting, subject, time, not_after: None, data: to_json(sighting)? })
    }

    /// Something warm on the ground. It actuates nothing.
    pub fn search_detection(detection: &SearchDetection, time: Timestamp) -> Result<Self> {
        let (kind, subject) = (EventKind::SearchDetection, Some(detection.candidate.to_string()));
        Ok(Self { kind, subject, time, not_after: None, data: to_json(detection)? })
    }

    /// Which ground was looked at. It actuates nothing.
    pub fn search_coverage(coverage: &SearchCoverage, time: Timestamp) -> Result<Self> {
        let (kind, subject) = (EventKind::SearchCoverage, Some(coverage.mission.to_string()));
        Ok(Self { kind, subject, time, not_after: None, data: to_json(coverage)? })
    }
}

fn to_json(value: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|e| Error::internal("event data is not JSON").with_source(e))
}

/// A CloudEvents 1.0 event in the structured JSON mode. Attribute names are the specification's:
/// lower-case letters and digits only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// Identifies the event; the same in every resend. Consumers remove duplicates by it.
    pub id: Uuid,
    /// The box: `/vigil/v1/{site}/{box}`.
    pub source: String,
    /// `vigil.v1.{kind}`.
    #[serde(rename = "type")]
    pub ty: String,
    /// What it is about: a camera, a door, a component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was decided, UTC.
    pub time: Timestamp,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Counts up by one per event since `bootid` began, from 1: a gap is a loss.
    pub seq: u64,
    /// This run of the daemon.
    pub bootid: Uuid,
    /// How far `time` can be trusted.
    pub timequality: TimeQuality,
    /// True when this is not the first attempt to publish the event, or when it was decided while
    /// the broker was away.
    pub replayed: bool,
    /// After this moment the event must not actuate anything, replayed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notafter: Option<Timestamp>,
    /// The payload, by kind.
    pub data: serde_json::Value,
}

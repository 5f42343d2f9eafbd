//! `watch.sighting`: a missing person was seen. And what the box says of its looking.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Band, ModelRef, PersonRef, Purpose, Reference, SearchTerms};
use crate::base::{Name, TimeSource};
pub use crate::config::Authority;

/// Which way somebody went, as the camera saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Travel {
    /// Towards the camera: the face grew.
    Towards,
    /// Away from it: the face shrank.
    Away,
    /// To the left of the picture.
    Left,
    /// To the right of the picture.
    Right,
    /// The person stayed where they were.
    Stayed,
    /// The person was seen too shortly to say.
    Unknown,
}

/// The data of a `watch.sighting` event: somebody who passed a camera is like a missing person. One for
/// each pass. It decides nothing: people have to look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchSighting {
    /// This sighting.
    pub sighting: Uuid,
    /// Which camera.
    pub camera: Name,
    /// When the person was first seen in this pass.
    pub first_seen: Timestamp,
    /// The newest picture this rests on.
    pub last_seen: Timestamp,
    /// Where both times come from.
    pub time_source: TimeSource,
    /// Which way the person went, as far as was seen by then.
    pub travel: Travel,
    /// The missing person's pseudonym.
    pub person_ref: PersonRef,
    /// The entry.
    pub entry: Uuid,
    /// The reference of the authority's request, from the entry.
    pub authority_ref: Reference,
    /// The authority in charge, from the configuration.
    pub authority: Authority,
    /// Where the comparison lies relative to the threshold.
    pub band: Band,
    /// What the search promises: `fpir` is that of one look, of which a pass has two at most.
    pub terms: SearchTerms,
    /// How many people a day may be taken for a missing person wrongly, by the configuration.
    pub false_sightings_per_day: f64,
    /// How many pictures of the person were fused.
    pub pictures: u32,
    /// The embedding model.
    pub model: ModelRef,
}

/// One watched camera in `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchCamera {
    /// The camera.
    pub camera: Name,
    /// Whether its pictures are looked at now: not while nobody is missing, and not while `reason` holds.
    pub watching: bool,
    /// Why not, although somebody is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Pictures looked at since the daemon started.
    pub pictures: u64,
    /// People who passed well enough in view to be compared, since the daemon started.
    pub passages: u64,
    /// Sightings since the daemon started.
    pub sightings: u64,
    /// Sightings that could not be recorded.
    pub unrecorded: u64,
}

/// What is looked for outside a request, in `health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchHealth {
    /// What for.
    pub purpose: Purpose,
    /// The authority in charge.
    pub authority: Authority,
    /// Entries that are looked for now.
    pub missing: u32,
    /// People who passed in the last 24 hours, all cameras together.
    pub passages_24h: u64,
    /// How many were expected; above it more false sightings than configured are to be expected.
    pub passages_expected: u32,
    /// The cameras.
    pub cameras: Vec<WatchCamera>,
}

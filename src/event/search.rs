//! The search: what was found on the ground, what was looked at, and the orders of a mission.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ModelRef;
use crate::base::Name;
pub use crate::config::{SearchTarget, Vegetation};

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectionState {
    /// Told for the first time.
    New,
    /// Its place, class or likelihood changed, or it was seen again.
    Update,
    /// It is told no more; `end` says why.
    End,
}

/// Why a candidate is told no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The mission was stopped. What was found stays found.
    MissionStopped,
    /// Its place was looked at again and again, and nothing was there.
    OutOfEvidence,
    /// It moved, and was not seen again in time.
    Lost,
    /// It is the same thing as `merged_into`.
    Merged,
    /// More candidates than the box keeps; this one had the least evidence.
    Crowded,
}

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetClass {
    /// A person.
    Person,
    /// A vehicle, a motorcycle or bicycle among them.
    Vehicle,
    /// An animal.
    Animal,
    /// Warm and none of these: a stone, a sign, a drain.
    WarmObject,
}

/// How likely a candidate is what; the sum is 1. All four count as equally likely before anything was seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassLikelihoods {
    /// A person.
    pub person: f64,
    /// A vehicle.
    pub vehicle: f64,
    /// An animal.
    pub animal: f64,
    /// Anything else that is warm.
    pub warm_object: f64,
}

impl ClassLikelihoods {
    /// That of one class.
    pub fn of(&self, class: TargetClass) -> f64 {
        match class {
            TargetClass::Person => self.person,
            TargetClass::Vehicle => self.vehicle,
            TargetClass::Animal => self.animal,
            TargetClass::WarmObject => self.warm_object,
        }
    }

    /// The likeliest class.
    pub fn likeliest(&self) -> TargetClass {
        use TargetClass::{Animal, Person, Vehicle, WarmObject};
        // Of equals the first: to be looked at as a person is the safe side.
        [Person, Vehicle, Animal, WarmObject]
            .into_iter()
            .reduce(|best, other| if self.of(other) > self.of(best) { other } else { best })
            .unwrap_or(WarmObject)
    }
}

/// How the height of a position, and with it the position, was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PositionMethod {
    /// Lines of sight on an elevation model.
    Terrain,
    /// Lines of sight on a plane of a height that was set: on a slope it is off by more than it says.
    Flat,
    /// A range finder's distance.
    RangeFinder,
    /// Lines of sight that crossed.
    Fused,
}

/// An ellipse on the ground that holds the truth nine times in ten.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ellipse90 {
    /// Half of its long axis, metres.
    pub major_m: f64,
    /// Half of its short axis, metres.
    pub minor_m: f64,
    /// Direction of the long axis, degrees clockwise from true north, 0 to 180.
    pub azimuth_deg: f64,
}

/// A place on the ground, and how far off it may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// Latitude, WGS 84, degrees north.
    pub lat: f64,
    /// Longitude, WGS 84, degrees east.
    pub lon: f64,
    /// Metres above the WGS 84 ellipsoid.
    pub hae_m: f64,
    /// Radius in metres around the place that holds the truth nine times in ten.
    pub ce90_m: f64,
    /// Metres up or down that hold the height nine times in ten.
    pub le90_m: f64,
    /// The ellipse whose circle `ce90_m` is: people look along it first.
    pub ellipse90: Ellipse90,
    /// What the place was found with.
    pub method: PositionMethod,
    /// Age of the oldest telemetry that the newest look rests on, milliseconds.
    pub inputs_age_ms: u64,
}

/// What telemetry says, as a position needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoseInput {
    /// Where the camera is.
    Position,
    /// How high it is.
    Height,
    /// How the platform is turned.
    Platform,
    /// How the camera is turned.
    Gimbal,
    /// What the picture spans.
    FieldOfView,
}

/// What is wrong with what a position rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoseInputs {
    /// Nothing told them: the configuration's values were taken.
    pub assumed: Vec<PoseInput>,
    /// What told them was older than allowed: the place is worth less than `ce90_m` says.
    pub stale: Vec<PoseInput>,
}

/// Why a candidate is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Natural logarithm of how many times likelier what was seen is if something is there than if it was
    /// noise.
    pub something: f64,
    /// The same for: it is what the mission looks for, against the likeliest of everything else.
    pub target: f64,
    /// What either has to pass at the set rate, now.
    pub threshold: f64,
    /// That rate: false candidates per square kilometre.
    pub false_alarms_per_km2: f64,
}

/// How something moves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Movement2d {
    /// Metres a second.
    pub speed_mps: f64,
    /// One standard deviation of it.
    pub speed_sigma_mps: f64,
    /// Degrees clockwise from true north.
    pub course_deg: f64,
}

/// What the camera measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Radiometry {
    /// Temperatures.
    Radiometric,
    /// Contrast alone: warmer than what is around it.
    ContrastOnly,
}

/// How warmth looks in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThermalPolarity {
    /// Warm is bright.
    WhiteHot,
    /// Warm is dark.
    BlackHot,
}

/// Which detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectorName {
    /// The trained network.
    Learned,
    /// Local contrast against the background.
    Hotspot,
}

/// A small piece of the thermal picture; only with `search.chips`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chip {
    /// Always `image/png`.
    pub media_type: String,
    /// The file in base64.
    pub data: String,
}

/// The data of a `search.detection` event: something warm on the ground. It actuates nothing: people have
/// to go and look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchDetection {
    /// The candidate, the same from `new` to `end`.
    pub candidate: Uuid,
    /// What becomes of it.
    pub state: DetectionState,
    /// The mission.
    pub mission: Uuid,
    /// Which camera.
    pub camera: Name,
    /// What the mission looks for.
    pub looked_for: SearchTarget,
    /// Whether it is that, at the set rate of false alarms. Without it: something is there, and what it is
    /// `likelihoods` says.
    pub is_target: bool,
    /// The likeliest class.
    pub class: TargetClass,
    /// How likely it is what.
    pub likelihoods: ClassLikelihoods,
    /// Where it is.
    pub position: Position,
    /// What is wrong with what that rests on.
    pub inputs: PoseInputs,
    /// Why it is told.
    pub evidence: Evidence,
    /// When it was first seen, by the drone's clock.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// From how many directions or passes it was seen.
    pub views: u32,
    /// In how many frames it was seen.
    pub looks: u32,
    /// In how many frames it should have been seen and was not.
    pub misses: u32,
    /// How it moves; absent: it does not, as far as was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement2d>,
    /// Side in metres of a square of its size on the ground.
    pub size_m: f64,
    /// What the camera measures.
    pub radiometry: Radiometry,
    /// Its warmest part in kelvin; only with `radiometric`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmest_k: Option<f64>,
    /// How warmth looks in the picture; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polarity: Option<ThermalPolarity>,
    /// Which detectors saw it.
    pub detectors: Vec<DetectorName>,
    /// The models they run.
    pub models: Vec<ModelRef>,
    /// Why it is told no more; only with `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndReason>,
    /// The candidate that it is; only with `merged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<Uuid>,
    /// The best small picture of it; only with `search.chips`, never with `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip: Option<Chip>,
}

/// How well ground was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PodClass {
    /// Below 0.5: as good as not searched.
    Low,
    /// 0.5 to 0.8.
    Medium,
    /// 0.8 to 0.95.
    High,
    /// 0.95 and above.
    VeryHigh,
}

/// Always `FeatureCollection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeatureCollectionType {
    /// RFC 7946, section 3.3.
    #[default]
    FeatureCollection,
}

/// Always `Feature`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeatureType {
    /// RFC 7946, section 3.2.
    #[default]
    Feature,
}

/// Always `MultiPolygon`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MultiPolygonType {
    /// RFC 7946, section 3.1.7.
    #[default]
    MultiPolygon,
}

/// Longitude and latitude, WGS 84, degrees: the order of GeoJSON.
pub type LonLat = [f64; 2];

/// The ground of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageGeometry {
    /// Always `MultiPolygon`.
    #[serde(rename = "type")]
    pub ty: MultiPolygonType,
    /// Polygons; of each the outer ring, then the holes; each ring closed, outer rings counter-clockwise.
    pub coordinates: Vec<Vec<Vec<LonLat>>>,
}

/// What is said of the ground of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageProperties {
    /// The class.
    pub class: PodClass,
    /// Its area, square metres.
    pub area_m2: f64,
    /// The mean probability in it that a target that is there was detected.
    pub mean_pod: f64,
}

/// The ground of one class of probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageFeature {
    /// Always `Feature`.
    #[serde(rename = "type")]
    pub ty: FeatureType,
    /// Where.
    pub geometry: CoverageGeometry,
    /// How well.
    pub properties: CoverageProperties,
}

/// GeoJSON (RFC 7946): a `MultiPolygon` for each class that occurs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageMap {
    /// Always `FeatureCollection`.
    #[serde(rename = "type")]
    pub ty: FeatureCollectionType,
    /// One for each class that occurs.
    pub features: Vec<CoverageFeature>,
}

/// The data of a `search.coverage` event: which ground was looked at, and how well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchCoverage {
    /// The mission.
    pub mission: Uuid,
    /// What it looks for: the probabilities are those of detecting it.
    pub looked_for: SearchTarget,
    /// Until when the looks are counted, by the drone's clock.
    pub until: Timestamp,
    /// Whether the mission is over, and this is the last one.
    pub last: bool,
    /// The mission's area, square metres; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area_m2: Option<f64>,
    /// What of it was looked at at all, or all that was, square metres.
    pub seen_m2: f64,
    /// The share of the area with a probability of at least 0.5; absent if the mission has no area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched_share: Option<f64>,
    /// The mean probability over the area, ground that was not looked at counting as 0; over what was seen
    /// if there is none.
    pub mean_pod: f64,
    /// Side of the map's cells, metres. It grows so that the map stays small enough to be sent.
    pub cell_m: f64,
    /// Ground that was seen and has no place in the map any more, because that is full, square metres.
    pub unmapped_m2: f64,
    /// The map.
    pub map: CoverageMap,
}

/// GeoJSON that somebody sent: looked into by whoever uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GeoJsonText(pub serde_json::Map<String, serde_json::Value>);

/// The payload of `cmd/mission/start`. It is the `body` of a signed command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MissionStart {
    /// What the requester calls this request; the answer comes on `reply/{correlation}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// What people call the mission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 80))]
    pub name: Option<String>,
    /// The ground to be searched: a GeoJSON `Polygon` without holes, or a `Feature` of one; at most 1,000
    /// corners and 400 square kilometres, not across the 180th meridian. Without it coverage is mapped
    /// wherever the drone looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<GeoJsonText>,
    /// What is looked for; left out: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SearchTarget>,
    /// Where somebody was last seen: longitude and latitude, degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_point: Option<LonLat>,
    /// What grows there; left out: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vegetation: Option<Vegetation>,
}

/// The payload of `cmd/mission/stop`. It is the `body` of a signed command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MissionStop {
    /// What the requester calls this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// The mission; left out: the one that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mission: Option<Uuid>,
}

/// A mission, as an answer to an order tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MissionView {
    /// The mission.
    pub mission: Uuid,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it looks for.
    pub target: SearchTarget,
    /// When it began, by the drone's clock if there was one by then.
    pub started: Timestamp,
    /// When it was stopped; absent: it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// Its area in square metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area_m2: Option<f64>,
    /// Candidates told until now that are what is looked for.
    pub targets: u32,
    /// Other candidates told until now.
    pub others: u32,
}

/// What a search does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchState {
    /// No pictures come.
    Idle,
    /// Pictures come, and nobody has started a mission.
    Waiting,
    /// It looks.
    Searching,
    /// Pictures come, and nothing can be found in them, or not where: `reason` says why.
    Blind,
}

/// One Cursor-on-Target output, in `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CotHealth {
    /// Where it goes.
    pub url: String,
    /// Messages sent since the daemon started.
    pub sent: u64,
    /// Words that did not fit into its queue, and messages that could not be sent.
    pub dropped: u64,
    /// Why nothing can be sent now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How the search is, in `health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHealth {
    /// What it does now.
    pub state: SearchState,
    /// Why it is blind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The mission that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mission: Option<MissionView>,
    /// How long ago the drone last said something; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry_age_ms: Option<u64>,
    /// Frames since the daemon started.
    pub frames: u64,
    /// Of them: looked at, and their place known.
    pub looks: u64,
    /// Of them: showed the one before once more.
    pub repeated: u64,
    /// Of them: nothing could be looked for, or their place is not known.
    pub unplaced: u64,
    /// Why missions are not kept on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
    /// The Cursor-on-Target outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cot: Vec<CotHealth>,
}

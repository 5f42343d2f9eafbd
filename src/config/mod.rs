//! The configuration: types, defaults, loading, and everything that can be checked in a file
//! alone. One file per section that an operator would recognise.
//!
//! Holding a [`Config`] means it is valid in itself; whether the world agrees is for `check`.

mod camera;
mod desk;
mod document;
mod door;
mod gallery;
mod identify;
mod hub;
mod identity;
mod load;
mod models;
mod mqtt;
mod optics;
mod outbox;
mod problem;
pub mod reference;
mod rules;
mod search;
mod terrain;
mod telemetry;
mod stream;
mod thermal;
mod units;
mod verify;
mod watch;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use camera::{CameraConfig, FrameRate, PixelFormat, SourceUrl, Transport};
pub use desk::{DeskConfig, DeskTlsConfig, DeskTokenConfig, Role, TokenHash};
pub use document::{DisclosedField, DocumentConfig, OnFail};
pub use door::{
    ActuatorConfig, DoorConfig, EquipmentConfig, Fallback, HookUrl, Language, LockoutConfig, PromptsConfig,
    ReaderConfig, ReaderKind, Way, WhenIll,
};
pub use gallery::{FalsePositiveRate, GalleryConfig, Purpose, Zone};
pub use hub::{CommandName, HubConfig, HubKeyConfig, PublicKeyText};
pub use identify::IdentifyConfig;
pub use identity::IdentityConfig;
pub use load::{Lines, MAX_FILE_BYTES, MAX_PROBLEMS, load_str, load_with_lines, read_text, resolve_path};
pub use models::{InferenceConfig, ModelsConfig};
pub use mqtt::{BrokerConfig, BrokerUrl, MIN_KEEP_ALIVE_S, MqttConfig, MqttVersion, TlsConfig};
pub use optics::{LensConfig, OpticsConfig};
pub use outbox::OutboxConfig;
pub use problem::{Problem, Problems};
pub use search::{CotConfig, CotUrl, SearchConfig, SearchTarget, Vegetation};
pub use stream::{SrtAddress, SrtMode, UdpAddress};
pub use telemetry::{
    AltitudeAbove, AssumeConfig, BAUD_RATES, TelemetryConfig, TelemetryKind, TelemetryLink,
    TelemetrySigmaConfig, UtcOffset,
};
pub use terrain::{HeightAbove, TerrainConfig};
pub use thermal::{DistanceMode, MaskConfig, PlanckConfig, PolarityMode, RadiometryMode, ThermalConfig};
pub use units::{FalseMatchRate, Millis, Secret};
pub use verify::{PresentationConfig, PresentationMode, PrivacyConfig, QualityConfig, VerifyConfig};
pub use watch::{Authority, WatchConfig};

/// Everything a box is told in `vigil.toml`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this box is and where it keeps its state.
    #[serde(rename = "box")]
    pub identity: IdentityConfig,
    /// The cameras, each isolated from the others.
    #[serde(default, rename = "camera")]
    #[schemars(length(max = 16))]
    pub cameras: Vec<CameraConfig>,
    /// Verification of a guest against a document.
    #[serde(default)]
    pub verify: VerifyConfig,
    /// The checks of the document itself, and what of it may be told.
    #[serde(default)]
    pub document: DocumentConfig,
    /// What may leave the box.
    #[serde(default)]
    pub privacy: PrivacyConfig,
    /// Where the model files are.
    #[serde(default)]
    pub models: ModelsConfig,
    /// How they are run.
    #[serde(default)]
    pub inference: InferenceConfig,
    /// The broker that the box speaks to.
    pub mqtt: MqttConfig,
    /// The broker inside the box, for a box that stands alone.
    #[serde(default)]
    pub broker: Option<BrokerConfig>,
    /// The durable queue of events.
    #[serde(default)]
    pub outbox: OutboxConfig,
    /// The local HTTP face.
    #[serde(default)]
    pub desk: DeskConfig,
    /// The doors.
    #[serde(default, rename = "door")]
    #[schemars(length(max = 16))]
    pub doors: Vec<DoorConfig>,
    /// Equipment with tags, so that a door can say what was carried through it.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    pub equipment: Vec<EquipmentConfig>,
    /// The broker to which the doors' locks listen, if it is another one than that of `[mqtt]`.
    #[serde(default)]
    pub locks: Option<MqttConfig>,
    /// The voice of the doors.
    #[serde(default)]
    pub prompts: PromptsConfig,
    /// The people this box may recognise.
    #[serde(default)]
    pub gallery: Option<GalleryConfig>,
    /// Looking up guests without papers.
    #[serde(default)]
    pub identify: Option<IdentifyConfig>,
    /// Looking for missing persons.
    #[serde(default)]
    pub watch: Option<WatchConfig>,
    /// Looking for people from the air.
    #[serde(default)]
    pub search: Option<SearchConfig>,
    /// Commands over MQTT.
    #[serde(default)]
    pub hub: HubConfig,
    /// Keys whose holders may give commands.
    #[serde(default, rename = "hub_key")]
    #[schemars(length(max = 16))]
    pub hub_keys: Vec<HubKeyConfig>,
}

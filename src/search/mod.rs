//! The search box's decisions: evidence over time and ground, missions, coverage, and what of it survives
//! the flight.
//!
//! [`Search`] is a pure machine without clocks, threads or I/O: a [`Look`] (one frame's finds with the pose it
//! was taken from) goes in, [`Outcome`]s come out, and the same looks give the same outcomes. [`Keeper`] is
//! the thread that keeps a mission on the disk. How evidence works is in `docs/search.md`.
//!
//! ```
//! use jiff::Timestamp;
//! use vigil::config::SearchConfig;
//! use vigil::geo::{Angle, Attitude, EllipsoidHeight, FieldOfView, Geodetic, Gimbal, Height, LatLon, Pose};
//! use vigil::geo::PoseSigma;
//! use vigil::search::{DetectorModel, Ids, Look, Outcome, Search, SearchSetup};
//!
//! let config = SearchConfig::new("drone".parse().unwrap());
//! let setup = SearchSetup::new(&config, DetectorModel::default(), Vec::new());
//! let mut search = Search::new(setup, Ids::seeded([7; 32]));
//!
//! let time = Timestamp::from_second(1_790_000_000).unwrap();
//! let camera = LatLon::from_degrees(30.25, 120.15).unwrap();
//! let level = Attitude { yaw: Angle::ZERO, pitch: Angle::ZERO, roll: Angle::ZERO };
//! let pose = Pose {
//!     time,
//!     position: camera,
//!     height: Height::Ellipsoid(EllipsoidHeight(80.0)),
//!     platform: level,
//!     gimbal: Gimbal::World(Attitude { pitch: Angle::from_degrees(-90.0), ..level }),
//!     field_of_view: FieldOfView { horizontal: Angle::from_degrees(40.0), vertical: None },
//!     slant_range_m: None,
//!     ages: Vec::new(),
//!     assumed: Vec::new(),
//!     stale: Vec::new(),
//!     sigma: PoseSigma {
//!         horizontal_m: 1.0,
//!         vertical_m: 1.0,
//!         yaw: Angle::from_degrees(1.0),
//!         pitch: Angle::from_degrees(0.5),
//!         roll: Angle::from_degrees(0.5),
//!         field_of_view: Angle::ZERO,
//!     },
//! };
//! // What the camera geometry would say: the ground that the picture shows, and where in it a place is.
//! let footprint = [(30.2497, 120.1496), (30.2497, 120.1504), (30.2503, 120.1504), (30.2503, 120.1496)]
//!     .map(|(lat, lon)| LatLon::from_degrees(lat, lon).unwrap());
//! let pixel_of = |_: &Geodetic| Some([320.0, 256.0]);
//! let outcomes = search.frame(Look {
//!     time,
//!     pose: &pose,
//!     picture: [640, 512],
//!     height_above_ground_m: 60.0,
//!     pixel_angle: Angle::from_degrees(40.0 / 640.0),
//!     footprint: &footprint,
//!     finds: Vec::new(),
//!     pixel_of: &pixel_of,
//!     radiometric: false,
//!     polarity: None,
//!     contrast: 1.0,
//! });
//! // Nothing was found, and a mission began by itself. `search.stop(time)` ends it.
//! assert!(outcomes.iter().all(|o| matches!(o, Outcome::Coverage(_))));
//! assert!(search.mission().is_some());
//! ```

mod area;
mod assign;
mod calibration;
mod candidate;
mod chain;
pub mod cot;
mod coverage;
mod evidence;
mod export;
mod fuse;
mod ids;
mod kinds;
mod machine;
mod mission;
mod outline;
mod store;
mod turn;
mod word;

pub use area::{Area, MAX_AREA_M2, MAX_CORNERS};
pub use chain::{Blind, CameraOf, Chain, ChainParts, ChainStats, FrameTime};
pub use evidence::{DetectorModel, ScoreBin, ScoreTable};
pub use export::{MissionReport, geojson, kml};
pub use ids::Ids;
pub use machine::{CoverageView, Doubt, Find, Look, Outcome, Search, SearchSetup, SearchStats};
pub use mission::{MAX_COMMAND_BYTES, MissionOrder, StopOrder};
pub use store::{Keeper, MissionLine, Missions, Snapshot};

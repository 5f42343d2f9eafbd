//! Telemetry, camera geometry and terrain: a pixel becomes a place on the ground, with its error.

pub mod dji;
mod fix;
pub mod klv;
pub mod mavlink;
mod pose;
mod timeline;
mod turn;
mod units;
mod attitude;
mod camera;
mod earth;
mod geoid;
mod plane;
mod terrain;
mod cast;
mod locate;
mod footprint;
mod setup;

pub use attitude::{Boresight, Rotation, Tilt};
pub use camera::{Camera, Distortion, Intrinsics, Lens};
pub use earth::{Ecef, FLATTENING, LocalFrame, SEMI_MAJOR_M, enu_of_ned, meridian_radius_m, normal_radius_m};
pub use fix::{GroundFix, GroundMethod, ce90, le90};
pub use footprint::Footprint;
pub use geoid::Geoid;
pub use locate::{Ground, Limits, Locator, NoGround, Projected, Sigmas, View};
pub use plane::TangentPlane;
pub use pose::{Attitude, FieldOfView, Gimbal, Input, Pose, PoseSigma, Telemetry, TelemetrySource};
pub use terrain::{DEFAULT_CACHE_BYTES, ElevationGrid, Loading, NoHeight, Terrain, VerticalDatum};
pub use timeline::{ClockState, NoPose, Notice, Timeline, TimelineCounts};
pub use units::{Angle, EllipsoidHeight, Geodetic, Height, LatLon, SeaLevelHeight, TakeoffHeight};

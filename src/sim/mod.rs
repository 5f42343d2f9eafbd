//! A night flight that never was: a landscape, a thermal camera over it, a drone's telemetry, and the
//! truth beside them.
//!
//! [`Flight`] gives frame after frame without anything else of this crate's machinery, so that tests
//! and benches can run a search on it. [`StreamWriter`] sends the same as a drone does.
//!
//! What it is not: physics of the atmosphere, of sensors or of plants. It is made so that what decides
//! a search is there: people are as many pixels as they would be, as warm against the ground, as soft
//! at their edges; leaves hide them from one place and not from another; stones, animals and cars are
//! warm as well; the drone is wrong about itself as instruments are.

mod fault;
mod flight;
mod ground;
mod output;
mod path;
mod plan;
mod random;
mod render;
mod scene;
mod sensor;
mod shape;
mod telemetry;

pub use fault::{FAULTS, FaultKind, FaultPlan};
pub use flight::{Flight, FrameTruth, SeenObject, SimFrame, SimObject};
pub use output::{Destination, StreamWriter, TiffWriter, TruthWriter};
pub use plan::{
    CameraPlan, Cover, FlightPlan, ObjectClass, ObjectKind, ObjectPlan, PathPlan, ScenePlan, TelemetryPlan,
    Weather,
};
pub use telemetry::SimPacket;

//! One vocabulary for every kind of telemetry: what a drone says in one message, and where its
//! camera was and how it looked at one instant.
//!
//! Frames: the platform's body is x forward, y right, z down; the world is local north, east, down
//! (NED) at the camera. Turns are applied in the order yaw, pitch, roll about z, y, x, each positive
//! by the right hand: nose right, nose up, right wing down (MISB ST 0601.19, tags 5 to 7).

use std::time::Duration;

use jiff::Timestamp;

use super::units::{Angle, Height, LatLon};

/// How a body is turned against local north, east, down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attitude {
    /// Clockwise from true north, seen from above.
    pub yaw: Angle,
    /// Nose up is positive.
    pub pitch: Angle,
    /// Right side down is positive.
    pub roll: Angle,
}

/// How the camera is turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gimbal {
    /// Against the platform, in the order azimuth (clockwise from its nose, seen from above),
    /// elevation (up is positive, -90 degrees looks straight down), roll (ST 0601 tags 18 to 20).
    /// The platform's attitude is needed besides.
    Platform {
        /// Clockwise from the nose.
        azimuth: Angle,
        /// Up is positive.
        elevation: Angle,
        /// Clockwise, seen from behind the camera.
        roll: Angle,
    },
    /// Against local north and the horizon: a stabilised gimbal that knows north. Pitch -90 degrees
    /// looks straight down, the top of the picture towards `yaw`.
    World(Attitude),
}

/// What the whole picture spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FieldOfView {
    /// From the left edge to the right one.
    pub horizontal: Angle,
    /// From the top edge to the bottom one; with square pixels it follows from the other.
    pub vertical: Option<Angle>,
}

/// Which kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TelemetrySource {
    /// MISB ST 0601 in the video's transport stream.
    Klv,
    /// MAVLink 2.
    Mavlink,
    /// A DJI subtitle file.
    DjiSrt,
}

/// What one message of a drone says. Whatever it does not say is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// When it was so, by the drone's clock.
    pub time: Timestamp,
    /// Which kind of message.
    pub source: TelemetrySource,
    /// Where the camera is.
    pub position: Option<LatLon>,
    /// How high it is.
    pub height: Option<Height>,
    /// How the platform is turned.
    pub platform: Option<Attitude>,
    /// How the camera is turned.
    pub gimbal: Option<Gimbal>,
    /// What the picture spans.
    pub field_of_view: Option<FieldOfView>,
    /// Metres along the line of sight from the camera to the ground, where a range finder says it.
    pub slant_range_m: Option<f64>,
}

/// What a position on the ground rests on. The order is that of the names in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// Where the camera is.
    Position,
    /// How high it is.
    Height,
    /// How the platform is turned; not needed by a gimbal that knows north.
    Platform,
    /// How the camera is turned.
    Gimbal,
    /// What the picture spans.
    FieldOfView,
}

impl Input {
    /// Every input, in the order of the names in an event.
    pub const ALL: [Self; 5] =
        [Self::Position, Self::Height, Self::Platform, Self::Gimbal, Self::FieldOfView];

    /// As one word for programs: `field_of_view`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Height => "height",
            Self::Platform => "platform",
            Self::Gimbal => "gimbal",
            Self::FieldOfView => "field_of_view",
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the camera was and how it looked when one frame was taken: telemetry interpolated to the
/// frame's time. Every part is there; what was not said in time came from the configuration, and
/// [`Pose::assumed`] names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pose {
    /// The frame's time, by the drone's clock.
    pub time: Timestamp,
    /// Where the camera was.
    pub position: LatLon,
    /// How high, as the source says it.
    pub height: Height,
    /// How the platform was turned; zero where [`Pose::gimbal`] needs none.
    pub platform: Attitude,
    /// How the camera was turned.
    pub gimbal: Gimbal,
    /// What the picture spans.
    pub field_of_view: FieldOfView,
    /// Metres along the line of sight, where a range finder said it in time.
    pub slant_range_m: Option<f64>,
    /// For each input, how far its nearest message is from the frame's time. Missing: assumed.
    pub ages: Vec<(Input, Duration)>,
    /// Inputs that no message gave and the configuration did.
    pub assumed: Vec<Input>,
    /// Inputs whose nearest message is older than allowed; the pose is worth less than it says.
    pub stale: Vec<Input>,
    /// One standard deviation of each part, age included.
    pub sigma: PoseSigma,
}

/// How far off a [`Pose`] may be: one standard deviation of each part. From the configuration, grown
/// with the age of what was interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoseSigma {
    /// Metres, north and east alike.
    pub horizontal_m: f64,
    /// Metres up.
    pub vertical_m: f64,
    /// Of the direction on the compass: the platform's heading and the gimbal's azimuth together.
    pub yaw: Angle,
    /// Of elevation and pitch together.
    pub pitch: Angle,
    /// Of roll.
    pub roll: Angle,
    /// Of the horizontal field of view.
    pub field_of_view: Angle,
}

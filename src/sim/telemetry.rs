//! What the drone says of itself: the truth with the errors of its instruments.

use std::time::Duration;

use jiff::Timestamp;

use crate::base::Result;
use crate::geo::klv::Set;
use crate::geo::{
    Angle, Attitude, EllipsoidHeight, FieldOfView, Geodetic, Height, Rotation, Telemetry, TelemetrySource,
    Tilt,
};

use super::path::{Truth, against};
use super::plan::TelemetryPlan;
use super::random::{Dice, Wander};

/// Streams of the seed.
const ERRORS: u64 = 50;
/// How long errors are remembered: a satellite fix, a compass among iron, a gimbal's sense of level.
const FIX_MEMORY_S: f64 = 60.0;
const COMPASS_MEMORY_S: f64 = 120.0;
const LEVEL_MEMORY_S: f64 = 90.0;
/// The part of each error's variance that every message rolls anew; the rest wanders.
const JITTER: f64 = 0.06;

/// One message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct SimPacket {
    /// What it says.
    pub telemetry: Telemetry,
    /// The same as a set of MISB ST 0601, broken where a fault breaks it.
    pub klv: Vec<u8>,
    /// When it arrives, from the flight's start. Later than its own time only by a fault.
    pub arrives: Duration,
}

/// The error of one instrument: most of it wanders, some of it is new each time.
#[derive(Debug)]
struct Flaw {
    wander: Wander,
    jitter: f64,
    dice: Dice,
}

impl Flaw {
    fn new(sigma: f64, memory_s: f64, seed: u64, stream: u64) -> Self {
        let wander = Wander::new(sigma * (1.0 - JITTER).sqrt(), memory_s, Dice::new(seed, stream));
        Self { wander, jitter: sigma * JITTER.sqrt(), dice: Dice::new(seed, stream + 100) }
    }

    fn step(&mut self, seconds: f64) -> f64 {
        self.wander.step(seconds) + self.jitter * self.dice.normal()
    }
}

/// The instruments of one flight.
#[derive(Debug)]
pub(super) struct Instruments {
    field_of_view: FieldOfView,
    interval_s: f64,
    east: Flaw,
    north: Flaw,
    up: Flaw,
    yaw: Flaw,
    pitch: Flaw,
    roll: Flaw,
}

impl Instruments {
    pub(super) fn new(plan: &TelemetryPlan, field_of_view: FieldOfView, seed: u64) -> Self {
        let error = |sigma, memory_s, stream| Flaw::new(sigma, memory_s, seed, ERRORS + stream);
        Self {
            field_of_view,
            interval_s: 1.0 / plan.hz,
            east: error(plan.position_m, FIX_MEMORY_S, 0),
            north: error(plan.position_m, FIX_MEMORY_S, 1),
            up: error(plan.height_m, FIX_MEMORY_S, 2),
            yaw: error(plan.yaw_deg, COMPASS_MEMORY_S, 3),
            pitch: error(plan.pitch_deg, LEVEL_MEMORY_S, 4),
            roll: error(plan.roll_deg, LEVEL_MEMORY_S, 5),
        }
    }

    /// The next message. `geodetic` turns a place of the scene into one on Earth; `jump` is what a
    /// fault adds, east and north.
    pub(super) fn report(
        &mut self,
        time: Timestamp,
        truth: &Truth,
        jump: [f64; 2],
        geodetic: impl Fn([f64; 3]) -> Result<Geodetic>,
    ) -> Result<Telemetry> {
        let dt = self.interval_s;
        let off = [self.east.step(dt) + jump[0], self.north.step(dt) + jump[1], self.up.step(dt)];
        let degrees = Angle::from_degrees;
        let tilt = Tilt {
            yaw: degrees(self.yaw.step(dt)),
            pitch: degrees(self.pitch.step(dt)),
            roll: degrees(self.roll.step(dt)),
        };
        let at = geodetic(std::array::from_fn(|i| truth.eye[i] + off[i]))?;
        // The compass carries platform and camera alike; the sense of level is the gimbal's.
        let platform = Attitude { yaw: (truth.platform.yaw + tilt.yaw).compass(), ..truth.platform };
        let held = tilt.applied_to(&truth.looks) * Rotation::CAMERA_TO_BODY.inverse();
        Ok(Telemetry {
            time,
            source: TelemetrySource::Klv,
            position: Some(at.at),
            height: Some(Height::Ellipsoid(EllipsoidHeight(at.height.0))),
            platform: Some(platform),
            gimbal: Some(against(&Rotation::of(&platform), &held)),
            field_of_view: Some(self.field_of_view),
            slant_range_m: None,
        })
    }
}

/// The message as it goes through the air; `corrupt` turns one bit over.
pub(super) fn encoded(telemetry: &Telemetry, corrupt: bool) -> Result<Vec<u8>> {
    let mut klv = Set::from_telemetry(telemetry)?.encode()?;
    if corrupt {
        // In the middle: within an item's value, and never in the key that a reader looks for.
        let middle = klv.len() / 2;
        klv[middle] ^= 0x10;
    }
    Ok(klv)
}

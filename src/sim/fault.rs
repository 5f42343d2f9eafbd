//! What goes wrong on purpose: a link that drops out, a receiver that jumps, a camera that freezes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{Culprit, Error, Kind, Result};

use super::plan::wrong;

/// A fault and when it lasts, in seconds of the flight.
///
/// On a command line: `kind@from..to` or `kind@from..to=value`, such as `klv-late@10..30=800`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// From here on.
    pub from_s: f64,
    /// Until here.
    pub to_s: f64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// No telemetry is sent.
    TelemetryDropout,
    /// Telemetry of the right time arrives late.
    KlvLate {
        /// By so many milliseconds.
        ms: f64,
    },
    /// One bit of every message is wrong, so that its checksum does not fit.
    KlvCorrupt,
    /// The position is off, as when a receiver takes a reflection for a satellite.
    GpsJump {
        /// Metres to the east.
        east_m: f64,
        /// Metres to the north.
        north_m: f64,
    },
    /// The same picture over and over, its time going on.
    VideoFreeze,
    /// No picture is sent.
    VideoDropout,
    /// Warm is shown as dark instead of bright, or the other way round.
    PolarityFlip,
    /// The contrast is multiplied at once, as when an operator turns a knob.
    GainStep {
        /// By so much.
        factor: f64,
    },
}

/// One line of the list of faults: how it is written, and what it does.
pub const FAULTS: [(&str, &str); 8] = [
    ("telemetry-dropout@FROM..TO", "no telemetry is sent"),
    ("klv-late@FROM..TO=MS", "telemetry arrives MS milliseconds late, with its right time in it"),
    ("klv-corrupt@FROM..TO", "one bit of every message is wrong; its checksum says so"),
    ("gps-jump@FROM..TO=EAST,NORTH", "the position is off by so many metres"),
    ("video-freeze@FROM..TO", "the same picture over and over"),
    ("video-dropout@FROM..TO", "no picture is sent"),
    ("polarity-flip@FROM..TO", "warm is shown dark instead of bright, or the other way round"),
    ("gain-step@FROM..TO=FACTOR", "the contrast is multiplied at once"),
];

impl FaultPlan {
    /// Whether it lasts at `second` of the flight.
    pub fn lasts(&self, second: f64) -> bool {
        (self.from_s..self.to_s).contains(&second)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(0.0 <= self.from_s && self.from_s < self.to_s && self.to_s <= 1e6) {
            return Err(wrong("fault", "from some second to a later one"));
        }
        let fits = match self.kind {
            FaultKind::KlvLate { ms } => (0.0..=60_000.0).contains(&ms),
            FaultKind::GpsJump { east_m, north_m } => east_m.abs() <= 1e5 && north_m.abs() <= 1e5,
            FaultKind::GainStep { factor } => (0.05..=20.0).contains(&factor),
            _ => true,
        };
        if fits { Ok(()) } else { Err(wrong("fault", "of a plausible size")) }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = match self.kind {
            FaultKind::TelemetryDropout => ("telemetry-dropout", String::new()),
            FaultKind::KlvLate { ms } => ("klv-late", format!("={ms}")),
            FaultKind::KlvCorrupt => ("klv-corrupt", String::new()),
            FaultKind::GpsJump { east_m, north_m } => ("gps-jump", format!("={east_m},{north_m}")),
            FaultKind::VideoFreeze => ("video-freeze", String::new()),
            FaultKind::VideoDropout => ("video-dropout", String::new()),
            FaultKind::PolarityFlip => ("polarity-flip", String::new()),
            FaultKind::GainStep { factor } => ("gain-step", format!("={factor}")),
        };
        write!(f, "{name}@{}..{}{value}", self.from_s, self.to_s)
    }
}

impl FromStr for FaultPlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            Error::new(Kind::Usage, Culprit::Request, format!("`{text}` is no fault"))
                .remedy("see `vigil sim --list-faults`")
        };
        let (name, rest) = text.split_once('@').ok_or_else(refused)?;
        let (times, value) = rest.split_once('=').map_or((rest, None), |(t, v)| (t, Some(v)));
        let (from, to) = times.split_once("..").ok_or_else(refused)?;
        let number = |t: &str| t.trim().parse::<f64>().map_err(|_| refused());
        let kind = match (name, value) {
            ("telemetry-dropout", None) => FaultKind::TelemetryDropout,
            ("klv-late", Some(v)) => FaultKind::KlvLate { ms: number(v)? },
            ("klv-corrupt", None) => FaultKind::KlvCorrupt,
            ("gps-jump", Some(v)) => {
                let (east, north) = v.split_once(',').ok_or_else(refused)?;
                FaultKind::GpsJump { east_m: number(east)?, north_m: number(north)? }
            }
            ("video-freeze", None) => FaultKind::VideoFreeze,
            ("video-dropout", None) => FaultKind::VideoDropout,
            ("polarity-flip", None) => FaultKind::PolarityFlip,
            ("gain-step", Some(v)) => FaultKind::GainStep { factor: number(v)? },
            _ => return Err(refused()),
        };
        let fault = Self { kind, from_s: number(from)?, to_s: number(to)? };
        fault.check()?;
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_the_list_is_read_as_it_is_written() {
        for (form, _) in FAULTS {
            let text = form
                .replace("FROM..TO", "10..20.5")
                .replace("MS", "800")
                .replace("EAST,NORTH", "40,-30")
                .replace("FACTOR", "2");
            let fault: FaultPlan = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            assert!(fault.lasts(10.0) && !fault.lasts(9.9) && !fault.lasts(20.5));
        }
        for bad in
            ["", "klv-late@1..2", "klv-late@1..2=x", "fire@1..2", "gps-jump@5..4=1,1", "video-freeze@1"]
        {
            assert!(bad.parse::<FaultPlan>().is_err(), "{bad}");
        }
    }
}

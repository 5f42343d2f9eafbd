//! What the manifest says of the detectors, as evidence needs it.

use super::evidence::{DetectorModel, ScoreBin, ScoreTable};
use crate::base::error::Context;
use crate::base::{Error, Result};
use crate::infer::{DetectionPoint, Manifest, Slot};

impl DetectorModel {
    /// What the manifest says of the detectors; where it says nothing, what is assumed of any.
    ///
    /// # Errors
    /// For a manifest without thermal models, and for a calibration that is none.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        let mut model = Self::default();
        let person = |slot: Slot| -> Result<Option<&[DetectionPoint]>> {
            let rows = &manifest.model(slot)?.detections;
            Ok(rows.iter().find(|r| r.class == "Person").map(|r| r.points.as_slice()))
        };
        let lowest = |points: &[DetectionPoint]| points.first().map_or(0.0, |p| p.per_frame);
        let mut alarms = 0.0;
        if let Some(points) = person(Slot::ThermalDetection)? {
            model.learned = table(points).context(|| "models: thermal_detection")?;
            alarms += lowest(points);
        }
        if let Some(points) = person(Slot::ThermalHotspot)? {
            model.hotspot = table(points).context(|| "models: thermal_hotspot")?;
            alarms += lowest(points);
        }
        if alarms > 0.0 {
            model.false_per_frame = alarms;
        }
        Ok(model)
    }
}

/// A calibration tells what is left above each score; a table, what lies between two.
fn table(points: &[DetectionPoint]) -> Result<ScoreTable> {
    if points.is_empty() {
        return Err(Error::config("a detector's calibration has no points"));
    }
    let left = points.iter().skip(1).map(|p| (p.recall, p.per_frame)).chain([(0.0, 0.0)]);
    let bins: Vec<ScoreBin> = points
        .iter()
        .zip(left)
        .map(|(p, (recall, alarms))| ScoreBin {
            from: p.score,
            target: (p.recall - recall).max(0.0),
            clutter: (p.per_frame - alarms).max(0.0),
        })
        .collect();
    ScoreTable::from_counts(&bins)
}

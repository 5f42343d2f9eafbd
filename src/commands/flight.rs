//! From a configuration to the chain of a search: what the daemon, a replay and a check have in common.

use std::sync::Arc;

use crate::base::Result;
use crate::config::{OpticsConfig, SearchConfig};
use crate::event::ModelRef;
use crate::geo::{Camera, FieldOfView, Loading, Locator};
use crate::infer::{Manifest, Runtime, Slot};
use crate::search::{Chain, ChainParts, DetectorModel, Ids, Search, SearchSetup};
use crate::thermal::DetectorSettings;

/// A size that thermal cameras have: that of the locator until the first frame says its own.
const USUAL_SIZE: [u32; 2] = [640, 512];

/// The models that a search runs, as events name them.
pub(super) fn models(manifest: &Manifest) -> Result<Vec<ModelRef>> {
    [Slot::ThermalDetection, Slot::ThermalLook, Slot::ThermalHotspot]
        .iter()
        .map(|s| Ok(manifest.model(*s)?.model_ref()))
        .collect()
}

/// Builds the chain: reads models' manifest and elevation models' headers. `seed` makes its identifiers.
pub(super) fn chain(
    runtime: &Runtime,
    manifest: &Arc<Manifest>,
    config: &SearchConfig,
    loading: Loading,
    seed: [u8; 32],
) -> Result<Chain> {
    let setup = SearchSetup::new(config, DetectorModel::of(manifest)?, models(manifest)?);
    // A calibration of pictures of another shape is found out with the first frame.
    let anywhere = OpticsConfig { lens: None, ..config.optics.clone() };
    let locator = Locator::from_config(&anywhere, &config.terrain, USUAL_SIZE, loading)?;
    let optics = config.optics.clone();
    Ok(Chain::new(ChainParts {
        runtime: runtime.clone(),
        manifest: manifest.clone(),
        detectors: DetectorSettings { threads: config.threads, ..DetectorSettings::default() },
        thermal: config.thermal.clone(),
        telemetry: config.telemetry.clone(),
        field_of_view: FieldOfView::from_config(&config.optics),
        locator,
        camera: Box::new(move |size| Camera::from_config(&optics, size)),
        search: Search::new(setup, Ids::seeded(seed)),
        chips: config.chips,
    }))
}

//! Cameras as tests configure them.

use vigil::base::Name;
use vigil::config::{CameraConfig, Millis, SourceUrl};

/// A camera that is given up for nothing but what it does: a busy machine is no stall and no silence.
pub(crate) fn config(name: &str, url: &str) -> CameraConfig {
    let mut config = CameraConfig::new(Name::new(name).unwrap(), SourceUrl::parse(url).unwrap());
    config.stall_after_ms = Millis(60_000);
    config.connect_within_ms = Millis(60_000);
    config.retry_max_ms = Millis(800);
    config
}

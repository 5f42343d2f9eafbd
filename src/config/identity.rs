//! `[box]`: who this box is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Name;

/// Where a packaged box keeps its state.
const DEFAULT_STATE_DIR: &str = "/var/lib/vigil";

/// Who this box is and where it keeps its state.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The site, as in the topics.
    pub site: Name,
    /// The box within the site, as in the topics.
    pub name: Name,
    /// Directory of the outbox and everything else that survives a restart.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
}

fn default_state_dir() -> PathBuf {
    PathBuf::from(DEFAULT_STATE_DIR)
}

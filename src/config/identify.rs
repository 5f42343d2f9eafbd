//! `[identify]`: looking up guests who have lost their papers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Millis;
use super::{FalsePositiveRate, Purpose};
use crate::base::Name;

/// A clerk looks at three faces; at ten nobody looks.
const DEFAULT_CANDIDATES: u32 = 3;
/// More pictures are taken than for a verification, and nobody waits at a document reader.
const DEFAULT_DEADLINE: Millis = Millis(5_000);
/// A clerk has to ask a few questions.
const DEFAULT_DECIDE_WITHIN_S: u32 = 120;

/// Looking up guests without papers at the desk. Without this section nobody is looked up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentifyConfig {
    /// Whose entries may be named. `missing_person` cannot: those are looked for under `[watch]` alone.
    #[schemars(length(min = 1, max = 3))]
    pub purposes: Vec<Purpose>,
    /// The camera that sees the guest, when a request names none; `verify.camera` if left out.
    #[serde(default)]
    pub camera: Option<Name>,
    /// Most candidates shown to the clerk.
    #[serde(default = "default_candidates")]
    #[schemars(range(min = 1, max = 10))]
    pub candidates: u32,
    /// Of people who are not in the gallery, the share of searches that may name somebody, at the
    /// gallery's present size; `gallery.fpir` if left out.
    #[serde(default)]
    #[schemars(range(min = 1e-6, max = 0.5))]
    pub fpir: Option<FalsePositiveRate>,
    /// Deadline when the request names none; `verify.max_deadline_ms` bounds what it may ask for.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 500, max = 30000))]
    pub deadline_ms: Millis,
    /// A clerk decides about the candidates within so many seconds; then they are forgotten.
    #[serde(default = "default_decide_within")]
    #[schemars(range(min = 5, max = 3600))]
    pub decide_within_s: u32,
}

fn default_candidates() -> u32 {
    DEFAULT_CANDIDATES
}
fn default_deadline() -> Millis {
    DEFAULT_DEADLINE
}
fn default_decide_within() -> u32 {
    DEFAULT_DECIDE_WITHIN_S
}

impl IdentifyConfig {
    /// With every default.
    pub fn new(purposes: Vec<Purpose>) -> Self {
        Self {
            purposes,
            camera: None,
            candidates: DEFAULT_CANDIDATES,
            fpir: None,
            deadline_ms: DEFAULT_DEADLINE,
            decide_within_s: DEFAULT_DECIDE_WITHIN_S,
        }
    }
}

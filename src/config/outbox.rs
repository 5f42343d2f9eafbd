//! `[outbox]`: the durable queue of events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Space set aside so that decisions already taken can be written when the disk is full.
const DEFAULT_RESERVE_MIB: u32 = 16;
/// Below this much free disk the box raises an alarm.
const DEFAULT_WARN_FREE_MIB: u32 = 256;
/// The most the outbox may grow to: a month of decisions, and the disk stays usable.
const DEFAULT_MAX_MIB: u32 = 1024;

/// The durable queue of events.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Space set aside so that decisions already taken can be written when the disk is full.
    #[schemars(range(min = 1, max = 1024))]
    pub reserve_mib: u32,
    /// Below this much free disk the box raises an alarm.
    #[schemars(range(min = 0, max = 1048576))]
    pub warn_free_mib: u32,
    /// The most the outbox may grow to. At this size the box takes no more decisions.
    #[schemars(range(min = 1, max = 1048576))]
    pub max_mib: u32,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            reserve_mib: DEFAULT_RESERVE_MIB,
            warn_free_mib: DEFAULT_WARN_FREE_MIB,
            max_mib: DEFAULT_MAX_MIB,
        }
    }
}

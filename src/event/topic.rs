//! Topic names, in one place.

use crate::base::Name;
use crate::event::EventKind;

/// The root of this contract's topics. A breaking change is a new root.
pub const ROOT: &str = "vigil/v1";

/// The topics of one box: `vigil/v1/{site}/{box}/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// The topics of `site` and `box_name`.
    pub fn new(site: &Name, box_name: &Name) -> Self {
        Self { base: format!("{ROOT}/{site}/{box_name}") }
    }

    /// `vigil/v1/{site}/{box}`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `online` / `offline`, retained; the last will.
    pub fn state(&self) -> String {
        format!("{}/state", self.base)
    }

    /// What the box is, retained.
    pub fn birth(&self) -> String {
        format!("{}/birth", self.base)
    }

    /// How the box is, retained, every 30 s.
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }

    /// How one camera is, retained.
    pub fn camera(&self, camera: &Name) -> String {
        format!("{}/camera/{camera}", self.base)
    }

    /// How one door is, retained.
    pub fn door(&self, door: &Name) -> String {
        format!("{}/door/{door}", self.base)
    }

    /// What the lock of a door is told, never retained.
    pub fn actuate(&self, door: &Name) -> String {
        format!("{}/door/{door}/actuate", self.base)
    }

    /// Decisions, never retained.
    pub fn event(&self, kind: EventKind) -> String {
        format!("{}/event/{kind}", self.base)
    }

    /// The filter on which this box hears commands.
    pub fn commands(&self) -> String {
        format!("{}/cmd/#", self.base)
    }

    /// The command in a topic, `verify` or `gallery/put`; `None` if the topic is not a command
    /// to this box.
    pub fn command_name<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(self.base.as_str())?.strip_prefix("/cmd/").filter(|name| !name.is_empty())
    }

    /// Where the answer to a command goes. `correlation` must have passed
    /// [`valid_correlation`].
    pub fn reply(&self, correlation: &str) -> String {
        format!("{}/reply/{correlation}", self.base)
    }
}

/// Whether a requester's correlation may become part of a topic: `[A-Za-z0-9_-]{1,64}`.
pub fn valid_correlation(correlation: &str) -> bool {
    (1..=64).contains(&correlation.len())
        && correlation.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

//! Doors: what is read at one, what is decided, who walked through, what the lock is told.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize;

use super::{CaptureFacts, Check, Comparison, Reason, Timing};
use crate::base::Name;
pub use crate::config::{Way, WhenIll};

/// What a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadKind {
    /// A person's card.
    Card,
    /// A person's tag: a fob, a wristband.
    Tag,
    /// A PIN.
    Pin,
    /// The verdict of a fingerprint reader that compares by itself.
    Fingerprint,
    /// A tag on a piece of equipment; it opens nothing.
    Equipment,
}

/// What a reader that compares by itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReaderVerdict {
    /// It knows the finger.
    Match,
    /// It does not.
    NoMatch,
}

/// The number of a card or tag, a PIN, a reference. Never printed, overwritten when dropped:
/// whoever knows it can present it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReadText(String);

impl ReadText {
    /// Wraps a text; whether anybody holds it is found out later.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadText(..)")
    }
}

impl Drop for ReadText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The payload of `cmd/credential`: something was read at a door. A key that is not listed here is
/// refused, because somebody relies on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialCommand {
    /// What the reader calls this read; the decision comes on `reply/{correlation}`. With MQTT 5 it
    /// may be left out here and given as the correlation data property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// At which door.
    pub door: Name,
    /// What was read.
    pub kind: ReadKind,
    /// The card's or tag's number as it was enrolled; the person's number and PIN,
    /// `NUMBER#PIN` or `NUMBER*PIN`; with `fingerprint` the number under which the reader knows the person,
    /// which may be left out when it knows nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<ReadText>,
    /// What a fingerprint reader says; required with `fingerprint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ReaderVerdict>,
    /// The person declines the camera: a PIN and staff decide, if the door allows it.
    #[serde(default)]
    pub declines_camera: bool,
}

/// The payload of `cmd/confirm`: staff decide about a person who declined the camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmCommand {
    /// What the requester calls this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// The session that waits, from the door's topic or the status page.
    pub session: Uuid,
    /// Whether the person may pass.
    pub admit: bool,
    /// Who decides, by the pseudonym that the site uses for staff.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub staff: String,
}

/// How a person asked to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A credential, and the face of the person it was issued to.
    CredentialAndFace,
    /// A PIN, and a member of staff; no face was looked at.
    PinAndStaff,
}

/// Whether the door may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// It may, until `notafter`.
    Granted,
    /// It may not; `reason` says why.
    Denied,
}

/// What became of a piece of equipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// It was read at a door that leads out.
    TakenOut,
    /// It was read at a door that leads in.
    BroughtBack,
}

/// A piece of equipment that was read in the same session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EquipmentRead {
    /// Its name in the configuration.
    pub equipment: Name,
    /// Which way.
    pub movement: Movement,
}

/// The data of a `gate.decision` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateDecision {
    /// This session at the door.
    pub session: Uuid,
    /// What the reader called the read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// Which door.
    pub door: Name,
    /// Which way it leads.
    pub direction: Way,
    /// What was presented; the number itself is never told.
    pub credential: ReadKind,
    /// How the person asked to pass.
    pub means: Means,
    /// The pseudonym of the person to whom the credential was issued; absent if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_ref: Option<String>,
    /// Whether the door may open.
    pub outcome: GateOutcome,
    /// Why it may not: the reason of the check that decided. Absent when it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Every check, made or not.
    pub checks: Vec<Check>,
    /// Which member of staff decided; only with `pin_and_staff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff: Option<String>,
    /// Present once a comparison was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Present once the camera was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureFacts>,
    /// Equipment read in the session until now; what is read afterwards is in `gate.passage`.
    pub equipment: Vec<EquipmentRead>,
    /// Tags read in the session that are no equipment of this site. Their numbers are not told:
    /// they may be in somebody's coat.
    pub unknown_tags: u32,
    /// Where the time went.
    pub timing: Timing,
}

/// The data of a `gate.passage` event: what happened at a door after it was opened, or what was
/// carried through it although nobody had presented anything. It actuates nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatePassage {
    /// The session of the `gate.decision` that it follows; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// Which door.
    pub door: Name,
    /// Which way it leads.
    pub direction: Way,
    /// The person who was let through; absent if nobody was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_ref: Option<String>,
    /// The checks of a passage.
    pub checks: Vec<Check>,
    /// All equipment of the session: what the decision lists, and what was read afterwards.
    pub equipment: Vec<EquipmentRead>,
    /// Tags that are no equipment of this site.
    pub unknown_tags: u32,
}

/// What a lock is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Let one person pass: open now, lock again after your own time.
    Unlock,
    /// The box is ill and this door is to be free then: stay open until `notafter`. Said again
    /// before that for as long as it lasts.
    Release,
    /// Lock: the box is ill and this door is to stay shut then, or it is well again.
    Secure,
}

/// The payload of `door/{door}/actuate`, and the body of the HTTP hook. Never retained. Whoever
/// acts on it compares `notafter` with a clock of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actuation {
    /// The door.
    pub door: Name,
    /// What to do.
    pub act: Act,
    /// After this moment it must not be done.
    pub notafter: Timestamp,
    /// The `gate.decision` event it rests on; absent unless `unlock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Uuid>,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
}

/// How a door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoorCondition {
    /// It decides.
    Ready,
    /// It cannot decide; `reason` says why, `when_ill` what that means for the lock.
    Ill,
}

/// A person who declined the camera and waits for staff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The session, for `cmd/confirm`.
    pub session: Uuid,
    /// Staff may decide until then.
    pub until: Timestamp,
}

/// The payload of `door/{door}`, retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorState {
    /// The door.
    pub door: Name,
    /// How it is.
    pub state: DoorCondition,
    /// Since when.
    pub since: Timestamp,
    /// Why it cannot decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What that means for the lock.
    pub when_ill: WhenIll,
    /// Who waits for staff.
    pub waiting: Vec<Waiting>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_not_printed() {
        let json = r#"{"door":"north","kind":"card","value":"04A1B2C3"}"#;
        let command: CredentialCommand = serde_json::from_str(json).unwrap();
        assert_eq!(command.value.as_ref().unwrap().expose(), "04A1B2C3");
        assert!(!format!("{command:?}").contains("04A1"));
        assert!(
            serde_json::from_str::<CredentialCommand>(r#"{"door":"n","kind":"card","vlaue":"1"}"#).is_err()
        );
    }
}

//! `box.alarm`: the box says that something about itself needs a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlarmCode {
    /// A camera delivers nothing.
    CameraLost,
    /// The disk under the state directory is nearly or entirely full.
    DiskFull,
    /// The wall clock cannot be trusted.
    ClockUnsynced,
    /// The broker refuses this box: credentials, certificate, or another box with the same name.
    BrokerRefused,
    /// Events wait in the outbox for longer than they should.
    OutboxBacklog,
    /// A part of the daemon failed and was started again.
    ComponentRestarted,
    /// A command was refused: it is old, or whoever gave it may not.
    CommandRefused,
    /// A request at the desk was refused: a wrong token, too many requests.
    RequestRefused,
    /// One document was tried too often with other faces.
    LockedOut,
    /// A door cannot decide, or its lock, reader or loudspeaker does not answer.
    DoorIll,
    /// The gallery is nearly full: some regulators want a filing at 100,000 people.
    GalleryNearlyFull,
    /// Pictures from the air come, and nothing can be found in them, or not where; or missions are not kept.
    SearchBlind,
}

/// Whether it is so now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// It is so since now.
    Raised,
    /// It is over.
    Cleared,
    /// It happened, and does not last.
    Happened,
}

/// The data of a `box.alarm` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoxAlarm {
    /// What is wrong.
    pub code: AlarmCode,
    /// Whether it is so now.
    pub state: AlarmState,
    /// What it concerns: a camera's name, a component's name, a command's name, a door's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// One line for a person.
    pub message: String,
}

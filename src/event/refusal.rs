//! Why somebody was not allowed what they asked for: one word, the same over MQTT and HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a command or a request was refused before it was looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The command has no signature, and this box does not take it without.
    Unsigned,
    /// It claims to be signed, and cannot be read as that.
    BadEnvelope,
    /// No key of that name is known here.
    UnknownKey,
    /// The signature is not that of the key it names.
    BadSignature,
    /// The key's time is over.
    KeyExpired,
    /// The command was signed for another box.
    OtherBox,
    /// It was signed as another command than the one of its topic.
    OtherCommand,
    /// The key may not give this command.
    NotAllowed,
    /// It was signed too long ago.
    Stale,
    /// It was signed in the future: one of the two clocks is wrong.
    Future,
    /// The box's clock is not synchronised, and the command does not name this run of the box.
    ClockUnsynced,
    /// It was signed for another run of the box.
    OtherBoot,
    /// Its counter is not above that of the last command of this key.
    Replayed,
    /// That it was given could not be made durable, so it was not carried out.
    NotRecorded,
    /// The request has no token, and needs one.
    NoToken,
    /// The token is not one of this box's.
    UnknownToken,
    /// The token's time is over.
    TokenExpired,
    /// The token's role does not reach so far.
    RoleTooLow,
    /// Too many requests of one address or one token.
    TooManyRequests,
    /// One document was tried too often with other faces.
    LockedOut,
}

impl Refusal {
    /// The reason as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::BadEnvelope => "bad_envelope",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::KeyExpired => "key_expired",
            Self::OtherBox => "other_box",
            Self::OtherCommand => "other_command",
            Self::NotAllowed => "not_allowed",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::ClockUnsynced => "clock_unsynced",
            Self::OtherBoot => "other_boot",
            Self::Replayed => "replayed",
            Self::NotRecorded => "not_recorded",
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::TokenExpired => "token_expired",
            Self::RoleTooLow => "role_too_low",
            Self::TooManyRequests => "too_many_requests",
            Self::LockedOut => "locked_out",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_one_of_the_schema() {
        for refusal in [Refusal::Unsigned, Refusal::BadEnvelope, Refusal::TooManyRequests, Refusal::LockedOut]
        {
            assert_eq!(serde_json::to_value(refusal).unwrap(), refusal.as_str());
        }
    }
}

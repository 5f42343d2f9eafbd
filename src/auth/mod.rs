//! Who may ask: signed commands, tokens, rate limits, attempts per person.
//!
//! | file | what |
//! |---|---|
//! | [`jws`] | the envelope of a signed command, read and made |
//! | [`hub`] | whether a command may be carried out |
//! | [`counters`] | the last counter of every key, on disk before the command is carried out |
//! | [`tokens`] | the desk's tokens |
//! | [`rate`] | so many requests a minute |
//! | [`attempts`] | so many faces for one document |
//! | [`tally`] | refusals counted, and which of them is an alarm |
//!
//! Nothing here knows a socket. What a refusal says names a key or a token by its name in the
//! configuration, never a person and never a secret.

pub mod attempts;
pub mod counters;
pub mod hub;
pub mod jws;
pub mod rate;
pub mod tally;
pub mod tokens;

pub use attempts::{Attempt, Attempts};
pub use hub::{Admitted, Denied, HubGuard, Signer};
pub use rate::RateLimit;
pub use tally::Tally;
pub use tokens::{Caller, Tokens};

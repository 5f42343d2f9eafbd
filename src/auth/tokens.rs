//! The desk's tokens: 256 random bits each, known by their SHA-256.
//!
//! A slow password hash protects what people choose; nobody can try 2^256 values through, however fast
//! the hash, and a slow one on every request would be a lever for whoever floods the desk.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::base::{Clock, Culprit, Error, Kind, Name, Result, TimeQuality};
use crate::config::{DeskConfig, Role, TokenHash};
use crate::event::Refusal;

/// What every token begins with: programs that look for leaked secrets find it.
pub const PREFIX: &str = "vigil_desk_";
/// The prefix, and 32 bytes as base64url.
const LENGTH: usize = PREFIX.len() + 43;

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name; none for a program of this machine that needs no token.
    pub name: Option<Name>,
    /// What the caller may do.
    pub role: Role,
}

struct Token {
    name: Name,
    role: Role,
    hash: TokenHash,
    valid_until: Option<Timestamp>,
}

/// The tokens of the configuration.
pub struct Tokens {
    tokens: Vec<Token>,
    open: bool,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("tokens", &self.tokens.len()).field("open", &self.open).finish()
    }
}

/// Makes a token and its hash.
pub fn make() -> Result<(Zeroizing<String>, TokenHash)> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|e| Error::new(Kind::Unavailable, Culprit::Host, format!("no random numbers: {e}")))?;
    let token = Zeroizing::new(format!("{PREFIX}{}", &*Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))));
    let hash = hash(&token);
    Ok((token, hash))
}

/// The hash under which the configuration knows a token.
pub fn hash(token: &str) -> TokenHash {
    TokenHash::new(Sha256::digest(token.as_bytes()).into())
}

impl Tokens {
    /// Reads the configuration.
    pub fn new(config: &DeskConfig, clock: Arc<dyn Clock>) -> Self {
        let tokens = config.tokens.iter().map(|t| Token {
            name: t.name.clone(),
            role: t.role,
            hash: t.sha256,
            valid_until: t.valid_until,
        });
        Self { tokens: tokens.collect(), open: config.open(), clock }
    }

    /// Whether a program of this machine may do without a token.
    pub fn open(&self) -> bool {
        self.open
    }

    /// Whose token it is. It is compared with every one, and each comparison takes the same time
    /// whatever it finds. Nothing of the token is ever repeated.
    pub fn caller(&self, token: Option<&str>) -> std::result::Result<Caller, Refusal> {
        let Some(token) = token else {
            return match self.open {
                true => Ok(Caller { name: None, role: Role::Desk }),
                false => Err(Refusal::NoToken),
            };
        };
        if token.len() != LENGTH {
            return Err(Refusal::UnknownToken);
        }
        let given = hash(token);
        let mut found = None;
        for one in &self.tokens {
            if bool::from(one.hash.bytes()[..].ct_eq(&given.bytes()[..])) {
                found = Some(one);
            }
        }
        let token = found.ok_or(Refusal::UnknownToken)?;
        if let Some(until) = token.valid_until {
            // Of a clock that was never set nobody knows whether the token's time is over: it is not
            // taken for granted that it is not.
            if self.clock.quality() == TimeQuality::Unsynced && self.clock.now().as_second() < BUILT_AFTER
                || self.clock.now() >= until
            {
                return Err(Refusal::TokenExpired);
            }
        }
        Ok(Caller { name: Some(token.name.clone()), role: token.role })
    }
}

/// 2025-01-01: a clock that says less has never been set.
const BUILT_AFTER: i64 = 1_735_689_600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::config::DeskTokenConfig;

    fn config(role: Role, valid_until: Option<Timestamp>) -> (DeskConfig, Zeroizing<String>) {
        let (token, sha256) = make().unwrap();
        let one = DeskTokenConfig { name: Name::new("clerk").unwrap(), role, sha256, valid_until };
        (DeskConfig { tokens: vec![one], ..DeskConfig::default() }, token)
    }

    fn clock(text: &str) -> Arc<ManualClock> {
        Arc::new(ManualClock::at(text.parse().unwrap()))
    }

    #[test]
    fn a_token_is_its_holder_and_nothing_else_is() {
        let (config, token) = config(Role::Desk, None);
        let tokens = Tokens::new(&config, clock("2026-01-01T00:00:00Z"));
        assert_eq!(tokens.caller(Some(&token)).unwrap().role, Role::Desk);
        assert_eq!(tokens.caller(None), Err(Refusal::NoToken), "there is a token, so nobody goes without");
        let mut other = token.to_string();
        other.replace_range(LENGTH - 1.., if other.ends_with('A') { "B" } else { "A" });
        for wrong in
            ["", "x", &other, &token[1..], &format!("{}x", *token), &String::from(config.tokens[0].sha256)]
        {
            assert_eq!(tokens.caller(Some(wrong)), Err(Refusal::UnknownToken));
        }
    }

    #[test]
    fn without_tokens_this_machine_may_ask_but_not_install() {
        let tokens = Tokens::new(&DeskConfig::default(), clock("2026-01-01T00:00:00Z"));
        assert_eq!(tokens.caller(None), Ok(Caller { name: None, role: Role::Desk }));
        let outside = DeskConfig { listen: "0.0.0.0:8640".parse().unwrap(), ..DeskConfig::default() };
        assert_eq!(Tokens::new(&outside, clock("2026-01-01T00:00:00Z")).caller(None), Err(Refusal::NoToken));
    }

    #[test]
    fn a_tokens_time_ends() {
        let (config, token) = config(Role::Reader, Some("2026-06-01T00:00:00Z".parse().unwrap()));
        let at = |time| Tokens::new(&config, clock(time)).caller(Some(&token)).map(|c| c.role);
        assert_eq!(at("2026-05-31T23:59:59Z"), Ok(Role::Reader));
        assert_eq!(at("2026-06-01T00:00:00Z"), Err(Refusal::TokenExpired));
        let unset = clock("2026-01-01T00:00:00Z");
        unset.set_wall(Timestamp::from_second(1000).unwrap(), TimeQuality::Unsynced);
        assert_eq!(Tokens::new(&config, unset).caller(Some(&token)), Err(Refusal::TokenExpired));
    }
}

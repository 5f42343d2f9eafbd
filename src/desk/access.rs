//! Who asks, how often, and what the asker may do.
//!
//! Which role a route asks for stands in the table of routes. `/` and `/healthz` ask for none: the page
//! is the same for everybody, and health without a token is one word.
//!
//! The token comes as `Authorization: Bearer …` (RFC 6750) and in no other way: not in an address, where
//! logs and histories would keep it, and not in a cookie, which a browser sends along for a foreign page
//! and to every other port of this machine. Anything that needs a role cannot be asked by a page of another
//! origin, because it cannot set that header without being allowed to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};

use super::fault::ApiError;
use crate::auth::rate::Whose;
use crate::auth::{Caller, RateLimit, Tokens};
use crate::base::{Clock, Culprit, Error, Kind};
use crate::config::{DeskConfig, Role};
use crate::event::Refusal;

/// A wrong token costs as much as this many requests.
const WRONG_TOKEN: f64 = 10.0;

/// The address at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Knows who may ask what.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Tokens,
    rate: RateLimit<Whose>,
}

/// A request that must not be answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Refusal,
    pub(super) error: ApiError,
}

impl Access {
    pub(super) fn new(config: &DeskConfig, clock: Arc<dyn Clock>) -> Self {
        Self { tokens: Tokens::new(config, clock), rate: RateLimit::per_minute(config.requests_per_minute) }
    }

    /// Whoever asks, if that is somebody of role `needed`; none where nobody has to be anybody and there
    /// is no token.
    pub(super) fn check(
        &self,
        needed: Option<Role>,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<Caller>, Refused> {
        let (now, address) = (Instant::now(), Whose::address(peer));
        let limit = |whose: &Whose, what: &str| {
            self.rate.take(whose, 1.0, now).map_err(|wait| {
                let error =
                    Error::new(Kind::Unavailable, Culprit::Request, format!("too many requests of {what}"))
                        .remedy("ask less often, or raise desk.requests_per_minute");
                refused(Refusal::TooManyRequests, error, wait)
            })
        };
        limit(&address, "this address")?;
        let caller = match self.tokens.caller(bearer(headers).as_deref()) {
            Ok(caller) => caller,
            Err(Refusal::NoToken) if needed.is_none() => return Ok(None),
            Err(reason) => {
                if reason != Refusal::NoToken {
                    self.rate.charge(&address, WRONG_TOKEN, now);
                }
                let (what, remedy) = match reason {
                    Refusal::NoToken => (
                        "this needs a token",
                        "send Authorization: Bearer with a token of this box (vigil desk token)",
                    ),
                    Refusal::TokenExpired => {
                        ("the token's time is over", "make a new one with `vigil desk token`")
                    }
                    _ => (
                        "the token is not one of this box's",
                        "make one with `vigil desk token`, and add it to the configuration",
                    ),
                };
                let error = Error::new(Kind::Refused, Culprit::Request, what).remedy(remedy);
                return Err(refused(reason, error, Duration::ZERO));
            }
        };
        if let Some(name) = &caller.name {
            limit(&Whose::Token(name.clone()), &format!("token {name}"))?;
        }
        match needed {
            Some(role) if caller.role < role => {
                let what = match &caller.name {
                    Some(name) => format!(
                        "token {name} is of role {}, and this needs {}",
                        caller.role.as_str(),
                        role.as_str()
                    ),
                    None => format!("this needs a token of role {}", role.as_str()),
                };
                let error = Error::new(Kind::Refused, Culprit::Request, what)
                    .remedy(format!("ask with a token of role {} (vigil desk token)", role.as_str()));
                // Without a token there is somebody to become yet.
                let reason = if caller.name.is_some() { Refusal::RoleTooLow } else { Refusal::NoToken };
                Err(refused(reason, error, Duration::ZERO))
            }
            _ => Ok(Some(caller)),
        }
    }
}

fn refused(reason: Refusal, error: Error, retry: Duration) -> Refused {
    Refused { reason, error: ApiError::refused(reason, error, retry) }
}

/// The token of a request. What is there and cannot be one is none that anybody knows.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let one = all.next()?;
    let text = one.to_str().unwrap_or("");
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && all.next().is_none() => {
            token.trim()
        }
        _ => "",
    };
    Some(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_in_one_way_only() {
        let given = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
        };
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["bearer  abc "]).as_deref(), Some("abc"));
        for wrong in [&["Basic YTpi"][..], &["abc"], &["Bearer a", "Bearer b"], &["Bearer"]] {
            assert_eq!(given(wrong).as_deref(), Some(""), "{wrong:?}");
        }
    }
}

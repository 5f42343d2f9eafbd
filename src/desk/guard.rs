//! Which page may speak to this room: its own. Not a page of the internet that happens to be open in a
//! browser here.
//!
//! On loopback, where a token may not be needed, the names under which the listener can be addressed are
//! known, and any other is a page that has its own name lead here (DNS rebinding). A listener that others
//! can reach has names that nobody wrote down; there TLS and the token stand in the way of that, and a
//! page's origin must be the very host that it asks.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::fault::ApiError;
use crate::base::{Culprit, Error, Kind};

/// Knows the names under which this listener may be addressed.
#[derive(Debug)]
pub(super) struct Guard {
    port: u16,
    literal: String,
    tls: bool,
    /// Whether the listener is on loopback.
    local: bool,
}

impl Guard {
    pub(super) fn new(local: SocketAddr, tls: bool) -> Self {
        let literal = match local {
            SocketAddr::V4(a) => a.ip().to_string(),
            SocketAddr::V6(a) => format!("[{}]", a.ip()),
        };
        Self { port: local.port(), literal, tls, local: local.ip().is_loopback() }
    }

    /// Whether `authority` (`host[:port]`) is this listener.
    fn is_us(&self, authority: &str) -> bool {
        // The last colon outside brackets parts host and port.
        let (host, port) = match authority.rfind(':') {
            Some(at) if !authority[at..].contains(']') => {
                (&authority[..at], authority[at + 1..].parse().ok())
            }
            _ => (authority, Some(if self.tls { 443 } else { 80 })),
        };
        let known = ["localhost", "127.0.0.1", "[::1]", self.literal.as_str()];
        port == Some(self.port) && known.iter().any(|k| k.eq_ignore_ascii_case(host))
    }

    /// Refuses what a foreign page could have sent.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let scheme = if self.tls { "https://" } else { "http://" };
        let refuse = |message: String| {
            Err(ApiError::new(
                StatusCode::FORBIDDEN,
                Error::new(Kind::Refused, Culprit::Request, message).remedy(match self.local {
                    true => format!("address the box as {scheme}localhost:{}/ from this machine", self.port),
                    false => "open the box's own page".to_owned(),
                }),
            ))
        };
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(one), None) => one.to_str().unwrap_or(""),
            (None, _) => "",
            (Some(_), Some(_)) => return refuse("the request has two Host headers".into()),
        };
        let ours = |authority: &str| match self.local {
            true => self.is_us(authority),
            false => !host.is_empty() && authority.eq_ignore_ascii_case(host),
        };
        if !ours(host) {
            return refuse(format!("the Host header {host:?} is not this box"));
        }
        if let Some(authority) = uri.authority().filter(|a| !ours(a.as_str())) {
            return refuse(format!("the address {:?} is not this box", authority.as_str()));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            if !origin.strip_prefix(scheme).is_some_and(ours) {
                return refuse(format!("the page at {origin:?} is not this box's"));
            }
        }
        // Browsers send this even where they leave the origin out. "same-site" is not enough:
        // another port of localhost is the same site.
        if let Some(site) = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok())
            && !matches!(site, "same-origin" | "none")
        {
            return refuse(format!("the request comes from another page ({site})"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_listener_pass() {
        let guard = Guard::new("127.0.0.1:8640".parse().unwrap(), false);
        for good in ["localhost:8640", "LOCALHOST:8640", "127.0.0.1:8640", "[::1]:8640"] {
            assert!(guard.is_us(good), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "localhost:80",
            "evil.example:8640",
            "127.0.0.1.nip.io:8640",
            "localhost:8640.evil.example",
            "localhost:",
            "[::1]",
            "a@localhost:8640",
            "127.0.0.1:8640:8640",
        ] {
            assert!(!guard.is_us(bad), "{bad}");
        }
    }
}

//! What a mission is asked for, from bytes to an order.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::area::{self, Area};
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::topic::valid_correlation;
use crate::event::{MissionStart, MissionStop, SearchTarget, Vegetation};
use crate::geo::LatLon;

/// Largest order: a thousand corners, and room for their digits.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// Longest name of a mission.
const MAX_NAME: usize = 80;
/// Most of a parser's message that is passed on: it may quote what was sent.
const MAX_QUOTED: usize = 120;

/// A mission that is to begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MissionOrder {
    /// What the requester calls the request.
    pub correlation: Option<String>,
    /// What people call the mission.
    pub name: Option<String>,
    /// The ground.
    pub area: Option<Area>,
    /// What is looked for; none: as configured.
    pub target: Option<SearchTarget>,
    /// Where somebody was last seen.
    pub start_point: Option<LatLon>,
    /// What grows there; none: as configured.
    pub vegetation: Option<Vegetation>,
}

/// A mission that is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOrder {
    /// What the requester calls the request.
    pub correlation: Option<String>,
    /// Which; none: the one under way.
    pub mission: Option<Uuid>,
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, message)
}

/// One JSON object of bounded length, and nothing after it.
fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    if json.len() > MAX_COMMAND_BYTES {
        let message = format!("the order has {} bytes, {MAX_COMMAND_BYTES} are allowed", json.len());
        return Err(Error::new(Kind::TooLarge, Culprit::Request, message));
    }
    // A list would be read field by field, in an order that nobody wrote down.
    if json.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(refused("the order cannot be read: it is not a JSON object"));
    }
    serde_json::from_slice(json).map_err(|e| {
        let plain = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '?' } else { c };
        let text: String = e.to_string().chars().take(MAX_QUOTED).map(plain).collect();
        refused(format!("the order cannot be read: {text}"))
    })
}

fn checked(correlation: Option<String>) -> Result<Option<String>> {
    if correlation.as_deref().is_some_and(|c| !valid_correlation(c)) {
        return Err(refused("`correlation` is not usable in a topic")
            .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, _ and -"));
    }
    Ok(correlation)
}

impl MissionOrder {
    /// Reads the payload of `cmd/mission/start`.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Self::checked(object(json)?)
    }

    /// Checks what no single field can be blamed for.
    pub fn checked(command: MissionStart) -> Result<Self> {
        let MissionStart { correlation, name, area, target, start_point, vegetation } = command;
        let fits = |n: &String| {
            (1..=MAX_NAME).contains(&n.chars().count()) && n.trim() == n && !n.chars().any(char::is_control)
        };
        if name.as_ref().is_some_and(|n| !fits(n)) {
            return Err(refused("`name` is no name of a mission")
                .remedy(format!("use 1 to {MAX_NAME} characters on one line, without blanks around them")));
        }
        Ok(Self {
            correlation: checked(correlation)?,
            name,
            area: area.map(|json| Area::from_geojson(&json.0)).transpose()?,
            target,
            start_point: start_point.map(area::place).transpose()?,
            vegetation,
        })
    }
}

impl StopOrder {
    /// Reads the payload of `cmd/mission/stop`.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let MissionStop { correlation, mission } = object(json)?;
        Ok(Self { correlation: checked(correlation)?, mission })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_order_is_read_with_everything_in_it() {
        let order = MissionOrder::from_json(
            br#"{"correlation":"m-1","name":"North field","target":"any","start_point":[120.1,30.2],"vegetation":"scrub",
            "area":{"type":"Polygon","coordinates":[[[120.1,30.2],[120.11,30.2],[120.11,30.21],[120.1,30.2]]]}}"#,
        )
        .unwrap();
        assert_eq!((order.target, order.vegetation), (Some(SearchTarget::Any), Some(Vegetation::Scrub)));
        assert_eq!(order.area.unwrap().corners().len(), 3);
        assert!((order.start_point.unwrap().lat().degrees() - 30.2).abs() < 1e-9);
        assert_eq!(MissionOrder::from_json(b"{}").unwrap(), MissionOrder::default());
        assert_eq!(StopOrder::from_json(b"{}").unwrap(), StopOrder::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("{{\"name\":\"{}\"}}", "x".repeat(81));
        for (json, word) in [
            ("[]", "object"),
            ("{\"aera\":{}}", "aera"),
            ("{\"correlation\":\"a/b\"}", "correlation"),
            ("{\"name\":\" a\"}", "name"),
            (&long, "name"),
            ("{\"start_point\":[200,30]}", "start_point"),
            ("{\"start_point\":[20]}", "read"),
            ("{\"area\":{\"type\":\"Point\"}}", "area"),
            ("{\"target\":\"cow\"}", "cow"),
            ("{} {}", "read"),
        ] {
            let e = MissionOrder::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(e.contains(word) && !e.contains('\n') && e.len() < 600, "{json}: {e}");
        }
        let big = vec![b' '; MAX_COMMAND_BYTES + 1];
        assert_eq!(MissionOrder::from_json(&big).unwrap_err().kind(), Kind::TooLarge);
        // Nesting that would exhaust a stack.
        let deep = format!("{{\"area\":{}", "{\"a\":".repeat(20_000));
        assert!(MissionOrder::from_json(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MissionOrder::from_json(&json);
            let _ = StopOrder::from_json(&json);
        }
    }
}

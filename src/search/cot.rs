//! Cursor-on-Target, for the maps of the people on foot: a candidate as an `event` of version 2.0 (MITRE,
//! "Cursor on Target Message Router User's Guide", 09-4937, section 2.3; the base schema
//! `Event-PUBLIC.xsd`, 11-3895).
//!
//! # What was chosen
//!
//! - `type`: a person is `a-u-G` (an atom, of unknown affiliation, on the ground), a vehicle `a-u-G-E-V`, an
//!   animal or a warm object `b-m-p-s-m` (a spot on the map). A found person is neither friend nor foe to a
//!   box, and `b-m-p-s-p-loc`, which some tools use, is where a sensor itself stands.
//! - `how`: `m-f` (by a machine, fused) once several looks made the place, `m-i` (by a machine, measured in a
//!   picture) for one view, `m-s` (by a machine, simulated) for a replay, so that nobody walks to it.
//! - `ce` and `le`: the schema says that an error is given as "the one sigma point for a zero mean normal
//!   distribution". So `ce` is CE90 / 2.1460 and `le` is LE90 / 1.6449: the circle that a client draws holds
//!   39 % of the truth. The remarks say the 90 % in words.
//! - `time` and `start` are when the message is made, by the box's clock; the drone's may differ, and a marker
//!   that starts after it is stale is shown by nobody.
//! - An `end` because the mission was stopped sends the marker once more and lets it grow stale: people may
//!   still be walking. A candidate that lost its evidence, or is another one, is deleted (`t-x-d-d` with
//!   `__forcedelete`).

use std::time::Duration;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::export::{describe, title};
use crate::base::{Error, Result};
use crate::event::{EndReason, SearchDetection, TargetClass};

/// What the schema takes for "not known".
const UNKNOWN: f64 = 9_999_999.0;
/// From a radius that holds nine of ten to one deviation, in the plane and along a line.
const CE90_SIGMAS: f64 = 2.145_966;
const LE90_SIGMAS: f64 = 1.644_854;

/// What becomes of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It is set, or moved.
    Set,
    /// It is set for the last time.
    Last,
    /// It is deleted.
    Delete,
}

/// What becomes of the marker of a candidate.
pub fn marker(detection: &SearchDetection) -> Marker {
    match detection.end {
        None => Marker::Set,
        Some(EndReason::MissionStopped | EndReason::Lost) => Marker::Last,
        Some(EndReason::OutOfEvidence | EndReason::Merged | EndReason::Crowded) => Marker::Delete,
    }
}

/// The marker's identifier, the same for as long as the candidate is.
pub fn uid(detection: &SearchDetection) -> String {
    format!("vigil.{}", detection.candidate)
}

fn cot_type(class: TargetClass) -> &'static str {
    match class {
        TargetClass::Person => "a-u-G",
        TargetClass::Vehicle => "a-u-G-E-V",
        TargetClass::Animal | TargetClass::WarmObject => "b-m-p-s-m",
    }
}

/// An error that is a number, or what stands for none.
fn metres(x: f64) -> f64 {
    if x.is_finite() && x >= 0.0 { (x * 10.0).round() / 10.0 } else { UNKNOWN }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The message that sets the marker of a candidate, made at `now`. `simulated`: nobody is there.
pub fn event(
    detection: &SearchDetection,
    now: Timestamp,
    stale: Duration,
    simulated: bool,
) -> Result<String> {
    let how = match (simulated, detection.views) {
        (true, _) => "m-s",
        (false, 0 | 1) => "m-i",
        (false, _) => "m-f",
    };
    let p = &detection.position;
    let point = [p.lat, p.lon, p.hae_m, metres(p.ce90_m / CE90_SIGMAS), metres(p.le90_m / LE90_SIGMAS)];
    message(&uid(detection), cot_type(detection.class), how, now, stale, point, |xml| {
        xml.create_element("contact")
            .with_attribute(("callsign", title(detection).as_str()))
            .write_empty()?;
        if let Some(m) = &detection.movement {
            let (course, speed) = (m.course_deg.to_string(), m.speed_mps.to_string());
            xml.create_element("track")
                .with_attributes([("course", course.as_str()), ("speed", speed.as_str())])
                .write_empty()?;
        }
        let says = describe(detection);
        xml.create_element("remarks").write_text_content(BytesText::new(&says))?;
        Ok(())
    })
}

/// The message that deletes it. Clients find what is meant in the link, not in the message's own `uid`.
pub fn deletion(detection: &SearchDetection, now: Timestamp) -> Result<String> {
    let uid = uid(detection);
    let point = [0.0, 0.0, UNKNOWN, UNKNOWN, UNKNOWN];
    message(&format!("{uid}.end"), "t-x-d-d", "m-f", now, Duration::from_secs(60), point, |xml| {
        xml.create_element("link")
            .with_attributes([
                ("uid", uid.as_str()),
                ("relation", "p-p"),
                ("type", cot_type(detection.class)),
            ])
            .write_empty()?;
        xml.create_element("__forcedelete").write_empty()?;
        Ok(())
    })
}

fn message(
    uid: &str,
    ty: &str,
    how: &str,
    now: Timestamp,
    stale: Duration,
    [lat, lon, hae, ce, le]: [f64; 5],
    detail: impl FnOnce(&mut Writer<Vec<u8>>) -> std::io::Result<()>,
) -> Result<String> {
    let mut xml = Writer::new(Vec::with_capacity(1024));
    let stale = time(now.checked_add(stale).unwrap_or(Timestamp::MAX));
    let now = time(now);
    let written = (|| -> std::io::Result<()> {
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let head = [
            ("version", "2.0"),
            ("uid", uid),
            ("type", ty),
            ("how", how),
            ("time", now.as_str()),
            ("start", now.as_str()),
            ("stale", stale.as_str()),
        ];
        xml.create_element("event").with_attributes(head).write_inner_content(|xml| {
            let [lat, lon] = [lat, lon].map(|d| format!("{d:.7}"));
            let [hae, ce, le] = [hae, ce, le].map(|m| format!("{m:.1}"));
            let point = [("lat", &lat), ("lon", &lon), ("hae", &hae), ("ce", &ce), ("le", &le)];
            xml.create_element("point").with_attributes(point.map(|(k, v)| (k, v.as_str()))).write_empty()?;
            xml.create_element("detail").write_inner_content(detail)?;
            Ok(())
        })?;
        Ok(())
    })();
    written.map_err(|e| Error::internal("a message is not XML").with_source(e))?;
    String::from_utf8(xml.into_inner()).map_err(|e| Error::internal("a message is not UTF-8").with_source(e))
}

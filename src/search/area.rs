//! The ground of a mission: a GeoJSON polygon from outside, looked into before it is believed.

use serde_json::{Map, Value as Json};

use crate::base::{Culprit, Error, Kind, Result};
use crate::geo::{LatLon, TangentPlane};

/// Most corners.
pub const MAX_CORNERS: usize = 1000;
/// Largest area, square metres: 400 km².
pub const MAX_AREA_M2: f64 = 400e6;
/// Longest side of the box around it, metres.
const MAX_SPAN_M: f64 = 60_000.0;
/// Smallest area: less is a slip of the hand.
const MIN_AREA_M2: f64 = 100.0;
/// What `Feature`s and collections are unwrapped.
const MAX_WRAPPERS: usize = 3;

/// A simple polygon, its ring open and counter-clockwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    corners: Vec<LatLon>,
    square_metres: f64,
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, format!("`area` {}", message.into()))
        .remedy("send a GeoJSON Polygon: one closed ring of [longitude, latitude] that does not cross itself")
}

impl Area {
    /// Reads a GeoJSON (RFC 7946) `Polygon`, or a `Feature` of one, or a `FeatureCollection` of one of
    /// these.
    ///
    /// Refused: other geometries, holes, more than [`MAX_CORNERS`] corners or [`MAX_AREA_M2`], positions that
    /// are none, a ring that is not closed, crosses or touches itself, or crosses the 180th meridian.
    pub fn from_geojson(json: &Map<String, Json>) -> Result<Self> {
        let ring = ring_of(json)?;
        if ring.len() > MAX_CORNERS + 1 {
            return Err(refused(format!("has {} corners, {MAX_CORNERS} are allowed", ring.len())));
        }
        let mut corners = Vec::with_capacity(ring.len());
        for (n, position) in ring.iter().enumerate() {
            corners.push(
                position_of(position).ok_or_else(|| refused(format!("has no position as corner {n}")))?,
            );
        }
        if corners.len() < 4 || corners.first() != corners.last() {
            return Err(refused(
                "is not closed: its last corner must be its first, and at least three lie between",
            ));
        }
        corners.pop();
        Self::from_corners(corners)
    }

    /// From an open ring in either direction.
    pub fn from_corners(mut corners: Vec<LatLon>) -> Result<Self> {
        // Said twice in a row it is one corner.
        corners.dedup();
        while corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        if corners.len() < 3 {
            return Err(refused("has fewer than three corners"));
        }
        if corners.len() > MAX_CORNERS {
            return Err(refused(format!("has {} corners, {MAX_CORNERS} are allowed", corners.len())));
        }
        let lons: Vec<f64> = corners.iter().map(|c| c.lon().degrees()).collect();
        let far = |v: &[f64]| {
            v.iter().cloned().fold(f64::MIN, f64::max) - v.iter().cloned().fold(f64::MAX, f64::min)
        };
        if far(&lons) > 180.0 {
            return Err(refused("crosses the 180th meridian")
                .remedy("cut it there, and start a mission for each part"));
        }
        if corners.iter().any(|c| c.lat().degrees().abs() > 85.0) {
            return Err(refused("reaches beyond 85 degrees of latitude"));
        }
        let plane = TangentPlane::at(corners[0]);
        let flat: Vec<[f64; 2]> = corners.iter().map(|c| plane.metres(*c)).collect();
        for axis in 0..2 {
            let span = far(&flat.iter().map(|p| p[axis]).collect::<Vec<_>>());
            if span > MAX_SPAN_M {
                let message =
                    format!("is {:.0} km wide or high, {:.0} are allowed", span / 1e3, MAX_SPAN_M / 1e3);
                return Err(refused(message).remedy("search it in parts"));
            }
        }
        if let Some((a, b)) = crossing(&flat) {
            return Err(refused(format!(
                "crosses or touches itself: the sides after corners {a} and {b} meet"
            )));
        }
        let twice: f64 = ring_pairs(&flat).map(|(p, q)| p[0] * q[1] - q[0] * p[1]).sum();
        let square_metres = twice.abs() / 2.0;
        if square_metres > MAX_AREA_M2 {
            let message = format!("has {:.0} km², {:.0} are allowed", square_metres / 1e6, MAX_AREA_M2 / 1e6);
            return Err(refused(message).remedy("search it in parts"));
        }
        if square_metres < MIN_AREA_M2 {
            return Err(refused(format!("has {square_metres:.0} m²: less than a drone sees at once")));
        }
        if twice < 0.0 {
            corners.reverse();
        }
        Ok(Self { corners, square_metres })
    }

    /// The corners, counter-clockwise, the first one not repeated.
    pub fn corners(&self) -> &[LatLon] {
        &self.corners
    }

    /// Square metres.
    pub fn square_metres(&self) -> f64 {
        self.square_metres
    }
}

/// A place as GeoJSON gives it.
pub(super) fn place([lon, lat]: [f64; 2]) -> Result<LatLon> {
    LatLon::from_degrees(lat, lon).ok_or_else(|| {
        Error::new(Kind::Usage, Culprit::Request, "`start_point` is no place on earth")
            .remedy("send [longitude, latitude] in degrees")
    })
}

fn ring_of(json: &Map<String, Json>) -> Result<&Vec<Json>> {
    let mut json = json;
    for _ in 0..=MAX_WRAPPERS {
        let inner = match json.get("type").and_then(Json::as_str) {
            Some("Polygon") => {
                return match json.get("coordinates").and_then(Json::as_array).map(Vec::as_slice) {
                    Some([ring]) => ring.as_array().ok_or_else(|| refused("has a ring that is no list")),
                    Some([_, _, ..]) => Err(refused("has holes, which are not taken")),
                    _ => Err(refused("has no ring")),
                };
            }
            Some("Feature") => json.get("geometry"),
            Some("FeatureCollection") => {
                match json.get("features").and_then(Json::as_array).map(Vec::as_slice) {
                    Some([one]) => Some(one),
                    _ => return Err(refused("is a collection that holds not exactly one feature")),
                }
            }
            _ => return Err(refused("is no Polygon")),
        };
        json = inner.and_then(Json::as_object).ok_or_else(|| refused("is a Feature without a geometry"))?;
    }
    Err(refused("is wrapped too deep"))
}

/// Longitude and latitude; a height that follows is passed over (RFC 7946, section 3.1.1).
fn position_of(json: &Json) -> Option<LatLon> {
    let numbers = json.as_array().filter(|a| (2..=3).contains(&a.len()))?;
    LatLon::from_degrees(numbers[1].as_f64()?, numbers[0].as_f64()?)
}

fn ring_pairs(ring: &[[f64; 2]]) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + '_ {
    (0..ring.len()).map(|i| (ring[i], ring[(i + 1) % ring.len()]))
}

/// Two sides that meet and are not neighbours, or neighbours that fold back onto each other.
fn crossing(ring: &[[f64; 2]]) -> Option<(usize, usize)> {
    let n = ring.len();
    let side = |i: usize| (ring[i], ring[(i + 1) % n]);
    for i in 0..n {
        for j in i + 1..n {
            let ((a, b), (c, d)) = (side(i), side(j));
            let next = j == i + 1;
            let meet = if next || (i == 0 && j == n - 1) {
                // They share a corner: it must be the only point.
                let (tip, back, on) = if next { (b, a, d) } else { (a, b, c) };
                turn(back, tip, on) == 0.0 && dot(back, tip, on) > 0.0
            } else {
                segments_meet(a, b, c, d)
            };
            if meet {
                return Some((i, j));
            }
        }
    }
    None
}

fn turn(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// Of the ways from `tip` to the other two.
fn dot(back: [f64; 2], tip: [f64; 2], on: [f64; 2]) -> f64 {
    (back[0] - tip[0]) * (on[0] - tip[0]) + (back[1] - tip[1]) * (on[1] - tip[1])
}

fn segments_meet(a: [f64; 2], b: [f64; 2], c: [f64; 2], d: [f64; 2]) -> bool {
    let between = |p: [f64; 2], q: [f64; 2], x: [f64; 2]| {
        (p[0].min(q[0])..=p[0].max(q[0])).contains(&x[0]) && (p[1].min(q[1])..=p[1].max(q[1])).contains(&x[1])
    };
    let (c_side, d_side) = (turn(a, b, c), turn(a, b, d));
    let (a_side, b_side) = (turn(c, d, a), turn(c, d, b));
    if c_side * d_side < 0.0 && a_side * b_side < 0.0 {
        return true;
    }
    (c_side == 0.0 && between(a, b, c))
        || (d_side == 0.0 && between(a, b, d))
        || (a_side == 0.0 && between(c, d, a))
        || (b_side == 0.0 && between(c, d, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(json: Json) -> Result<Area> {
        Area::from_geojson(json.as_object().unwrap())
    }

    fn polygon(ring: &[[f64; 2]]) -> Json {
        json!({ "type": "Polygon", "coordinates": [ring] })
    }

    const FIELD: [[f64; 2]; 5] =
        [[120.0, 30.0], [120.0, 30.01], [120.01, 30.01], [120.01, 30.0], [120.0, 30.0]];

    #[test]
    fn a_field_is_read_whichever_way_it_is_drawn_and_wrapped() {
        let area = read(polygon(&FIELD)).unwrap();
        assert!((area.square_metres() - 964.9 * 1108.5).abs() < 3e3, "{}", area.square_metres());
        let mut other = FIELD;
        other.reverse();
        let turned =
            read(json!({ "type": "Feature", "properties": null, "geometry": polygon(&other) })).unwrap();
        assert_eq!(turned.corners().len(), 4);
        assert_eq!(turned.square_metres().round(), area.square_metres().round());
        let feature = json!({ "type": "Feature", "geometry": polygon(&FIELD) });
        read(json!({ "type": "FeatureCollection", "features": [feature] })).unwrap();
        read(json!({ "type": "Polygon", "coordinates": [[[120, 30, 9.0], [120.01, 30, 9], [120.01, 30.01, 9], [120, 30, 9]]] }))
            .unwrap();
    }

    #[test]
    fn what_is_no_field_is_refused_by_its_fault() {
        let many: Vec<[f64; 2]> = (0..1002)
            .map(|i| f64::from(i) / 1002.0 * std::f64::consts::TAU)
            .map(|t| [120.0 + 0.01 * t.cos(), 30.0 + 0.01 * t.sin()])
            .collect();
        let mut deep = polygon(&FIELD);
        for _ in 0..6 {
            deep = json!({ "type": "Feature", "geometry": deep });
        }
        for (json, word) in [
            (
                polygon(&[[120.0, 30.0], [120.01, 30.01], [120.01, 30.0], [120.0, 30.01], [120.0, 30.0]]),
                "crosses or touches",
            ),
            (
                polygon(&[[120.0, 30.0], [120.01, 30.0], [120.005, 30.0], [120.005, 30.01], [120.0, 30.0]]),
                "crosses or touches",
            ),
            (polygon(&FIELD[..4]), "not closed"),
            (polygon(&[[179.99, 0.0], [-179.99, 0.0], [-179.99, 0.01], [179.99, 0.0]]), "180th"),
            (polygon(&[[0.0, 86.0], [0.1, 86.0], [0.1, 86.1], [0.0, 86.0]]), "85 degrees"),
            (polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0]]), "wide or high"),
            (polygon(&[[0.0, 0.0], [0.4, 0.0], [0.4, 0.4], [0.0, 0.4], [0.0, 0.0]]), "400 are allowed"),
            (polygon(&[[0.0, 0.0], [0.00001, 0.0], [0.00001, 0.00001], [0.0, 0.0]]), "less than"),
            (polygon(&[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), "three corners"),
            (polygon(&many), "corners"),
            (json!({ "type": "Polygon", "coordinates": [FIELD, FIELD] }), "holes"),
            (
                json!({ "type": "Polygon", "coordinates": [[[0.0, 91.0], [1, 1], [2, 2], [0.0, 91.0]]] }),
                "corner 0",
            ),
            (json!({ "type": "Polygon", "coordinates": [[["a", 1]]] }), "corner 0"),
            (json!({ "type": "Polygon" }), "no ring"),
            (json!({ "type": "Point", "coordinates": [1, 2] }), "no Polygon"),
            (json!({ "type": "FeatureCollection", "features": [] }), "exactly one"),
            (json!({}), "no Polygon"),
            (deep, "too deep"),
        ] {
            let e = read(json.clone()).unwrap_err().to_string();
            assert!(e.contains(word), "{word}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_ring_is_an_area_or_an_error(ring in proptest::collection::vec((-0.02f64..0.02, -0.02f64..0.02), 0..12)) {
            let mut ring: Vec<[f64; 2]> = ring.into_iter().map(|(x, y)| [x, y]).collect();
            ring.extend(ring.first().copied());
            if let Ok(area) = read(polygon(&ring)) {
                prop_assert!(area.square_metres() >= MIN_AREA_M2);
                prop_assert!(area.corners().len() >= 3);
            }
        }
    }
}

//! A mission as files that other programs open: GeoJSON (RFC 7946) and KML 2.2.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde_json::{Value as Json, json};

use crate::base::{Error, Result};
use crate::event::{Ellipse90, LonLat, MissionView, PodClass, SearchCoverage, SearchDetection, TargetClass};
use crate::geo::{LatLon, TangentPlane};

/// Corners of an ellipse.
const ELLIPSE: u32 = 36;

/// Everything that a person wants to know of a mission.
#[derive(Clone, Debug)]
pub struct MissionReport {
    /// What it was.
    pub view: MissionView,
    /// Its area's corners, the first not repeated.
    pub area: Option<Vec<LonLat>>,
    /// Where somebody was last seen.
    pub start_point: Option<LonLat>,
    /// The last word about each candidate that was told.
    pub detections: Vec<SearchDetection>,
    /// What was searched.
    pub coverage: Option<SearchCoverage>,
}

fn closed(ring: &[LonLat]) -> Vec<LonLat> {
    ring.iter().chain(ring.first()).copied().collect()
}

/// The ellipse that holds the truth nine times in ten, as a closed ring, counter-clockwise.
fn ellipse(lon: f64, lat: f64, ellipse: &Ellipse90) -> Vec<LonLat> {
    let Some(middle) = LatLon::from_degrees(lat, lon) else { return Vec::new() };
    let plane = TangentPlane::at(middle);
    let azimuth = ellipse.azimuth_deg.to_radians();
    let ring: Vec<LonLat> = (0..ELLIPSE)
        .map(|n| {
            let t = f64::from(n) / f64::from(ELLIPSE) * std::f64::consts::TAU;
            let (along, across) = (ellipse.major_m * t.cos(), ellipse.minor_m * t.sin());
            // Along the azimuth, and to its left.
            let east = along * azimuth.sin() - across * azimuth.cos();
            let north = along * azimuth.cos() + across * azimuth.sin();
            let at = plane.place([east, north]);
            [at.lon().degrees(), at.lat().degrees()].map(|d| (d * 1e7).round() / 1e7)
        })
        .collect();
    closed(&ring)
}

/// One `FeatureCollection`: area, start point, coverage, and of each candidate its point and its ellipse.
pub fn geojson(report: &MissionReport) -> Result<String> {
    let mut features: Vec<Json> = Vec::new();
    let mut feature = |kind: &str, geometry: Json, mut properties: Json| {
        properties["kind"] = json!(kind);
        features.push(json!({ "type": "Feature", "geometry": geometry, "properties": properties }));
    };
    let not_json = |e| Error::internal("a mission is not JSON").with_source(e);
    let mission = serde_json::to_value(&report.view).map_err(not_json)?;
    if let Some(area) = &report.area {
        feature("area", json!({ "type": "Polygon", "coordinates": [closed(area)] }), mission.clone());
    }
    if let Some(point) = report.start_point {
        feature("start_point", json!({ "type": "Point", "coordinates": point }), json!({}));
    }
    for cover in report.coverage.iter().flat_map(|c| &c.map.features) {
        let geometry = serde_json::to_value(&cover.geometry).map_err(not_json)?;
        feature("coverage", geometry, serde_json::to_value(cover.properties).map_err(not_json)?);
    }
    for found in &report.detections {
        let at = &found.position;
        let data = serde_json::to_value(found).map_err(not_json)?;
        let ring = ellipse(at.lon, at.lat, &at.ellipse90);
        let near = json!({ "candidate": found.candidate, "class": found.class });
        feature("ellipse90", json!({ "type": "Polygon", "coordinates": [ring] }), near);
        // RFC 7946, section 4: the height is above the ellipsoid.
        feature("candidate", json!({ "type": "Point", "coordinates": [at.lon, at.lat, at.hae_m] }), data);
    }
    let mut summary = json!({ "mission": mission });
    if let Some(c) = &report.coverage {
        summary["seen_m2"] = json!(c.seen_m2);
        summary["searched_share"] = json!(c.searched_share);
        summary["mean_pod"] = json!(c.mean_pod);
    }
    let all = json!({ "type": "FeatureCollection", "features": features, "vigil": summary });
    serde_json::to_string(&all).map_err(not_json)
}

type Xml = Writer<Vec<u8>>;

fn not_xml(e: std::io::Error) -> Error {
    Error::internal("a mission is not XML").with_source(e)
}

/// KML 2.2 (OGC 07-147r2) for a globe: the same things, coloured.
pub fn kml(report: &MissionReport) -> Result<String> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 1);
    let written = (|| -> std::io::Result<()> {
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        xml.create_element("kml")
            .with_attribute(("xmlns", "http://www.opengis.net/kml/2.2"))
            .write_inner_content(|xml| {
                xml.create_element("Document").write_inner_content(|xml| document(xml, report))?;
                Ok(())
            })?;
        Ok(())
    })();
    written.map_err(not_xml)?;
    String::from_utf8(xml.into_inner()).map_err(|e| Error::internal("a mission is not UTF-8").with_source(e))
}

/// Style and colour, `aabbggrr`.
const STYLES: [(&str, &str); 8] = [
    ("area", "ffffffff"),
    ("low", "400000ff"),
    ("medium", "400080ff"),
    ("high", "4000ffff"),
    ("very_high", "4000ff00"),
    ("person", "ff0000ff"),
    ("other", "ffff8000"),
    ("over", "ff808080"),
];

fn document(xml: &mut Xml, report: &MissionReport) -> std::io::Result<()> {
    let name = report.view.name.clone().unwrap_or_else(|| report.view.mission.to_string());
    text(xml, "name", &name)?;
    for (style, colour) in STYLES {
        xml.create_element("Style").with_attribute(("id", style)).write_inner_content(|xml| {
            xml.create_element("LineStyle").write_inner_content(|xml| {
                text(xml, "color", &format!("ff{}", &colour[2..]))?;
                text(xml, "width", "2")
            })?;
            xml.create_element("PolyStyle").write_inner_content(|xml| {
                text(xml, "color", if style == "area" { "00ffffff" } else { colour })
            })?;
            xml.create_element("IconStyle")
                .write_inner_content(|xml| text(xml, "color", &format!("ff{}", &colour[2..])))?;
            Ok(())
        })?;
    }
    if let Some(area) = &report.area {
        placemark(xml, "area", "area", "", |xml| polygon(xml, &[closed(area)]))?;
    }
    if let Some([lon, lat]) = report.start_point {
        placemark(xml, "start point", "area", "", |xml| point(xml, lon, lat))?;
    }
    for cover in report.coverage.iter().flat_map(|c| &c.map.features) {
        let style = match cover.properties.class {
            PodClass::Low => "low",
            PodClass::Medium => "medium",
            PodClass::High => "high",
            PodClass::VeryHigh => "very_high",
        };
        let says = format!(
            "{} m2, mean probability of detection {}",
            cover.properties.area_m2, cover.properties.mean_pod
        );
        placemark(xml, &format!("searched: {style}"), style, &says, |xml| {
            xml.create_element("MultiGeometry").write_inner_content(|xml| {
                cover.geometry.coordinates.iter().try_for_each(|p| polygon(xml, p))
            })?;
            Ok(())
        })?;
    }
    for found in &report.detections {
        let at = &found.position;
        let style = match (found.end, found.class) {
            (Some(end), _) if end != crate::event::EndReason::MissionStopped => "over",
            (_, TargetClass::Person) => "person",
            _ => "other",
        };
        placemark(xml, &title(found), style, &describe(found), |xml| {
            xml.create_element("MultiGeometry").write_inner_content(|xml| {
                point(xml, at.lon, at.lat)?;
                polygon(xml, &[ellipse(at.lon, at.lat, &at.ellipse90)])
            })?;
            Ok(())
        })?;
    }
    Ok(())
}

/// What a candidate is called where people read: its class, and the end of its identifier.
pub(super) fn title(found: &SearchDetection) -> String {
    let class = match found.class {
        TargetClass::Person => "person",
        TargetClass::Vehicle => "vehicle",
        TargetClass::Animal => "animal",
        TargetClass::WarmObject => "warm object",
    };
    let id = found.candidate.simple().to_string();
    format!("{class} {}", &id[id.len() - 4..])
}

/// One line about it.
pub(super) fn describe(found: &SearchDetection) -> String {
    let p = &found.position;
    let mut out = format!(
        "{:.0} % {}, within {} m nine times in ten (CE90), height {} m above the ellipsoid within {} m; {} views, last seen {}",
        found.likelihoods.of(found.class) * 100.0,
        title(found).rsplit_once(' ').map_or("", |(class, _)| class),
        p.ce90_m,
        p.hae_m,
        p.le90_m,
        found.views,
        found.last_seen.strftime("%Y-%m-%d %H:%M:%SZ"),
    );
    if let Some(k) = found.warmest_k {
        out += &format!("; {:.1} °C", k - 273.15);
    }
    if let Some(m) = &found.movement {
        out += &format!("; moves with {} m/s towards {:.0}°", m.speed_mps, m.course_deg);
    }
    let words = |inputs: &[crate::event::PoseInput]| {
        // The names as in the event.
        inputs
            .iter()
            .filter_map(|i| serde_json::to_value(i).ok()?.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !found.inputs.assumed.is_empty() {
        out += &format!("; assumed, not measured: {}", words(&found.inputs.assumed));
    }
    if !found.inputs.stale.is_empty() {
        out += &format!("; out of date: {}", words(&found.inputs.stale));
    }
    out
}

fn text(xml: &mut Xml, name: &str, content: &str) -> std::io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(content))?;
    Ok(())
}

fn placemark(
    xml: &mut Xml,
    name: &str,
    style: &str,
    says: &str,
    geometry: impl FnOnce(&mut Xml) -> std::io::Result<()>,
) -> std::io::Result<()> {
    xml.create_element("Placemark").write_inner_content(|xml| {
        text(xml, "name", name)?;
        if !says.is_empty() {
            text(xml, "description", says)?;
        }
        text(xml, "styleUrl", &format!("#{style}"))?;
        geometry(xml)
    })?;
    Ok(())
}

fn point(xml: &mut Xml, lon: f64, lat: f64) -> std::io::Result<()> {
    // On the ground: KML's own heights are above the geoid, which the box does not tell.
    xml.create_element("Point")
        .write_inner_content(|xml| text(xml, "coordinates", &format!("{lon},{lat}")))?;
    Ok(())
}

/// The outer ring first, then the holes, all closed.
fn polygon(xml: &mut Xml, rings: &[Vec<LonLat>]) -> std::io::Result<()> {
    xml.create_element("Polygon").write_inner_content(|xml| {
        for (n, ring) in rings.iter().enumerate() {
            let boundary = if n == 0 { "outerBoundaryIs" } else { "innerBoundaryIs" };
            let list: Vec<String> = ring.iter().map(|[lon, lat]| format!("{lon},{lat}")).collect();
            xml.create_element(boundary).write_inner_content(|xml| {
                xml.create_element("LinearRing")
                    .write_inner_content(|xml| text(xml, "coordinates", &list.join(" ")))?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

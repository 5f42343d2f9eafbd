//! `geolocation`: how far from the truth a pixel is placed, how often the truth lies in the ellipse, and
//! what a fix costs.
//!
//! * errors: random geometries (40 to 150 m above ground, 12 to 90 degrees down, any heading, fields of
//!   view of 25 to 50 degrees, the whole picture) with inputs that err as the defaults say, over flat
//!   ground and over a real SRTM tile, by depression; and straight ahead from 100 m;
//! * cost: µs per fix with its error, per place without, per projection, and per footprint;
//! * cost of the map of what was searched: µs that a frame adds, footprint and fixes aside, and of the drawing
//!   of the map, which happens beside the frames.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `VIGIL_BENCH_TRIALS` | geometries per table | 20000 |
//! | `VIGIL_DATA` | where `dem/N44W072.hgt` is | `../shared/data` |

#![allow(clippy::unwrap_used)] // A harness that cannot go on should stop.

#[path = "../tests/it/support/trials.rs"]
#[allow(dead_code)]
mod trials;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use trials::{PIXEL_SIGMA, Site, Trial, Trials, table};
use vigil::base::Name;
use vigil::config::SearchConfig;
use vigil::geo::{
    Angle, Attitude, Camera, DEFAULT_CACHE_BYTES, EllipsoidHeight, FieldOfView, Gimbal, Height, LatLon,
    Loading, Pose, PoseSigma, Terrain,
};
use vigil::search::{DetectorModel, Ids, Look, Outcome, Search, SearchSetup};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

/// µs of one call: the median over the geometries of the best of three.
fn cost(name: &str, poses: usize, mut call: impl FnMut(usize)) {
    let mut times: Vec<f64> = (0..poses)
        .map(|i| {
            (0..3)
                .map(|_| {
                    let begin = Instant::now();
                    call(i);
                    begin.elapsed().as_secs_f64() * 1e6
                })
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("  {name:<28} p50 {:7.2}  p99 {:7.2} µs", times[poses / 2], times[poses * 99 / 100]);
}

fn costs(name: &str, site: &Site) {
    println!("{name}: cost");
    let mut trials = Trials::new(9, site.clone());
    let locator = trials.locator(Camera::new([640, 512]));
    let drawn: Vec<_> = std::iter::repeat_with(|| trials.pose())
        .filter_map(|(pose, pixel)| {
            let place = locator.locate(&pose, pixel, PIXEL_SIGMA).ok()?.position;
            Some((pose, pixel, place))
        })
        .take(1000)
        .collect();
    cost("fix with its error", drawn.len(), |i| {
        let (pose, pixel, _) = &drawn[i];
        black_box(locator.locate(pose, *pixel, PIXEL_SIGMA).ok());
    });
    let views: Vec<_> = drawn.iter().map(|(pose, ..)| locator.view(pose).unwrap()).collect();
    cost("the same, frame prepared", drawn.len(), |i| {
        black_box(views[i].locate(drawn[i].1, PIXEL_SIGMA).ok());
    });
    cost("place without its error", drawn.len(), |i| {
        black_box(views[i].place(drawn[i].1).ok());
    });
    cost("ground to pixel, and seen", drawn.len(), |i| {
        black_box(views[i].seen(&drawn[i].2));
    });
    cost("footprint", drawn.len(), |i| {
        black_box(views[i].footprint().ok());
    });
}

/// A flight straight ahead at 8 m/s, five frames a second, without anything warm: what is left of a frame is the
/// map of what was searched.
fn map_costs(above_ground_m: f64, depression_deg: f64) {
    const FRAMES: u32 = 1_000;
    const GROUND_M: f64 = 20.0;
    let origin = LatLon::from_degrees(30.25, 120.15).unwrap();
    let locator = Trials::new(9, Site::Flat(origin, GROUND_M)).locator(Camera::new([640, 512]));
    let zero = Angle::ZERO;
    let looks = Attitude { yaw: zero, pitch: Angle::from_degrees(-depression_deg), roll: zero };
    let config = SearchConfig::new(Name::new("drone").unwrap());
    let setup = SearchSetup::new(&config, DetectorModel::default(), Vec::new());
    let mut search = Search::new(setup, Ids::seeded([1; 32]));
    let start: jiff::Timestamp = "2026-01-10T22:00:00Z".parse().unwrap();
    let (mut frames, mut drawn, mut square_metres) = (Vec::new(), Vec::new(), 0.0);
    for n in 0..FRAMES {
        let seconds = f64::from(n) / 5.0;
        let pose = Pose {
            time: start + jiff::SignedDuration::from_millis(i64::from(n) * 200),
            position: LatLon::from_degrees(30.25 + 8.0 * seconds / 110_850.0, 120.15).unwrap(),
            height: Height::Ellipsoid(EllipsoidHeight(GROUND_M + above_ground_m)),
            platform: Attitude { yaw: zero, pitch: zero, roll: zero },
            gimbal: Gimbal::World(looks),
            field_of_view: FieldOfView { horizontal: Angle::from_degrees(40.0), vertical: None },
            slant_range_m: None,
            ages: Vec::new(),
            assumed: Vec::new(),
            stale: Vec::new(),
            sigma: PoseSigma {
                horizontal_m: 1.5,
                vertical_m: 3.0,
                yaw: Angle::from_degrees(3.0),
                pitch: Angle::from_degrees(0.5),
                roll: Angle::from_degrees(0.5),
                field_of_view: zero,
            },
        };
        let Some(footprint) = locator.view(&pose).ok().and_then(|v| v.footprint().ok()) else { continue };
        let outline: Vec<LatLon> = footprint.outline.iter().map(|p| p.at).collect();
        let begin = Instant::now();
        let outcomes = search.frame(Look {
            time: pose.time,
            pose: &pose,
            picture: [640, 512],
            height_above_ground_m: above_ground_m,
            pixel_angle: Angle::from_degrees(40.0 / 640.0),
            footprint: &outline,
            finds: Vec::new(),
            pixel_of: &|_| None,
            radiometric: false,
            polarity: None,
            contrast: 1.0,
        });
        frames.push(begin.elapsed().as_secs_f64() * 1e6);
        for outcome in outcomes {
            let Outcome::Coverage(view) = outcome else { continue };
            let begin = Instant::now();
            square_metres = view.event().seen_m2;
            drawn.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    assert_eq!(search.stats().doubted, 0, "a frame that is not believed costs nothing");
    frames.sort_by(f64::total_cmp);
    drawn.sort_by(f64::total_cmp);
    println!(
        "  {above_ground_m:3.0} m high, {depression_deg:2.0}° down   p50 {:7.1}  p99 {:7.1} µs a frame; drawn in {:.1} ms, {:.1} ha",
        frames[frames.len() / 2],
        frames[frames.len() * 99 / 100],
        drawn.last().unwrap(),
        square_metres / 1e4,
    );
}

fn main() {
    let count = number("VIGIL_BENCH_TRIALS", 20_000);
    let middle = LatLon::from_degrees(44.5, -71.5).unwrap();
    let mut sites =
        vec![("flat ground".to_owned(), Site::Flat(LatLon::from_degrees(30.25, 120.15).unwrap(), 20.0))];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("VIGIL_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    match Terrain::open(&[data.join("dem")], Loading::Now, DEFAULT_CACHE_BYTES) {
        Ok(terrain) => sites.push(("SRTM N44W072".to_owned(), Site::Terrain(Arc::new(terrain), middle))),
        Err(e) => println!("left out: {e}"),
    }
    println!("the map of what was searched, cells of 3 m: cost");
    for (above_ground_m, depression_deg) in [(60.0, 90.0), (60.0, 65.0), (100.0, 45.0), (120.0, 20.0)] {
        map_costs(above_ground_m, depression_deg);
    }
    for (name, site) in &sites {
        let mut trials = Trials::new(7, site.clone());
        let drawn: Vec<Trial> = (0..count).map(|_| trials.trial()).collect();
        println!("{name}: {count} geometries\n{}", table(&drawn));
        let mut high = Trials::new(8, site.clone());
        high.above_ground_m = (100.0, 100.0001);
        high.depression_deg = (45.0, 90.0);
        let drawn: Vec<Trial> = (0..count).map(|_| high.trial()).collect();
        println!("{name}, 100 m above ground, 45 to 90° down\n{}", table(&drawn));
        costs(name, site);
    }
}

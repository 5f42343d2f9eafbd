//! Pixel to ground: the truth lies where the ellipse says, as often as it says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vigil::geo::{Camera, DEFAULT_CACHE_BYTES, Geoid, LatLon, Loading, LocalFrame, Terrain, enu_of_ned};

use crate::support::trials::{Figures, Site, Trial, Trials, table};

fn data() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("VIGIL_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from)
}

/// The elevation models of the data set, or a line that says what is left out.
fn dem() -> Option<Arc<Terrain>> {
    let folder = data().join("dem");
    if !folder.join("N44W072.hgt").exists() {
        println!("left out: {} is not there (set VIGIL_DATA)", folder.join("N44W072.hgt").display());
        return None;
    }
    Some(Arc::new(Terrain::open(&[folder], Loading::Now, DEFAULT_CACHE_BYTES).unwrap()))
}

fn at(lat: f64, lon: f64) -> LatLon {
    LatLon::from_degrees(lat, lon).unwrap()
}

fn honest(trials: &[Trial]) {
    println!("{}", table(trials));
    let all = Figures::of(trials.iter());
    assert!(all.placed >= 1_900, "{} fixes", all.placed);
    assert!((0.88..=0.92).contains(&all.share()), "in CE90: {}", all.share());
    assert!((0.88..=0.92).contains(&all.height_share()), "in LE90: {}", all.height_share());
}

#[test]
fn on_flat_ground_the_ellipse_holds_nine_in_ten() {
    let mut trials = Trials::new(1, Site::Flat(at(30.25, 120.15), 20.0));
    honest(&(0..2_000).map(|_| trials.trial()).collect::<Vec<_>>());
}

#[test]
fn on_real_terrain_the_ellipse_holds_nine_in_ten() {
    let Some(terrain) = dem() else { return };
    let mut trials = Trials::new(2, Site::Terrain(terrain, at(44.5, -71.5)));
    honest(&(0..2_000).map(|_| trials.trial()).collect::<Vec<_>>());
}

/// The same answer as the plainest search: along the ray in steps of half a metre, asking the height below
/// each.
#[test]
fn the_first_ground_on_the_way_is_met() {
    let Some(terrain) = dem() else { return };
    let geoid = Geoid::egm96();
    let mut trials = Trials::new(3, Site::Terrain(terrain.clone(), at(44.5, -71.5)));
    trials.depression_deg = (8.0, 60.0);
    let locator = trials.locator(Camera::new([640, 512]));
    let mut met = 0;
    for _ in 0..60 {
        let (pose, pixel) = trials.pose();
        let Ok(view) = locator.view(&pose) else { continue };
        let Ok(place) = view.place(pixel) else { continue };
        let frame = LocalFrame::new(view.camera());
        let ray = view.intrinsics().ray(pixel).unwrap();
        let ray = enu_of_ned(pose.camera_to_ned(&locator.camera().boresight).apply(ray));
        let walked = (1..20_000).map(|i| f64::from(i) * 0.5).find(|t| {
            let point = frame.geodetic(ray.map(|c| c * t)).unwrap();
            terrain.height(&geoid, point.at).is_ok_and(|ground| ground.0 >= point.height.0)
        });
        let range = view.camera().distance_m(&place);
        let walked = walked.unwrap();
        assert!((walked - range).abs() < 0.6, "walked {walked}, cast {range}");
        met += 1;
    }
    assert!(met >= 40, "{met} rays met the ground");
}

//! Integration tests of the thermal detectors: the real runtime and the committed networks, on
//! generated pictures, and on HIT-UAV where it is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vigil::base::Kind;
use vigil::capture::{SampleData, SampleRange, Samples};
use vigil::config::ModelsConfig;
use vigil::infer::{FileStatus, Manifest, Runtime, Slot};
use vigil::thermal::{
    DetectorSettings, Detectors, GroundSample, Hotspot, Radiometry, ThermalClass, ThermalDetector,
    ThermalImage,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn open(settings: DetectorSettings, width: u32, height: u32) -> vigil::base::Result<Detectors> {
    let models = ModelsConfig { dir: root().join("models"), runtime: None };
    let runtime = Runtime::load(&models).unwrap_or_else(|e| panic!("run models/setup.sh: {e}"));
    Detectors::open(&runtime, &Manifest::load(&models.dir)?, &settings, width, height)
}

fn hotspot_only() -> DetectorSettings {
    DetectorSettings { learned: None, ..DetectorSettings::default() }
}

const W: usize = 640;
const H: usize = 512;

/// A field at night: a slope, noise, and warm blocks (x, y, width, height, how much warmer).
fn field(warm: &[(usize, usize, usize, usize, u16)]) -> Vec<u16> {
    let mut seed = 1u32;
    let mut values: Vec<u16> = (0..W * H)
        .map(|i| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            28_000 + (i / W) as u16 / 4 + (seed >> 28) as u16
        })
        .collect();
    for (x, y, w, h, rise) in warm {
        for row in *y..y + h {
            values[row * W + x..row * W + x + w].iter_mut().for_each(|v| *v += rise);
        }
    }
    values
}

fn sixteen(values: Vec<u16>) -> ThermalImage {
    ThermalImage::white_hot(
        Samples::new(W as u32, H as u32, SampleData::Sixteen(values), SampleRange::Full).unwrap(),
    )
}

fn near(find: &Hotspot, x: f32, y: f32) -> bool {
    let [cx, cy] = find.bbox.centre();
    (cx - x).hypot(cy - y) < 4.0
}

#[test]
fn warm_blocks_in_a_cold_field_are_found_with_their_size() {
    let blocks = [(100, 80, 8, 14, 300), (420, 300, 20, 10, 200), (600, 490, 5, 5, 400)];
    let mut detectors = open(hotspot_only(), W as u32, H as u32).unwrap();
    let found = detectors.detect(&sixteen(field(&blocks)), None).unwrap();
    for (x, y, w, h, _) in blocks {
        let (w, h) = (w as f32, h as f32);
        let find = found.iter().find(|f| near(f, x as f32 + w / 2.0, y as f32 + h / 2.0));
        let find = find.unwrap_or_else(|| panic!("nothing at {x},{y}: {found:?}"));
        assert!((find.bbox.width - w).abs() <= 2.0 && (find.bbox.height - h).abs() <= 2.0, "{find:?}");
        assert_eq!(
            (find.class, find.detector, find.kelvin),
            (ThermalClass::Warm, ThermalDetector::Hotspot, None)
        );
        assert!(find.contrast > 4.0, "{find:?}");
    }
    assert!(found.len() <= 6, "{} finds in a field with three: {found:?}", found.len());
    assert!(detectors.detect(&sixteen(vec![77; W * H]), None).unwrap().is_empty());
}

#[test]
fn eight_and_sixteen_bits_of_one_scene_give_the_same() {
    let mut detectors = open(DetectorSettings::default(), W as u32, H as u32).unwrap();
    let values = field(&[(100, 80, 8, 14, 60), (300, 200, 12, 20, 60)]);
    let low: Vec<u8> = values.iter().map(|v| (v - 27_990).min(255) as u8).collect();
    let wide: Vec<u16> = low.iter().map(|v| u16::from(*v) * 37 + 9_000).collect();
    let eight = ThermalImage::white_hot(
        Samples::new(W as u32, H as u32, SampleData::Eight(low), SampleRange::Full).unwrap(),
    );
    let (a, b) = (detectors.detect(&eight, None).unwrap(), detectors.detect(&sixteen(wide), None).unwrap());
    assert!(!a.is_empty());
    assert_eq!(a.len(), b.len(), "{a:?}\n{b:?}");
    for (a, b) in a.iter().zip(&b) {
        assert!((a.score - b.score).abs() < 0.02 && a.bbox.iou(&b.bbox) > 0.9, "{a:?}\n{b:?}");
    }
    // And the same once more, bit by bit.
    assert_eq!(detectors.detect(&eight, None).unwrap(), a);
}

#[test]
fn size_and_temperature_are_looked_at() {
    let blocks = [(100, 80, 8, 16, 2_000), (300, 200, 60, 60, 2_000), (500, 400, 8, 16, 9_000)];
    let samples =
        Samples::new(W as u32, H as u32, SampleData::Sixteen(field(&blocks)), SampleRange::Full).unwrap();
    let image = ThermalImage::radiometric(samples, Radiometry::linear(0.01, 0.0));
    let mut detectors = open(hotspot_only(), W as u32, H as u32).unwrap();
    let found = detectors.detect(&image, Some(GroundSample::try_new(0.1).unwrap())).unwrap();
    let at = |x, y| {
        found.iter().find(|f| near(f, x, y)).unwrap_or_else(|| panic!("nothing at {x},{y}: {found:?}"))
    };
    let (warm, hot) = (at(104.0, 88.0), at(504.0, 408.0));
    assert!((warm.kelvin.unwrap() - 300.2).abs() < 1.0, "{warm:?}");
    assert!((hot.kelvin.unwrap() - 371.2).abs() < 1.0, "{hot:?}");
    assert!(hot.score < warm.score, "an exhaust counts for more than a body: {hot:?} {warm:?}");
    let coarse = detectors.detect(&image, Some(GroundSample::try_new(1.5).unwrap())).unwrap();
    assert!(coarse.iter().all(|f| !near(f, 104.0, 88.0)), "24 m long: {coarse:?}");
}

#[test]
fn frames_of_any_camera_fit() {
    for (width, height) in [(336u32, 256u32), (640, 480), (720, 576), (1280, 1024), (160, 120)] {
        let mut detectors = open(DetectorSettings::default(), width, height).unwrap();
        let factor = if width > 1000 { 2 } else { 1 };
        let mut data = vec![60u8; (width * height) as usize];
        for (i, v) in data.iter_mut().enumerate() {
            *v += (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] % 3;
            let (x, y) = (i as u32 % width / factor, i as u32 / width / factor);
            if (60..68).contains(&x) && (50..64).contains(&y) {
                *v = 200;
            }
        }
        let image = ThermalImage::white_hot(
            Samples::new(width, height, SampleData::Eight(data), SampleRange::Full).unwrap(),
        );
        let found = detectors.detect(&image, None).unwrap();
        let (x, y) = (64.0 * factor as f32, 57.0 * factor as f32);
        assert!(found.iter().any(|f| near(f, x, y)), "{width}x{height}: {found:?}");
        let inside = |f: &Hotspot| {
            f.bbox.x >= 0.0
                && f.bbox.x + f.bbox.width <= width as f32
                && f.bbox.y + f.bbox.height <= height as f32
        };
        assert!(found.iter().all(inside), "{width}x{height}: {found:?}");
    }
    assert_eq!(open(DetectorSettings::default(), 20, 20).unwrap_err().kind(), Kind::Unsupported);
    let mut detectors = open(hotspot_only(), 640, 480).unwrap();
    let e = detectors.detect(&sixteen(field(&[])), None).unwrap_err();
    assert_eq!(e.kind(), Kind::Mismatch);
    assert!(e.to_string().contains("640x512"), "{e}");
}

#[test]
fn the_committed_networks_are_the_ones_that_the_manifest_names() {
    let [used, kept] = ["models", "models/kept"].map(|dir| Manifest::load(&root().join(dir)).unwrap());
    let learned = [Slot::ThermalDetection, Slot::ThermalLook];
    let all = learned.map(|slot| (&used, slot)).into_iter().chain([(&used, Slot::ThermalHotspot)]);
    for (manifest, slot) in all.chain(learned.map(|slot| (&kept, slot))) {
        let entry = manifest.model(slot).unwrap();
        assert_eq!(manifest.status(entry), FileStatus::Ok, "{}", entry.name);
        if slot == Slot::ThermalLook {
            continue; // Its scores are the detector's.
        }
        assert!(!entry.detections.is_empty(), "{} has no calibration", entry.name);
        for row in &entry.detections {
            assert!(
                row.points.windows(2).all(|w| w[0].score < w[1].score && w[0].per_frame >= w[1].per_frame)
            );
        }
    }
}

// `vigil eval thermal` --------------------------------------------------------------------------

fn eval(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_vigil"))
        .args(["eval", "thermal"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = eval(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write_png(path: &Path, values: &[u16]) {
    let grey: Vec<u8> = values.iter().map(|v| ((v - 27_990) / 2).min(255) as u8).collect();
    image::save_buffer(path, &grey, W as u32, H as u32, image::ExtendedColorType::L8).unwrap();
}

#[test]
fn an_evaluation_of_drawn_pictures_counts_what_was_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("val");
    std::fs::create_dir(&folder).unwrap();
    write_png(
        &folder.join("1_060_90_0_00001.png"),
        &field(&[(100, 80, 8, 14, 400), (300, 300, 10, 10, 400)]),
    );
    write_png(&folder.join("0_100_30_0_00002.png"), &field(&[(200, 80, 8, 14, 400)]));
    write_png(&folder.join("empty.png"), &field(&[]));
    let csv = dir.path().join("boxes.csv");
    // The second warm block is no person's; one person in the second picture shows nothing.
    let list = "split,file,class,x,y,w,h\nval,1_060_90_0_00001.png,Person,98,78,12,18\n\
                val,1_060_90_0_00001.png,DontCare,290,290,30,30\n\
                val,0_100_30_0_00002.png,Person,198,78,12,18\nval,0_100_30_0_00002.png,Person,400,400,10,20\n";
    std::fs::write(&csv, list).unwrap();
    let csv = csv.to_str().unwrap();
    let sheets = dir.path().join("sheets");
    let rows = dir.path().join("rows.toml");
    let report = json(&[
        "--boxes",
        csv,
        "--detector",
        "both",
        "--pictures",
        sheets.to_str().unwrap(),
        "--calibration",
        rows.to_str().unwrap(),
    ]);
    assert_eq!(report["pictures"], 3);
    assert_eq!(report["hotspot"]["people"], 3);
    let recall = report["hotspot"]["at_rates"][3]["recall"].as_f64().unwrap();
    assert!((recall - 2.0 / 3.0).abs() < 1e-9, "{report:#}");
    assert_eq!(report["learned"]["classes"][0]["boxes"], 3);
    let groups = report["hotspot"]["groups"].as_array().unwrap();
    let named: Vec<_> = groups.iter().map(|g| g["group"].as_str().unwrap()).collect();
    assert_eq!(named, ["day", "night", "altitude 60 m", "altitude 100 m", "pitch 30°", "pitch 90°"]);
    for sheet in ["misses.png", "alarms.png"] {
        assert!(image::open(sheets.join(sheet)).unwrap().width() > 100);
    }
    let rows = std::fs::read_to_string(rows).unwrap();
    assert!(rows.contains("class = \"Person\"") && rows.contains("class = \"Warm\""), "{rows}");

    let only = dir.path().join("only.txt");
    std::fs::write(&only, "val/0_100_30_0_00002.png\n").unwrap();
    let report = json(&["--boxes", csv, "--detector", "hotspot", "--only", only.to_str().unwrap()]);
    assert_eq!((&report["pictures"], &report["hotspot"]["people"]), (&1.into(), &2.into()));
    assert!(report["learned"].is_null());

    // The networks of the kept scenes are measured alike, on the same runtime.
    let kept = json(&["--boxes", csv, "--models", "models/kept"]);
    assert_eq!(kept["learned"]["classes"][0]["boxes"], 3);
    let sums = |report: &serde_json::Value| report["learned"]["models"].to_string();
    assert_ne!(sums(&kept), sums(&json(&["--boxes", csv])));
}

#[test]
fn a_bad_list_and_a_missing_picture_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("val")).unwrap();
    let csv = dir.path().join("boxes.csv");
    let path = csv.to_str().unwrap();
    let says = |text: Option<&str>, more: &[&str], code: i32, wanted: &str| {
        match text {
            Some(text) => std::fs::write(&csv, text).unwrap(),
            None => drop(std::fs::remove_file(&csv)),
        }
        let output = eval(&[&["--boxes", path], more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(wanted), "{wanted:?} is not in {stderr}");
        assert_eq!(output.status.code(), Some(code), "{stderr}");
    };
    says(None, &[], 66, "boxes.csv: cannot be read");
    says(Some("val,a.png,Person,1,2,3\n"), &[], 65, "boxes.csv: line 1: has 6 columns");
    says(Some("val,a.png,Horse,1,2,3,4\n"), &[], 65, "line 1: the class \"Horse\"");
    says(Some("val,a.png,Person,1,2,3,4\n"), &[], 66, "line 1: there is no picture");
    says(Some("val,a.png,Person,1,2,3,4\n"), &["--split", "test"], 66, "no boxes of the split \"test\"");
    says(Some("val,a.png,Person,1,2,3,4\n"), &["--working-score", "7"], 64, "--working-score");
    std::fs::write(dir.path().join("val/a.png"), b"not a picture").unwrap();
    says(Some("val,a.png,Person,1,2,3,4\n"), &[], 65, "line 1: ");
}

/// A floor under what was measured, on every seventh validation picture: the network, its graph's
/// normalisation, decoding and counting together.
#[test]
fn people_in_real_pictures_are_found() {
    let data = std::env::var_os("VIGIL_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let folder = data.join("thermal/hituav");
    if !folder.is_dir() {
        println!("left out: {} is not there (set VIGIL_DATA)", folder.display());
        return;
    }
    let mut names: Vec<_> = folder
        .join("val")
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let only = tempfile::NamedTempFile::new().unwrap();
    let picked: Vec<_> = names.into_iter().step_by(7).take(40).collect();
    std::fs::write(only.path(), picked.join("\n")).unwrap();
    let csv = folder.join("boxes.csv");
    let report = json(&[
        "--boxes",
        csv.to_str().unwrap(),
        "--detector",
        "both",
        "--only",
        only.path().to_str().unwrap(),
    ]);
    assert_eq!(report["pictures"], 40);
    let ap = report["learned"]["classes"][0]["ap50"].as_f64().unwrap();
    assert!(ap > 0.74, "person AP50 {ap}: {report:#}");
    let recall = report["hotspot"]["at_rates"][3]["recall"].as_f64().unwrap();
    assert!(recall > 0.28, "hotspot recall {recall}: {report:#}");
}

//! Thermal pictures that real cameras took: what the box makes of them before it looks for anybody.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vigil::base::{Name, TimeSource};
use vigil::capture::still::{Limits, decode};
use vigil::capture::{Frame, FrameInfo, SampleData, SampleRange, Samples, read_file};
use vigil::config::{PolarityMode, RadiometryMode, ThermalConfig};
use vigil::thermal::{
    HealthWatch, Masks, PictureFault, PictureFigures, Polarity, PolarityFinder, ThermalIntake,
};

fn data(below: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VIGIL_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join(below);
    if path.exists() {
        return Some(path);
    }
    println!("left out: {} is not there", path.display());
    None
}

fn frame(samples: Samples, at: Instant) -> Frame {
    let info = FrameInfo {
        camera: Name::new("thermal").unwrap(),
        seq: 1,
        time: Timestamp::UNIX_EPOCH,
        time_source: TimeSource::Arrival,
        arrived: at,
    };
    Frame::new(info, samples.into())
}

/// A 16-bit frame of a FLIR Duo Pro R, 0.04 K a count: a field on a cool morning.
#[test]
fn a_radiometric_recording_shows_plausible_temperatures() {
    let Some(folder) = data("thermal/flirpy") else { return };
    let frames: Vec<_> = read_file(&folder).unwrap().map(Result::unwrap).collect();
    assert_eq!((frames.len(), frames[0].width(), frames[0].height()), (1, 640, 512));
    let config = ThermalConfig {
        radiometry: RadiometryMode::Linear,
        kelvin_per_count: Some(0.04),
        emissivity: 1.0,
        ..ThermalConfig::default()
    };
    let mut intake = ThermalIntake::new(&config);
    let taken = intake.take(&frames[0], None).unwrap();
    assert!(taken.counts() && taken.polarity.polarity == Some(Polarity::WhiteHot), "{taken:?}");
    let (mut low, mut high, mut sum) = (f32::MAX, f32::MIN, 0f64);
    for y in 0..512 {
        for x in 0..640 {
            let celsius = taken.image.kelvin(x, y).unwrap() - 273.15;
            (low, high, sum) = (low.min(celsius), high.max(celsius), sum + f64::from(celsius));
        }
    }
    let mean = sum / (640.0 * 512.0);
    println!("{low:.2} to {high:.2} °C, mean {mean:.2}");
    // 6743, 7077 and 6983.25 counts.
    assert!((low + 3.43).abs() < 0.02 && (high - 9.93).abs() < 0.02 && (mean - 6.18).abs() < 0.02);
}

/// Frames of one flight after another, as they would come; and all of them turned over.
#[test]
fn real_pictures_tell_their_polarity() {
    let Some(folder) = data("thermal/hituav/val") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let limits = Limits { max_bytes: 4 << 20, max_pixels: 1 << 20 };
    let turn = |samples: &Samples| {
        let SampleData::Eight(v) = samples.data() else { panic!("not 8 bit") };
        let v = v.iter().map(|s| 255 - s).collect();
        Samples::new(samples.width(), samples.height(), SampleData::Eight(v), SampleRange::Full).unwrap()
    };
    let pictures: Vec<[PictureFigures; 2]> = files
        .iter()
        .step_by(2)
        .map(|file| {
            let rgb = decode(&std::fs::read(file).unwrap(), &limits).unwrap();
            let grey = SampleData::Eight(rgb.data().chunks_exact(3).map(|p| p[1]).collect());
            let samples = Samples::new(rgb.width(), rgb.height(), grey, SampleRange::Full).unwrap();
            let figures = |s: &Samples| PictureFigures::of(s, &mut Masks::default()).unwrap();
            [figures(&samples), figures(&turn(&samples))]
        })
        .collect();
    // From every place of the recordings on: what is known after so many pictures.
    const AFTER: [usize; 5] = [1, 5, 8, 12, 20];
    let (mut right, mut wrong, mut starts) = ([0u32; 5], [0u32; 5], 0u32);
    for start in 0..pictures.len() - AFTER[4] {
        for (side, wanted) in [(0, Polarity::WhiteHot), (1, Polarity::BlackHot)] {
            let mut finder = PolarityFinder::new(PolarityMode::Auto);
            starts += 1;
            for (n, picture) in pictures[start..start + AFTER[4]].iter().enumerate() {
                let state = finder.look(&picture[side]);
                if let Some(at) = AFTER.iter().position(|a| *a == n + 1) {
                    right[at] += u32::from(state.polarity == Some(wanted));
                    wrong[at] += u32::from(state.polarity.is_some_and(|p| p != wanted));
                }
            }
        }
    }
    for (n, after) in AFTER.iter().enumerate() {
        println!("after {after} pictures: {} right, {} wrong of {starts}", right[n], wrong[n]);
    }
    assert!(wrong.iter().all(|w| *w * 100 <= starts), "{wrong:?} of {starts}");
    assert!(right[4] * 100 >= starts * 97, "{right:?} of {starts}");
    // In between the pilot switches, and switches back: every time noticed, nothing else taken for it.
    let (mut missed, mut invented, mut finder) = (0, 0, PolarityFinder::new(PolarityMode::Auto));
    let mut side = 0;
    for picture in &pictures {
        invented += u32::from(finder.look(&picture[side]).switched);
        side = 1 - side;
        missed += u32::from(!finder.look(&picture[side]).switched);
    }
    println!("{missed} switches missed, {invented} invented, of {}", pictures.len());
    assert_eq!((missed, invented), (0, 0));
    // None of them is ill.
    let mut watch = HealthWatch::new(Duration::from_secs(2));
    let samples = Samples::new(1, 1, SampleData::Eight(vec![0]), SampleRange::Full).unwrap();
    let ill = pictures
        .iter()
        .filter(|[p, _]| {
            watch.look(&samples, p, None, Instant::now()).fault.is_some_and(|f| f != PictureFault::Saturated)
        })
        .count();
    assert_eq!(ill, 0);
}

/// A telephone's "ironbow", and grey as a poor encoder makes it.
#[test]
fn a_palette_is_refused_and_grey_is_not() {
    use vigil::capture::{GstOpener, Opener, Pull};
    use vigil::config::{CameraConfig, SourceUrl};

    let mut config = CameraConfig::new(Name::new("pattern").unwrap(), SourceUrl::Test);
    config.connect_within_ms = vigil::config::Millis(20_000);
    let mut source = GstOpener::new().unwrap().open(&config).unwrap();
    let picture = loop {
        match source.next(Duration::from_secs(20)).unwrap() {
            Pull::Picture(picture) => break picture,
            other => println!("{other:?}"),
        }
    };
    let info =
        frame(Samples::new(1, 1, SampleData::Eight(vec![0]), SampleRange::Full).unwrap(), Instant::now())
            .info()
            .clone();
    let colour_bars = Frame::new(info, picture.pixels);
    let mut intake = ThermalIntake::new(&ThermalConfig::default());
    let taken = intake.take(&colour_bars, None).unwrap();
    assert_eq!(taken.fault, Some(PictureFault::Coloured), "{:?}", colour_bars.colourfulness());
    assert!(!taken.counts() && taken.fault.unwrap().reason().contains("white-hot or black-hot"));
    intake.give_back(taken.image);
    let grey = (0..64 * 48).map(|i| (i % 200) as u8).collect();
    let grey = Samples::new(64, 48, SampleData::Eight(grey), SampleRange::Full).unwrap();
    assert_eq!(intake.take(&frame(grey, Instant::now()), None).unwrap().fault, None);
}

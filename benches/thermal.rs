//! `thermal`: what looking at one 640x512 thermal frame costs on one thread: each detector with its
//! preparation and decoding, both together, and the parts.
//!
//! The frames are drawn: a field with noise and four warm blocks, then forty, because what is proposed is
//! looked at once more. `VIGIL_BENCH_FRAMES` of them are looked at (200).

#![allow(clippy::unwrap_used)] // A harness that cannot go on should stop.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vigil::capture::{SampleData, SampleRange, Samples};
use vigil::config::ModelsConfig;
use vigil::infer::hotspot::HotspotNet;
use vigil::infer::look::{BATCH, LookNet};
use vigil::infer::thermal::{ThermalNet, Tone};
use vigil::infer::{Manifest, Runtime};
use vigil::thermal::{DetectorSettings, Detectors, ThermalImage};

const W: usize = 640;
const H: usize = 512;

fn frame(dice: &mut StdRng, blocks: usize) -> Vec<u8> {
    let mut values: Vec<u8> = (0..W * H).map(|_| dice.random_range(70..82)).collect();
    for _ in 0..blocks {
        let (x, y) = (dice.random_range(0..W - 20), dice.random_range(0..H - 30));
        let (w, h) = (dice.random_range(5..20), dice.random_range(8..30));
        for row in y..y + h {
            values[row * W + x..row * W + x + w].iter_mut().for_each(|v| *v += 90);
        }
    }
    values
}

fn spread(name: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    println!("{name:<44} min {:.2}, p50 {:.2}, p95 {:.2} ms", ms[0], at(0.5), at(0.95));
}

fn timed(count: usize, mut once: impl FnMut(usize)) -> Vec<f64> {
    (0..5).for_each(&mut once);
    (0..count)
        .map(|i| {
            let started = Instant::now();
            once(i);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

fn main() {
    let count: usize = std::env::var("VIGIL_BENCH_FRAMES").map_or(200, |v| v.parse().unwrap());
    let models = ModelsConfig { dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), runtime: None };
    let runtime = Runtime::load(&models).unwrap();
    let manifest = Manifest::load(&models.dir).unwrap();
    let mut dice = StdRng::seed_from_u64(7);
    let usual = DetectorSettings::default();
    for blocks in [4, 40] {
        let images: Vec<_> = (0..8)
            .map(|_| {
                let data = SampleData::Eight(frame(&mut dice, blocks));
                ThermalImage::white_hot(Samples::new(W as u32, H as u32, data, SampleRange::Full).unwrap())
            })
            .collect();
        for (name, settings) in [
            ("learned: frame to finds", DetectorSettings { hotspot: None, ..usual }),
            ("hotspot: frame to finds", DetectorSettings { learned: None, ..usual }),
            ("both: frame to finds", usual),
            ("neither: preparation alone", DetectorSettings { learned: None, hotspot: None, ..usual }),
        ] {
            let mut detectors = Detectors::open(&runtime, &manifest, &settings, W as u32, H as u32).unwrap();
            let ms = timed(count, |i| {
                black_box(detectors.detect(&images[i % images.len()], None).unwrap());
            });
            spread(&format!("{blocks} blocks, {name}"), ms);
        }
    }
    let mut net = ThermalNet::open(&runtime, &manifest, 1, W as u32, H as u32).unwrap();
    let mut found = Vec::new();
    let values: Vec<f32> = (0..W * H).map(|_| dice.random_range(70.0..82.0)).collect();
    net.show(&values, Tone::of(&values, W));
    spread(
        "learned: the network's run alone",
        timed(count, |_| {
            found.clear();
            net.run(0.1, &mut found).unwrap();
        }),
    );
    spread(
        "learned: what it is shown made of a frame",
        timed(count, |_| net.show(&values, Tone::of(&values, W))),
    );
    let mut net = LookNet::open(&runtime, &manifest, 1).unwrap();
    let (mut seen, proposals) = (Vec::new(), [([100.0, 100.0, 10.0, 20.0], 0.5); BATCH]);
    for slot in 0..BATCH {
        let crops = net.crops(slot);
        crops.into_iter().flatten().for_each(|v| *v = dice.random_range(-1.0..2.0));
    }
    spread(
        "look: the network's run alone, four crops",
        timed(count, |_| {
            seen.clear();
            net.run(&proposals, &mut seen).unwrap();
        }),
    );
    let mut net = HotspotNet::open(&runtime, &manifest, 1, W as u32, H as u32).unwrap();
    let mut found = Vec::new();
    net.input().iter_mut().for_each(|v| *v = dice.random_range(70.0..82.0));
    spread(
        "hotspot: the graph's run alone",
        timed(count, |_| {
            found.clear();
            net.run(5.0, &mut found).unwrap();
        }),
    );
}

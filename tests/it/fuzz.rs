//! Every fuzz target as a test: its seeds as they are, and changed at random.
//!
//! `make fuzz` goes further, because it sees which code an input reaches, and needs every dependency built once
//! more. Here a target that does not build any more is found, and a seed that does not hold.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `VIGIL_FUZZ_SECONDS` | for each target, instead of a number of inputs | |
//! | `VIGIL_FUZZ_SEED` | other inputs | 1 |

// What is the root of a program there is a module here.
#![allow(unused_attributes)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[path = "../../fuzz/fuzz_targets/boxes.rs"]
mod boxes;
#[path = "../../fuzz/fuzz_targets/bundle.rs"]
mod bundle;
#[path = "../../fuzz/fuzz_targets/calibration.rs"]
mod calibration;
#[path = "../../fuzz/fuzz_targets/certificate.rs"]
mod certificate;
#[path = "../../fuzz/fuzz_targets/config.rs"]
mod config;
#[path = "../../fuzz/fuzz_targets/credential.rs"]
mod credential;
#[path = "../../fuzz/fuzz_targets/crl.rs"]
mod crl;
#[path = "../../fuzz/fuzz_targets/dg1.rs"]
mod dg1;
#[path = "../../fuzz/fuzz_targets/dg2.rs"]
mod dg2;
#[path = "../../fuzz/fuzz_targets/dji.rs"]
mod dji;
#[path = "../../fuzz/fuzz_targets/document_request.rs"]
mod document_request;
#[path = "../../fuzz/fuzz_targets/flight_plan.rs"]
mod flight_plan;
#[path = "../../fuzz/fuzz_targets/gallery_orders.rs"]
mod gallery_orders;
#[path = "../../fuzz/fuzz_targets/geotiff.rs"]
mod geotiff;
#[path = "../../fuzz/fuzz_targets/hgt.rs"]
mod hgt;
#[path = "../../fuzz/fuzz_targets/klv.rs"]
mod klv;
#[path = "../../fuzz/fuzz_targets/manifest.rs"]
mod manifest;
#[path = "../../fuzz/fuzz_targets/masterlist.rs"]
mod masterlist;
#[path = "../../fuzz/fuzz_targets/mavlink.rs"]
mod mavlink;
#[path = "../../fuzz/fuzz_targets/mission.rs"]
mod mission;
#[path = "../../fuzz/fuzz_targets/mrz.rs"]
mod mrz;
#[path = "../../fuzz/fuzz_targets/pairs.rs"]
mod pairs;
#[path = "../../fuzz/fuzz_targets/people.rs"]
mod people;
#[path = "../../fuzz/fuzz_targets/resident.rs"]
mod resident;
#[path = "../../fuzz/fuzz_targets/signed.rs"]
mod signed;
#[path = "../../fuzz/fuzz_targets/sod.rs"]
mod sod;
#[path = "../../fuzz/fuzz_targets/still.rs"]
mod still;
#[path = "../../fuzz/fuzz_targets/tiff.rs"]
mod tiff;
#[path = "../../fuzz/fuzz_targets/tlv.rs"]
mod tlv;
#[path = "../../fuzz/fuzz_targets/topic.rs"]
mod topic;
#[path = "../../fuzz/fuzz_targets/transport.rs"]
mod transport;
#[path = "../../fuzz/fuzz_targets/verify_request.rs"]
mod verify_request;

/// Inputs of each target, and for how long, where nobody asks for more.
const INPUTS: usize = 150;
const AT_MOST: Duration = Duration::from_secs(2);
/// As `fuzz/run.sh` has it.
const LONGEST: usize = 65_536;
/// What lengths, counts and signs are off by.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'\n', b'"'];

/// As libFuzzer's macro, without the program around it.
#[macro_export]
macro_rules! fuzz_target {
    ($(init: $init:block,)? |$bytes:ident: &[u8]| $body:block) => {
        pub(super) fn run($bytes: &[u8]) {
            $body
        }
    };
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join("fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(e) => panic!("{}: {e}", folder.display()),
    };
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty: what would fuzzing start from?", folder.display());
    paths.into_iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// One of the seeds with some changes, or a piece of one and of another.
fn changed(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut StdRng| seeds[rng.random_range(0..seeds.len())].clone();
    let mut bytes = pick(rng);
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(0..=bytes.len());
        let some = rng.random_range(1..=16usize).min(bytes.len() - at);
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = EDGES[rng.random_range(0..EDGES.len())],
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 => drop(bytes.drain(at..at + some)),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..at + some].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let other = pick(rng);
                let from = rng.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => bytes.insert(at, EDGES[rng.random_range(0..EDGES.len())]),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Runs one target; how many inputs it took.
fn fuzz(target: &str, run: fn(&[u8])) {
    let seeds = seeds(target);
    let number = |name: &str| {
        std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap_or_else(|_| panic!("{name}={v}")))
    };
    let lasts = number("VIGIL_FUZZ_SECONDS").map(Duration::from_secs);
    let mut rng = StdRng::seed_from_u64(number("VIGIL_FUZZ_SEED").unwrap_or(1));
    let began = Instant::now();
    let mut taken = 0;
    let try_one = |bytes: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(bytes))) {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
            std::fs::write(&kept, bytes).unwrap();
            eprintln!("{target} did not survive {} bytes: {}", bytes.len(), kept.display());
            std::panic::resume_unwind(panic);
        }
    };
    for seed in &seeds {
        try_one(seed);
    }
    while began.elapsed() < lasts.unwrap_or(AT_MOST) && (lasts.is_some() || taken < INPUTS) {
        try_one(&changed(&mut rng, &seeds));
        taken += 1;
    }
    println!("{target}: {} seeds and {taken} inputs in {:.1} s", seeds.len(), began.elapsed().as_secs_f64());
}

/// A test for each target.
macro_rules! targets {
    ($($target:ident,)*) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];
        mod every_target_survives {
            $(#[test]
            fn $target() {
                super::fuzz(stringify!($target), super::$target::run);
            })*
        }
    };
}

targets! {
    boxes,
    bundle,
    calibration,
    certificate,
    config,
    credential,
    crl,
    dg1,
    dg2,
    dji,
    document_request,
    flight_plan,
    gallery_orders,
    geotiff,
    hgt,
    klv,
    manifest,
    masterlist,
    mavlink,
    mission,
    mrz,
    pairs,
    people,
    resident,
    signed,
    sod,
    still,
    tiff,
    tlv,
    topic,
    transport,
    verify_request,
}

#[test]
fn no_target_is_left_out() {
    let mut there: Vec<String> = std::fs::read_dir(root().join("fuzz/fuzz_targets"))
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    there.sort();
    assert_eq!(there, TARGETS);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
    }
}

//! `identify`: what a search of the gallery costs, and what enrolling ten thousand people takes.
//!
//! * search: ms of one search over 10,000 and 100,000 templates on one thread, beside the floor of
//!   reading the same bytes once (a sum over a block of the same size), and the ranking compared with a
//!   plain loop in f64;
//! * enrolment: 10,000 people with templates drawn at random through the path behind the embedder, the
//!   process killed with SIGKILL half-way and started again; afterwards nobody may be missing or there
//!   twice.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `VIGIL_BENCH_SEARCHES` | searches per size | 200 |
//! | `VIGIL_BENCH_PEOPLE` | people to enrol | 10000 |
//! | `VIGIL_BENCH_SIZES` | templates searched, comma-separated | 10000,100000 |

#![allow(clippy::unwrap_used)] // A harness that cannot go on should stop.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vigil::base::SystemClock;
use vigil::config::{FalseMatchRate, FalsePositiveRate, GalleryConfig, Purpose};
use vigil::event::{EntryTerms, ModelRef, PersonRef};
use vigil::face::{Calibration, Template};
use vigil::gallery::{Actor, Gallery, MasterKey, SearchQuery, Setup};
use vigil::infer::{CalibrationPoint, CalibrationRow};

const CHILD: &str = "VIGIL_BENCH_IDENTIFY_CHILD";
const BATCH: usize = 64;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

fn open(dir: &Path) -> Gallery {
    let key = dir.join("key");
    if !key.exists() {
        MasterKey::generate().unwrap().write_new(&key).unwrap();
    }
    let model = ModelRef { name: "bench".into(), sha256: "0".repeat(64) };
    let points = [(1e-3, 0.36), (1e-5, 0.47), (1e-7, 0.62)];
    let row = CalibrationRow {
        population: "bench".into(),
        impostor_pairs: 100_000_000,
        points: points.map(|(fmr, score)| CalibrationPoint { fmr, score }).into(),
        impostor_median: None,
    };
    // Among 100,000 even directions some pairs are as near as 1e-5 allows.
    let config = GalleryConfig {
        purposes: Purpose::ALL.into(),
        duplicate_fmr: FalseMatchRate::try_new(1e-7).unwrap(),
        ..GalleryConfig::default()
    };
    let setup = Setup {
        state_dir: dir.to_owned(),
        config,
        calibration: Calibration::new(model.clone(), vec![row]).unwrap(),
        model,
        clock: Arc::new(SystemClock::default()),
    };
    Gallery::open(setup, MasterKey::load(&key).unwrap()).unwrap()
}

/// An even direction.
fn face(seed: u64) -> Template {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = std::array::from_fn(|_| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0);
    Template::from_raw(&mut values).unwrap()
}

fn terms(n: u64) -> EntryTerms {
    let until: Timestamp = "2035-01-01T00:00:00Z".parse().unwrap();
    EntryTerms {
        person_ref: PersonRef::new(format!("p-{n}")).unwrap(),
        purpose: Purpose::Guest,
        basis: "consent:bench".parse().unwrap(),
        valid_from: None,
        valid_until: until.min(Timestamp::now() + SignedDuration::from_hours(24 * 300)),
        hours: None,
        language: None,
        credentials: Vec::new(),
    }
}

/// Enrols everybody who is not there yet.
fn enrol(gallery: &Gallery, people: u64) -> (u64, u64) {
    let by = Actor::new("operator:bench").unwrap();
    let (mut new, mut known) = (0, 0);
    let mut batch = Vec::new();
    // The end lies in the future by a whole number of days, so that a second run asks for the same.
    let day = Timestamp::from_second(Timestamp::now().as_second() / 86_400 * 86_400).unwrap();
    for n in 0..people {
        let mut terms = terms(n);
        terms.valid_until = day + SignedDuration::from_hours(24 * 300);
        let source = n.to_be_bytes();
        if gallery.is_enrolled(&terms, &[&source]).unwrap() {
            known += 1;
        } else {
            batch.push(gallery.enrolment(terms, face(n), &[&source], Vec::new()).unwrap());
        }
        if batch.len() == BATCH || n + 1 == people {
            let done = gallery.put_all(&batch, &by).unwrap();
            new += done.iter().filter(|d| d.as_ref().is_ok_and(|o| o.change.is_some())).count() as u64;
            assert!(done.iter().all(|d| d.is_ok()), "{:?}", done.iter().find(|d| d.is_err()));
            batch.clear();
        }
    }
    (new, known)
}

fn search(dir: &Path, size: usize, searches: usize) {
    let started = Instant::now();
    let gallery = open(dir);
    enrol(&gallery, size as u64);
    let filled = started.elapsed();
    drop(gallery);
    let started = Instant::now();
    let gallery = open(dir);
    let opened = started.elapsed();
    let query = SearchQuery {
        purposes: vec![Purpose::Guest],
        limit: 5,
        fpir: Some(FalsePositiveRate::try_new(0.05).unwrap()),
    };
    let all: Vec<Template> = (0..size as u64).map(face).collect();
    let mut block = Vec::with_capacity(size * 128);
    all.iter().for_each(|t| block.extend_from_slice(t.values()));
    let mut times = Vec::new();
    let mut floors = Vec::new();
    let mut wrong = 0;
    for n in 0..searches as u64 {
        let known = face(n * 37 % size as u64);
        let probe = Template::fuse(&[(&known, 0.8), (&face(1 << 40 | n), 0.5)]).unwrap();
        let started = Instant::now();
        black_box(sum(black_box(&block)));
        floors.push(started.elapsed());
        let started = Instant::now();
        let found = gallery.search(&probe, &query).unwrap();
        times.push(started.elapsed());
        if n < 20 {
            let dot = |t: &Template| -> f64 {
                t.values().iter().zip(probe.values()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let mut plain: Vec<_> = all.iter().enumerate().map(|(at, t)| (dot(t), at)).collect();
            plain.sort_by(|a, b| b.0.total_cmp(&a.0));
            let same =
                found.hits.iter().zip(&plain).all(|(h, (_, at))| h.person.as_str() == format!("p-{at}"));
            wrong += usize::from(!same || found.hits.is_empty());
        }
    }
    let ms = |v: &mut Vec<Duration>, q: f64| {
        v.sort();
        v[((v.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3
    };
    let (p50, p99) = (ms(&mut times, 0.5), ms(&mut times, 0.99));
    let floor = ms(&mut floors, 0.5);
    println!(
        "{size} templates, {searches} searches: min {:.2}, p50 {p50:.2}, p99 {p99:.2} ms; reading {:.1} MiB once min {:.2}, p50 {floor:.2} ms ({:.1} GiB/s); ratio {:.2} (of the minima {:.2}); rankings unlike the f64 loop's: {wrong} of 20; filled in {:.1} s, opened in {:.2} s",
        times[0].as_secs_f64() * 1e3,
        (size * 512) as f64 / f64::from(1 << 20),
        floors[0].as_secs_f64() * 1e3,
        (size * 512) as f64 / f64::from(1 << 30) / floor * 1e3,
        p50 / floor,
        times[0].as_secs_f64() / floors[0].as_secs_f64(),
        filled.as_secs_f64(),
        opened.as_secs_f64()
    );
}

/// Reads every value once, in as many sums as the processor can keep up.
fn sum(block: &[f32]) -> f32 {
    let mut sums = [0f32; 64];
    for chunk in block.as_chunks::<64>().0 {
        for (s, v) in sums.iter_mut().zip(chunk) {
            *s += v;
        }
    }
    sums.iter().sum()
}

fn killed_half_way(dir: &Path, people: usize) {
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .env(CHILD, dir)
            .env("VIGIL_BENCH_PEOPLE", people.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let _ = open(dir);
    let started = Instant::now();
    let mut first = child();
    let reader = open(dir);
    loop {
        std::thread::sleep(Duration::from_millis(20));
        reader.refresh().unwrap();
        if reader.stats().entries as usize >= people / 2 {
            break;
        }
        assert!(first.try_wait().unwrap().is_none(), "it was done before it could be killed");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let to_kill = started.elapsed();
    drop(reader);
    let there = open(dir).stats().entries;
    let started = Instant::now();
    assert!(child().wait().unwrap().success());
    let rest = started.elapsed();
    let gallery = open(dir);
    let stats = gallery.stats();
    let mut enrolled = 0;
    let verdict = gallery
        .audit_log(|body| {
            enrolled += usize::from(body.contains("\"action\":\"enrol\""));
            Ok(())
        })
        .unwrap();
    let notices = gallery.notices(people * 2).unwrap().len();
    println!(
        "{people} people: killed with SIGKILL after {:.1} s with {there} enrolled, the rest in {:.1} s; there {}, enrolled according to the audit log {enrolled} (chain {}), told to the hub {notices}; lost {}, twice {}",
        to_kill.as_secs_f64(),
        rest.as_secs_f64(),
        stats.entries,
        if verdict.broken.is_none() { "sound" } else { "BROKEN" },
        people - stats.entries as usize,
        enrolled - stats.entries as usize
    );
}

fn main() {
    let people = number("VIGIL_BENCH_PEOPLE", 10_000);
    if let Some(dir) = std::env::var_os(CHILD) {
        enrol(&open(Path::new(&dir)), people as u64);
        return;
    }
    // `cargo test --benches` runs this, too.
    if !std::env::args().any(|a| a == "--bench") && std::env::var_os("VIGIL_BENCH").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let enrolment = dir.path().join("enrolment");
    std::fs::create_dir(&enrolment).unwrap();
    if people > 0 {
        killed_half_way(&enrolment, people);
    }
    let sizes = std::env::var("VIGIL_BENCH_SIZES").unwrap_or_else(|_| "10000,100000".into());
    for size in sizes.split(',').filter(|s| !s.is_empty()) {
        let place = dir.path().join(size);
        std::fs::create_dir(&place).unwrap();
        search(&place, size.parse().unwrap(), number("VIGIL_BENCH_SEARCHES", 200));
    }
}

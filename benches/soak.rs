//! Memory over 100,000 pictures, with sessions back to back.
//!
//! `cargo bench --bench soak`. The daemon's own frame path in this process: camera thread, mailbox, station,
//! portrait thread, answers. Decisions are recorded nowhere. The camera is a file whose
//! time runs at `VIGIL_BENCH_FPS` (320) pictures a second, so that a day of a desk fits into minutes.
//! A row is printed at each count, and the slope over the second half.
//!
//! Environment: `VIGIL_BENCH_FRAMES` (100000), `VIGIL_BENCH_WIDTH` (640), `VIGIL_BENCH_FPS` (320),
//! `VIGIL_BENCH_SECONDS` (900): ends then, with whatever was reached.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use support::{rtsp, setting};
use tokio::sync::oneshot;
use uuid::Uuid;
use vigil::base::{Name, Result, Shutdown, SystemClock, TimeQuality};
use vigil::capture::{Camera, GstOpener};
use vigil::config::{
    CameraConfig, DocumentConfig, InferenceConfig, ModelsConfig, PrivacyConfig, SourceUrl, VerifyConfig,
};
use vigil::document::Inspector;
use vigil::document::chip::TrustStore;
use vigil::event::{Draft, Envelope, Recorder, SPEC_VERSION, VerifyMode};
use vigil::face::{Calibration, Engine};
use vigil::gate::{FaceEyes, Lane, Looks, Parts, Portrait, Verifier, VerifyRequest};
use vigil::infer::{Manifest, Runtime, Slot};

const ROWS: [u64; 9] = [1_000, 5_000, 10_000, 25_000, 40_000, 50_000, 60_000, 75_000, 100_000];

/// Writes nothing: the outbox has tests and a size of its own.
struct Nowhere;

impl Recorder for Nowhere {
    fn record(&self, draft: Draft) -> oneshot::Receiver<Result<Envelope>> {
        let (tx, rx) = oneshot::channel();
        let _ = tx.send(Ok(Envelope {
            specversion: SPEC_VERSION.into(),
            id: Uuid::now_v7(),
            source: "vigil://bench/soak".into(),
            ty: draft.kind.cloud_event_type(),
            subject: draft.subject,
            time: Timestamp::now(),
            datacontenttype: "application/json".into(),
            seq: 1,
            bootid: Uuid::nil(),
            timequality: TimeQuality::Unsynced,
            replayed: false,
            notafter: draft.not_after,
            data: draft.data,
        }));
        rx
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let frames = setting("VIGIL_BENCH_FRAMES", 100_000);
    let width = setting("VIGIL_BENCH_WIDTH", 640) as u32;
    let fps = setting("VIGIL_BENCH_FPS", 320) as u32;
    let limit = Duration::from_secs(setting("VIGIL_BENCH_SECONDS", 900));
    let footage = support::footage(width, width * 9 / 16, fps, 6_000);

    let models = ModelsConfig { dir: support::root().join("models"), runtime: None };
    let runtime = Runtime::load(&models).unwrap();
    let manifest = Manifest::load(&models.dir).unwrap();
    let config = VerifyConfig::default();
    let eyes = || {
        let engine = Engine::open(&runtime, &manifest, &InferenceConfig::default()).unwrap();
        FaceEyes::new(engine, config.quality.clone())
    };
    let embedding = manifest.model(Slot::FaceEmbedding).unwrap();
    let looks = Looks::of(&Calibration::of_model(embedding).unwrap(), config.fmr).unwrap();

    let stop = Shutdown::new();
    let name = Name::new("soak").unwrap();
    let url = SourceUrl::parse(&format!("file:{}", footage.display())).unwrap();
    let mut camera_config = CameraConfig::new(name.clone(), url);
    camera_config.repeat = true;
    let clock = Arc::new(SystemClock::default());
    let opener = Arc::new(GstOpener::new().unwrap());
    let (camera, receiver) = Camera::start(&camera_config, opener, clock.clone(), &stop).unwrap();
    let verifier = Verifier::start(Parts {
        privacy: PrivacyConfig::default(),
        cameras: vec![Lane { camera: name, frames: receiver, status: camera.status(), eyes: eyes() }],
        portrait_eyes: eyes(),
        inspector: Arc::new(Inspector::new(DocumentConfig::default(), TrustStore::empty())),
        looks,
        model: embedding.model_ref(),
        recorder: Arc::new(Nowhere),
        clock,
        watch: None,
        stop: stop.clone(),
        config,
    })
    .unwrap();

    // Portraits of several sizes, as documents have them.
    let portraits: Vec<Vec<u8>> =
        ["obama2.jpg", "obama.jpg", "biden.jpg"].map(|f| std::fs::read(support::photo(f)).unwrap()).into();
    let began = Instant::now();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let (mut sessions, mut looked) = (0u64, 0u64);
    let mut rows = ROWS.into_iter().filter(|r| *r <= frames).peekable();
    let mut samples: Vec<(u64, u64)> = Vec::new();
    let mut next_sample = 0;
    println!("  frames  sessions  looked at  KiB in RAM  threads  descriptors");
    loop {
        let at = camera.stats().frames;
        if at >= next_sample {
            samples.push((at, rtsp::resident_kib()));
            next_sample = at + 500;
        }
        if rows.peek().is_some_and(|r| at >= *r) {
            while rows.next_if(|r| at >= *r).is_some() {}
            println!(
                "{at:8}  {sessions:8}  {looked:9}  {:10}  {:7}  {:11}",
                rtsp::resident_kib(),
                rtsp::threads(),
                rtsp::open_descriptors()
            );
        }
        if at >= frames || began.elapsed() >= limit {
            break;
        }
        let answer = verifier.verify(VerifyRequest {
            document: None,
            correlation: None,
            camera: None,
            deadline: Some(Duration::from_secs(3)),
            mode: VerifyMode::Face,
            portrait: Some(Portrait::new(portraits[sessions as usize % portraits.len()].clone())),
            ..VerifyRequest::default()
        });
        let result = answer.blocking_recv().unwrap().result;
        looked += u64::from(result.capture.map_or(0, |c| c.pictures));
        *outcomes.entry(format!("{:?}", result.outcome)).or_default() += 1;
        sessions += 1;
    }
    let stats = camera.stats();
    println!(
        "{} frames of {width} px in {:.0} s, {sessions} sessions {outcomes:?}, {looked} pictures looked at, {:?}",
        stats.frames,
        began.elapsed().as_secs_f64(),
        stats.drops
    );
    let half = stats.frames / 2;
    let later: Vec<(f64, f64)> =
        samples.iter().filter(|(f, _)| *f >= half).map(|(f, k)| (*f as f64, *k as f64)).collect();
    let mean = |pick: fn(&(f64, f64)) -> f64| later.iter().map(pick).sum::<f64>() / later.len() as f64;
    let (mx, my) = (mean(|s| s.0), mean(|s| s.1));
    let covariance: f64 = later.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let variance: f64 = later.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let (low, high) = later.iter().fold((f64::MAX, 0.0f64), |(l, h), s| (l.min(s.1), h.max(s.1)));
    println!(
        "second half: {my:.0} KiB in the mean ({low:.0} to {high:.0}), slope {:+.1} KiB per 1000 frames",
        covariance / variance * 1e3
    );
    stop.request();
    assert!(camera.join(Duration::from_secs(20)));
}

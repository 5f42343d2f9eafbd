//! What our own code costs beside the work that nobody can do without: the decoding and the model runs.
//!
//! `cargo bench --bench overhead`. Processor time (user and system) of this process; both sides take turns in
//! one run, so that whatever else the machine does hits both. The bare side is the least that GStreamer
//! and ONNX Runtime can be called with: the decoder's elements linked by hand into a sink that throws
//! away, and sessions run on tensors that are filled already.
//!
//! 1. an idle picture over RTSP: our camera and its mailbox, beside the same elements bare;
//! 2. an idle picture out of a file at full speed, likewise;
//! 3. a session: its pictures decoded, detected, embedded, and the portrait's, beside the same decodings and runs.
//!
//! Environment: `VIGIL_BENCH_ROUNDS` (8), `VIGIL_BENCH_PICTURES` per session (3), `VIGIL_BENCH_EMBEDDED` of them
//! (2), `VIGIL_BENCH_ONLY` = `rtsp`, `file` or `session`.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use support::{cpu, ms, setting};
use vigil::base::{Name, Shutdown, SystemClock};
use vigil::capture::still::{Limits, decode};
use vigil::capture::{Camera, Converter, GstOpener, read_file};
use vigil::config::{CameraConfig, InferenceConfig, ModelsConfig, QualityConfig, SourceUrl};
use vigil::face::Engine;
use vigil::gate::session::Likeness;
use vigil::gate::{Eyes, FaceEyes};
use vigil::infer::{Manifest, Runtime, Slot};

const SIZE: (u32, u32) = (1280, 720);
const WINDOW: Duration = Duration::from_secs(4);
const SETTLE: Duration = Duration::from_secs(1);
const SESSIONS_A_TURN: u32 = 10;

/// Pairs of turns: what each took per unit, ms.
#[derive(Default)]
struct Turns {
    bare: Vec<f64>,
    ours: Vec<f64>,
}

impl Turns {
    fn print(&self, what: &str) {
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let mut ratios: Vec<f64> = self.bare.iter().zip(&self.ours).map(|(b, o)| o / b).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{what:44} bare {:8.3} ms  ours {:8.3} ms  ratio {:.3}  (turns {:.3} to {:.3}, median {:.3})",
            mean(&self.bare),
            mean(&self.ours),
            mean(&self.ours) / mean(&self.bare),
            ratios[0],
            ratios[ratios.len() - 1],
            support::quantile(&ratios, 0.5),
        );
    }
}

fn main() {
    support::serve_if_asked();
    gst::init().unwrap();
    let rounds = setting("VIGIL_BENCH_ROUNDS", 8);
    let only = std::env::var("VIGIL_BENCH_ONLY").ok();
    let wanted = |part: &str| only.as_deref().is_none_or(|o| o == part);
    let footage = support::footage(SIZE.0, SIZE.1, 25, 1500);
    if wanted("rtsp") {
        rtsp(rounds, &support::footage(SIZE.0, SIZE.1, 25, 6000));
    }
    if wanted("file") {
        file(rounds, &footage);
    }
    if wanted("session") {
        session(rounds, &footage);
    }
}

fn launch(description: &str) -> gst::Pipeline {
    gst::parse::launch(description).unwrap().downcast().unwrap()
}

/// Counts what reaches the element called `out`.
fn counted(pipeline: &gst::Pipeline) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let pad = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    count
}

/// CPU per picture over a window, once things have settled.
fn window(count: impl Fn() -> u64, mut meanwhile: impl FnMut()) -> f64 {
    let end = Instant::now() + Duration::from_secs(20);
    while count() == 0 {
        assert!(Instant::now() < end, "no picture came");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(SETTLE);
    let (pictures, before, end) = (count(), cpu(), Instant::now() + WINDOW);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        meanwhile();
    }
    ms(cpu() - before) / (count() - pictures) as f64
}

fn rtsp(rounds: u64, footage: &Path) {
    let camera_process = support::CameraProcess::start(footage);
    let url = &camera_process.url;
    let config = CameraConfig::new(Name::new("bench").unwrap(), SourceUrl::parse(url).unwrap());
    let mut turns = Turns::default();
    for _ in 0..rounds {
        let pipeline = launch(&format!(
            "rtspsrc location={url} protocols=tcp latency={} ! rtph264depay ! h264parse ! avdec_h264 ! \
             fakesink name=out sync=false",
            config.latency_ms.0
        ));
        let count = counted(&pipeline);
        pipeline.set_state(gst::State::Playing).unwrap();
        turns.bare.push(window(|| count.load(Ordering::Relaxed), || {}));
        pipeline.set_state(gst::State::Null).unwrap();

        let stop = Shutdown::new();
        let opener = Arc::new(GstOpener::new().unwrap());
        let (camera, frames) =
            Camera::start(&config, opener, Arc::new(SystemClock::default()), &stop).unwrap();
        // As a station does while nobody asks.
        turns.ours.push(window(|| camera.stats().frames, || drop(frames.try_recv())));
        stop.request();
        assert!(camera.join(Duration::from_secs(20)));
    }
    turns.print("idle picture, RTSP/TCP 720p25, per picture");
}

fn bare_file(footage: &Path, sink: &str) -> gst::Pipeline {
    launch(&format!(
        "filesrc location={} ! matroskademux ! h264parse ! avdec_h264 ! {sink}",
        footage.display()
    ))
}

fn file(rounds: u64, footage: &Path) {
    let mut turns = Turns::default();
    for _ in 0..rounds {
        let pipeline = bare_file(footage, "fakesink name=out sync=false");
        let count = counted(&pipeline);
        let before = cpu();
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let end = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(120), &end).unwrap();
        assert!(matches!(message.view(), gst::MessageView::Eos(_)));
        pipeline.set_state(gst::State::Null).unwrap();
        let pictures = count.load(Ordering::Relaxed);
        turns.bare.push(ms(cpu() - before) / pictures as f64);

        let before = cpu();
        let read = read_file(footage).unwrap().map(|frame| frame.unwrap().info().seq).last().unwrap();
        assert_eq!(read, pictures);
        turns.ours.push(ms(cpu() - before) / pictures as f64);
    }
    turns.print("picture read from a file at full speed");
}

/// Sessions without this box around them.
struct Bare {
    live: (Session, Tensor<f32>),
    still: Session,
    looks: Vec<Tensor<f32>>,
    embedder: (Session, Tensor<f32>),
}

fn open(runtime: &Runtime, bytes: &[u8], threads: u16, dimensions: &[(&str, i64)]) -> Session {
    let builder = Session::builder(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(usize::from(threads)).unwrap().with_inter_threads(1).unwrap();
    let builder = builder.with_intra_op_spinning(false).unwrap().with_inter_op_spinning(false).unwrap();
    let mut builder = builder.with_optimization_level(GraphOptimizationLevel::All).unwrap();
    for (name, size) in dimensions {
        builder = builder.with_dimension_override(name, *size).unwrap();
    }
    builder.commit_from_memory(bytes).unwrap()
}

fn tensor(width: u32, height: u32) -> Tensor<f32> {
    let values = (0..3 * width * height).map(|n| (n % 251) as f32).collect::<Vec<_>>();
    Tensor::from_array(([1usize, 3, height as usize, width as usize], values)).unwrap()
}

/// The detector's input for a picture whose long side is shrunk to `side`, as `face/detect.rs` places it.
fn canvas(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longest = u64::from(width.max(height));
    let side = longest.min(u64::from(side));
    let whole = |s: u32| (((u64::from(s) * side + longest / 2) / longest) as u32).next_multiple_of(32);
    (whole(width), whole(height))
}

fn session(rounds: u64, footage: &Path) {
    let pictures = setting("VIGIL_BENCH_PICTURES", 3) as usize;
    let embedded = setting("VIGIL_BENCH_EMBEDDED", 2) as usize;
    let models = ModelsConfig { dir: support::root().join("models"), runtime: None };
    let inference = InferenceConfig::default();
    let runtime = Runtime::load(&models).unwrap();
    let manifest = Manifest::load(&models.dir).unwrap();
    let portrait = std::fs::read(support::photo("obama2.jpg")).unwrap();
    let limits = Limits { max_bytes: 8 << 20, max_pixels: 24_000_000 };
    let quality = QualityConfig::default();
    let eyes = || FaceEyes::new(Engine::open(&runtime, &manifest, &inference).unwrap(), quality.clone());
    let (mut station, mut reader) = (eyes(), eyes());

    let still = decode(&portrait, &limits).unwrap();
    let (w, h) = (still.width(), still.height());
    let live = canvas(SIZE.0, SIZE.1, inference.detect_size);
    let detector = manifest.read(Slot::FaceDetection).unwrap().1;
    let embedder = manifest.read(Slot::FaceEmbedding).unwrap().1;
    let fixed = [("width", i64::from(live.0)), ("height", i64::from(live.1))];
    let mut bare = Bare {
        live: (open(&runtime, &detector, inference.threads, &fixed), tensor(live.0, live.1)),
        still: open(&runtime, &detector, inference.threads, &[]),
        looks: [1280, 320].map(|side| canvas(w, h, side)).map(|(w, h)| tensor(w, h)).into(),
        embedder: (open(&runtime, &embedder, inference.threads, &[]), tensor(112, 112)),
    };

    let pipeline = bare_file(footage, "appsink name=out sync=false max-buffers=2");
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut frames = read_file(footage).unwrap();

    let detect = |bare: &mut Bare| drop(bare.live.0.run(ort::inputs!["input" => &bare.live.1]).unwrap());
    let embed =
        |bare: &mut Bare| drop(bare.embedder.0.run(ort::inputs!["data" => &bare.embedder.1]).unwrap());
    let bare_live = |bare: &mut Bare| {
        for n in 0..pictures {
            drop(sink.pull_sample().unwrap());
            detect(bare);
            if n < embedded {
                embed(bare);
            }
        }
    };
    let bare_portrait = |bare: &mut Bare| {
        drop(decode(&portrait, &limits).unwrap());
        for look in &bare.looks {
            drop(bare.still.run(ort::inputs!["input" => look]).unwrap());
        }
        embed(bare);
    };
    let mut converter = Converter::new();
    let mut our_live = |station: &mut FaceEyes| {
        station.begin();
        let mut evidence = Vec::new();
        for n in 0..pictures {
            let frame = frames.next().unwrap().unwrap();
            let picture = frame.to_rgb(&mut converter).unwrap();
            let faces = station.live(&picture, frame.info().arrived).unwrap();
            let [(_, face)] = &faces[..] else { panic!("{} faces", faces.len()) };
            let grade = station.grade(&picture, face);
            assert_eq!(grade.shortfall, None);
            if n < embedded {
                evidence.push((station.embed(&picture, face).unwrap(), grade.rank));
            }
        }
        let weighted: Vec<_> = evidence.iter().map(|(t, w)| (t, *w)).collect();
        Likeness::fuse(&weighted).unwrap()
    };
    let our_portrait = |reader: &mut FaceEyes| {
        let picture = decode(&portrait, &limits).unwrap();
        let faces = reader.still(&picture).unwrap();
        let [face] = &faces[..] else { panic!("{} faces", faces.len()) };
        assert_eq!(reader.grade_still(&picture, face).shortfall, None);
        reader.embed(&picture, face).unwrap()
    };

    // Everything once before it counts.
    bare_live(&mut bare);
    bare_portrait(&mut bare);
    let same = our_live(&mut station).similarity(&our_portrait(&mut reader));
    station.scrub();
    reader.scrub();
    println!("the guest and the portrait: similarity {same:.3}; portrait {w}x{h}");

    let timed = |work: &mut dyn FnMut()| {
        let (before, began) = (cpu(), Instant::now());
        (0..SESSIONS_A_TURN).for_each(|_| work());
        let n = f64::from(SESSIONS_A_TURN);
        (ms(cpu() - before) / n, ms(began.elapsed()) / n)
    };
    let (mut lives, mut portraits, mut both, mut with_scrub) =
        (Turns::default(), Turns::default(), Turns::default(), Turns::default());
    let (mut scrubs, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (bl, _) = timed(&mut || bare_live(&mut bare));
        let (ol, _) = timed(&mut || drop(our_live(&mut station)));
        let (bp, _) = timed(&mut || bare_portrait(&mut bare));
        let (op, took) = timed(&mut || drop(our_portrait(&mut reader)));
        let mut scrub = Duration::ZERO;
        for _ in 0..SESSIONS_A_TURN {
            // What was used in the session is scrubbed, and nothing else.
            our_portrait(&mut reader);
            our_portrait_free(&mut station, &still);
            let before = cpu();
            station.scrub();
            reader.scrub();
            scrub += cpu() - before;
        }
        let scrub = ms(scrub) / f64::from(SESSIONS_A_TURN);
        lives.bare.push(bl);
        lives.ours.push(ol);
        portraits.bare.push(bp);
        portraits.ours.push(op);
        both.bare.push(bl + bp);
        both.ours.push(ol + op);
        with_scrub.bare.push(bl + bp);
        with_scrub.ours.push(ol + op + scrub);
        scrubs.push(scrub);
        wall.push(took);
    }
    println!("a session of {pictures} pictures, {embedded} embedded, and a portrait:");
    lives.print("  the guest's pictures");
    portraits.print("  the portrait");
    both.print("  both");
    with_scrub.print("  both, and every trace overwritten");
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    println!("  overwriting {:.2} ms; a portrait takes {:.1} ms of wall time", mean(&scrubs), mean(&wall));
    steps(&mut station, &mut reader, &mut bare, footage, &portrait, &limits);
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Uses the station's models once, as a session does.
fn our_portrait_free(station: &mut FaceEyes, still: &vigil::capture::RgbImage) {
    let frame = vigil::capture::RgbImage::filled(SIZE.0, SIZE.1, [90; 3]);
    station.live(&frame, Instant::now()).unwrap();
    let faces = station.still(still).unwrap();
    station.embed(still, &faces[0]).unwrap();
    // The still detector is the portrait's business; what it used is overwritten before the clock starts.
    station.scrub();
    station.live(&frame, Instant::now()).unwrap();
}

/// Where a session's time goes, step by step, wall time on an otherwise idle thread.
fn steps(
    station: &mut FaceEyes,
    reader: &mut FaceEyes,
    bare: &mut Bare,
    footage: &Path,
    portrait: &[u8],
    limits: &Limits,
) {
    const N: u32 = 60;
    let mut names: Vec<(&str, f64)> = Vec::new();
    let mut clock = |name: &'static str, took: Duration| {
        match names.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += ms(took),
            None => names.push((name, ms(took))),
        };
    };
    macro_rules! step {
        ($name:literal, $work:expr) => {{
            let began = Instant::now();
            let value = $work;
            clock($name, began.elapsed());
            value
        }};
    }
    let mut frames = read_file(footage).unwrap();
    let mut converter = Converter::new();
    station.begin();
    for _ in 0..N {
        let frame = step!("decode (pull of a decoded picture)", frames.next().unwrap().unwrap());
        let picture = step!("convert to RGB", frame.to_rgb(&mut converter).unwrap());
        let faces = step!("place, detect, track", station.live(&picture, frame.info().arrived).unwrap());
        step!("  of that the detector's run, bare", {
            bare.live.0.run(ort::inputs!["input" => &bare.live.1]).map(drop).unwrap()
        });
        step!("quality", station.grade(&picture, &faces[0].1));
        step!("align, embed", station.embed(&picture, &faces[0].1).unwrap());
        step!("  of that the embedder's run, bare", {
            bare.embedder.0.run(ort::inputs!["data" => &bare.embedder.1]).map(drop).unwrap()
        });
        step!("overwrite the picture", drop(picture));
    }
    for _ in 0..N {
        let picture = step!("portrait: JPEG to RGB", decode(portrait, limits).unwrap());
        let faces = step!("portrait: detect, two looks", reader.still(&picture).unwrap());
        step!("portrait: quality", reader.grade_still(&picture, &faces[0]));
        step!("portrait: align, embed", reader.embed(&picture, &faces[0]).unwrap());
    }
    println!("steps, wall time, ms each:");
    for (name, sum) in names {
        println!("  {name:38} {:7.3}", sum / f64::from(N));
    }
}

//! `vigil verify`: compares a portrait with a live picture or a video.
//!
//! The same checks in the same words as a verification at the desk, for trying a camera's view, a
//! document reader's portraits or a threshold. Nothing is recorded or sent.
//!
//! A video is a session: the daemon's own [`Watch`] sees every picture of it in order, in the
//! video's time, until it has an answer or the video ends.

use std::cell::Cell;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::Point as Dot;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Primitive, RgbColor, Size};
use embedded_graphics::primitives::{Circle, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use uuid::Uuid;

use super::models::ModelsArgs;
use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::still::{self, Limits};
use crate::capture::{Converter, RgbImage, read_file};
use crate::config::{FalseMatchRate, InferenceConfig, QualityConfig, VerifyConfig};
use crate::event::{
    CaptureFacts, Check, CheckName, CheckStatus, Comparison, Diagnostics, Outcome, PortraitSource, Reason,
    ReferenceFacts, Timing, VerifyMode, VerifyResult,
};
use crate::face::{Calibration, Engine, Face, Quality, Shortfall, Threshold, quality};
use crate::gate::session::{Rules, Session};
use crate::gate::{Eyes as _, FaceEyes, Looks, Watch, portrait_template};
use crate::infer::{Manifest, Runtime, Slot};

/// Height of each half of the annotated picture, pixels.
const PANEL: u32 = 480;
/// Height of the line with the outcome above the annotated picture, pixels.
const BAND: u32 = 28;

/// No video is longer: a session that is given this long ends with its video.
const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Compares the portrait of a document with a live picture or a video, and prints every check.
///
/// A video is looked at as the daemon looks at a camera, without a deadline: the answer comes as
/// soon as it can be given, at the video's end at the latest. The time printed is the video's.
///
/// Exit code 0 for a match, 1 for any other outcome, sysexits codes for what prevented the
/// comparison (65: a file cannot be decoded, 66: a file is not there, 78: models).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vigil verify portrait.jpg guest.jpg\n  \
                        vigil verify portrait.jpg desk.mp4 --annotate best.png\n  \
                        vigil verify portrait.jp2 guest.png --fmr 1e-4 --annotate seen.png --json")]
pub(super) struct Args {
    /// The document's portrait: JPEG, PNG, BMP or JPEG 2000
    portrait: PathBuf,
    /// The live picture, or a video file
    live: PathBuf,
    /// The false match rate of the comparison [default: 0.001, as in the configuration]
    #[arg(long, value_name = "RATE")]
    fmr: Option<f64>,
    /// A calibration written by `vigil eval face`, instead of the model's own
    #[arg(long, value_name = "TOML")]
    calibration: Option<PathBuf>,
    /// Write both pictures (of a video, the best one) with boxes, landmarks, quality and outcome as PNG
    #[arg(long, value_name = "PNG")]
    annotate: Option<PathBuf>,
    /// Print JSON: the data of a verify.result event, raw score included
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

/// One picture and what was found in it.
struct Seen {
    image: RgbImage,
    faces: Vec<(Face, Quality)>,
    /// The face that is compared, or why none is.
    chosen: std::result::Result<usize, Reason>,
    shortfalls: Vec<Shortfall>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let matched = compare(&args)?;
    if !matched {
        // Everything that held a face is dropped, and wiped, by now.
        std::process::exit(1);
    }
    Ok(())
}

fn compare(args: &Args) -> Result<bool> {
    let config = VerifyConfig::default();
    let fmr = args.fmr.map_or(Ok(config.fmr), FalseMatchRate::try_new)?;
    let models = args.models.config();
    let runtime = Runtime::load(&models)?;
    let manifest = Manifest::load(&models.dir)?;
    let entry = manifest.model(Slot::FaceEmbedding)?;
    let calibration = match &args.calibration {
        Some(path) => Calibration::load(path, &entry.model_ref())?,
        None => Calibration::of_model(entry)?,
    };
    let threshold = calibration.threshold(fmr)?;
    let mut engine = Engine::open(&runtime, &manifest, &InferenceConfig::default())?;

    let quality = &config.quality;
    let min_portrait = quality.min_portrait_inter_ocular_px;
    let (result, portrait, live) = if is_picture(&args.live)? {
        let started = Instant::now();
        let portrait = see(&mut engine, &args.portrait, quality, min_portrait, config.dominance)?;
        let live = see(&mut engine, &args.live, quality, quality.min_inter_ocular_px, config.dominance)?;
        let result = decide(&mut engine, &portrait, &live, &threshold, started)?;
        engine.scrub()?;
        (result, portrait, live)
    } else {
        let portrait = see(&mut engine, &args.portrait, quality, min_portrait, config.dominance)?;
        let looks = Looks::of(&calibration, fmr)?;
        let (result, live) = watch(engine, &portrait, &args.live, &config, &looks)
            .map_err(|e| e.context(args.live.display().to_string()))?;
        (result, portrait, live)
    };

    if args.json {
        let text = serde_json::to_string_pretty(&result)
            .map_err(|e| Error::internal("the result is not JSON").with_source(e))?;
        println!("{text}");
    } else {
        print(&result, &portrait, &live, &threshold);
    }
    if let Some(path) = &args.annotate {
        let canvas = annotate(&result, &portrait, &live)?;
        image::save_buffer_with_format(
            path,
            canvas.0.data(),
            canvas.0.width(),
            canvas.0.height(),
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .map_err(|e| {
            Error::new(Kind::Unavailable, Culprit::Disk, format!("cannot write {}", path.display()))
                .with_source(e)
        })?;
        eprintln!("wrote {}", path.display());
    }
    Ok(result.outcome == Outcome::Match)
}

/// Whether a file is a picture by its first bytes; an empty one is, for the error it gets.
fn is_picture(path: &Path) -> Result<bool> {
    let cannot = |e| Error::io(Culprit::Request, "cannot be read", e).context(path.display().to_string());
    let mut head = Vec::new();
    std::fs::File::open(path).map_err(cannot)?.take(16).read_to_end(&mut head).map_err(cannot)?;
    Ok(head.is_empty() || still::Format::of(&head).is_some())
}

/// Runs a session over a video. Also gives its best picture: of those with one guest the best
/// comparable one, otherwise the best one, otherwise one with faces, otherwise the first.
fn watch(
    engine: Engine,
    portrait: &Seen,
    video: &Path,
    config: &VerifyConfig,
    looks: &Looks,
) -> Result<(VerifyResult, Seen)> {
    let model = engine.model().clone();
    let mut eyes = FaceEyes::new(engine, config.quality.clone());
    let inter_ocular_px = Cell::new(None);
    let template = portrait_template(&mut eyes, &portrait.image, |px| inter_ocular_px.set(px));
    let rules = Rules {
        first_look: config.first_look,
        last_look: config.last_look,
        dominance: config.dominance,
        early: looks.early,
        last: looks.last,
        same_person: looks.same_person,
        turn: None,
    };
    let mut template = Some(template);
    let mut watched: Option<(Watch<FaceEyes>, Instant, CaptureFacts)> = None;
    let mut best: Option<((bool, bool, f32), Seen)> = None;
    let (mut converter, mut now) = (Converter::new(), Instant::now());
    eyes.begin();
    for frame in read_file(video)? {
        let frame = frame?;
        now = frame.info().arrived;
        let picture = frame.to_rgb(&mut converter)?;
        let (watch, _, facts) = watched.get_or_insert_with(|| {
            let info = frame.info();
            let mut session = Session::new(rules.clone(), now, now + NO_DEADLINE, true);
            if let Some(template) = template.take() {
                session.portrait(now, template);
            }
            let facts = CaptureFacts {
                camera: info.camera.clone(),
                time_source: info.time_source,
                last_picture: None,
                pictures: 0,
                skipped: 0,
            };
            (Watch::new(session, info.camera.clone()), now, facts)
        });
        watch.tick(&mut eyes, &|| now);
        if watch.session.verdict().is_none() {
            facts.pictures += 1;
        }
        watch.look(&mut eyes, picture, now, &|| now, &mut |(picture, faces, guest)| {
            let rank = match guest {
                Some((_, grade)) => (grade.shortfall.is_none(), true, grade.rank),
                None => (false, false, if faces.is_empty() { -1.0 } else { 0.0 }),
            };
            if best.as_ref().is_none_or(|(held, _)| *held < rank) {
                let faces: Vec<_> = faces.iter().map(|f| (*f, quality::assess(picture, f))).collect();
                let chosen = match guest {
                    Some((i, _)) => Ok(i),
                    None if faces.is_empty() => Err(Reason::NoFaceSeen),
                    None => Err(Reason::SeveralPeople),
                };
                best = Some((rank, Seen { image: picture.clone(), faces, chosen, shortfalls: Vec::new() }));
            }
        })?;
        if watch.session.verdict().is_some() {
            break;
        }
    }
    let empty = || Error::new(Kind::Malformed, Culprit::Request, "the video holds no picture");
    let (mut watch, began, facts) = watched.ok_or_else(empty)?;
    if watch.session.verdict().is_none() {
        // The video is over: what has been seen has to do.
        watch.session.tick(now + NO_DEADLINE);
    }
    let verdict = watch.session.verdict().cloned();
    eyes.scrub();
    let verdict = verdict.ok_or_else(|| Error::internal("a session did not end with its deadline"))?;
    let (_, live) = best.ok_or_else(empty)?;
    let elapsed = now.saturating_duration_since(began).as_millis();
    let result = VerifyResult {
        session: Uuid::now_v7(),
        correlation: None,
        mode: VerifyMode::Face,
        outcome: verdict.outcome,
        checks: verdict.checks,
        comparison: verdict.compared.map(|c| Comparison {
            band: looks.band(c.score),
            fmr: looks.fmr.get(),
            population: looks.population.clone(),
            model,
            pictures: c.pictures,
            diagnostics: Some(Diagnostics { score: c.score, threshold: c.threshold }),
        }),
        capture: Some(facts),
        document: None,
        reference: Some(ReferenceFacts {
            source: PortraitSource::Request,
            width: portrait.image.width(),
            height: portrait.image.height(),
            inter_ocular_px: inter_ocular_px.get(),
        }),
        timing: Timing { elapsed_ms: u32::try_from(elapsed).unwrap_or(u32::MAX), deadline_ms: 0 },
    };
    Ok((result, live))
}

fn see(
    engine: &mut Engine,
    path: &Path,
    limits: &QualityConfig,
    min_iod: f32,
    dominance: f32,
) -> Result<Seen> {
    let at = || path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|e| Error::io(Culprit::Request, "cannot be read", e).context(at()))?;
    let image = still::decode(&bytes, &Limits::default()).context(at)?;
    let mut faces: Vec<_> =
        engine.detect_still(&image)?.into_iter().map(|f| (f, quality::assess(&image, &f))).collect();
    faces.sort_by(|a, b| b.0.bbox.width.total_cmp(&a.0.bbox.width));
    let chosen = match faces.as_slice() {
        [] => Err(Reason::NoFaceSeen),
        [first, second, ..] if second.0.bbox.width >= dominance * first.0.bbox.width => {
            Err(Reason::SeveralPeople)
        }
        _ => Ok(0),
    };
    let shortfalls = match (&chosen, faces.first()) {
        (Ok(_), Some((_, quality))) => quality.shortfalls(limits, min_iod),
        _ => Vec::new(),
    };
    Ok(Seen { image, faces, chosen, shortfalls })
}

fn decide(
    engine: &mut Engine,
    portrait: &Seen,
    live: &Seen,
    threshold: &Threshold,
    started: Instant,
) -> Result<VerifyResult> {
    let reference = match (portrait.chosen, portrait.shortfalls.first()) {
        (Err(Reason::SeveralPeople), _) => {
            Check::fail(CheckName::ReferencePortrait, Reason::PortraitSeveralFaces)
        }
        (Err(_), _) => Check::fail(CheckName::ReferencePortrait, Reason::PortraitNoFace),
        (Ok(_), Some(Shortfall::TooSmall)) => {
            Check::fail(CheckName::ReferencePortrait, Reason::PortraitTooSmall)
        }
        (Ok(_), Some(_)) => Check::fail(CheckName::ReferencePortrait, Reason::PortraitPoor),
        (Ok(_), None) => Check::pass(CheckName::ReferencePortrait),
    };
    let live_face = match live.chosen {
        Ok(_) => Check::pass(CheckName::LiveFace),
        Err(reason) => Check::fail(CheckName::LiveFace, reason),
    };
    let face_quality = match (live.chosen, live.shortfalls.first()) {
        (Err(_), _) => Check::not_checked(CheckName::FaceQuality, Reason::EarlierCheckFailed),
        (Ok(_), Some(shortfall)) => Check::fail(CheckName::FaceQuality, shortfall.reason()),
        (Ok(_), None) => Check::pass(CheckName::FaceQuality),
    };
    let usable = [&reference, &live_face, &face_quality].iter().all(|c| c.status == CheckStatus::Pass);
    let score = match (usable, portrait.faces.first(), live.faces.first()) {
        (true, Some((a, _)), Some((b, _))) => {
            let (a, b) = (engine.embed(&portrait.image, a)?, engine.embed(&live.image, b)?);
            Some(a.similarity(&b))
        }
        _ => None,
    };
    let comparison = match score {
        None => Check::not_checked(CheckName::FaceComparison, Reason::EarlierCheckFailed),
        Some(s) if threshold.accepts(s) => Check::pass(CheckName::FaceComparison),
        Some(_) => Check::fail(CheckName::FaceComparison, Reason::BelowThreshold),
    };
    let outcome = match (&comparison.status, reference.status, live.chosen) {
        (CheckStatus::Pass, ..) => Outcome::Match,
        (CheckStatus::Fail, ..) => Outcome::NoMatch,
        (_, CheckStatus::Fail, _) => Outcome::PoorQuality,
        (_, _, Err(Reason::SeveralPeople)) => Outcome::MultipleFaces,
        (_, _, Err(_)) => Outcome::NoFace,
        _ => Outcome::PoorQuality,
    };
    let elapsed_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
    Ok(VerifyResult {
        session: Uuid::now_v7(),
        correlation: None,
        mode: VerifyMode::Face,
        outcome,
        checks: vec![
            Check::not_checked(CheckName::Document, Reason::NotRequested),
            reference,
            Check::not_checked(CheckName::Camera, Reason::NotRequested),
            live_face,
            face_quality,
            Check::not_checked(CheckName::PresentationAttack, Reason::NotRequested),
            comparison,
        ],
        comparison: score.map(|score| Comparison {
            band: threshold.band(score),
            fmr: threshold.fmr,
            population: threshold.population.clone(),
            model: engine.model().clone(),
            pictures: 1,
            diagnostics: Some(Diagnostics { score, threshold: threshold.score }),
        }),
        capture: None,
        document: None,
        reference: Some(ReferenceFacts {
            source: PortraitSource::Request,
            width: portrait.image.width(),
            height: portrait.image.height(),
            inter_ocular_px: portrait.faces.first().map(|(f, _)| f.inter_ocular_px() as u32),
        }),
        timing: Timing { elapsed_ms, deadline_ms: 0 },
    })
}

/// The word that events use.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn print(result: &VerifyResult, portrait: &Seen, live: &Seen, threshold: &Threshold) {
    println!("{:<20} {:<12} reason", "check", "status");
    for check in &result.checks {
        let reason = check.reason.as_ref().map(word).unwrap_or_default();
        println!("{:<20} {:<12} {reason}", word(&check.name), word(&check.status));
    }
    let name = if result.capture.is_some() { "best picture" } else { "live" };
    for (name, seen) in [("portrait", portrait), (name, live)] {
        print!("\n{name}: {}x{}, {} face(s)", seen.image.width(), seen.image.height(), seen.faces.len());
        let face = seen.faces.get(seen.chosen.as_ref().copied().unwrap_or(0));
        if let Some((_, q)) = face {
            print!("; {}", describe(q));
        }
    }
    println!();
    if let Some(c) = &result.comparison {
        if let Some(d) = &c.diagnostics {
            println!("score {:.3}, threshold {:.3}: {}", d.score, d.threshold, word(&c.band));
        }
        println!("threshold for a false match rate of {} ({})", c.fmr, c.population);
        if !threshold.unproven.is_empty() {
            println!("not measured at that rate: {}", threshold.unproven.join("; "));
        }
    }
    let (outcome, ms) = (word(&result.outcome), result.timing.elapsed_ms);
    match &result.capture {
        Some(video) => {
            println!("\n{outcome} after {ms} ms of the video, {} pictures looked at", video.pictures)
        }
        None => println!("\n{outcome} in {ms} ms"),
    }
}

fn describe(q: &Quality) -> String {
    format!(
        "eyes {:.0} px apart, sharpness {:.2}, brightness {:.0}, yaw {:.0} pitch {:.0} roll {:.0} deg, score {:.2}{}",
        q.inter_ocular_px,
        q.sharpness,
        q.brightness,
        q.pose.yaw_deg,
        q.pose.pitch_deg,
        q.pose.roll_deg,
        q.score,
        if q.cut_off { ", cut off" } else { "" }
    )
}

// The annotated picture -----------------------------------------------------------------------

/// A picture that can be drawn on.
struct Canvas(RgbImage);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Self::Error> {
        let (w, h) = (self.0.width() as i32, self.0.height() as i32);
        for Pixel(p, colour) in pixels {
            if (0..w).contains(&p.x) && (0..h).contains(&p.y) {
                let at = (p.y as usize * w as usize + p.x as usize) * 3;
                if let Some(rgb) = self.0.data_mut().get_mut(at..at + 3) {
                    rgb.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
                }
            }
        }
        Ok(())
    }
}

impl Canvas {
    fn text(&mut self, words: &str, x: i32, y: i32, large: bool, colour: Rgb888) {
        let font = if large { &FONT_10X20 } else { &FONT_6X10 };
        let at = Dot::new(x, y);
        let Ok(_) =
            Text::with_baseline(words, at, MonoTextStyle::new(font, colour), Baseline::Top).draw(self);
    }

    /// A line of small words that can be read on any picture.
    fn line(&mut self, words: &str, at: Dot, colour: Rgb888) {
        let back = Rectangle::new(at, Size::new(6 * words.len() as u32 + 2, 11));
        let Ok(()) = back.into_styled(PrimitiveStyle::with_fill(Rgb888::BLACK)).draw(self);
        self.text(words, at.x + 1, at.y, false, colour);
    }

    fn panel(&mut self, seen: &Seen, left: u32, width: u32, title: &str) {
        let (w, h) = (seen.image.width(), seen.image.height());
        for y in 0..PANEL {
            for x in 0..width {
                let (sx, sy) = (
                    u64::from(x) * u64::from(w) / u64::from(width),
                    u64::from(y) * u64::from(h) / u64::from(PANEL),
                );
                let from = (sy as usize * w as usize + sx as usize) * 3;
                let to = ((BAND + y) as usize * self.0.width() as usize + (left + x) as usize) * 3;
                if let (Some(source), Some(target)) =
                    (seen.image.data().get(from..from + 3), self.0.data_mut().get_mut(to..to + 3))
                {
                    target.copy_from_slice(source);
                }
            }
        }
        let scale = width as f32 / w as f32;
        let place =
            |x: f32, y: f32| Dot::new(left as i32 + (x * scale) as i32, BAND as i32 + (y * scale) as i32);
        for (i, (face, q)) in seen.faces.iter().enumerate() {
            let colour = if seen.chosen == Ok(i) { Rgb888::GREEN } else { Rgb888::YELLOW };
            let b = face.bbox;
            let corners = (place(b.x, b.y), place(b.x + b.width, b.y + b.height));
            let style = PrimitiveStyle::with_stroke(colour, 2);
            let Ok(()) = Rectangle::with_corners(corners.0, corners.1).into_styled(style).draw(self);
            for p in face.landmarks {
                let dot = Circle::with_center(place(p.x, p.y), 5);
                let Ok(()) = dot.into_styled(PrimitiveStyle::with_fill(Rgb888::CYAN)).draw(self);
            }
            let lines = [
                format!("eyes {:.0} px  score {:.2}", q.inter_ocular_px, q.score),
                format!("sharp {:.2}  bright {:.0}", q.sharpness, q.brightness),
                format!(
                    "yaw {:.0} pitch {:.0} roll {:.0}",
                    q.pose.yaw_deg, q.pose.pitch_deg, q.pose.roll_deg
                ),
            ];
            if seen.chosen == Ok(i) {
                for (n, line) in lines.iter().enumerate() {
                    let at = Dot::new(left as i32 + 4, (BAND + PANEL) as i32 - 36 + 12 * n as i32);
                    self.line(line, at, Rgb888::WHITE);
                }
            }
        }
        self.line(title, Dot::new(left as i32 + 3, BAND as i32 + 4), Rgb888::YELLOW);
    }
}

fn annotate(result: &VerifyResult, portrait: &Seen, live: &Seen) -> Result<Canvas> {
    let width = |seen: &Seen| {
        let (w, h) = (u64::from(seen.image.width()), u64::from(seen.image.height()));
        // A picture a hundred times wider than high would make a canvas of any size.
        (w * u64::from(PANEL) / h.max(1)).clamp(64, 4 * u64::from(PANEL)) as u32
    };
    let (a, b) = (width(portrait), width(live));
    let mut canvas = Canvas(RgbImage::filled((a + b).max(400), PANEL + BAND, [24, 24, 24]));
    canvas.panel(portrait, 0, a, "portrait");
    canvas.panel(live, a, b, if result.capture.is_some() { "live, best picture" } else { "live" });
    let reason = result.checks.iter().find(|c| c.status == CheckStatus::Fail).and_then(|c| c.reason.as_ref());
    let mut line = word(&result.outcome);
    if let Some(reason) = reason {
        line.push_str(&format!(" ({})", word(reason)));
    }
    if let Some(d) = result.comparison.as_ref().and_then(|c| c.diagnostics.as_ref()) {
        line.push_str(&format!("  {:.3}, threshold {:.3}", d.score, d.threshold));
    }
    let colour = match result.outcome {
        Outcome::Match => Rgb888::GREEN,
        Outcome::NoMatch => Rgb888::RED,
        _ => Rgb888::YELLOW,
    };
    canvas.text(&line, 6, 4, true, colour);
    Ok(canvas)
}

//! `vigil eval thermal`: how well the thermal detectors find what is in labelled pictures.
//!
//! How finds are matched with boxes, and what average precision is here, stands at the head of
//! `score.rs`; the list's form at the head of `boxes.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use serde::Serialize;

mod boxes;
mod score;
mod sheet;

pub use self::boxes::{Boxes, Only, Picture, Truth};
use self::score::{Point, Rule, Tally, Verdict, judge};
use self::sheet::Cutting;
use super::work::Common;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::still::{self, Limits};
use crate::capture::{SampleData, SampleRange, Samples};
use crate::event::ModelRef;
use crate::infer::thermal::Label;
use crate::infer::{DetectionRow, Manifest, Runtime, Slot};
use crate::thermal::{DetectorSettings, Detectors, PixelBox, Sighting, ThermalImage};

/// A frame of a thermal camera is far smaller.
const LIMITS: Limits = Limits { max_bytes: 64 << 20, max_pixels: 64_000_000 };
/// Finds of the learned detector below this change no figure that is printed.
const LEAST_SCORE: f32 = 0.02;
/// The physical one's: contrast about 2.
const LEAST_HOTSPOT: f32 = 0.2;
/// Without a row in the manifest.
const USUAL_WORKING_SCORE: f32 = 0.35;
/// False alarms a picture at which recall is printed.
const RATES: [f64; 4] = [0.1, 0.5, 1.0, 2.0];
const PERSON: Label = Label::Person;

/// Which detectors are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The trained network.
    Learned,
    /// Local contrast.
    Hotspot,
    /// Each, and what the second finds that the first misses.
    Both,
}

/// Measures the thermal detectors on labelled pictures.
///
/// Of the learned detector: AP50 per class (a find is right if it overlaps an untaken box of its
/// class by at least 0.5, the best overlap first, in order of score; every box counts once; area
/// under precision over recall at all points; a false alarm that lies by half in a DontCare box does
/// not count), precision and recall at the working point, and recall at 0.1, 0.5, 1 and 2 false
/// alarms a picture; people also by day and night, altitude and camera pitch where the names of the
/// files tell (HIT-UAV's: 1_060_30_0_00123.jpg is night, 60 m, 30 degrees). Of the physical one, which
/// outlines warmth and not people: recall of people by the middle of its finds, with finds on other
/// labelled objects not counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vigil eval thermal --boxes hituav/boxes.csv --split val\n  \
                        vigil eval thermal --boxes hituav/boxes.csv --split train --only unseen.txt --models models/kept\n  \
                        vigil eval thermal --boxes boxes.csv --detector both --pictures worst/ --json")]
pub(super) struct Args {
    /// CSV of boxes: split, file, class, x, y, w, h; top left corner, pixels
    #[arg(long, value_name = "CSV")]
    boxes: PathBuf,
    /// Folder that holds a folder of pictures per split [default: the CSV's own]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Which split
    #[arg(long, value_name = "NAME", default_value = "val")]
    split: String,
    /// Only the pictures named in this file, one a line: scenes that were kept from training
    #[arg(long, value_name = "FILE")]
    only: Option<PathBuf>,
    /// Which detectors
    #[arg(long, value_enum, default_value = "learned")]
    detector: Which,
    /// Score from which a find of the learned detector counts at the working point [default: the model's]
    #[arg(long, value_name = "SCORE")]
    working_score: Option<f32>,
    /// Write sheets of the people missed worst and of the worst false alarms (PNG) into this folder
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Write what the scores are worth on these pictures, as rows for the manifest
    #[arg(long, value_name = "TOML")]
    calibration: Option<PathBuf>,
    /// What to call these pictures in the rows [default: the CSV's folder and the split]
    #[arg(long, value_name = "NAME")]
    population: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    data: String,
    split: String,
    pictures: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    learned: Option<LearnedReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hotspot: Option<HotspotReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    both: Option<BothReport>,
}

#[derive(Serialize)]
struct LearnedReport {
    models: Vec<ModelRef>,
    /// One picture on one thread: model, boxes, contrast. Median.
    ms: f64,
    working_score: f32,
    classes: Vec<ClassReport>,
    /// Mean of the classes that occur.
    map50: Option<f64>,
    /// People, by what the names of the files tell.
    groups: Vec<GroupReport>,
}

#[derive(Serialize)]
struct ClassReport {
    class: &'static str,
    boxes: usize,
    ap50: Option<f64>,
    working: Point,
    /// At 0.1, 0.5, 1 and 2 false alarms a picture.
    at_rates: Vec<Point>,
}

#[derive(Serialize)]
struct GroupReport {
    group: String,
    pictures: usize,
    people: usize,
    ap50: Option<f64>,
    working: Point,
}

#[derive(Serialize)]
struct HotspotReport {
    models: Vec<ModelRef>,
    ms: f64,
    people: usize,
    at_rates: Vec<Point>,
    groups: Vec<GroupReport>,
}

#[derive(Serialize)]
struct BothReport {
    /// People that the learned detector misses at its working point.
    missed: usize,
    /// Of these, what the physical one finds beside it.
    at_rates: Vec<Point>,
}

/// What both detectors see in one picture, best first.
struct Seen {
    learned: Vec<Sighting>,
    hotspot: Vec<Sighting>,
    size: (u32, u32),
    ms: [f64; 2],
}

pub(super) fn run(args: Args) -> Result<()> {
    if let Some(score) = args.working_score
        && !(LEAST_SCORE..1.0).contains(&score)
    {
        let what = format!("--working-score {score} is not from {LEAST_SCORE} to 1");
        return Err(Error::new(Kind::Usage, Culprit::Request, what));
    }
    let at = |path: &Path| path.display().to_string();
    let csv = std::fs::File::open(&args.boxes)
        .map_err(|e| Error::io(Culprit::Request, "cannot be read", e).context(at(&args.boxes)))?;
    let boxes = Boxes::parse(csv).map_err(|e| e.context(at(&args.boxes)))?;
    let only = match &args.only {
        None => None,
        Some(path) => Some(Only::parse(
            &std::fs::read_to_string(path)
                .map_err(|e| Error::io(Culprit::Request, "cannot be read", e).context(at(path)))?,
        )),
    };
    let folder = match &args.images {
        Some(dir) => dir.join(&args.split),
        None => args.boxes.parent().unwrap_or(Path::new("")).join(&args.split),
    };
    let pictures =
        boxes.pictures(&args.split, &folder, only.as_ref()).map_err(|e| e.context(at(&args.boxes)))?;
    let (runtime, manifest) = args.common.open()?;
    let eyes = || {
        let (runtime, manifest) = (&runtime, &manifest);
        Ok(Eyes { runtime, manifest, which: args.detector, size: (0, 0), learned: None, hotspot: None })
    };
    let seen = args.common.each("looking at pictures", &pictures, eyes, |eyes, picture| {
        load(picture).and_then(|image| eyes.look(&image))
    })?;

    let learned_model = manifest.model(Slot::ThermalDetection)?;
    let working = args.working_score.unwrap_or_else(|| {
        let row = learned_model.detections.iter().find(|r| r.class == PERSON.as_str());
        row.map_or(USUAL_WORKING_SCORE, |r| r.working_score)
    });
    let (want_learned, want_hotspot) = (args.detector != Which::Hotspot, args.detector != Which::Learned);
    let report = Report {
        data: at(&args.boxes),
        split: args.split.clone(),
        pictures: pictures.len(),
        learned: match want_learned {
            true => {
                let models = refs(&manifest, &[Slot::ThermalDetection, Slot::ThermalLook])?;
                Some(learned_report(&pictures, &seen, models, working))
            }
            false => None,
        },
        hotspot: match want_hotspot {
            true => Some(hotspot_report(&pictures, &seen, refs(&manifest, &[Slot::ThermalHotspot])?)),
            false => None,
        },
        both: (args.detector == Which::Both).then(|| both_report(&pictures, &seen, working)),
    };
    args.common.print(&report, print)?;
    if let Some(path) = &args.calibration {
        let stem = args.boxes.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let population = args.population.unwrap_or_else(|| format!("{stem}, {}", args.split));
        calibration(path, &pictures, &seen, args.detector, working, &population)?;
    }
    if let Some(dir) = &args.pictures {
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::io(Culprit::Disk, format!("cannot make {}", dir.display()), e))?;
        draw_worst(dir, &pictures, &seen, want_learned, working)?;
    }
    Ok(())
}

// Looking --------------------------------------------------------------------------------------

/// The detectors of a worker, for the size of picture it saw last.
struct Eyes<'a> {
    runtime: &'a Runtime,
    manifest: &'a Manifest,
    which: Which,
    size: (u32, u32),
    learned: Option<Detectors>,
    hotspot: Option<Detectors>,
}

impl Eyes<'_> {
    fn look(&mut self, image: &ThermalImage) -> Result<Seen> {
        let size = (image.width(), image.height());
        if self.size != size {
            let open = |wanted: bool, settings: DetectorSettings| {
                wanted
                    .then(|| Detectors::open(self.runtime, self.manifest, &settings, size.0, size.1))
                    .transpose()
            };
            let (learned, hotspot) = (Some(LEAST_SCORE), Some(LEAST_HOTSPOT));
            self.learned =
                open(self.which != Which::Hotspot, DetectorSettings { threads: 1, learned, hotspot: None })?;
            self.hotspot =
                open(self.which != Which::Learned, DetectorSettings { threads: 1, learned: None, hotspot })?;
            self.size = size;
        }
        let timed = |detectors: &mut Option<Detectors>| -> Result<(Vec<Sighting>, f64)> {
            let Some(detectors) = detectors else { return Ok((Vec::new(), 0.0)) };
            let started = Instant::now();
            let mut found = detectors.sightings(image)?;
            let ms = started.elapsed().as_secs_f64() * 1e3;
            found.sort_by(|a, b| b.hotspot.score.total_cmp(&a.hotspot.score));
            Ok((found, ms))
        };
        let (learned, first) = timed(&mut self.learned)?;
        let (hotspot, second) = timed(&mut self.hotspot)?;
        Ok(Seen { learned, hotspot, size, ms: [first, second] })
    }
}

fn load(picture: &Picture) -> Result<ThermalImage> {
    let named = |e: Error| {
        let e = e.context(picture.path.display().to_string());
        match picture.line {
            Some(line) => e.context(format!("line {line}")),
            None => e,
        }
    };
    let bytes =
        std::fs::read(&picture.path).map_err(|e| named(Error::io(Culprit::Request, "cannot be read", e)))?;
    let rgb = still::decode(&bytes, &LIMITS).map_err(named)?;
    // Grey pictures have three equal channels; of a coloured one, BT.601's brightness.
    let grey = rgb.data().as_chunks::<3>().0.iter().map(|[r, g, b]| {
        ((299 * u32::from(*r) + 587 * u32::from(*g) + 114 * u32::from(*b) + 500) / 1000) as u8
    });
    let data = SampleData::Eight(grey.collect());
    Ok(ThermalImage::white_hot(Samples::new(rgb.width(), rgb.height(), data, SampleRange::Full)?))
}

// Counting -------------------------------------------------------------------------------------

/// The boxes that are looked for, and those in which a false alarm does not count.
fn split(
    picture: &Picture,
    wanted: impl Fn(Option<Label>) -> bool,
    ignored: impl Fn(Option<Label>) -> bool,
) -> [Vec<PixelBox>; 2] {
    let of = |keep: &dyn Fn(Option<Label>) -> bool| {
        picture.truths.iter().filter(|t| keep(t.label)).map(|t| t.bbox).collect()
    };
    [of(&wanted), of(&ignored)]
}

fn places(finds: &[&Sighting]) -> Vec<PixelBox> {
    finds.iter().map(|s| s.hotspot.bbox).collect()
}

/// The learned detector's finds of a class in one picture, what they are, and the boxes.
fn judged(picture: &Picture, seen: &Seen, label: Label) -> (Vec<(f32, PixelBox, Verdict)>, Vec<PixelBox>) {
    let finds: Vec<_> = seen.learned.iter().filter(|s| s.label == Some(label)).collect();
    let [truths, ignored] = split(picture, |l| l == Some(label), |l| l.is_none());
    let verdicts = judge(&places(&finds), &truths, &ignored, Rule::Overlap);
    let finds = finds.iter().zip(verdicts).map(|(s, v)| (s.hotspot.score, s.hotspot.bbox, v));
    (finds.collect(), truths)
}

fn learned_tally<'a>(pairs: impl IntoIterator<Item = (&'a Picture, &'a Seen)>, label: Label) -> Tally {
    let mut tally = Tally::default();
    for (picture, seen) in pairs {
        let (finds, truths) = judged(picture, seen, label);
        tally.add(truths.len(), finds.into_iter().map(|(score, _, verdict)| (score, verdict)));
    }
    tally.sort();
    tally
}

/// Of the physical detector, people only: what is found on another object is neither.
fn hotspot_tally<'a>(pairs: impl IntoIterator<Item = (&'a Picture, &'a Seen)>) -> Tally {
    let mut tally = Tally::default();
    for (picture, seen) in pairs {
        let finds: Vec<_> = seen.hotspot.iter().collect();
        let [truths, ignored] = split(picture, |l| l == Some(PERSON), |l| l != Some(PERSON));
        let verdicts = judge(&places(&finds), &truths, &ignored, Rule::Middle);
        tally.add(truths.len(), finds.iter().map(|s| s.hotspot.score).zip(verdicts));
    }
    tally.sort();
    tally
}

/// The models of a detector.
fn refs(manifest: &Manifest, slots: &[Slot]) -> Result<Vec<ModelRef>> {
    slots.iter().map(|s| Ok(manifest.model(*s)?.model_ref())).collect()
}

fn learned_report(pictures: &[Picture], seen: &[Seen], models: Vec<ModelRef>, working: f32) -> LearnedReport {
    let classes: Vec<_> = Label::ALL
        .into_iter()
        .map(|label| {
            let tally = learned_tally(pictures.iter().zip(seen), label);
            ClassReport {
                class: label.as_str(),
                boxes: tally.total,
                ap50: tally.average_precision(),
                working: tally.at(working),
                at_rates: RATES.map(|r| tally.at_rate(r)).into(),
            }
        })
        .collect();
    let known: Vec<f64> = classes.iter().filter_map(|c| c.ap50).collect();
    let map50 = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    let groups = groups(pictures, seen, |pairs| {
        let tally = learned_tally(pairs.iter().copied(), PERSON);
        (tally.total, tally.average_precision(), tally.at(working))
    });
    LearnedReport {
        models,
        ms: median(seen.iter().map(|s| s.ms[0])),
        working_score: working,
        classes,
        map50,
        groups,
    }
}

fn hotspot_report(pictures: &[Picture], seen: &[Seen], models: Vec<ModelRef>) -> HotspotReport {
    let tally = hotspot_tally(pictures.iter().zip(seen));
    let rates = RATES.map(|r| tally.at_rate(r));
    let groups = groups(pictures, seen, |pairs| {
        let tally = hotspot_tally(pairs.iter().copied());
        (tally.total, None, tally.at(rates[RATES.len() - 1].score))
    });
    let ms = median(seen.iter().map(|s| s.ms[1]));
    HotspotReport { models, ms, people: tally.total, at_rates: rates.into(), groups }
}

/// What the physical detector adds: of the people that the learned one misses at its working point,
/// those it finds; its finds on anything labelled or already found are neither.
fn both_report(pictures: &[Picture], seen: &[Seen], working: f32) -> BothReport {
    let mut tally = Tally::default();
    for (picture, seen) in pictures.iter().zip(seen) {
        let (finds, truths) = judged(picture, seen, PERSON);
        let hit = |i: usize| finds.iter().any(|f| f.0 >= working && f.2 == Verdict::Hit(i));
        let (found, missed): (Vec<_>, Vec<_>) = (0..truths.len()).partition(|i| hit(*i));
        let missed: Vec<_> = missed.into_iter().map(|i| truths[i]).collect();
        let [mut ignored, _] = split(picture, |l| l != Some(PERSON), |_| false);
        ignored.extend(found.into_iter().map(|i| truths[i]));
        ignored.extend(seen.learned.iter().filter(|s| s.hotspot.score >= working).map(|s| s.hotspot.bbox));
        let hotspots: Vec<_> = seen.hotspot.iter().collect();
        let verdicts = judge(&places(&hotspots), &missed, &ignored, Rule::Middle);
        tally.add(missed.len(), hotspots.iter().map(|s| s.hotspot.score).zip(verdicts));
    }
    tally.sort();
    BothReport { missed: tally.total, at_rates: RATES.map(|r| tally.at_rate(r)).into() }
}

fn groups(
    pictures: &[Picture],
    seen: &[Seen],
    measure: impl Fn(&[(&Picture, &Seen)]) -> (usize, Option<f64>, Point),
) -> Vec<GroupReport> {
    let mut by: BTreeMap<(u8, u32), Vec<(&Picture, &Seen)>> = BTreeMap::new();
    for pair in pictures.iter().zip(seen) {
        let Some(told) = Told::of(&pair.0.name) else { continue };
        for key in [(0, u32::from(told.night)), (1, told.altitude_m), (2, told.pitch_deg)] {
            by.entry(key).or_default().push(pair);
        }
    }
    by.into_iter()
        .map(|((kind, value), pairs)| {
            let group = match (kind, value) {
                (0, 0) => "day".to_owned(),
                (0, _) => "night".to_owned(),
                (1, m) => format!("altitude {m} m"),
                (_, deg) => format!("pitch {deg}°"),
            };
            let (people, ap50, working) = measure(&pairs);
            GroupReport { group, pictures: pairs.len(), people, ap50, working }
        })
        .collect()
}

/// What a file's name tells (Suo et al., Scientific Data 10, 227, 2023): day or night, altitude,
/// camera pitch, weather, number.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    night: bool,
    altitude_m: u32,
    pitch_deg: u32,
}

impl Told {
    fn of(name: &str) -> Option<Self> {
        let fields: Vec<_> = name.split('.').next()?.split('_').collect();
        let [night @ ("0" | "1"), altitude, pitch, _, _] = fields[..] else { return None };
        let (altitude_m, pitch_deg) = (altitude.parse().ok()?, pitch.parse().ok()?);
        (altitude_m <= 10_000 && pitch_deg <= 180).then_some(Self {
            night: night == "1",
            altitude_m,
            pitch_deg,
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

// Telling --------------------------------------------------------------------------------------

fn names(models: &[ModelRef]) -> String {
    let each: Vec<_> = models.iter().map(|m| format!("{} {}", m.name, m.sha256)).collect();
    each.join(" and ")
}

fn print(r: &Report) {
    println!("{}, split {}: {} pictures", r.data, r.split, r.pictures);
    if let Some(l) = &r.learned {
        println!("\nlearned: {}, {:.1} ms a picture on one thread", names(&l.models), l.ms);
        let score = l.working_score;
        println!(
            "{:<14} {:>6} {:>7}   precision and recall from {score:<5} recall at {} false alarms a picture",
            "class",
            "boxes",
            "AP50",
            RATES.map(|r| r.to_string()).join(", ")
        );
        for c in &l.classes {
            println!(
                "{:<14} {:>6} {:>7}   {:>9.3} {:>6.3} ({:.2} alarms)       {}",
                c.class,
                c.boxes,
                share(c.ap50),
                c.working.precision,
                c.working.recall,
                c.working.per_frame,
                recalls(&c.at_rates)
            );
        }
        println!("{:<14} {:>6} {:>7}", "mean", "", share(l.map50));
        print_groups(&l.groups, &format!("from {score}"));
    }
    if let Some(h) = &r.hotspot {
        println!("\nhotspot: {}, {:.1} ms a picture on one thread", names(&h.models), h.ms);
        println!(
            "{} people; recall at {} false alarms a picture: {} (scores {})",
            h.people,
            RATES.map(|r| r.to_string()).join(", "),
            recalls(&h.at_rates),
            h.at_rates.iter().map(|p| format!("{:.3}", p.score)).collect::<Vec<_>>().join(" ")
        );
        print_groups(&h.groups, "at the last of these scores");
    }
    if let Some(b) = &r.both {
        println!(
            "\nboth: {} people are missed by the learned detector at its working point; the hotspot detector finds of them, \
             at {} further false alarms a picture: {}",
            b.missed,
            RATES.map(|r| r.to_string()).join(", "),
            recalls(&b.at_rates)
        );
    }
}

fn print_groups(groups: &[GroupReport], from: &str) {
    if groups.is_empty() {
        return;
    }
    println!(
        "\n{:<16} {:>8} {:>7} {:>7}   precision and recall {from}",
        "people", "pictures", "boxes", "AP50"
    );
    for g in groups {
        println!(
            "{:<16} {:>8} {:>7} {:>7}   {:>9.3} {:>6.3}",
            g.group,
            g.pictures,
            g.people,
            share(g.ap50),
            g.working.precision,
            g.working.recall
        );
    }
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"))
}

fn recalls(points: &[Point]) -> String {
    points.iter().map(|p| format!("{:.3}", p.recall)).collect::<Vec<_>>().join(" ")
}

fn calibration(
    path: &Path,
    pictures: &[Picture],
    seen: &[Seen],
    which: Which,
    working: f32,
    population: &str,
) -> Result<()> {
    #[derive(Serialize)]
    struct Rows {
        detection: Vec<DetectionRow>,
    }
    let megapixels = median(seen.iter().map(|s| f64::from(s.size.0) * f64::from(s.size.1) / 1e6));
    let mut rows = Rows { detection: Vec::new() };
    if which != Which::Hotspot {
        for label in Label::ALL {
            let tally = learned_tally(pictures.iter().zip(seen), label);
            rows.detection.push(tally.row(label.as_str(), population, megapixels, working));
        }
    }
    if which != Which::Learned {
        let tally = hotspot_tally(pictures.iter().zip(seen));
        let at_two = tally.at_rate(2.0).score;
        rows.detection.push(tally.row("Warm", population, megapixels, at_two));
    }
    let text = toml::to_string(&rows).map_err(|e| Error::internal("the rows are not TOML").with_source(e))?;
    std::fs::write(path, text)
        .map_err(|e| Error::io(Culprit::Disk, format!("cannot write {}", path.display()), e))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// The people missed worst (no find at all first, then by the score of the find) and the false
/// alarms with the highest scores.
fn draw_worst(dir: &Path, pictures: &[Picture], seen: &[Seen], learned: bool, working: f32) -> Result<()> {
    struct Case {
        picture: usize,
        score: f32,
        bbox: PixelBox,
    }
    let (mut misses, mut alarms) = (Vec::new(), Vec::new());
    let mut alarms_by_picture = vec![Vec::new(); pictures.len()];
    for (i, (picture, seen)) in pictures.iter().zip(seen).enumerate() {
        let (finds, truths) = if learned {
            judged(picture, seen, PERSON)
        } else {
            let finds: Vec<_> = seen.hotspot.iter().collect();
            let [truths, ignored] = split(picture, |l| l == Some(PERSON), |l| l != Some(PERSON));
            let verdicts = judge(&places(&finds), &truths, &ignored, Rule::Middle);
            let finds = finds.iter().zip(verdicts).map(|(s, v)| (s.hotspot.score, s.hotspot.bbox, v));
            (finds.collect(), truths)
        };
        for (t, bbox) in truths.iter().enumerate() {
            let best = finds.iter().find(|f| f.2 == Verdict::Hit(t)).map_or(0.0, |f| f.0);
            if best < working {
                misses.push(Case { picture: i, score: best, bbox: *bbox });
            }
        }
        for (score, bbox, _) in finds.iter().filter(|f| f.2 == Verdict::Alarm && f.0 >= working) {
            alarms.push(Case { picture: i, score: *score, bbox: *bbox });
        }
        alarms_by_picture[i] = finds.iter().filter(|f| f.0 >= working).map(|f| f.1).collect();
    }
    misses.sort_by(|a, b| a.score.total_cmp(&b.score).then(b.bbox.area().total_cmp(&a.bbox.area())));
    alarms.sort_by(|a, b| b.score.total_cmp(&a.score));
    for (name, mut cases) in [("misses.png", misses), ("alarms.png", alarms)] {
        cases.truncate(sheet::MOST);
        let images: Vec<_> = cases.iter().map(|c| load(&pictures[c.picture])).collect::<Result<_>>()?;
        let cuttings: Vec<_> = cases
            .iter()
            .zip(&images)
            .map(|(case, image)| {
                let colour = |label: Option<Label>| match label {
                    Some(Label::Person) => Rgb888::GREEN,
                    Some(_) => Rgb888::CYAN,
                    None => Rgb888::BLUE,
                };
                let truths = pictures[case.picture].truths.iter().map(|t| (t.bbox, colour(t.label)));
                let finds = alarms_by_picture[case.picture].iter().map(|b| (*b, Rgb888::RED));
                let subject = std::iter::once((case.bbox, Rgb888::YELLOW));
                let size = format!("{:.2}  {:.0}x{:.0} px", case.score, case.bbox.width, case.bbox.height);
                Cutting {
                    image,
                    centre: case.bbox.centre(),
                    boxes: finds.chain(truths).chain(subject).collect(),
                    caption: [pictures[case.picture].name.clone(), size],
                }
            })
            .collect();
        sheet::write(&dir.join(name), &cuttings)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_when_and_from_where() {
        let told = Told { night: true, altitude_m: 60, pitch_deg: 30 };
        assert_eq!(Told::of("1_60_30_0_00123.jpg"), Some(told));
        assert!(!Told::of("0_100_90_0_03280.jpg").unwrap().night);
        for other in ["frame.jpg", "2_60_30_0_1.jpg", "1_60_x_0_1.jpg", "1_60_30_0.jpg", ""] {
            assert_eq!(Told::of(other), None, "{other}");
        }
    }
}

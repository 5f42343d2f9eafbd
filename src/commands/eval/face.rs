//! `vigil eval face`: false match and false non-match rates on labelled pairs.
//!
//! Each picture is decoded and embedded once. Of several faces in a picture the one that is
//! largest and nearest to the middle counts. A picture that cannot be enrolled (unreadable, no
//! face) is counted and listed, and its pairs are not compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use serde::Serialize;

use super::pairs::{Pair, Pairs};
use super::work::Common;
use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::RgbImage;
use crate::capture::still::{self, Limits};
use crate::config::{FalseMatchRate, InferenceConfig};
use crate::event::ModelRef;
use crate::face::{Calibration, Engine, Face, MIN_FALSE_MATCHES, Template};
use crate::infer::{CalibrationPoint, CalibrationRow, Manifest, Runtime, Slot};

/// The operating points that are reported.
const RATES: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Fewer comparisons of either kind say nothing about where the error rates meet.
const MIN_FOR_EER: usize = 10;
/// A photograph of an evaluation may be larger than a document's portrait.
const LIMITS: Limits = Limits { max_bytes: 64 << 20, max_pixels: 64_000_000 };
/// Of more comparisons between different people than this, an even share is made.
const MAX_IMPOSTOR_PAIRS: u64 = 20_000_000;
/// Normal quantile of a 95 % confidence interval.
const Z95: f64 = 1.959_964;

/// Measures false match and false non-match rates on labelled photographs.
///
/// Prints the equal error rate, and the false non-match rate (FNMR) with its threshold at false
/// match rates (FMR) of 1e-2, 1e-3 and 1e-4. Intervals are Wilson's at 95 %, which take
/// comparisons as independent: with few people they are too narrow. A rate at which fewer than 3
/// false matches are expected in the data is not reported.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("data").required(true),
    after_help = "Examples:\n  vigil eval face --pairs pairs.csv --det det.svg\n  \
                  vigil eval face --folders people/ --calibration site.toml --population \"hotel staff\""
)]
pub(super) struct Args {
    /// CSV of pairs: file, file, same (1/0); paths absolute or relative to the CSV; header optional
    #[arg(long, value_name = "CSV", group = "data")]
    pairs: Option<PathBuf>,
    /// Directory with one folder of photographs per person: every pair is compared
    #[arg(long, value_name = "DIR", group = "data")]
    folders: Option<PathBuf>,
    /// Write the detection error trade-off as SVG
    #[arg(long, value_name = "SVG")]
    det: Option<PathBuf>,
    /// Write a calibration for `verify.calibration`
    #[arg(long, value_name = "TOML")]
    calibration: Option<PathBuf>,
    /// What to call these people in the calibration [default: the name of the CSV or folder]
    #[arg(long, value_name = "NAME")]
    population: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What was compared: the files, each once, and the pairs.
#[derive(Default)]
pub(super) struct Data {
    pub(super) files: Vec<PathBuf>,
    /// Of a list of pairs, the line that names each file first; empty for folders.
    lines: Vec<u64>,
    pub(super) pairs: Vec<Pair>,
    /// Share of the comparisons between different people that is made: one in this many.
    one_in: u64,
}

#[derive(Serialize)]
struct Report {
    data: String,
    model: ModelRef,
    files: usize,
    /// Files with more than one face; the largest and most central one was taken.
    several_faces: usize,
    failures: Vec<Failure>,
    genuine_pairs: usize,
    impostor_pairs: usize,
    genuine_not_compared: usize,
    impostor_not_compared: usize,
    /// Of the comparisons between different people, one in so many was made.
    impostors_one_in: u64,
    impostor_median: Option<f32>,
    genuine_median: Option<f32>,
    eer: Eer,
    points: Vec<Operating>,
    /// What the model's own thresholds do to this data.
    own_thresholds: Vec<OwnThreshold>,
    interval: &'static str,
}

#[derive(Serialize)]
struct Failure {
    file: PathBuf,
    /// The line of the list of pairs that names the file first.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    why: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Eer {
    Known { rate: f64, threshold: f32 },
    Unknown { too_small: String },
}

#[derive(Serialize)]
struct Operating {
    fmr: f64,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Known {
        threshold: f32,
        fmr_measured: f64,
        fmr_interval: [f64; 2],
        fnmr: f64,
        fnmr_interval: [f64; 2],
        /// With pictures that could not be enrolled counted as not matching.
        fnmr_with_failures: f64,
    },
    Unknown {
        too_small: String,
    },
}

/// One of the model's own thresholds on this data: meaningful for small data too, since nothing was
/// fitted to it.
#[derive(Serialize)]
struct OwnThreshold {
    /// The rate that the model's calibration promises.
    fmr: f64,
    threshold: f32,
    false_matches: usize,
    fmr_interval: [f64; 2],
    false_non_matches: usize,
    fnmr_interval: [f64; 2],
}

/// The scores of one evaluation, both from the highest down.
struct Scores {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let (data, name) = match (&args.pairs, &args.folders) {
        (Some(csv), _) => (read_pairs(csv)?, csv),
        (None, Some(dir)) => (read_folders(dir)?, dir),
        (None, None) => return Err(Error::new(Kind::Usage, Culprit::Request, "give --pairs or --folders")),
    };
    let (runtime, manifest) = args.common.open()?;
    let entry = manifest.model(Slot::FaceEmbedding)?;
    let (model, own) = (entry.model_ref(), Calibration::of_model(entry)?);

    let (enrolled, several_faces) = enrol_all(&args.common, &runtime, &manifest, &data.files)?;
    let mut scores = Scores { genuine: Vec::new(), impostor: Vec::new() };
    let mut not_compared = (0, 0);
    for pair in &data.pairs {
        let (list, missing) = if pair.same {
            (&mut scores.genuine, &mut not_compared.0)
        } else {
            (&mut scores.impostor, &mut not_compared.1)
        };
        match (&enrolled[pair.a], &enrolled[pair.b]) {
            (Ok(a), Ok(b)) => list.push(a.similarity(b)),
            _ => *missing += 1,
        }
    }
    scores.genuine.sort_by(|a, b| b.total_cmp(a));
    scores.impostor.sort_by(|a, b| b.total_cmp(a));

    let failures = data.files.iter().zip(&enrolled).enumerate();
    let report = Report {
        data: name.display().to_string(),
        model: model.clone(),
        files: data.files.len(),
        several_faces,
        failures: failures
            .filter_map(|(i, (file, r))| {
                let why = r.as_ref().err()?.clone();
                Some(Failure { file: file.clone(), line: data.lines.get(i).copied(), why })
            })
            .collect(),
        genuine_pairs: scores.genuine.len(),
        impostor_pairs: scores.impostor.len(),
        genuine_not_compared: not_compared.0,
        impostor_not_compared: not_compared.1,
        impostors_one_in: data.one_in,
        impostor_median: median(&scores.impostor),
        genuine_median: median(&scores.genuine),
        eer: scores.eer(),
        points: RATES.map(|fmr| scores.at(fmr, not_compared.0)).into(),
        own_thresholds: RATES.iter().filter_map(|fmr| scores.at_own(&own, *fmr)).collect(),
        interval: "Wilson, 95 %, comparisons taken as independent",
    };
    drop(enrolled);
    args.common.print(&report, print)?;
    if let Some(path) = &args.det {
        write(path, &det_plot(&scores, &report)?)?;
    }
    if let Some(path) = &args.calibration {
        let stem = name.file_stem().map_or_else(|| "site".into(), |s| s.to_string_lossy().into_owned());
        let row = scores.calibration(args.population.unwrap_or(stem))?;
        write(path, &Calibration::new(model, vec![row])?.to_toml()?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|e| Error::io(Culprit::Disk, format!("cannot write {}", path.display()), e))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

// Reading -------------------------------------------------------------------------------------

pub(super) fn read_pairs(path: &Path) -> Result<Data> {
    let Pairs { files, lines, pairs } = Pairs::read(path)?;
    Ok(Data { files, lines, pairs, one_in: 1 })
}

pub(super) fn read_folders(dir: &Path) -> Result<Data> {
    let list = |dir: &Path| -> Result<Vec<PathBuf>> {
        let cannot = |e| Error::io(Culprit::Request, format!("cannot read {}", dir.display()), e);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(cannot)? {
            paths.push(entry.map_err(cannot)?.path());
        }
        paths.sort();
        Ok(paths)
    };
    let mut people: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for person in list(dir)?.into_iter().filter(|p| p.is_dir()) {
        let photos = list(&person)?.into_iter().filter(|p| {
            let extension = p.extension().map(|e| e.to_ascii_lowercase().to_string_lossy().into_owned());
            matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png" | "bmp" | "jp2" | "j2k"))
        });
        people.insert(person, photos.collect());
    }
    let mut data = Data { one_in: 1, ..Data::default() };
    let mut owner = Vec::new();
    for (person, photos) in people.values().enumerate() {
        for photo in photos {
            data.files.push(photo.clone());
            owner.push(person);
        }
    }
    if data.files.len() < 2 {
        return Err(Error::new(Kind::Malformed, Culprit::Request, "has no folders with photographs")
            .remedy("make one folder of .jpg, .png, .bmp or .jp2 files per person")
            .context(dir.display().to_string()));
    }
    let n = data.files.len() as u64;
    data.one_in = (n * (n - 1) / 2).div_ceil(MAX_IMPOSTOR_PAIRS).max(1);
    let mut between = 0u64;
    for a in 0..owner.len() {
        for b in a + 1..owner.len() {
            let same = owner[a] == owner[b];
            if !same {
                between += 1;
                if !between.is_multiple_of(data.one_in) {
                    continue;
                }
            }
            data.pairs.push(Pair { a, b, same });
        }
    }
    Ok(data)
}

// Embedding -----------------------------------------------------------------------------------

pub(super) type Enrolled = std::result::Result<Template, String>;

/// Embeds every file; also how many files showed several faces.
pub(super) fn enrol_all(
    common: &Common,
    runtime: &Runtime,
    manifest: &Manifest,
    files: &[PathBuf],
) -> Result<(Vec<Enrolled>, usize)> {
    let open = || Engine::open(runtime, manifest, &InferenceConfig::default());
    let results = common.each("embedding photographs", files, open, |engine, file| {
        Ok(enrol(engine, file).map_err(|e| e.to_string()))
    })?;
    let several = results.iter().flatten().filter(|(_, faces)| *faces > 1).count();
    Ok((results.into_iter().map(|r| r.map(|(template, _)| template)).collect(), several))
}

fn enrol(engine: &mut Engine, file: &Path) -> Result<(Template, usize)> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(Culprit::Request, "cannot be read", e))?;
    let image = still::decode(&bytes, &LIMITS)?;
    drop(bytes);
    let faces = engine.detect_still(&image)?;
    let Some(face) = main_face(&image, &faces) else {
        return Err(Error::new(Kind::NotFound, Culprit::Request, "no face found"));
    };
    Ok((engine.embed(&image, face).context(|| "its face")?, faces.len()))
}

/// The largest and most central face: the area counts less the further from the middle it is, down
/// to nothing in a corner.
fn main_face<'a>(image: &RgbImage, faces: &'a [Face]) -> Option<&'a Face> {
    let (w, h) = (image.width() as f32 / 2.0, image.height() as f32 / 2.0);
    let weight = |face: &Face| {
        let c = face.bbox.centre();
        let off = (c.x - w).hypot(c.y - h) / w.hypot(h);
        face.bbox.area() * (1.0 - off).max(0.0).powi(2)
    };
    faces.iter().max_by(|a, b| weight(a).total_cmp(&weight(b)))
}

// Counting ------------------------------------------------------------------------------------

impl Scores {
    /// The lowest threshold at which at most the share `fmr` of the impostors pass; `None` where
    /// fewer than [`MIN_FALSE_MATCHES`] would.
    fn threshold(&self, fmr: f64) -> Option<f32> {
        let expected = self.impostor.len() as f64 * fmr;
        if expected < MIN_FALSE_MATCHES * (1.0 - 1e-9) {
            return None;
        }
        // The best impostor that must not pass any more; the threshold lies just above.
        let refused = self.impostor.get((expected + 1e-6) as usize)?;
        Some(refused.next_up())
    }

    fn at(&self, fmr: f64, genuine_failures: usize) -> Operating {
        let (n, genuine) = (self.impostor.len(), self.genuine.len());
        let found = match self.threshold(fmr) {
            None => Found::Unknown {
                too_small: format!(
                    "{n} impostor pairs are too few: {} are needed",
                    (MIN_FALSE_MATCHES / fmr).round()
                ),
            },
            Some(_) if genuine == 0 => Found::Unknown { too_small: "there are no genuine pairs".into() },
            Some(threshold) => {
                let passed = self.impostor.partition_point(|s| *s >= threshold);
                let refused = genuine - self.genuine.partition_point(|s| *s >= threshold);
                Found::Known {
                    threshold,
                    fmr_measured: passed as f64 / n as f64,
                    fmr_interval: wilson(passed, n),
                    fnmr: refused as f64 / genuine as f64,
                    fnmr_interval: wilson(refused, genuine),
                    fnmr_with_failures: (refused + genuine_failures) as f64
                        / (genuine + genuine_failures) as f64,
                }
            }
        };
        Operating { fmr, found }
    }

    fn at_own(&self, calibration: &Calibration, fmr: f64) -> Option<OwnThreshold> {
        let threshold = calibration.threshold(FalseMatchRate::try_new(fmr).ok()?).ok()?.score;
        let false_matches = self.impostor.partition_point(|s| *s >= threshold);
        let false_non_matches = self.genuine.len() - self.genuine.partition_point(|s| *s >= threshold);
        Some(OwnThreshold {
            fmr,
            threshold,
            false_matches,
            fmr_interval: wilson(false_matches, self.impostor.len()),
            false_non_matches,
            fnmr_interval: wilson(false_non_matches, self.genuine.len()),
        })
    }

    /// Where both error rates meet: the mean of the two where they are closest.
    fn eer(&self) -> Eer {
        let (g, n) = (self.genuine.len(), self.impostor.len());
        if g < MIN_FOR_EER || n < MIN_FOR_EER {
            let too_small =
                format!("{g} genuine and {n} impostor pairs are too few: {MIN_FOR_EER} of each are needed");
            return Eer::Unknown { too_small };
        }
        let best = self.curve().min_by(|a, b| (a.1 - a.2).abs().total_cmp(&(b.1 - b.2).abs()));
        let (threshold, fmr, fnmr) = best.unwrap_or((1.0, 0.0, 1.0));
        Eer::Known { rate: (fmr + fnmr) / 2.0, threshold }
    }

    /// Threshold, FMR and FNMR at every score that occurs, from the highest down.
    fn curve(&self) -> impl Iterator<Item = (f32, f64, f64)> {
        let (g, n) = (self.genuine.len() as f64, self.impostor.len() as f64);
        let (mut gi, mut ii) = (0, 0);
        std::iter::from_fn(move || {
            let threshold = match (self.genuine.get(gi), self.impostor.get(ii)) {
                (Some(a), Some(b)) => a.max(*b),
                (Some(a), None) | (None, Some(a)) => *a,
                (None, None) => return None,
            };
            while self.genuine.get(gi).is_some_and(|s| *s >= threshold) {
                gi += 1;
            }
            while self.impostor.get(ii).is_some_and(|s| *s >= threshold) {
                ii += 1;
            }
            Some((threshold, ii as f64 / n, 1.0 - gi as f64 / g))
        })
    }

    /// Every power of ten that the data supports, and the smallest rate it supports.
    fn calibration(&self, population: String) -> Result<CalibrationRow> {
        let n = self.impostor.len();
        let smallest = MIN_FALSE_MATCHES / n.max(1) as f64;
        let mut rates: Vec<f64> =
            (1..=7).map(|e| 10f64.powi(-e)).filter(|f| *f > smallest * 1.000_001).collect();
        rates.push(smallest);
        let points: Vec<_> = rates
            .into_iter()
            .filter_map(|fmr| self.threshold(fmr).map(|score| CalibrationPoint { fmr, score }))
            .collect();
        if points.is_empty() || smallest > 0.1 {
            return Err(Error::new(
                Kind::Unsupported,
                Culprit::Request,
                format!("{n} comparisons of different people are too few for a calibration"),
            )
            .remedy("measure more people: 3,000 comparisons support a false match rate of 0.001"));
        }
        Ok(CalibrationRow {
            population,
            impostor_pairs: n as u64,
            points,
            impostor_median: median(&self.impostor),
        })
    }
}

fn median(sorted: &[f32]) -> Option<f32> {
    sorted.get(sorted.len() / 2).copied()
}

/// Wilson's 95 % interval of a share.
pub(super) fn wilson(count: usize, total: usize) -> [f64; 2] {
    if total == 0 {
        return [0.0, 1.0];
    }
    let (n, p, zz) = (total as f64, count as f64 / total as f64, Z95 * Z95);
    let middle = (p + zz / (2.0 * n)) / (1.0 + zz / n);
    let half = Z95 / (1.0 + zz / n) * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

// Printing ------------------------------------------------------------------------------------

fn print(r: &Report) {
    println!("{}", r.data);
    println!("model {} {}", r.model.name, r.model.sha256);
    println!(
        "{} photographs, {} with several faces (the largest and most central one counts), {} failures to enrol ({:.2} %)",
        r.files,
        r.several_faces,
        r.failures.len(),
        100.0 * r.failures.len() as f64 / r.files.max(1) as f64
    );
    for f in &r.failures {
        let line = f.line.map(|l| format!("line {l}: ")).unwrap_or_default();
        println!("  not enrolled: {line}{}: {}", f.file.display(), f.why);
    }
    println!(
        "{} genuine and {} impostor pairs compared; {} and {} not, for lack of a face",
        r.genuine_pairs, r.impostor_pairs, r.genuine_not_compared, r.impostor_not_compared
    );
    if r.impostors_one_in > 1 {
        println!("of the pairs of different people, one in {} was compared", r.impostors_one_in);
    }
    if let (Some(g), Some(i)) = (r.genuine_median, r.impostor_median) {
        println!("median score: genuine {g:.3}, impostor {i:.3}");
    }
    match &r.eer {
        Eer::Known { rate, threshold } => println!("EER {} at threshold {threshold:.3}", percent(*rate)),
        Eer::Unknown { too_small } => println!("EER: {too_small}"),
    }
    println!(
        "\n{:>8} {:>10} {:>10} {:>19} {:>10} {:>19}  with failures",
        "FMR", "threshold", "FNMR", "95 %", "measured", "95 %"
    );
    for p in &r.points {
        match &p.found {
            Found::Known {
                threshold,
                fmr_measured,
                fmr_interval,
                fnmr,
                fnmr_interval,
                fnmr_with_failures,
            } => {
                println!(
                    "{:>8.0e} {threshold:>10.3} {:>10} {:>19} {:>10} {:>19}  {}",
                    p.fmr,
                    percent(*fnmr),
                    span(fnmr_interval),
                    percent(*fmr_measured),
                    span(fmr_interval),
                    percent(*fnmr_with_failures)
                );
            }
            Found::Unknown { too_small } => println!("{:>8.0e} {too_small}", p.fmr),
        }
    }
    println!("\nThe model's own thresholds on this data:");
    for o in &r.own_thresholds {
        println!(
            "{:>8.0e} {:>10.3} {} of {} genuine refused ({}), {} of {} impostors passed ({})",
            o.fmr,
            o.threshold,
            o.false_non_matches,
            r.genuine_pairs,
            span(&o.fnmr_interval),
            o.false_matches,
            r.impostor_pairs,
            span(&o.fmr_interval)
        );
    }
    println!("\nIntervals: {}. \"measured\" is the FMR at that threshold in this data.", r.interval);
}

pub(super) fn percent(share: f64) -> String {
    let digits = if share >= 0.01 || share == 0.0 { 2 } else { 4 };
    format!("{:.digits$} %", share * 100.0)
}

pub(super) fn span([low, high]: &[f64; 2]) -> String {
    format!("{} to {}", percent(*low).trim_end_matches(" %"), percent(*high))
}

// Plotting ------------------------------------------------------------------------------------

/// The normal quantile (Acklam's approximation, better than 1.2e-9): the axes of a DET plot.
fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383_577_518_672_69e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, k| sum * x + k);
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / (poly(&D, q) * q + 1.0)
    } else if p > 1.0 - 0.02425 {
        -probit(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        poly(&A, r) * q / (poly(&B, r) * r + 1.0)
    }
}

/// A DET plot (ISO/IEC 19795-1): both error rates on normal-deviate axes, where the errors of
/// normally distributed scores lie on a straight line.
fn det_plot(scores: &Scores, report: &Report) -> Result<String> {
    const SIZE: (u32, u32) = (760, 780);
    const LEFT: f64 = 96.0;
    const TOP: f64 = 84.0;
    const SIDE: f64 = 600.0;
    const TICKS: [(f64, &str); 11] = [
        (1e-5, "0.001 %"),
        (1e-4, "0.01 %"),
        (1e-3, "0.1 %"),
        (5e-3, "0.5 %"),
        (1e-2, "1 %"),
        (2e-2, "2 %"),
        (5e-2, "5 %"),
        (0.1, "10 %"),
        (0.2, "20 %"),
        (0.3, "30 %"),
        (0.5, "50 %"),
    ];
    let (genuine, impostors) = (scores.genuine.len(), scores.impostor.len());
    if genuine == 0 || impostors == 0 {
        return Err(Error::new(
            Kind::Unsupported,
            Culprit::Request,
            "a DET plot needs genuine and impostor pairs",
        ));
    }
    let least = 0.5 / (genuine.max(impostors) as f64);
    let low = TICKS.iter().rev().map(|t| t.0).find(|t| *t <= least).unwrap_or(1e-5);
    let (from, to) = (probit(low), probit(0.5));
    let along = |p: f64| ((probit(p.clamp(low, 0.5)) - from) / (to - from)) * SIDE;
    let x = |fmr: f64| (LEFT + along(fmr)) as i32;
    let y = |fnmr: f64| (TOP + SIDE - along(fnmr)) as i32;

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let failed = |e: &dyn std::fmt::Display| Error::internal(format!("cannot draw the plot: {e}"));
        let line = |points: Vec<(i32, i32)>, style: ShapeStyle| {
            area.draw(&PathElement::new(points, style)).map_err(|e| failed(&e))
        };
        let text = |words: String, at: (i32, i32), size: i32, colour: RGBColor| {
            area.draw(&Text::new(words, at, ("sans-serif", size).into_font().color(&colour)))
                .map_err(|e| failed(&e))
        };
        let (grey, black, blue) = (RGBColor(208, 208, 208), RGBColor(20, 20, 20), RGBColor(20, 90, 200));
        let red = RGBColor(190, 40, 40);
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        for (p, label) in TICKS.iter().filter(|t| t.0 >= low) {
            line(vec![(x(*p), y(low)), (x(*p), y(0.5))], grey.into())?;
            line(vec![(x(low), y(*p)), (x(0.5), y(*p))], grey.into())?;
            text((*label).into(), (x(*p) - 16, y(low) + 8), 13, black)?;
            text((*label).into(), (x(low) - 56, y(*p) - 7), 13, black)?;
        }
        line(vec![(x(low), y(low)), (x(0.5), y(0.5))], grey.into())?;
        let frame =
            vec![(x(low), y(low)), (x(0.5), y(low)), (x(0.5), y(0.5)), (x(low), y(0.5)), (x(low), y(low))];
        line(frame, black.into())?;

        // Left of this the data says little: fewer than three false matches are expected.
        let supported = MIN_FALSE_MATCHES / impostors as f64;
        if supported < 0.5 {
            line(vec![(x(supported), y(low)), (x(supported), y(0.5))], red.into())?;
            text(
                "left of the red line: fewer than 3 false matches".into(),
                (x(supported) + 6, y(low) - 20),
                12,
                red,
            )?;
        }
        // A curve ends where its rates end: nothing is drawn for errors that never happened.
        let mut points: Vec<(i32, i32)> = scores
            .curve()
            .filter(|(_, fmr, fnmr)| (low..=0.5).contains(fmr) && (low..=0.5).contains(fnmr))
            .map(|(_, fmr, fnmr)| (x(fmr), y(fnmr)))
            .collect();
        points.dedup();
        if points.is_empty() {
            text("no threshold has both kinds of error".into(), (x(low) + 150, y(0.1)), 16, blue)?;
        } else {
            line(points, blue.stroke_width(3))?;
        }
        for p in &report.points {
            if let Found::Known { fnmr, fnmr_interval, .. } = &p.found
                && *fnmr <= 0.5
            {
                line(vec![(x(p.fmr), y(fnmr_interval[0])), (x(p.fmr), y(fnmr_interval[1]))], black.into())?;
                let dot = Circle::new((x(p.fmr), y(*fnmr)), 5, blue.filled());
                area.draw(&dot).map_err(|e| failed(&e))?;
            }
        }
        text("Detection error trade-off".into(), (LEFT as i32, 14), 22, black)?;
        let what = format!("{genuine} genuine and {impostors} impostor pairs, {}", report.model.name);
        text(what, (LEFT as i32, 42), 14, black)?;
        let bars = "bars: FNMR with its 95 % interval at FMR 1e-2, 1e-3, 1e-4".to_owned();
        text(bars, (LEFT as i32, 61), 12, black)?;
        text("false match rate".into(), (LEFT as i32 + 250, (TOP + SIDE) as i32 + 36), 16, black)?;
        let upright = ("sans-serif", 16).into_font().color(&black).transform(FontTransform::Rotate270);
        area.draw(&Text::new("false non-match rate", (14, (TOP + SIDE) as i32 - 220), upright))
            .map_err(|e| failed(&e))?;
        area.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(genuine: &[f32], impostors: usize) -> Scores {
        let mut genuine = genuine.to_vec();
        genuine.sort_by(|a, b| b.total_cmp(a));
        // Evenly spread from just below 1 down to 0.
        let impostor = (0..impostors).rev().map(|i| i as f32 / impostors as f32).collect();
        Scores { genuine, impostor }
    }

    #[test]
    fn the_threshold_lets_exactly_the_allowed_share_pass() {
        let s = scores(&[0.995, 0.5], 3_000);
        let t = s.threshold(1e-3).unwrap();
        assert_eq!(s.impostor.iter().filter(|v| **v >= t).count(), 3);
        assert!(s.threshold(0.9e-3).is_none());
        let Found::Known { fnmr, fmr_measured, fnmr_with_failures, .. } = s.at(1e-2, 2).found else {
            panic!("3,000 pairs support 1e-2");
        };
        assert_eq!((fnmr, fmr_measured, fnmr_with_failures), (0.5, 0.01, 0.75));
        assert!(matches!(s.at(1e-4, 0).found, Found::Unknown { .. }));
    }

    #[test]
    fn equal_scores_never_pass_a_threshold_in_part() {
        let s = Scores { genuine: vec![0.9], impostor: vec![0.5; 1_000] };
        let t = s.threshold(1e-2).unwrap();
        assert_eq!(s.impostor.iter().filter(|v| **v >= t).count(), 0);
    }

    #[test]
    fn the_equal_error_rate_is_where_the_rates_meet() {
        // A tenth of the genuine scores lies below what a tenth of the impostors reach.
        let genuine: Vec<f32> = (0..100).map(|i| if i < 10 { 0.1 } else { 0.95 }).collect();
        let Eer::Known { rate, .. } = scores(&genuine, 1_000).eer() else { panic!("enough pairs") };
        assert!((rate - 0.1).abs() < 0.051, "{rate}");
        assert!(matches!(scores(&[0.9], 1_000).eer(), Eer::Unknown { .. }));
    }

    #[test]
    fn a_calibration_lists_what_the_data_supports_and_no_more() {
        let row = scores(&[0.9], 6_000).calibration("p".into()).unwrap();
        let rates: Vec<_> = row.points.iter().map(|p| p.fmr).collect();
        assert_eq!(rates, [0.1, 0.01, 0.001, 0.0005]);
        assert!(scores(&[0.9], 20).calibration("p".into()).is_err());
        let model = ModelRef { name: "m".into(), sha256: "ab".into() };
        let calibration = Calibration::new(model, vec![row]).unwrap();
        assert!((calibration.smallest_fmr().unwrap() - 0.0005).abs() < 1e-9);
    }

    #[test]
    fn intervals_and_axes_are_those_of_the_tables() {
        let [low, high] = wilson(5, 100);
        assert!((low - 0.021_54).abs() < 1e-4 && (high - 0.111_75).abs() < 1e-4, "{low} {high}");
        assert!((probit(0.975) - 1.959_964).abs() < 1e-5);
        assert!((probit(0.001) + 3.090_232).abs() < 1e-5);
        assert_eq!(probit(0.5), 0.0);
    }
}

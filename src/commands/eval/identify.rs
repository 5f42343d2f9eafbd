//! `vigil eval identify`: false positive and false negative identification rates (ISO/IEC 19795-1) of
//! searches among the people of labelled photographs and strangers made by arithmetic.
//!
//! Of each person the first photograph is enrolled; every other one is searched twice: with the person
//! in the gallery (a mated search) and without (a non-mated one). Somebody with one photograph is
//! enrolled, and searched once without being there.
//!
//! **The strangers.** A synthetic template is an even direction of the 128 dimensions whose part along
//! the real templates is drawn out, so that its scores with real faces spread as the calibration says
//! that strangers' do at a false match rate of 1 in 1,000. They fill the gallery to the size that is asked
//! about and are never searched for. What they do not prove: real strangers are not even. They come in
//! families, ages and populations, and the far tail of their scores, on which large galleries depend,
//! is heavier than any that arithmetic makes. A rate over synthetic strangers is a check of the
//! closed form and of the search, not a measurement of accuracy at that size.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::face::{self, enrol_all, percent, span, wilson};
use super::work::Common;
use crate::base::progress::Progress;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{FalseMatchRate, FalsePositiveRate};
use crate::event::ModelRef;
use crate::face::{Calibration, Template, Threshold};
use crate::gallery::identification_threshold;
use crate::infer::Slot;
use crate::infer::sface::DIMENSIONS;

/// The rates that are reported.
const RATES: [f64; 4] = [0.3, 0.1, 0.03, 0.01];
/// The rate at which the strangers' scores are fitted, and the normal quantile above it.
const FITTED: (f64, f64) = (1e-3, 3.090_232);
/// Real directions that are drawn out: more would leave nothing to even out against.
const MAX_DIRECTIONS: usize = 64;
const MAX_STRANGERS: u32 = 100_000;

/// Measures how often a search names nobody, or the wrong person, in a gallery of a given size.
///
/// FPIR: of people who are not enrolled, the share whose search names somebody. FNIR: of people who
/// are, the share whose search does not name them first and above the threshold. Intervals are
/// Wilson's at 95 %, searches taken as independent.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("data").required(true),
    after_help = "Examples:\n  vigil eval identify --folders people/\n  \
                  vigil eval identify --pairs pairs.csv --strangers 1000,10000 --json"
)]
pub(super) struct Args {
    /// Directory with one folder of photographs per person
    #[arg(long, value_name = "DIR", group = "data")]
    folders: Option<PathBuf>,
    /// CSV of pairs: file, file, same (1/0). Files joined by a 1 are one person
    #[arg(long, value_name = "CSV", group = "data")]
    pairs: Option<PathBuf>,
    /// Synthetic strangers added to the gallery, several sizes separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0,1000,10000",
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_STRANGERS)))]
    strangers: Vec<u32>,
    /// A calibration written by `vigil eval face`, instead of the model's own
    #[arg(long, value_name = "TOML")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    data: String,
    model: ModelRef,
    people: usize,
    photographs: usize,
    not_enrolled: usize,
    mated_searches: usize,
    non_mated_searches: usize,
    strangers: &'static str,
    sizes: Vec<Size>,
}

#[derive(Serialize)]
struct Size {
    /// Real people and strangers together.
    gallery: usize,
    strangers: u32,
    /// Mated searches whose person came first, whatever the score.
    rank_one: usize,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    fpir: f64,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Known {
        threshold: f32,
        fmr: f64,
        false_positives: usize,
        fpir_measured: f64,
        fpir_interval: [f64; 2],
        false_negatives: usize,
        fnir_measured: f64,
        fnir_interval: [f64; 2],
    },
    Unsupported {
        unsupported: String,
    },
}

pub(super) fn run(args: Args) -> Result<()> {
    let (data, name) = match (&args.folders, &args.pairs) {
        (Some(dir), _) => (face::read_folders(dir)?, dir),
        (None, Some(csv)) => (face::read_pairs(csv)?, csv),
        (None, None) => return Err(Error::new(Kind::Usage, Culprit::Request, "give --folders or --pairs")),
    };
    let (runtime, manifest) = args.common.open()?;
    let entry = manifest.model(Slot::FaceEmbedding)?;
    let model = entry.model_ref();
    let calibration = match &args.calibration {
        Some(path) => Calibration::load(path, &model)?,
        None => Calibration::of_model(entry)?,
    };
    let (enrolled, _) = enrol_all(&args.common, &runtime, &manifest, &data.files)?;
    let owners = owners(data.files.len(), data.pairs.iter().filter(|p| p.same).map(|p| (p.a, p.b)));
    let mut people: BTreeMap<usize, Vec<&Template>> = BTreeMap::new();
    for (owner, template) in owners.iter().zip(&enrolled) {
        if let Ok(template) = template {
            people.entry(*owner).or_default().push(template);
        }
    }
    let people: Vec<Vec<&Template>> = people.into_values().collect();
    let gallery: Vec<&Template> = people.iter().filter_map(|p| p.first().copied()).collect();
    if gallery.len() < 2 {
        return Err(Error::new(Kind::Malformed, Culprit::Request, "shows fewer than two people")
            .context(name.display().to_string()));
    }
    let searches: Vec<Search> = searches(&people);
    let mut sizes = Vec::new();
    for &strangers in &args.strangers {
        sizes.push(measure(&calibration, &gallery, &searches, strangers)?);
    }
    let report = Report {
        data: name.display().to_string(),
        model,
        people: gallery.len(),
        photographs: data.files.len(),
        not_enrolled: enrolled.iter().filter(|e| e.is_err()).count(),
        mated_searches: searches.iter().filter(|s| s.mated).count(),
        non_mated_searches: searches.len(),
        strangers: "synthetic: even directions, their part along the real templates drawn out to the calibration's spread at FMR 1e-3; they check the closed form and say nothing of accuracy at this size",
        sizes,
    };
    args.common.print(&report, print)
}

/// A photograph that is searched for.
struct Search<'a> {
    owner: usize,
    probe: &'a Template,
    /// Whether its person is enrolled with another photograph.
    mated: bool,
}

fn searches<'a>(people: &[Vec<&'a Template>]) -> Vec<Search<'a>> {
    let mut out = Vec::new();
    for (owner, photos) in people.iter().enumerate() {
        match photos.as_slice() {
            [only] => out.push(Search { owner, probe: only, mated: false }),
            [_, others @ ..] => out.extend(others.iter().map(|probe| Search { owner, probe, mated: true })),
            [] => {}
        }
    }
    out
}

/// Who owns each file: files joined by a pair are one person's.
fn owners(files: usize, same: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut owner: Vec<usize> = (0..files).collect();
    fn root(owner: &mut [usize], mut at: usize) -> usize {
        while owner[at] != at {
            owner[at] = owner[owner[at]];
            at = owner[at];
        }
        at
    }
    for (a, b) in same {
        let (a, b) = (root(&mut owner, a), root(&mut owner, b));
        owner[a.max(b)] = a.min(b);
    }
    (0..files).map(|at| root(&mut owner, at)).collect()
}

fn measure(
    calibration: &Calibration,
    gallery: &[&Template],
    searches: &[Search<'_>],
    strangers: u32,
) -> Result<Size> {
    let mut maker = Strangers::new(calibration, gallery)?;
    // Of each search: the person's own score, the best other person's, and the best stranger's.
    let mut best: Vec<(f32, f32)> = searches
        .iter()
        .map(|s| {
            let mut own = f32::NEG_INFINITY;
            let mut other = f32::NEG_INFINITY;
            for (owner, template) in gallery.iter().enumerate() {
                let score = s.probe.similarity(template);
                if owner != s.owner {
                    other = other.max(score);
                } else if s.mated {
                    own = score;
                }
            }
            (own, other)
        })
        .collect();
    let mut progress = Progress::new("strangers", strangers.into());
    for _ in 0..strangers {
        let stranger = maker.next()?;
        for (search, best) in searches.iter().zip(&mut best) {
            best.1 = best.1.max(search.probe.similarity(&stranger));
        }
        progress.add(1);
    }
    drop(progress);
    let mated: Vec<_> = searches.iter().zip(&best).filter(|(s, _)| s.mated).map(|(_, b)| *b).collect();
    let size = gallery.len() + strangers as usize;
    let count = |threshold: &Threshold| {
        let positives = best.iter().filter(|(_, other)| threshold.accepts(*other)).count();
        let negatives = mated.iter().filter(|(own, other)| !threshold.accepts(*own) || own <= other).count();
        let share = |n: usize, of: usize| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        Found::Known {
            threshold: threshold.score,
            fmr: threshold.fmr,
            false_positives: positives,
            fpir_measured: share(positives, best.len()),
            fpir_interval: wilson(positives, best.len()),
            false_negatives: negatives,
            fnir_measured: share(negatives, mated.len()),
            fnir_interval: wilson(negatives, mated.len()),
        }
    };
    let mut points = Vec::new();
    for fpir in RATES {
        // Without their own entry a person's search meets one fewer.
        let found = match identification_threshold(calibration, FalsePositiveRate::try_new(fpir)?, size) {
            Ok(threshold) => count(&threshold),
            Err(e) => Found::Unsupported { unsupported: e.what() },
        };
        points.push(Point { fpir, found });
    }
    let rank_one = mated.iter().filter(|(own, other)| own > other).count();
    Ok(Size { gallery: size, strangers, rank_one, points })
}

/// Makes synthetic templates.
struct Strangers {
    rng: StdRng,
    /// Directions of the real templates, at right angles to each other.
    directions: Vec<[f64; DIMENSIONS]>,
    /// By how much the part along them is drawn out.
    stretch: f64,
}

impl Strangers {
    fn new(calibration: &Calibration, real: &[&Template]) -> Result<Self> {
        let mut directions: Vec<[f64; DIMENSIONS]> = Vec::new();
        for template in real {
            if directions.len() == MAX_DIRECTIONS {
                break;
            }
            let mut left = template.values().map(f64::from);
            for d in &directions {
                let along = dot(&left, d);
                left.iter_mut().zip(d).for_each(|(v, d)| *v -= along * d);
            }
            let length = dot(&left, &left).sqrt();
            if length > 1e-3 {
                left.iter_mut().for_each(|v| *v /= length);
                directions.push(left);
            }
        }
        let spread = f64::from(calibration.threshold(FalseMatchRate::try_new(FITTED.0)?)?.score) / FITTED.1;
        // Of a stretched direction's square length k·c² + (D - k) each of the k has c²; that share is to be
        // the square of the spread.
        let (k, d, s2) = (directions.len() as f64, DIMENSIONS as f64, spread * spread);
        let stretch = if k * s2 < 1.0 { (s2 * (d - k) / (1.0 - k * s2)).sqrt() } else { 1.0 };
        Ok(Self { rng: StdRng::seed_from_u64(1), directions, stretch: stretch.max(1.0) })
    }

    fn next(&mut self) -> Result<Template> {
        let mut values: [f64; DIMENSIONS] = std::array::from_fn(|_| normal(&mut self.rng));
        for d in &self.directions {
            let more = dot(&values, d) * (self.stretch - 1.0);
            values.iter_mut().zip(d).for_each(|(v, d)| *v += more * d);
        }
        Template::from_raw(&mut values.map(|v| v as f32))
    }
}

fn dot(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A normally distributed number (Box and Muller).
fn normal(rng: &mut StdRng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn print(r: &Report) {
    println!(
        "{} people, {} photographs, {} without a template; {} {}",
        r.people,
        r.photographs,
        r.not_enrolled,
        r.model.name,
        &r.model.sha256[..12]
    );
    println!("{} mated and {} non-mated searches", r.mated_searches, r.non_mated_searches);
    println!("strangers: {}", r.strangers);
    for size in &r.sizes {
        println!();
        println!(
            "gallery of {} ({} synthetic); first whatever the score: {} of {}",
            size.gallery, size.strangers, size.rank_one, r.mated_searches
        );
        println!("FPIR wanted  threshold  FMR      FPIR measured             FNIR measured");
        for point in &size.points {
            match &point.found {
                Found::Known {
                    threshold,
                    fmr,
                    fpir_measured,
                    fpir_interval,
                    fnir_measured,
                    fnir_interval,
                    ..
                } => {
                    let measured = |rate: f64, interval| format!("{} {}", percent(rate), span(interval));
                    let (wanted, fpir) = (percent(point.fpir), measured(*fpir_measured, fpir_interval));
                    let fnir = measured(*fnir_measured, fnir_interval);
                    println!("{wanted:<12} {threshold:<10.3} {fmr:<8.1e} {fpir:<25} {fnir}");
                }
                Found::Unsupported { unsupported } => println!("{:<12} {unsupported}", percent(point.fpir)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(seed: u64) -> Template {
        let mut rng = StdRng::seed_from_u64(seed);
        Template::from_raw(&mut std::array::from_fn(|_| normal(&mut rng) as f32)).unwrap()
    }

    #[test]
    fn files_joined_by_pairs_are_one_person() {
        assert_eq!(owners(6, [(3, 1), (1, 5), (2, 4)].into_iter()), [0, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn strangers_spread_as_the_calibration_says() {
        let row = crate::infer::CalibrationRow {
            population: "p".into(),
            impostor_pairs: 1_000_000,
            points: vec![crate::infer::CalibrationPoint { fmr: 1e-3, score: 0.398 }],
            impostor_median: None,
        };
        let model = ModelRef { name: "m".into(), sha256: "0".repeat(64) };
        let calibration = Calibration::new(model, vec![row]).unwrap();
        let people: Vec<Template> = (0..12).map(real).collect();
        let mut maker = Strangers::new(&calibration, &people.iter().collect::<Vec<_>>()).unwrap();
        let (mut sum, mut n) = (0.0, 0.0);
        for _ in 0..2000 {
            let stranger = maker.next().unwrap();
            for p in &people {
                sum += f64::from(p.similarity(&stranger)).powi(2);
                n += 1.0;
            }
        }
        let wanted = 0.398 / FITTED.1;
        assert!(((sum / n).sqrt() - wanted).abs() < 0.01, "{} instead of {wanted}", (sum / n).sqrt());
    }
}

//! What a score is worth: from a false match rate to a threshold (ISO/IEC 19795-1).
//!
//! A calibration has one row per population: how many comparisons of two different people were
//! made, and which score a given share of them reached. The rules:
//!
//! 1. A rate is *supported* by a row that lists it, or rates on both sides of it, and that made
//!    enough comparisons to expect [`MIN_FALSE_MATCHES`] false ones at it. Fewer could not even
//!    show at 95 % confidence that the rate is kept (the rule of three). If no row supports a
//!    rate, there is no threshold for it, but an error that names the smallest supported one:
//!    nothing is extrapolated.
//! 2. The threshold is the highest that *any* row asks for at that rate, a row with less evidence
//!    included: weak evidence may raise a threshold and never lowers it. A row that ends above the
//!    rate asks for at least its strictest score. So the promise is kept for the worst population
//!    listed, as far as it was measured; [`Threshold::unproven`] names the populations that were
//!    not measured at that rate.
//! 3. Between two points the score is interpolated linearly over the logarithm of the rate. Above
//!    the largest listed rate the score of that rate is used: stricter than promised.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{FalseMatchRate, VerifyConfig};
use crate::event::{Band, ModelRef};
use crate::infer::{CalibrationPoint, CalibrationRow, ModelEntry};

/// False matches that must be expected in the data at a rate, for the rate to be supported: with
/// none seen in n comparisons the rate is below 3/n at 95 % confidence.
pub const MIN_FALSE_MATCHES: f64 = 3.0;
/// Scores this close to the threshold are within the measurement's noise: another picture of the
/// same person moves a score by about this much.
const NEAR: f32 = 0.03;
/// A rate this much stricter than the promised one makes a match "far above".
const FAR_FACTOR: f64 = 100.0;
/// Median score of two different people where no row measured it: unrelated directions have a
/// cosine of 0.
const STRANGERS: f32 = 0.0;

/// What the scores of one model are worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The model whose scores were measured.
    model: ModelRefToml,
    /// One row per population.
    #[serde(rename = "row")]
    rows: Vec<CalibrationRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRefToml {
    name: String,
    sha256: String,
}

/// The score a comparison must reach, and what that promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Cosine similarity: a match has this much or more.
    pub score: f32,
    /// The promised false match rate.
    pub fmr: f64,
    /// The population that asked for this score.
    pub population: String,
    /// Populations of the calibration that were not measured at this rate.
    pub unproven: Vec<String>,
    far_above: f32,
    far_below: f32,
}

impl Threshold {
    /// Whether a score is a match.
    pub fn accepts(&self, score: f32) -> bool {
        score >= self.score
    }

    /// Where a score lies.
    pub fn band(&self, score: f32) -> Band {
        if score >= self.far_above {
            Band::FarAbove
        } else if score >= self.score + NEAR {
            Band::Above
        } else if score >= self.score - NEAR {
            Band::Near
        } else if score > self.far_below {
            Band::Below
        } else {
            Band::FarBelow
        }
    }
}

impl Calibration {
    /// From the rows of a measurement.
    pub fn new(model: ModelRef, rows: Vec<CalibrationRow>) -> Result<Self> {
        let calibration = Self { model: ModelRefToml { name: model.name, sha256: model.sha256 }, rows };
        calibration.check().map(|()| calibration)
    }

    /// The model's own table.
    pub fn of_model(entry: &ModelEntry) -> Result<Self> {
        Self::new(entry.model_ref(), entry.calibration.clone())
            .map_err(|e| e.context(format!("model {}", entry.name)))
    }

    /// The site's own file if `[verify] calibration` names one, otherwise the model's table.
    pub fn of_site(verify: &VerifyConfig, entry: &ModelEntry) -> Result<Self> {
        match &verify.calibration {
            Some(path) => Self::load(path, &entry.model_ref()),
            None => Self::of_model(entry),
        }
    }

    /// A file written by `vigil eval face`, for `model`.
    pub fn load(path: &Path, model: &ModelRef) -> Result<Self> {
        let at = || format!("calibration {}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::io(Culprit::Config, "cannot be read", e)
                .remedy("write it with `vigil eval face --calibration`, or remove `verify.calibration`")
                .context(at())
        })?;
        Self::parse(&text, model).map_err(|e| e.context(at()))
    }

    /// The text of such a file, for `model`.
    pub fn parse(text: &str, model: &ModelRef) -> Result<Self> {
        let calibration: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            Error::new(
                Kind::Malformed,
                Culprit::Config,
                format!("line {line}: {}", e.message().replace('\n', " ")),
            )
            .remedy("write it with `vigil eval face --calibration`")
        })?;
        calibration.check()?;
        if calibration.model.sha256 != model.sha256 {
            return Err(Error::new(
                Kind::Mismatch,
                Culprit::Config,
                format!("it was measured with {} {}", calibration.model.name, calibration.model.sha256),
            )
            .remedy(format!(
                "measure {} {} with `vigil eval face --calibration`",
                model.name, model.sha256
            )));
        }
        Ok(calibration)
    }

    /// The file's text.
    pub fn to_toml(&self) -> Result<String> {
        let body =
            toml::to_string(self).map_err(|e| Error::internal("a calibration is not TOML").with_source(e))?;
        Ok(format!(
            "# Written by `vigil eval face`. Use it with `verify.calibration` in vigil.toml.\n\n{body}"
        ))
    }

    /// The rows.
    pub fn rows(&self) -> &[CalibrationRow] {
        &self.rows
    }

    /// The smallest rate that a threshold can be given for; `None` if no data supports any.
    pub fn smallest_fmr(&self) -> Option<f64> {
        self.rows.iter().filter_map(smallest_supported).min_by(f64::total_cmp)
    }

    /// The threshold that promises `fmr`.
    pub fn threshold(&self, fmr: FalseMatchRate) -> Result<Threshold> {
        let fmr = fmr.get();
        let smallest = self.smallest_fmr();
        // A hair of tolerance: 3 / 3,000 and 0.001 are the same rate.
        if smallest.is_none_or(|s| fmr < s * (1.0 - 1e-9)) {
            let e = Error::config(format!("the calibration is too small for a false match rate of {fmr}"));
            return Err(match smallest {
                Some(s) => e.remedy(format!("the smallest it supports is {}", round_up(s))),
                None => e.remedy("it supports none: measure more people with `vigil eval face`"),
            });
        }
        let (score, population) = self.strictest(fmr);
        let far_fmr = fmr / FAR_FACTOR;
        let far_above = self.strictest(far_fmr).0.max(score + NEAR);
        let medians = self.rows.iter().filter_map(|r| r.impostor_median);
        Ok(Threshold {
            score,
            fmr,
            population: population.to_owned(),
            unproven: self
                .rows
                .iter()
                .filter(|r| smallest_listed(r) > fmr)
                .map(|r| r.population.clone())
                .collect(),
            far_above,
            far_below: medians.max_by(f32::total_cmp).unwrap_or(STRANGERS).min(score - NEAR),
        })
    }

    /// The highest score that any row asks for at `fmr`, and the row's population.
    fn strictest(&self, fmr: f64) -> (f32, &str) {
        let scores = self.rows.iter().map(|row| (score_at(row, fmr), row.population.as_str()));
        scores.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((1.0, ""))
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: String| {
            Err(Error::new(Kind::Malformed, Culprit::Config, what)
                .remedy("write the calibration with `vigil eval face --calibration`"))
        };
        if self.rows.is_empty() {
            return wrong("it has no rows".into());
        }
        for row in &self.rows {
            let name = &row.population;
            if row.points.is_empty() {
                return wrong(format!("row {name:?} has no points"));
            }
            let fits = |p: &CalibrationPoint| p.fmr > 0.0 && p.fmr <= 0.5 && (-1.0..=1.0).contains(&p.score);
            if !row.points.iter().all(fits) {
                return wrong(format!("row {name:?} has a rate outside 0 to 0.5 or a score outside -1 to 1"));
            }
            // From the largest rate to the smallest, as a person writes it down.
            if !row.points.is_sorted_by(|a, b| a.fmr > b.fmr && a.score <= b.score) {
                return wrong(format!(
                    "row {name:?}: a smaller rate must come later and not have a smaller score"
                ));
            }
        }
        Ok(())
    }
}

fn smallest_listed(row: &CalibrationRow) -> f64 {
    row.points.last().map_or(f64::INFINITY, |p| p.fmr)
}

/// The smallest rate a row supports: listed or between listed ones, with enough comparisons.
fn smallest_supported(row: &CalibrationRow) -> Option<f64> {
    let by_pairs = MIN_FALSE_MATCHES / row.impostor_pairs.max(1) as f64;
    let largest = row.points.first()?.fmr;
    // Above the largest listed rate every rate is supported as well, with that rate's score.
    (by_pairs <= largest * (1.0 + 1e-9)).then(|| by_pairs.max(smallest_listed(row)))
}

/// The score that a row asks for at a rate; beyond its ends, that of the end.
fn score_at(row: &CalibrationRow, fmr: f64) -> f32 {
    let Some(first) = row.points.first() else { return 1.0 };
    let mut last = first;
    for p in &row.points {
        if p.fmr <= fmr {
            if p.fmr == last.fmr {
                return p.score;
            }
            let t = (fmr.ln() - last.fmr.ln()) / (p.fmr.ln() - last.fmr.ln());
            return last.score + (p.score - last.score) * t.clamp(0.0, 1.0) as f32;
        }
        last = p;
    }
    last.score
}

/// Two digits, rounded up: a rate that is really supported.
fn round_up(rate: f64) -> f64 {
    let unit = 10f64.powf(rate.log10().floor() - 1.0);
    let digits = (rate / unit - 1e-6).ceil();
    // Through text, so that 0.00019 does not print as 0.00019000000000000001.
    format!("{:.1e}", digits * unit).parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(population: &str, impostor_pairs: u64, points: &[(f64, f32)]) -> CalibrationRow {
        let points =
            points.iter().map(|(fmr, score)| CalibrationPoint { fmr: *fmr, score: *score }).collect();
        CalibrationRow { population: population.into(), impostor_pairs, points, impostor_median: None }
    }

    fn model() -> ModelRef {
        ModelRef { name: "m".into(), sha256: "ab".into() }
    }

    /// The rows of the shipped manifest.
    fn shipped() -> Calibration {
        let rows = vec![
            row("all", 16_500_000, &[(1e-2, 0.290), (1e-3, 0.357), (1e-4, 0.414), (1e-5, 0.465)]),
            row("one", 15_400, &[(1e-2, 0.308), (1e-3, 0.368), (1e-4, 0.451)]),
            row("four", 12_207, &[(1e-2, 0.320), (1e-3, 0.398)]),
        ];
        Calibration::new(model(), rows).unwrap()
    }

    fn at(c: &Calibration, fmr: f64) -> Threshold {
        c.threshold(FalseMatchRate::try_new(fmr).unwrap()).unwrap()
    }

    #[test]
    fn the_promise_is_kept_for_the_worst_population() {
        let c = shipped();
        let t = at(&c, 1e-3);
        assert_eq!((t.score, t.population.as_str(), t.unproven.len()), (0.398, "four", 0));
        // 1.5 expected false matches support nothing, but they raise the threshold.
        let t = at(&c, 1e-4);
        assert_eq!((t.score, t.population.as_str()), (0.451, "one"));
        assert_eq!(t.unproven, ["four"]);
        let t = at(&c, 1e-5);
        assert_eq!((t.score, t.population.as_str()), (0.465, "all"));
        assert_eq!(t.unproven, ["one", "four"]);
        // Looser than the largest listed rate: its score.
        assert_eq!(at(&c, 0.1).score, 0.320);
    }

    #[test]
    fn nothing_is_extrapolated() {
        let e = shipped().threshold(FalseMatchRate::try_new(1e-6).unwrap()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the calibration is too small for a false match rate of 0.000001; the smallest it supports is 0.00001"
        );
        let small = Calibration::new(model(), vec![row("few", 100, &[(1e-2, 0.3)])]).unwrap();
        let e = small.threshold(FalseMatchRate::try_new(0.1).unwrap()).unwrap_err().to_string();
        assert!(e.contains("it supports none"), "{e}");
        let exact =
            Calibration::new(model(), vec![row("3,000", 3_000, &[(1e-2, 0.3), (1e-3, 0.4)])]).unwrap();
        assert_eq!(at(&exact, 1e-3).score, 0.4);
        assert!(exact.threshold(FalseMatchRate::try_new(0.9e-3).unwrap()).is_err());
    }

    #[test]
    fn between_two_rates_the_score_follows_their_logarithm() {
        let c = Calibration::new(model(), vec![row("p", 1_000_000, &[(1e-2, 0.2), (1e-4, 0.4)])]).unwrap();
        assert!((at(&c, 1e-3).score - 0.3).abs() < 1e-6);
    }

    #[test]
    fn bands_are_ordered_around_the_threshold() {
        let t = at(&shipped(), 1e-3);
        assert!(t.accepts(t.score) && !t.accepts(t.score - 1e-4));
        let bands = [-0.2, 0.2, t.score - 0.01, t.score + 0.05, 0.6].map(|s| t.band(s));
        assert_eq!(bands, [Band::FarBelow, Band::Below, Band::Near, Band::Above, Band::FarAbove]);
        assert_eq!(t.band(f32::NAN), Band::FarBelow);
        assert!(!t.accepts(f32::NAN));
    }

    #[test]
    fn a_calibration_of_another_model_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), shipped().to_toml().unwrap()).unwrap();
        assert_eq!(Calibration::load(file.path(), &model()).unwrap(), shipped());
        let other = ModelRef { name: "m".into(), sha256: "cd".into() };
        let e = Calibration::load(file.path(), &other).unwrap_err();
        assert_eq!(e.kind(), Kind::Mismatch);
        std::fs::write(file.path(), "nonsense = 1\n").unwrap();
        assert!(Calibration::load(file.path(), &model()).is_err());
        let falling = row("p", 1_000_000, &[(1e-2, 0.4), (1e-3, 0.3)]);
        assert!(Calibration::new(model(), vec![falling]).is_err());
    }

    proptest! {
        #[test]
        fn a_stricter_rate_never_has_a_lower_threshold(a in -5f64..-1.0, b in -5f64..-1.0) {
            let c = shipped();
            let (loose, strict) = (10f64.powf(a.max(b)), 10f64.powf(a.min(b)));
            prop_assert!(at(&c, strict).score >= at(&c, loose).score);
        }
    }
}

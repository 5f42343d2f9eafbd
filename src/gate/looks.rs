//! Where the two looks of a session draw their lines: a false match rate, spent in two parts.

use std::fmt;
use std::sync::Arc;

use crate::base::Result;
use crate::config::FalseMatchRate;
use crate::event::Band;
use crate::face::Calibration;

/// The early look's share of the site's false match rate.
const EARLY_SHARE: f64 = 0.1;

/// The lines that a comparison is held against. See [`session`](super::session) for why their
/// rates add up to the site's.
#[derive(Clone)]
pub struct Looks {
    /// Similarity that passes the early look, if there is one.
    pub early: Option<f32>,
    /// Similarity that passes the last look.
    pub last: f32,
    /// Below this similarity two live pictures do not show one person: the line for the site's
    /// whole rate. Pictures of one person taken a moment apart lie far above it.
    pub same_person: f32,
    /// The false match rate of a whole verification.
    pub fmr: FalseMatchRate,
    /// The population whose calibration drew the lines.
    pub population: String,
    band: Arc<dyn Fn(f32) -> Band + Send + Sync>,
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Looks");
        s.field("early", &self.early).field("last", &self.last).field("fmr", &self.fmr);
        s.field("population", &self.population).finish_non_exhaustive()
    }
}

/// One line from a calibration.
#[derive(Clone)]
pub struct Line {
    /// The similarity.
    pub score: f32,
    /// The population it was measured on.
    pub population: String,
    /// Where a similarity lies relative to it.
    pub band: Arc<dyn Fn(f32) -> Band + Send + Sync>,
}

impl Looks {
    /// Splits `fmr`. `line` draws the line for a rate, or says that the calibration cannot.
    ///
    /// The early look takes a tenth. If the calibration does not reach that far, it takes the
    /// strictest rate that it does reach, up to half: the last look gets the rest, and its line
    /// must not be drawn for more than is left. Beyond half there is one look, with everything.
    pub fn plan(fmr: FalseMatchRate, line: impl Fn(FalseMatchRate) -> Result<Line>) -> Result<Self> {
        let whole = line(fmr)?;
        let split = |share: f64| -> Option<(Line, Line)> {
            let part = |s: f64| FalseMatchRate::try_new(fmr.get() * s).and_then(&line).ok();
            Some((part(share)?, part(1.0 - share)?))
        };
        let found = (0..=20).map(|i| EARLY_SHARE + f64::from(i) * 0.02).find_map(split);
        // Bands are told relative to the whole rate: one meaning, whichever look decided.
        let (early, last) = match found {
            Some((early, last)) => (Some(early.score.max(last.score)), last.score),
            None => (None, whole.score),
        };
        Ok(Self {
            early,
            last,
            same_person: whole.score,
            fmr,
            population: whole.population,
            band: whole.band,
        })
    }

    /// The lines that `calibration` draws for `fmr`.
    pub fn of(calibration: &Calibration, fmr: FalseMatchRate) -> Result<Self> {
        Self::plan(fmr, |rate| {
            let threshold = calibration.threshold(rate)?;
            let (score, population) = (threshold.score, threshold.population.clone());
            Ok(Line { score, population, band: Arc::new(move |score| threshold.band(score)) })
        })
    }

    /// Where a similarity lies.
    pub fn band(&self, score: f32) -> Band {
        (self.band)(score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Error;

    /// Similarity as a function of the rate; knows nothing below `strictest`.
    fn line(strictest: f64) -> impl Fn(FalseMatchRate) -> Result<Line> {
        move |rate| {
            if rate.get() < strictest * 0.999 {
                return Err(Error::config("too strict"));
            }
            let score = 0.2 - 0.06 * rate.get().log10() as f32;
            Ok(Line { score, population: "all".into(), band: Arc::new(|_| Band::Near) })
        }
    }

    #[test]
    fn the_rates_of_the_looks_add_up_to_the_sites() {
        let rate_of = |score: f32| 10f64.powf(f64::from((0.2 - score) / 0.06));
        let fmr = FalseMatchRate::try_new(1e-3).unwrap();
        for (strictest, two) in [(1e-5, true), (1e-4, true), (2e-4, true), (5e-4, true), (6e-4, false)] {
            let looks = Looks::plan(fmr, line(strictest)).unwrap();
            assert_eq!(looks.early.is_some(), two, "{strictest}");
            let spent = looks.early.map_or(0.0, rate_of) + rate_of(looks.last);
            assert!(spent <= 1.001e-3 && spent > 0.95e-3, "{strictest}: {spent}");
        }
        assert!(Looks::plan(fmr, line(1e-2)).is_err());
    }
}

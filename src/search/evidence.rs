//! What a look says about a candidate, as logarithms of likelihoods. The derivation, with the reasons for
//! each number, is in `docs/search.md`.
//!
//! A candidate is one of [`KINDS`] kinds of thing. Each frame in which its place is in view says something
//! about each of them: that it was seen or not, as what, of what outline, how warm. What is told rests on two
//! ratios: [`Beliefs::something`] (any real thing against noise) and [`Beliefs::target`] (what is looked for
//! against the likeliest of everything else, and against what looks like it to the network whatever it is).
//!
//! Three dependences are kept from being counted as evidence. The frames of one view show one thing from one
//! side: whether it was seen counts for [`LOOKS_A_VIEW`] frames at most, and what it looked like for one. What
//! looks like a person from one side does so from others too: each further view counts a little less. And
//! warmth and outline are those of the thing, not of the view: all frames together count for one.
//! All weights are at most 1 and known before the frame they weigh, so that `exp` of either ratio is a
//! supermartingale while the candidate is what the ratio denies. Its supremum passes `exp(t)` with
//! probability `exp(-t)` at most (Ville's inequality), however often it is looked at: the threshold of a rate
//! follows from that.

use serde::{Deserialize, Serialize};

use super::coverage::resolved;
use super::kinds::{ANIMAL, KINDS, NOISE, PERSON, PERSON_HIDDEN, VEHICLE, WARM, WARM_HIDDEN, log_sum_exp};
use super::outline::{ALIKE_TO_PEOPLE, ALIKES, Outline, Shape, alike_forms};
use crate::base::{Error, Result};
use crate::event::{ClassLikelihoods, SearchTarget};
use crate::thermal::ThermalClass;

/// A thing in the open against one under leaves, before anything was seen.
const OPEN: f64 = 0.6;
/// For how many frames seen or not seen counts within one view, all together.
pub(super) const LOOKS_A_VIEW: f64 = 2.0;
/// What a frame keeps of the weight of the one before.
const LOOK_KEEPS: f64 = 0.8;
/// The same for what it looked like; all together one.
const SIGHT_KEEPS: f64 = 0.6;
/// The same for how large and how warm it is, which is alike from all sides: all together one, ever.
const BODY_KEEPS: f64 = 0.8;
/// A view with fewer frames is none in which it was not seen.
const LEAST_FRAMES: u32 = 5;
/// What a view keeps of the weight of the one before.
const VIEW_KEEPS: f64 = 0.9;
/// Most that one frame's being seen at all says against noise: what no model of noise knows.
const MOST_A_HIT: f64 = 4.0;

/// For each person, so many things without life and animals that the network takes for a person from every side,
/// however often it looks. The sum is at least what its finds at the working point hold of them, 0.14 to 0.25 for each
/// that is right (`models/README.md`). Most count as without life: animals are rarer where people get lost.
const LOOKALIKE: [f64; 2] = [0.22, 0.03];
/// What is taken for something moving stands still once in twenty times: gusts, and errors that turn.
const MOVES: f64 = 3.0;

/// One kind of thing.
struct Kind {
    /// Told by the detectors, if it is told at all, as person, vehicle, cycle, warm, in single looks that err by chance:
    /// what the network takes for something else from every side is counted in flight.
    labels: [f64; 4],
    /// Detected in one frame in which it is well resolved.
    detected: f64,
    /// Metres that have to be resolved for it.
    critical_m: f64,
    /// Side of a square of its box on the ground, metres, and the deviation of its logarithm.
    size: (f64, f64),
    /// Its warmest part, kelvin, and the deviation; 0: anything between 270 and 350.
    warmth: (f64, f64),
}

/// What is known of such things, kept broad. Labels of people, vehicles and stones are near what simulated nights give
/// (`VIGIL_BENCH_KINDS=1 cargo bench --bench flights`: 0.92, 0.96 and, of stones as people, 0.015). Of noise a city's
/// frames have 0.04 as people (the calibration of the models), simulated fields 0.001.
const MODEL: [Kind; KINDS] = [
    Kind {
        labels: [0.78, 0.01, 0.02, 0.19],
        detected: 0.9,
        critical_m: 0.75,
        size: (0.9, 0.5),
        warmth: (302.0, 8.0),
    },
    Kind {
        labels: [0.30, 0.01, 0.02, 0.67],
        detected: 0.35,
        critical_m: 0.75,
        size: (0.7, 0.6),
        warmth: (300.0, 8.0),
    },
    Kind {
        labels: [0.02, 0.73, 0.17, 0.08],
        detected: 0.95,
        critical_m: 1.5,
        size: (2.6, 0.5),
        warmth: (0.0, 0.0),
    },
    Kind {
        labels: [0.03, 0.02, 0.03, 0.92],
        detected: 0.85,
        critical_m: 0.6,
        size: (1.0, 0.7),
        warmth: (303.0, 8.0),
    },
    Kind {
        labels: [0.015, 0.02, 0.01, 0.955],
        detected: 0.95,
        critical_m: 0.5,
        size: (0.9, 0.8),
        warmth: (0.0, 0.0),
    },
    Kind {
        labels: [0.015, 0.02, 0.01, 0.955],
        detected: 0.4,
        critical_m: 0.5,
        size: (0.9, 0.8),
        warmth: (0.0, 0.0),
    },
    Kind {
        labels: [0.02, 0.02, 0.01, 0.95],
        detected: 0.0,
        critical_m: 0.5,
        size: (0.7, 1.0),
        warmth: (0.0, 0.0),
    },
];

/// Detections of one range of scores: their share among all of targets, and among all of clutter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBin {
    /// The lowest score of the range, 0 to 1; it ends where the next begins.
    pub from: f32,
    /// How many detections of targets have it, in any unit.
    pub target: f64,
    /// How many detections of anything else have it, in any unit.
    pub clutter: f64,
}

/// What a detector's score says: the logarithm of how much likelier a target has it than clutter.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTable(Vec<(f32, f64)>);

impl ScoreTable {
    /// From counts, as measured on pictures whose truth is known. Ranges without counts get a little, so that
    /// nothing is impossible; it takes from the ratio more than it gives.
    pub fn from_counts(bins: &[ScoreBin]) -> Result<Self> {
        let rising = bins.windows(2).all(|w| w[0].from < w[1].from);
        let sound = |b: &ScoreBin| {
            (0.0..=1.0).contains(&b.from) && [b.target, b.clutter].iter().all(|x| x.is_finite() && *x >= 0.0)
        };
        let sum = |of: fn(&ScoreBin) -> f64| bins.iter().map(of).sum::<f64>();
        let (targets, clutter) = (sum(|b| b.target), sum(|b| b.clutter));
        if !rising
            || !bins.iter().all(sound)
            || !(1..=1000).contains(&bins.len())
            || targets <= 0.0
            || clutter <= 0.0
        {
            return Err(Error::config("this is no calibration of a detector's score")
                .remedy("give 1 to 1000 ranges with rising scores from 0 to 1, and counts of both kinds"));
        }
        let smooth = |count: f64, all: f64| (count / all + 0.002) / (1.0 + 0.002 * bins.len() as f64);
        let ratio = |b: &ScoreBin| (smooth(b.target, targets) / smooth(b.clutter, clutter)).ln();
        Ok(Self(bins.iter().map(|b| (b.from, ratio(b))).collect()))
    }

    /// Targets score high and clutter low: shares by `score^rise` and `(1 - score)^fall`, for a detector that
    /// nobody has measured yet.
    fn assumed(rise: i32, fall: i32) -> Self {
        let bins: Vec<ScoreBin> = (0..10u8)
            .map(|n| {
                let middle = (f64::from(n) + 0.5) / 10.0;
                ScoreBin {
                    from: f32::from(n) / 10.0,
                    target: middle.powi(rise),
                    clutter: (1.0 - middle).powi(fall),
                }
            })
            .collect();
        Self::from_counts(&bins).unwrap_or(Self(vec![(0.0, 0.0)]))
    }

    fn ratio(&self, score: f32) -> f64 {
        let n = self.0.partition_point(|(from, _)| *from <= score);
        self.0[n.saturating_sub(1)].1
    }
}

/// What is known of the detectors.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorModel {
    /// The network's score.
    pub learned: ScoreTable,
    /// The hotspot detector's score.
    pub hotspot: ScoreTable,
    /// Detections a frame that are nothing, at the lowest score that is handed over.
    pub false_per_frame: f64,
}

impl Default for DetectorModel {
    /// Broad, for detectors that nobody has measured yet: two false detections a frame.
    fn default() -> Self {
        Self { learned: ScoreTable::assumed(2, 2), hotspot: ScoreTable::assumed(1, 1), false_per_frame: 2.0 }
    }
}

/// What was seen of one candidate in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sight {
    pub(super) class: ThermalClass,
    pub(super) score: f32,
    /// Whether the network saw it.
    pub(super) learned: bool,
    /// Side of a square of its box on the ground, metres.
    pub(super) size_m: f64,
    /// Its warm outline, where it has one.
    pub(super) outline: Option<Outline>,
    /// It reaches the picture's edge, so that its outline is not known.
    pub(super) cut: bool,
    /// Metres that a pixel spans.
    pub(super) gsd_m: f64,
    pub(super) kelvin: Option<f32>,
}

/// Logarithms of how likely all that was seen is for each kind of thing, noise being 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Beliefs {
    log: [f64; KINDS],
    /// The same for how large its boxes are: what it is known by as long as it has no outline.
    #[serde(default)]
    sized: [f64; KINDS],
    #[serde(default)]
    shape: Shape,
    /// Frames of this view, and those in which it was seen.
    frames: u32,
    hits: u32,
    /// Views in which it was seen, this one included.
    views: u32,
    /// Frames in which it was seen, all together.
    seen: u32,
    /// Views that are over in which it was not, since it was.
    empty: u32,
}

impl Beliefs {
    /// Something was seen where nothing was known: that it was there at all says nothing, because it was
    /// picked for it.
    pub(super) fn started(model: &DetectorModel, sight: &Sight) -> Self {
        let mut new = Self { views: 1, frames: 1, ..Self::default() };
        new.sight(model, sight);
        new
    }

    pub(super) fn views(&self) -> u32 {
        self.views
    }

    /// The line of sight has turned, or this is another pass.
    pub(super) fn next_view(&mut self) {
        if self.hits == 0 && self.frames >= LEAST_FRAMES {
            self.empty += 1;
        }
        (self.frames, self.hits) = (0, 0);
    }

    /// What is believed of one thing after looks of which these are the earlier ones and `later` those that came
    /// after them, reckoned for themselves. Each weight stays what it was or falls as it would have with the views
    /// before.
    pub(super) fn and_then(&self, later: &Self) -> Self {
        let keeps = VIEW_KEEPS.powi(self.views.min(1000) as i32);
        Self {
            log: std::array::from_fn(|n| self.log[n] + keeps * later.log[n]),
            sized: if self.seen > 0 { self.sized } else { later.sized },
            shape: {
                let mut shape = self.shape;
                shape.join(&later.shape);
                shape
            },
            views: self.views + later.views,
            seen: self.seen + later.seen,
            ..*later
        }
    }

    /// How little its outline is like that of `other`: the sum of the squares of three deviations, 0 while either has
    /// none.
    pub(super) fn unlike(&self, other: &Self) -> f64 {
        self.shape.unlike(&other.shape)
    }

    /// The same of what was seen now.
    pub(super) fn unlike_sight(&self, sight: &Sight) -> f64 {
        let mut new = Self::default();
        if !sight.cut {
            new.shape.add(sight.outline.as_ref(), 1.0);
        }
        self.unlike(&new)
    }

    /// Frames of this view in which it was not seen, if it was in none.
    pub(super) fn missed(&self) -> u32 {
        if self.hits == 0 { self.frames } else { 0 }
    }

    /// In how many views it was not seen, one after the other.
    pub(super) fn empty_views(&self) -> u32 {
        self.empty
    }

    /// It was seen; noise would have been seen there with probability `noise`.
    pub(super) fn hit(&mut self, model: &DetectorModel, sight: &Sight, noise: f64) {
        if self.hits == 0 {
            self.views += 1;
        }
        let weight = self.look_weight();
        let noise = noise.clamp(1e-9, 0.9).ln();
        for (log, kind) in self.log.iter_mut().zip(&MODEL).take(NOISE) {
            *log += weight * (chance(kind, sight.gsd_m).ln() - noise).min(MOST_A_HIT);
        }
        self.sight(model, sight);
        self.frames += 1;
    }

    /// Its place was in view, and nothing was seen there.
    pub(super) fn miss(&mut self, gsd_m: f64, noise: f64) {
        let weight = self.look_weight();
        let noise = (-noise.clamp(1e-9, 0.9)).ln_1p();
        for (log, kind) in self.log.iter_mut().zip(&MODEL).take(NOISE) {
            *log += weight * ((-chance(kind, gsd_m)).ln_1p() - noise);
        }
        self.frames += 1;
    }

    fn look_weight(&self) -> f64 {
        LOOKS_A_VIEW * (1.0 - LOOK_KEEPS) * LOOK_KEEPS.powi(self.frames.min(1000) as i32)
    }

    fn sight(&mut self, model: &DetectorModel, sight: &Sight) {
        let view = VIEW_KEEPS.powi(self.views.saturating_sub(1).min(1000) as i32);
        let once = (1.0 - SIGHT_KEEPS) * SIGHT_KEEPS.powi(self.hits.min(1000) as i32);
        let body = (1.0 - BODY_KEEPS) * BODY_KEEPS.powi(self.seen.min(1000) as i32);
        let (looks, warmth, sizes) = (looks(model, sight), warmths(sight), sizes(sight));
        for n in 0..NOISE {
            self.log[n] += view * once * (looks[n] - looks[NOISE]) + body * (warmth[n] - warmth[NOISE]);
            self.sized[n] += body * (sizes[n] - sizes[NOISE]);
        }
        if !sight.cut {
            let weight = (1.0 - LOOK_KEEPS) * LOOK_KEEPS.powi(self.hits.min(1000) as i32);
            self.shape.add(sight.outline.as_ref(), weight);
        }
        self.hits += 1;
        self.seen += 1;
        self.empty = 0;
    }

    /// Logarithm of how likely its size and outline are for each kind, against noise.
    fn body(&self) -> [f64; KINDS] {
        let noise = self.shape.of_kind(NOISE);
        std::array::from_fn(|n| match (self.shape.of_kind(n), noise) {
            (Some(log), Some(noise)) => log - noise,
            _ => self.sized[n],
        })
    }

    /// The same of a person, and of each sort of thing that looks like one to the network.
    fn forms(&self) -> (f64, [f64; ALIKES]) {
        match self.shape.of_kind(PERSON).zip(self.shape.of_kind(PERSON_HIDDEN)) {
            Some((open, hidden)) => {
                let person = log_sum_exp(&[(open, OPEN), (hidden, 1.0 - OPEN)]);
                (person, alike_forms().map(|form| self.shape.of(form).unwrap_or(person).max(-16.0)))
            }
            // What has none is told from what looks alike by nothing.
            None => (0.0, [0.0; ALIKES]),
        }
    }

    /// All that is believed of it.
    fn whole(&self) -> Whole {
        let body = self.body();
        let log: [f64; KINDS] = std::array::from_fn(|n| self.log[n] + body[n]);
        let of = |log: &[f64; KINDS], n: usize| log_sum_exp(&[(log[n], OPEN), (log[n + 1], 1.0 - OPEN)]);
        let person = of(&log, PERSON);
        let alike = [WARM, ANIMAL].map(|kind| match self.shape.n > 0.0 {
            true => of(&self.log, PERSON) + body[kind],
            false => person,
        });
        Whole { person, warm: of(&log, WARM), alike, log }
    }

    /// Logarithm of how much likelier it is that something is there than noise.
    pub(super) fn something(&self) -> f64 {
        let quarter = 0.25;
        let Whole { person, warm, log, .. } = self.whole();
        log_sum_exp(&[person, log[VEHICLE], log[ANIMAL], warm].map(|log| (log, quarter)))
    }

    /// Logarithm of how much likelier the target is than the likeliest of everything else, if each thing looked to
    /// the network as most of its kind do.
    pub(super) fn looks_like(&self, target: SearchTarget) -> f64 {
        let Whole { person, log, .. } = self.whole();
        let vehicle = log[VEHICLE];
        let (ours, other) = match target {
            SearchTarget::Person => (person, vehicle),
            SearchTarget::Vehicle => (vehicle, person),
            SearchTarget::Any => (log_sum_exp(&[(person, 0.5), (vehicle, 0.5)]), f64::NEG_INFINITY),
        };
        let others = [other, log[ANIMAL], log[WARM], log[WARM_HIDDEN], 0.0];
        ours - others.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The same, other things looking like a person to the network from every side: so many `alike` a square
    /// kilometre, by sort, where there are `exp(candidates)` candidates. They have the label of a person and its
    /// score; what is left to tell them apart is their outline, and that what has no life does not move.
    pub(super) fn target(
        &self,
        target: SearchTarget,
        alike: [f64; ALIKES],
        candidates: f64,
        moves: bool,
    ) -> f64 {
        let plain = self.looks_like(target);
        if target == SearchTarget::Vehicle {
            return plain;
        }
        let (person, forms) = self.forms();
        let terms: [(f64, f64); ALIKES] = std::array::from_fn(|n| {
            let still = if moves && n < ALIKES / 2 { MOVES } else { 0.0 };
            (forms[n] - still, alike[n])
        });
        plain.min(person - log_sum_exp(&terms) + candidates)
    }

    /// Which sort of thing that looks like a person to the network it is by its outline, if it is likelier any of them
    /// than a person.
    pub(super) fn alike(&self) -> Option<usize> {
        let (person, forms) = self.forms();
        let most = forms.into_iter().fold(person, f64::max);
        let shares: [f64; ALIKES] = std::array::from_fn(|n| ALIKE_TO_PEOPLE[n] * (forms[n] - most).exp());
        let likeliest = (0..ALIKES).max_by(|a, b| shares[*a].total_cmp(&shares[*b]));
        likeliest.filter(|_| shares.iter().sum::<f64>() > (person - most).exp())
    }

    /// How likely which class is, all being equally likely before.
    pub(super) fn classes(&self) -> ClassLikelihoods {
        let Whole { person, warm, log, alike } = self.whole();
        let alike = [alike[0] + LOOKALIKE[0].ln(), alike[1] + LOOKALIKE[1].ln()];
        let all = [person, log[VEHICLE], log[ANIMAL].max(alike[1]), warm.max(alike[0])];
        let most = all.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let shares = all.map(|log| (log - most).exp());
        let whole: f64 = shares.iter().sum();
        let [person, vehicle, animal, warm_object] = shares.map(|s| s / whole);
        ClassLikelihoods { person, vehicle, animal, warm_object }
    }

    /// Whether every number is one: what was stored may not be.
    pub(super) fn is_sound(&self) -> bool {
        let shape = &self.shape;
        let numbers = self.log.iter().chain(&self.sized).chain(&shape.form);
        numbers.chain([&shape.n, &shape.bare, &shape.width_px]).all(|x| x.is_finite())
    }
}

/// What is believed of one thing, as logarithms of likelihoods, noise being 0.
struct Whole {
    person: f64,
    warm: f64,
    /// Of what has no life and of animals, that look like a person to the network.
    alike: [f64; 2],
    log: [f64; KINDS],
}

/// Probability of being detected in a frame.
fn chance(kind: &Kind, gsd_m: f64) -> f64 {
    (kind.detected * resolved(kind.critical_m, gsd_m)).clamp(0.02, 0.98)
}

/// Logarithm of how likely this label and score are for each kind.
fn looks(model: &DetectorModel, sight: &Sight) -> [f64; KINDS] {
    let label = match sight.class {
        ThermalClass::Person => 0,
        ThermalClass::Vehicle => 1,
        ThermalClass::Cycle => 2,
        ThermalClass::Warm => 3,
    };
    let score =
        if sight.learned { model.learned.ratio(sight.score) } else { model.hotspot.ratio(sight.score) };
    std::array::from_fn(|n| {
        let kind = &MODEL[n];
        // The score of a label is that of a target for what the label means, and that of clutter for all else.
        let meant = match label {
            0 => matches!(n, PERSON | PERSON_HIDDEN),
            1 | 2 => n == VEHICLE,
            _ => n != NOISE,
        };
        let score = if meant { score } else { 0.0 };
        kind.labels[label].ln() + score
    })
}

/// Logarithm of how likely this warmth is for each kind.
fn warmths(sight: &Sight) -> [f64; KINDS] {
    MODEL.each_ref().map(|kind| sight.kelvin.map_or(0.0, |k| warm(kind, f64::from(k))))
}

/// Logarithm of how likely the size of this box is for each kind.
fn sizes(sight: &Sight) -> [f64; KINDS] {
    MODEL.each_ref().map(|kind| sized(kind, sight))
}

/// Log-normal; a box is a pixel too large or too small.
fn sized(kind: &Kind, sight: &Sight) -> f64 {
    let size = sight.size_m.max(1e-3);
    let pixel = (sight.gsd_m / size).min(1.0);
    let deviation = kind.size.1.hypot(pixel);
    let z = (size / kind.size.0).ln() / deviation;
    (-z * z / 2.0).max(-8.0) - deviation.ln()
}

fn warm(kind: &Kind, kelvin: f64) -> f64 {
    let (middle, deviation) = kind.warmth;
    if deviation == 0.0 {
        return -80f64.ln();
    }
    let z = (kelvin - middle) / deviation;
    (-z * z / 2.0).max(-8.0) - (deviation * std::f64::consts::TAU.sqrt()).ln()
}

#[cfg(test)]
mod tests {
    use super::super::outline::FORM_ERROR;
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn sight(class: ThermalClass, score: f32) -> Sight {
        let learned = class != ThermalClass::Warm;
        Sight { class, score, learned, size_m: 0.9, outline: None, cut: false, gsd_m: 0.08, kelvin: None }
    }

    #[test]
    fn labels_are_shares() {
        for kind in &MODEL {
            assert!((kind.labels.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_score_table_is_a_ratio_whose_mean_over_clutter_is_one_at_most() {
        let table = ScoreTable::assumed(2, 2);
        let clutter: Vec<f64> = (0..10).map(|n| (1.0 - (f64::from(n) + 0.5) / 10.0).powi(2)).collect();
        let all: f64 = clutter.iter().sum();
        let mean: f64 = (0..10).map(|n| table.ratio(n as f32 / 10.0 + 0.05).exp() * clutter[n] / all).sum();
        assert!((0.5..1.02).contains(&mean), "{mean}");
        assert!(table.ratio(0.95) > 1.0 && table.ratio(0.05) < -1.0);
        assert!(ScoreTable::from_counts(&[]).is_err());
        let bin = |from, target, clutter| ScoreBin { from, target, clutter };
        assert!(ScoreTable::from_counts(&[bin(0.5, 1.0, 1.0), bin(0.1, 1.0, 1.0)]).is_err());
        assert!(ScoreTable::from_counts(&[bin(0.0, f64::NAN, 1.0)]).is_err());
    }

    #[test]
    fn one_view_is_bounded_and_views_add_up() {
        let model = DetectorModel::default();
        let mut one = Beliefs::started(&model, &sight(ThermalClass::Warm, 0.4));
        for _ in 0..10_000 {
            one.hit(&model, &sight(ThermalClass::Warm, 0.4), 1e-4);
        }
        let bound = LOOKS_A_VIEW * MOST_A_HIT + 1.0;
        assert!(one.something() > 3.0 && one.something() < bound, "{}", one.something());
        let before = one.something();
        one.next_view();
        for _ in 0..5 {
            one.hit(&model, &sight(ThermalClass::Warm, 0.4), 1e-4);
        }
        assert!(one.something() > before + 2.0);
        assert_eq!(one.views(), 2);
    }

    #[test]
    fn a_stone_is_a_warm_object_and_what_the_network_votes_for_a_person() {
        let model = DetectorModel::default();
        let seen = |class, score| {
            let mut b = Beliefs::started(&model, &sight(class, score));
            for _ in 0..4 {
                (0..6).for_each(|_| b.hit(&model, &sight(class, score), 1e-3));
                b.next_view();
            }
            b
        };
        let stone = seen(ThermalClass::Warm, 0.9);
        assert!(stone.something() > 10.0);
        assert!(stone.looks_like(SearchTarget::Person) < 0.0);
        assert!(stone.classes().warm_object > 0.4, "{:?}", stone.classes());
        let person = seen(ThermalClass::Person, 0.8);
        assert!(person.looks_like(SearchTarget::Person) > 7.0, "{}", person.looks_like(SearchTarget::Person));
        // As sure as the network was measured to be right, and no surer.
        assert!((0.75..=0.8 + 1e-9).contains(&person.classes().person), "{:?}", person.classes());
        let car = Sight { size_m: 3.0, ..sight(ThermalClass::Vehicle, 0.8) };
        let mut b = Beliefs::started(&model, &car);
        (0..6).for_each(|_| b.hit(&model, &car, 1e-3));
        assert!(b.classes().vehicle > 0.9 && b.looks_like(SearchTarget::Person) < 0.0);
    }

    fn outlined(form: [f64; 3]) -> Sight {
        let outline = Some(Outline { form, width_px: 12.0 });
        Sight { outline, ..sight(ThermalClass::Person, 0.7) }
    }

    fn looked_at(views: u32, mut sight: impl FnMut() -> Sight) -> Beliefs {
        let model = DetectorModel::default();
        let mut b = Beliefs::started(&model, &sight());
        for view in 0..views {
            if view > 0 {
                b.next_view();
            }
            (0..8).for_each(|_| b.hit(&model, &sight(), 1e-3));
        }
        b
    }

    #[test]
    fn what_has_the_outline_of_a_stone_is_one_whatever_the_network_says() {
        // 0.7 m, hardly longer than wide, evenly warm; and somebody who lies there.
        let stone = looked_at(4, || outlined([-0.35, 0.27, 0.15]));
        let person = looked_at(4, || outlined([0.57, 1.15, 0.42]));
        assert!(stone.looks_like(SearchTarget::Person) > 7.0);
        assert!(stone.classes().person < 0.2, "{:?}", stone.classes());
        assert!(person.classes().person > 0.8, "{:?}", person.classes());
        // A field with 200 such stones a square kilometre, and one false alarm on it allowed.
        let alike = [200.0, 3.0, 1.0, 0.2, 0.1, 0.2];
        let (candidates, threshold) = (9000f64.ln(), 9000f64.ln());
        let target = |b: &Beliefs| b.target(SearchTarget::Person, alike, candidates, false);
        assert!(target(&stone) < threshold - 6.0, "{}", target(&stone));
        assert!(target(&person) >= threshold, "{}", target(&person));
        // What is counted among those that look like people is the stone.
        assert_eq!((stone.alike(), person.alike()), (Some(0), None));
        // What has no outline is told from what looks alike by nothing.
        let vague = looked_at(4, || sight(ThermalClass::Person, 0.7));
        assert!(target(&vague) < threshold);
        // What moves is no stone.
        let upright = looked_at(4, || outlined([-0.3, 0.5, 0.27]));
        let moves = |moves| upright.target(SearchTarget::Person, alike, candidates, moves);
        assert!(moves(true) > moves(false) + 2.0);
    }

    #[test]
    fn two_records_are_one_as_if_they_had_been_one() {
        let b = looked_at(2, || outlined([0.5, 1.0, 0.4]));
        let both = b.and_then(&b);
        assert_eq!((both.views(), both.seen), (2 * b.views(), 2 * b.seen));
        assert!(both.something() > b.something() && both.something() < 2.0 * b.something());
        assert!((both.shape.n - 2.0 * b.shape.n).abs() < 1e-9 && both.unlike(&b) < 1e-9);
        let stone = looked_at(2, || outlined([-0.4, 0.25, 0.15]));
        assert!(stone.unlike(&b) > 9.0, "{}", stone.unlike(&b));
    }

    /// Things that the network takes for people from every side, drawn by the model's own words: of those on a
    /// square kilometre no more are told than was set, however often they are looked at.
    #[test]
    fn the_rate_holds_for_what_looks_like_a_person_from_every_side() {
        let mut rng = StdRng::seed_from_u64(8);
        let normal = |rng: &mut StdRng| {
            (-2.0 * rng.random::<f64>().max(1e-300).ln()).sqrt()
                * (std::f64::consts::TAU * rng.random::<f64>()).cos()
        };
        let alike = [250.0, 20.0, 6.0, 8.0, 4.0, 12.0];
        let (rate, km2, candidates) = (4.0, 20.0, 10_000f64.ln());
        let threshold = candidates - f64::ln(rate);
        let (mut told, mut all) = (0, 0);
        for (form, per_km2) in alike_forms().into_iter().zip(alike) {
            for _ in 0..(per_km2 * km2) as usize {
                all += 1;
                let parts = [form.length, form.slender, form.peak];
                let thing = parts.map(|(middle, deviation)| middle + deviation * normal(&mut rng));
                let model = DetectorModel::default();
                let mut beliefs: Option<Beliefs> = None;
                let mut most = f64::MIN;
                for _ in 0..6 {
                    let one: [f64; 3] = std::array::from_fn(|i| thing[i] + FORM_ERROR[i] * normal(&mut rng));
                    let sight = Sight {
                        outline: Some(Outline { form: one, width_px: 1e3 }),
                        ..sight(ThermalClass::Person, 0.8)
                    };
                    if let Some(b) = &mut beliefs {
                        b.next_view();
                    }
                    for _ in 0..8 {
                        match &mut beliefs {
                            Some(b) => b.hit(&model, &sight, 1e-3),
                            None => beliefs = Some(Beliefs::started(&model, &sight)),
                        }
                        let b = beliefs.unwrap_or_default();
                        most = most.max(b.target(SearchTarget::Person, alike, candidates, false));
                    }
                }
                told += u32::from(most >= threshold);
            }
        }
        let promised = rate * km2;
        assert!(all > 5000 && f64::from(told) <= promised + 3.0 * promised.sqrt(), "{told} of {promised}");
    }

    #[test]
    fn looking_and_seeing_nothing_takes_evidence_away() {
        let model = DetectorModel::default();
        let mut b = Beliefs::started(&model, &sight(ThermalClass::Person, 0.6));
        let before = b.something();
        for _ in 0..6 {
            b.next_view();
            (0..20).for_each(|_| b.miss(0.08, 1e-3));
        }
        assert!(b.something() < before - 2.0 && b.something() < 0.0, "{before} {}", b.something());
        // What is too small to be seen says nothing by not being seen.
        let mut far = Beliefs::started(&model, &sight(ThermalClass::Person, 0.6));
        (0..20).for_each(|_| far.miss(3.0, 1e-3));
        assert!((far.something() - before).abs() < 0.1);
    }

    /// Clutter by the model's own words passes a threshold as seldom as it promises, although it is compared
    /// with it after each of many frames.
    #[test]
    fn the_threshold_holds_for_each_kind_of_clutter() {
        let model = DetectorModel::default();
        let mut rng = StdRng::seed_from_u64(7);
        let pick = |rng: &mut StdRng, shares: &[f64]| {
            let mut left = rng.random::<f64>() * shares.iter().sum::<f64>();
            shares.iter().position(|s| (left -= s, left < 0.0).1).unwrap_or(shares.len() - 1)
        };
        let clutter: Vec<f64> = (0..10).map(|n| (1.0 - (f64::from(n) + 0.5) / 10.0).powi(2)).collect();
        let flat: Vec<f64> = (0..10).map(|n| 1.0 - (f64::from(n) + 0.5) / 10.0).collect();
        let hot: Vec<f64> = (0..10).map(|n| (f64::from(n) + 0.5) / 10.0).collect();
        let classes = [ThermalClass::Person, ThermalClass::Vehicle, ThermalClass::Cycle, ThermalClass::Warm];
        let normal = |rng: &mut StdRng| {
            (-2.0 * rng.random::<f64>().max(1e-300).ln()).sqrt()
                * (std::f64::consts::TAU * rng.random::<f64>()).cos()
        };
        let threshold = 4.0;
        for (kind, noise) in [(WARM, false), (WARM_HIDDEN, false), (ANIMAL, false), (NOISE, true)] {
            let runs = 4000;
            let (mut targets, mut things) = (0, 0);
            for _ in 0..runs {
                // One look for all frames of a view: the worst that can be.
                let look = |rng: &mut StdRng| {
                    let class = classes[pick(rng, &MODEL[kind].labels)];
                    let learned = class != ThermalClass::Warm;
                    let scores = if learned {
                        &clutter
                    } else if noise {
                        &flat
                    } else {
                        &hot
                    };
                    let score = pick(rng, scores) as f32 / 10.0 + 0.05;
                    let size_m = MODEL[kind].size.0 * (MODEL[kind].size.1 * normal(rng)).exp();
                    Sight {
                        class,
                        score,
                        learned,
                        size_m,
                        outline: None,
                        cut: false,
                        gsd_m: 0.02,
                        kelvin: None,
                    }
                };
                let p_noise = 0.02;
                let p = if noise { p_noise } else { chance(&MODEL[kind], 0.02) };
                let mut b = Beliefs::started(&model, &look(&mut rng));
                let (mut most_target, mut most_thing) = (f64::MIN, f64::MIN);
                for view in 0..8 {
                    if view > 0 {
                        b.next_view();
                    }
                    let mut sight = look(&mut rng);
                    for _ in 0..10 {
                        if noise {
                            sight = look(&mut rng);
                        }
                        if rng.random::<f64>() < p {
                            b.hit(&model, &sight, p_noise)
                        } else {
                            b.miss(0.02, p_noise)
                        }
                        most_target = most_target.max(b.looks_like(SearchTarget::Person));
                        most_thing = most_thing.max(b.something());
                    }
                }
                targets += u32::from(most_target >= threshold);
                things += u32::from(most_thing >= threshold);
            }
            let promised = (-threshold).exp() * f64::from(runs);
            // Three deviations of a count.
            let most = promised + 3.0 * promised.sqrt();
            assert!(f64::from(targets) <= most, "kind {kind}: {targets} targets, {promised:.0} promised");
            if noise {
                assert!(f64::from(things) <= most, "noise: {things} things, {promised:.0} promised");
            }
        }
    }
}

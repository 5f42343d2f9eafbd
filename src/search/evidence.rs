//! What a look says about a candidate, as logarithms of likelihoods. The derivation, with the reasons for
//! each number, is in `docs/search.md`.
//!
//! A candidate is one of [`KINDS`] kinds of thing. Each frame in which its place is in view says something
//! about each of them: that it was seen or not, as what, how large, how warm. What is told rests on two
//! ratios: [`Beliefs::something`] (any real thing against noise) and [`Beliefs::target`] (what is looked for
//! against the likeliest of everything else).
//!
//! Three dependences are kept from being counted as evidence. The frames of one view show one thing from one
//! side: whether it was seen counts for [`LOOKS_A_VIEW`] frames at most, and what it looked like for one. What
//! looks like a person from one side does so from others too: each further view counts a little less. And
//! size and warmth are those of the thing, not of the view: all frames together count for one.
//! All weights are at most 1 and known before the frame they weigh, so that `exp` of either ratio is a
//! supermartingale while the candidate is what the ratio denies. Its supremum passes `exp(t)` with
//! probability `exp(-t)` at most (Ville's inequality), however often it is looked at: the threshold of a rate
//! follows from that.

use serde::{Deserialize, Serialize};

use super::coverage::resolved;
use crate::base::{Error, Result};
use crate::event::{ClassLikelihoods, SearchTarget};
use crate::thermal::ThermalClass;

/// Kinds of thing, in the order of the constants below.
pub(super) const KINDS: usize = 7;
const PERSON: usize = 0;
const PERSON_HIDDEN: usize = 1;
const VEHICLE: usize = 2;
const ANIMAL: usize = 3;
const WARM: usize = 4;
const WARM_HIDDEN: usize = 5;
const NOISE: usize = 6;

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

/// For each person, so many warm things that the network takes for a person from every side, however often it
/// looks: no number of looks makes a likelihood surer than that. From the share of its finds at the working
/// point that are none, 0.2 to 0.3 (`models/README.md`).
const LOOKALIKE: f64 = 0.25;

/// One kind of thing.
struct Kind {
    /// Told by the detectors, if it is told at all, as person, vehicle, cycle, warm.
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

/// What is known of such things, kept broad; no row is a measurement of one detector.
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
        labels: [0.06, 0.02, 0.03, 0.89],
        detected: 0.85,
        critical_m: 0.6,
        size: (1.0, 0.7),
        warmth: (303.0, 8.0),
    },
    Kind {
        labels: [0.03, 0.02, 0.01, 0.94],
        detected: 0.95,
        critical_m: 0.5,
        size: (0.9, 0.8),
        warmth: (0.0, 0.0),
    },
    Kind {
        labels: [0.03, 0.02, 0.01, 0.94],
        detected: 0.4,
        critical_m: 0.5,
        size: (0.9, 0.8),
        warmth: (0.0, 0.0),
    },
    Kind {
        labels: [0.04, 0.02, 0.01, 0.93],
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
    /// Metres that a pixel spans.
    pub(super) gsd_m: f64,
    pub(super) kelvin: Option<f32>,
}

/// Logarithms of how likely all that was seen is for each kind of thing, noise being 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Beliefs {
    log: [f64; KINDS],
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
        let weight = view * (1.0 - SIGHT_KEEPS) * SIGHT_KEEPS.powi(self.hits.min(1000) as i32);
        let body = (1.0 - BODY_KEEPS) * BODY_KEEPS.powi(self.seen.min(1000) as i32);
        let (looks, bodies) = (looks(model, sight), bodies(sight));
        for n in 0..NOISE {
            self.log[n] += weight * (looks[n] - looks[NOISE]) + body * (bodies[n] - bodies[NOISE]);
        }
        self.hits += 1;
        self.seen += 1;
        self.empty = 0;
    }

    fn person(&self) -> f64 {
        sum(&[(self.log[PERSON], OPEN), (self.log[PERSON_HIDDEN], 1.0 - OPEN)])
    }

    fn warm(&self) -> f64 {
        sum(&[(self.log[WARM], OPEN), (self.log[WARM_HIDDEN], 1.0 - OPEN)])
    }

    /// Logarithm of how much likelier it is that something is there than noise.
    pub(super) fn something(&self) -> f64 {
        let quarter = 0.25;
        let all = [self.person(), self.log[VEHICLE], self.log[ANIMAL], self.warm()];
        sum(&all.map(|log| (log, quarter)))
    }

    /// Logarithm of how much likelier the target is than the likeliest of everything else.
    pub(super) fn target(&self, target: SearchTarget) -> f64 {
        let vehicle = self.log[VEHICLE];
        let (ours, other) = match target {
            SearchTarget::Person => (self.person(), vehicle),
            SearchTarget::Vehicle => (vehicle, self.person()),
            SearchTarget::Any => (sum(&[(self.person(), 0.5), (vehicle, 0.5)]), f64::NEG_INFINITY),
        };
        let others = [other, self.log[ANIMAL], self.log[WARM], self.log[WARM_HIDDEN], 0.0];
        ours - others.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    /// How likely which class is, all being equally likely before.
    pub(super) fn classes(&self) -> ClassLikelihoods {
        let lookalike = self.person() + LOOKALIKE.ln();
        let all = [self.person(), self.log[VEHICLE], self.log[ANIMAL], self.warm().max(lookalike)];
        let most = all.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let shares = all.map(|log| (log - most).exp());
        let whole: f64 = shares.iter().sum();
        let [person, vehicle, animal, warm_object] = shares.map(|s| s / whole);
        ClassLikelihoods { person, vehicle, animal, warm_object }
    }

    /// Whether every number is one: what was stored may not be.
    pub(super) fn is_sound(&self) -> bool {
        self.log.iter().all(|l| l.is_finite())
    }
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

/// Logarithm of how likely this size and warmth are for each kind.
fn bodies(sight: &Sight) -> [f64; KINDS] {
    MODEL.each_ref().map(|kind| sized(kind, sight) + sight.kelvin.map_or(0.0, |k| warm(kind, f64::from(k))))
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

/// Logarithm of a weighted sum of exponentials.
fn sum(terms: &[(f64, f64)]) -> f64 {
    let most = terms.iter().fold(f64::NEG_INFINITY, |m, t| m.max(t.0));
    most + terms.iter().map(|(log, weight)| weight * (log - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn sight(class: ThermalClass, score: f32) -> Sight {
        let learned = class != ThermalClass::Warm;
        Sight { class, score, learned, size_m: 0.9, gsd_m: 0.08, kelvin: None }
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
        assert!(stone.target(SearchTarget::Person) < 0.0);
        assert!(stone.classes().warm_object > 0.4, "{:?}", stone.classes());
        let person = seen(ThermalClass::Person, 0.8);
        assert!(person.target(SearchTarget::Person) > 7.0, "{}", person.target(SearchTarget::Person));
        // As sure as the network was measured to be right, and no surer.
        assert!((0.75..=0.8 + 1e-9).contains(&person.classes().person), "{:?}", person.classes());
        let car = Sight { size_m: 3.0, ..sight(ThermalClass::Vehicle, 0.8) };
        let mut b = Beliefs::started(&model, &car);
        (0..6).for_each(|_| b.hit(&model, &car, 1e-3));
        assert!(b.classes().vehicle > 0.9 && b.target(SearchTarget::Person) < 0.0);
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
                    Sight { class, score, learned, size_m, gsd_m: 0.02, kelvin: None }
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
                        most_target = most_target.max(b.target(SearchTarget::Person));
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

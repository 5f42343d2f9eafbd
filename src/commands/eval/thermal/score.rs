//! Which finds are right, and what that makes of a detector: average precision and the rates.
//!
//! In each picture the finds are gone through from the best down. A find takes the box of its class
//! that it overlaps most, among those not yet taken; if that overlap (intersection over union) is at
//! least one half it is right, and otherwise a false alarm. So every box counts once, and a second
//! find of the same object is a false alarm. A false alarm of which at least half lies in a
//! `DontCare` box does not count at all. Average precision is the area under precision over recall
//! of all pictures together, with precision made non-increasing from the right, at every point
//! (PASCAL VOC 2010 and later), not at eleven or a hundred and one of them.
//!
//! The physical detector outlines what is warm, not what a person drew: there a find is right if its
//! middle lies in a box not yet taken, and does not count if it lies in any other box.

use serde::Serialize;

use crate::infer::{DetectionPoint, DetectionRow};
use crate::thermal::PixelBox;

/// Overlap from which a find is right.
const OVERLAP: f32 = 0.5;
/// Share of a find's area within an ignored box from which it does not count.
const IGNORED_SHARE: f32 = 0.5;
/// Pixels by which a middle may lie beside a box.
const MIDDLE_SLACK: f32 = 1.0;

/// When a find is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It overlaps.
    Overlap,
    /// Its middle lies within.
    Middle,
}

/// What a find turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The box of this number.
    Hit(usize),
    /// A false alarm.
    Alarm,
    /// It does not count.
    Ignored,
}

/// Judges one picture's finds, which come best first.
pub(super) fn judge(
    finds: &[PixelBox],
    truths: &[PixelBox],
    ignored: &[PixelBox],
    rule: Rule,
) -> Vec<Verdict> {
    let mut taken = vec![false; truths.len()];
    let verdict = |find: &PixelBox| {
        let free = truths.iter().enumerate().filter(|(i, _)| !taken[*i]);
        let fit = match rule {
            Rule::Overlap => free
                .map(|(i, t)| (i, find.iou(t)))
                .filter(|(_, overlap)| *overlap >= OVERLAP)
                .max_by(|a, b| a.1.total_cmp(&b.1)),
            // The smallest box around it.
            Rule::Middle => free
                .filter(|(_, t)| holds(t, find.centre()))
                .map(|(i, t)| (i, -t.area()))
                .max_by(|a, b| a.1.total_cmp(&b.1)),
        };
        if let Some((i, _)) = fit {
            taken[i] = true;
            return Verdict::Hit(i);
        }
        let covered = match rule {
            Rule::Overlap => ignored.iter().any(|b| shared(find, b) >= IGNORED_SHARE * find.area()),
            Rule::Middle => ignored.iter().any(|b| holds(b, find.centre())),
        };
        if covered { Verdict::Ignored } else { Verdict::Alarm }
    };
    finds.iter().map(verdict).collect()
}

fn holds(b: &PixelBox, [x, y]: [f32; 2]) -> bool {
    let within =
        |v: f32, from: f32, long: f32| (from - MIDDLE_SLACK..=from + long + MIDDLE_SLACK).contains(&v);
    within(x, b.x, b.width) && within(y, b.y, b.height)
}

fn shared(a: &PixelBox, b: &PixelBox) -> f32 {
    let along = |a: f32, la: f32, b: f32, lb: f32| ((a + la).min(b + lb) - a.max(b)).max(0.0);
    along(a.x, a.width, b.x, b.width) * along(a.y, a.height, b.y, b.height)
}

/// The finds of one class in many pictures.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Pictures.
    pub(super) frames: usize,
    /// Boxes that could be found.
    pub(super) total: usize,
    /// Score of each find that counts, and whether it is right.
    finds: Vec<(f32, bool)>,
}

/// Precision and recall from one score on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) score: f32,
    /// Share of the finds that are right; of no finds, all.
    pub(super) precision: f64,
    pub(super) recall: f64,
    /// False alarms in a picture.
    pub(super) per_frame: f64,
}

impl Tally {
    /// Adds one picture.
    pub(super) fn add(&mut self, total: usize, finds: impl IntoIterator<Item = (f32, Verdict)>) {
        self.frames += 1;
        self.total += total;
        self.finds.extend(
            finds
                .into_iter()
                .filter(|(_, v)| *v != Verdict::Ignored)
                .map(|(s, v)| (s, matches!(v, Verdict::Hit(_)))),
        );
    }

    /// Puts the finds in order; the other functions need it.
    pub(super) fn sort(&mut self) {
        self.finds.sort_by(|a, b| b.0.total_cmp(&a.0));
    }

    /// Average precision; `None` where there is nothing to find.
    pub(super) fn average_precision(&self) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        // From the right, so that the best precision of what follows is known.
        let hits: usize = self.finds.iter().filter(|f| f.1).count();
        let (mut right, mut best, mut area) = (hits, 0.0f64, 0.0);
        let mut i = self.finds.len();
        while i > 0 {
            // Finds of one score stand or fall together.
            let score = self.finds[i - 1].0;
            best = best.max(right as f64 / i as f64);
            while i > 0 && self.finds[i - 1].0 == score {
                i -= 1;
                if self.finds[i].1 {
                    right -= 1;
                    area += best;
                }
            }
        }
        Some(area / self.total as f64)
    }

    /// What comes of keeping the finds of `score` or more.
    pub(super) fn at(&self, score: f32) -> Point {
        let kept = &self.finds[..self.finds.partition_point(|f| f.0 >= score)];
        let right = kept.iter().filter(|f| f.1).count();
        Point {
            score,
            precision: if kept.is_empty() { 1.0 } else { right as f64 / kept.len() as f64 },
            recall: if self.total == 0 { 0.0 } else { right as f64 / self.total as f64 },
            per_frame: (kept.len() - right) as f64 / self.frames.max(1) as f64,
        }
    }

    /// The lowest score that keeps at most `rate` false alarms a picture.
    pub(super) fn at_rate(&self, rate: f64) -> Point {
        let allowed = (rate * self.frames as f64 + 1e-9) as usize;
        let first_too_many = self.finds.iter().filter(|f| !f.1).nth(allowed);
        self.at(match first_too_many {
            Some((score, _)) => score.next_up(),
            None => self.finds.last().map_or(0.0, |f| f.0),
        })
    }

    /// The row of a manifest.
    pub(super) fn row(&self, class: &str, population: &str, megapixels: f64, working: f32) -> DetectionRow {
        let points = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8].map(|score| {
            let p = self.at(score);
            let round = |v: f64| (v * 1e4).round() / 1e4;
            DetectionPoint {
                score,
                per_frame: round(p.per_frame),
                precision: round(p.precision),
                recall: round(p.recall),
            }
        });
        DetectionRow {
            class: class.to_owned(),
            population: population.to_owned(),
            frames: self.frames as u64,
            megapixels,
            working_score: working,
            points: points.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, y: f32, width: f32, height: f32) -> PixelBox {
        PixelBox { x, y, width, height }
    }

    fn tally(total: usize, finds: &[(f32, bool)]) -> Tally {
        let mut tally = Tally { frames: 10, total, finds: finds.to_vec() };
        tally.sort();
        tally
    }

    #[test]
    fn each_box_is_found_once() {
        use Verdict::*;
        let truths = [at(0.0, 0.0, 10.0, 10.0), at(6.0, 0.0, 10.0, 10.0)];
        let finds = [
            at(1.0, 0.0, 10.0, 10.0), // the first box
            at(0.0, 0.0, 10.0, 10.0), // the first box once more; overlaps the second by 1/4
            at(5.0, 0.0, 10.0, 10.0), // the second
            at(50.0, 50.0, 5.0, 5.0), // nothing
            at(80.0, 80.0, 5.0, 5.0), // within an ignored area
            at(77.0, 80.0, 5.0, 5.0), // 2/5 of it within
        ];
        let ignored = [at(80.0, 70.0, 20.0, 20.0)];
        let verdicts = judge(&finds, &truths, &ignored, Rule::Overlap);
        assert_eq!(verdicts, [Hit(0), Alarm, Hit(1), Alarm, Ignored, Alarm]);
        // The better overlap counts, not the first that is good enough.
        let verdicts = judge(&[at(4.0, 0.0, 10.0, 10.0)], &truths, &[], Rule::Overlap);
        assert_eq!(verdicts, [Hit(1)]);
        // Of two thirds of an object the overlap is two thirds; of less than half it is none.
        let tall = [at(0.0, 0.0, 10.0, 30.0)];
        assert_eq!(judge(&[at(0.0, 0.0, 10.0, 20.0)], &tall, &[], Rule::Overlap), [Hit(0)]);
        assert_eq!(judge(&[at(0.0, 0.0, 10.0, 14.0)], &tall, &[], Rule::Overlap), [Alarm]);
    }

    #[test]
    fn a_middle_takes_the_smallest_box_around_it() {
        use Verdict::*;
        let truths = [at(0.0, 0.0, 40.0, 40.0), at(10.0, 10.0, 8.0, 8.0)];
        let finds = [
            at(12.0, 12.0, 3.0, 3.0),
            at(13.0, 13.0, 1.0, 1.0),
            at(2.0, 2.0, 4.0, 4.0),
            at(90.0, 0.0, 4.0, 4.0),
        ];
        let other = [at(88.0, 0.0, 9.0, 9.0)];
        assert_eq!(judge(&finds, &truths, &other, Rule::Middle), [Hit(1), Hit(0), Alarm, Ignored]);
    }

    #[test]
    fn average_precision_of_hand_made_cases() {
        let ap = |total, finds: &[(f32, bool)]| tally(total, finds).average_precision();
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-12, "{a:?} is not {b}");
        near(ap(2, &[(0.9, true), (0.8, true)]), 1.0);
        near(ap(4, &[(0.9, true), (0.8, true)]), 0.5);
        near(ap(2, &[]), 0.0);
        near(ap(1, &[(0.9, false), (0.8, true)]), 0.5);
        near(ap(1, &[(0.9, true), (0.8, false)]), 1.0);
        // Precision 1, 1/2, 2/3, 2/4, 3/5 at recall 1/3, 1/3, 2/3, 2/3, 1; from the right 1, 2/3, 3/5.
        let mixed = [(0.9, true), (0.8, false), (0.7, true), (0.6, false), (0.5, true)];
        near(ap(3, &mixed), (1.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0);
        // Of one score: together, whatever the order.
        near(ap(1, &[(0.5, true), (0.5, false)]), 0.5);
        near(ap(1, &[(0.5, false), (0.5, true)]), 0.5);
        assert_eq!(ap(0, &[(0.5, false)]), None);
    }

    #[test]
    fn rates_are_of_pictures() {
        let t = tally(4, &[(0.9, true), (0.8, false), (0.7, true), (0.6, false), (0.5, true)]);
        assert_eq!(t.at(0.65), Point { score: 0.65, precision: 2.0 / 3.0, recall: 0.5, per_frame: 0.1 });
        assert_eq!(t.at(0.95).precision, 1.0);
        // Ten pictures: one false alarm is 0.1 a picture.
        assert_eq!(t.at_rate(0.1).recall, 0.5);
        assert_eq!(t.at_rate(0.05).recall, 0.25);
        assert_eq!(t.at_rate(5.0).recall, 0.75);
    }

    #[test]
    fn what_is_ignored_counts_on_neither_side() {
        let mut t = Tally::default();
        t.add(1, [(0.9, Verdict::Ignored), (0.8, Verdict::Hit(0))]);
        t.add(0, []);
        t.sort();
        assert_eq!(t.average_precision(), Some(1.0));
        assert_eq!((t.frames, t.total, t.at(0.1).per_frame), (2, 1, 0.0));
    }
}

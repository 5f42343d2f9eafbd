//! Whether a camera shows warm as bright or as dark.
//!
//! Seen from a drone, few things are much warmer than the rest and next to nothing is much colder:
//! ground, water and leaves lie between air and sky, while engines, lamps and people stand out. So the
//! ends of a picture's histogram differ. The stretch between 98 % and 99.95 % of the pixels is long
//! where warm is bright, that between 0.05 % and 2 % where warm is dark:
//!
//! ```text
//! score = (hot − cold) / (hot + cold + 2)      hot = q99.95 − q98, cold = q2 − q0.05
//! ```
//!
//! One picture in forty says the wrong thing (on HIT-UAV, which is white-hot: 3.5 % of the training
//! frames, where the numbers were chosen, 2.4 % of the validation frames). So several views decide
//! together, and a view counts once however many frames show it.
//!
//! A pilot who switches in flight makes the next picture the negative of the last one. That is told from
//! the pictures themselves, at once: no other thing does it between two frames.

use std::collections::VecDeque;

use super::picture::PictureFigures;
use crate::config::PolarityMode;

/// Views that are remembered.
const VIEWS: usize = 24;
/// Views it takes to be sure for the first time, and to be talked out of it.
const TO_BE_SURE: usize = 5;
const TO_CHANGE: usize = 16;
/// Mean score it takes.
const SURE: f32 = 0.25;
const CHANGED: f32 = 0.35;
/// A picture this like the last view is the same view.
const SAME_VIEW: f32 = 0.95;
/// However little changes, so many frames are another view: who is in it did move on.
const MAX_FRAMES_OF_VIEW: u32 = 300;
/// Two frames in a row this unlike are each other's negative.
const NEGATIVE: f32 = -0.8;

/// How a camera shows warmth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// Warm is bright.
    WhiteHot,
    /// Warm is dark.
    BlackHot,
}

impl Polarity {
    fn other(self) -> Self {
        match self {
            Self::WhiteHot => Self::BlackHot,
            Self::BlackHot => Self::WhiteHot,
        }
    }
}

/// What is known of a camera's polarity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolarityState {
    /// What it is; `None` until that is sure.
    pub polarity: Option<Polarity>,
    /// Whether the pilot switched with this very picture.
    pub switched: bool,
    /// Views that were judged, at most those remembered.
    pub views: usize,
    /// Their mean score, -1 black-hot to 1 white-hot.
    pub score: f32,
}

/// Finds out a camera's polarity, frame by frame.
#[derive(Debug)]
pub struct PolarityFinder {
    set: Option<Polarity>,
    found: Option<Polarity>,
    /// Scores of the views, newest last, as if the camera had always shown warmth as it does now.
    scores: VecDeque<f32>,
    last: Option<PictureFigures>,
    view: Option<PictureFigures>,
    frames_of_view: u32,
}

impl PolarityFinder {
    /// As the configuration says.
    pub fn new(mode: PolarityMode) -> Self {
        let set = match mode {
            PolarityMode::Auto => None,
            PolarityMode::WhiteHot => Some(Polarity::WhiteHot),
            PolarityMode::BlackHot => Some(Polarity::BlackHot),
        };
        let (scores, last, view) = (VecDeque::with_capacity(VIEWS), None, None);
        Self { set, found: None, scores, last, view, frames_of_view: 0 }
    }

    /// Looks at the next picture, as it came. Pictures that are blank or repeat the last one are not
    /// for this.
    pub fn look(&mut self, picture: &PictureFigures) -> PolarityState {
        if self.set.is_some() {
            return self.state(false);
        }
        let switched = self
            .last
            .as_ref()
            .and_then(|last| last.likeness(picture))
            .is_some_and(|likeness| likeness < NEGATIVE);
        if switched {
            self.scores.iter_mut().for_each(|s| *s = -*s);
            self.found = self.found.map(Polarity::other);
            // The same view as before, turned over.
            self.view = Some(picture.clone());
        }
        self.last = Some(picture.clone());
        self.frames_of_view += 1;
        let same = self.view.as_ref().and_then(|v| v.likeness(picture)).is_some_and(|l| l > SAME_VIEW);
        if same && (switched || self.frames_of_view < MAX_FRAMES_OF_VIEW) {
            return self.state(switched);
        }
        self.frames_of_view = 0;
        self.view = Some(picture.clone());
        if self.scores.len() == VIEWS {
            self.scores.pop_front();
        }
        self.scores.push_back(score(picture));
        let (mean, views) = (self.mean(), self.scores.len());
        let says = if mean > 0.0 { Polarity::WhiteHot } else { Polarity::BlackHot };
        let (needed, strength) = match self.found {
            None => (TO_BE_SURE, SURE),
            Some(_) => (TO_CHANGE, CHANGED),
        };
        if self.found != Some(says) && views >= needed && mean.abs() > strength {
            self.found = Some(says);
        }
        self.state(switched)
    }

    /// What is known so far.
    pub fn known(&self) -> PolarityState {
        self.state(false)
    }

    fn mean(&self) -> f32 {
        self.scores.iter().sum::<f32>() / self.scores.len().max(1) as f32
    }

    fn state(&self, switched: bool) -> PolarityState {
        let polarity = self.set.or(self.found);
        PolarityState { polarity, switched, views: self.scores.len(), score: self.mean() }
    }
}

/// What one picture says: -1 black-hot to 1 white-hot.
fn score(picture: &PictureFigures) -> f32 {
    let [lowest, low, high, highest] = picture.quantiles;
    let (hot, cold) = (highest - high, low - lowest);
    (hot - cold) / (hot + cold + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SampleData, SampleRange, Samples};
    use crate::thermal::mask::Masks;

    /// Ground with a slope and some noise, and a few people on it; `n` moves it on.
    fn picture(n: u32, people: bool, black_hot: bool) -> PictureFigures {
        let (w, h) = (320u32, 256u32);
        let mut v = vec![0u8; (w * h) as usize];
        for y in 0..h {
            for x in 0..w {
                let noise = (x * 7 + y * 13 + n * 31).wrapping_mul(2_654_435_761) >> 29;
                let ground =
                    90.0 + 25.0 * ((x + n * 40) as f32 / 50.0).sin() + 15.0 * (y as f32 / 40.0).cos();
                v[(y * w + x) as usize] = ground as u8 + noise as u8;
            }
        }
        if people {
            for p in 0..4u32 {
                let (px, py) = ((p * 71 + n * 13) % (w - 8), (p * 53 + n * 7) % (h - 8));
                for y in 0..7 {
                    for x in 0..6 {
                        v[((py + y) * w + px + x) as usize] = 225;
                    }
                }
            }
        }
        if black_hot {
            v.iter_mut().for_each(|s| *s = 255 - *s);
        }
        let samples = Samples::new(w, h, SampleData::Eight(v), SampleRange::Full).unwrap();
        PictureFigures::of(&samples, &mut Masks::default()).unwrap()
    }

    #[test]
    fn people_give_it_away_and_bare_ground_does_not() {
        for black_hot in [false, true] {
            let mut finder = PolarityFinder::new(PolarityMode::Auto);
            assert_eq!(finder.look(&picture(0, true, black_hot)).polarity, None, "one view is not sure");
            let states: Vec<_> = (1..8).map(|n| finder.look(&picture(n, true, black_hot))).collect();
            let wanted = if black_hot { Polarity::BlackHot } else { Polarity::WhiteHot };
            assert_eq!(states[6].polarity, Some(wanted), "{states:?}");
        }
        let mut finder = PolarityFinder::new(PolarityMode::Auto);
        let last = (0..40).map(|n| finder.look(&picture(n, false, false))).last().unwrap();
        assert_eq!(last.polarity, None, "{last:?}");
    }

    #[test]
    fn one_view_counts_once_however_long_it_is_looked_at() {
        let mut finder = PolarityFinder::new(PolarityMode::Auto);
        let still = picture(3, true, false);
        for _ in 0..50 {
            assert_eq!(finder.look(&still).views, 1);
        }
    }

    #[test]
    fn a_switch_in_flight_is_followed_at_once_and_back() {
        let mut finder = PolarityFinder::new(PolarityMode::Auto);
        for n in 0..10 {
            finder.look(&picture(n, true, false));
        }
        let state = finder.look(&picture(9, true, true));
        assert!(state.switched && state.polarity == Some(Polarity::BlackHot), "{state:?}");
        for n in 10..40 {
            let state = finder.look(&picture(n, true, true));
            assert!(!state.switched && state.polarity == Some(Polarity::BlackHot), "{n} {state:?}");
        }
        assert_eq!(finder.look(&picture(39, true, false)).polarity, Some(Polarity::WhiteHot));
    }

    #[test]
    fn what_is_set_is_not_asked() {
        let mut finder = PolarityFinder::new(PolarityMode::BlackHot);
        let state = finder.look(&picture(0, true, false));
        assert_eq!((state.polarity, state.switched), (Some(Polarity::BlackHot), false));
    }
}

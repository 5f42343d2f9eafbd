//! What a warm shape's outline says: how long it is, how slender, and by how much its warmest part stands out.
//!
//! All sights of a thing are one sample of its own outline, each view with an error of its own. So their mean is all
//! that matters of them, and how likely it is for each kind of thing is a likelihood in which the thing's own
//! outline is integrated out.

use serde::{Deserialize, Serialize};

use super::kinds::{ANIMAL, KINDS, WARM, log_sum_exp};

/// One sort of outline.
pub(super) struct Form {
    /// How many of its kind have it.
    pub(super) share: f64,
    /// In what part of all frames it can be told from the ground.
    pub(super) outlined: f64,
    /// Middle and deviation of each of [`Outline::form`].
    pub(super) length: (f64, f64),
    pub(super) slender: (f64, f64),
    pub(super) peak: (f64, f64),
}

const fn form(share: f64, outlined: f64, length: (f64, f64), slender: (f64, f64), peak: (f64, f64)) -> Form {
    Form { share, outlined, length, slender, peak }
}

/// How far the sights of one view are off together.
pub(super) const FORM_ERROR: [f64; 3] = [0.12, 0.15, 0.08];
/// How far the outlines of one thing are apart that is seen from different sides.
const FORM_TURNS: [f64; 3] = [0.25, 0.30, 0.20];
/// What the lens makes of a shape that few pixels show: its middle stands out more, by so much over the square of
/// its width in pixels.
const BLUR: f64 = 3.4;

/// Outlines by kind, from above: measured in simulated nights (`VIGIL_BENCH_KINDS=1 cargo bench --bench flights`)
/// and made broader, because people, stones and cloths come in more shapes than a simulator has.
const FORMS: [&[Form]; KINDS] = [
    // Lying at length; lying as one falls; standing, walking, sitting. Head and hands are warmer than clothes.
    &[
        form(0.35, 0.97, (0.55, 0.15), (1.12, 0.18), (0.42, 0.15)),
        form(0.20, 0.97, (0.30, 0.30), (0.90, 0.35), (0.45, 0.20)),
        form(0.45, 0.97, (-0.15, 0.30), (0.55, 0.28), (0.42, 0.18)),
    ],
    // What leaves leave of one.
    &[form(1.0, 0.6, (-0.40, 0.60), (0.55, 0.40), (0.40, 0.20))],
    // The bonnet, or the whole.
    &[
        form(0.6, 0.5, (0.50, 0.35), (0.50, 0.30), (0.10, 0.10)),
        form(0.4, 0.2, (1.40, 0.30), (0.80, 0.30), (0.30, 0.25)),
    ],
    // Dogs, foxes, sheep; deer, boars; cattle, horses.
    &[
        form(0.4, 0.97, (0.05, 0.20), (1.10, 0.22), (0.25, 0.09)),
        form(0.2, 0.97, (0.42, 0.17), (1.10, 0.22), (0.24, 0.09)),
        form(0.4, 0.97, (0.85, 0.20), (1.10, 0.25), (0.16, 0.09)),
    ],
    // Stones, which are round and evenly warm; bare patches and edges of fields; posts, logs and anything.
    &[
        form(0.90, 0.97, (-0.45, 0.50), (0.30, 0.15), (0.13, 0.08)),
        form(0.08, 0.30, (-0.20, 0.50), (0.50, 0.40), (0.36, 0.12)),
        form(0.02, 0.50, (0.05, 0.50), (0.85, 0.45), (0.33, 0.18)),
    ],
    &[form(1.0, 0.6, (-0.50, 0.70), (0.50, 0.45), (0.30, 0.20))],
    &[form(1.0, 0.3, (-0.30, 0.70), (0.55, 0.45), (0.33, 0.20))],
];

/// Sorts of things that the network may take for a person as long as it looks: the forms of what has no life and
/// of animals.
pub(super) const ALIKES: usize = 6;
/// How many of each lie on a square kilometre before any were seen, and the ground that this counts for. Of 172 stones
/// in 0.37 km² of simulated ground the network took none for a person: with 95 % confidence there are fewer than eight.
const FIRST_ALIKE_PER_KM2: [f64; ALIKES] = [8.0, 3.0, 3.0, 0.2, 0.1, 0.2];
const FIRST_ALIKE_KM2: f64 = 0.01;
/// How many there are for each person where people are looked for: what an outline that might be either is
/// counted as.
pub(super) const ALIKE_TO_PEOPLE: [f64; ALIKES] = [0.5, 0.1, 0.2, 0.2, 0.1, 0.2];

pub(super) fn alike_forms() -> [&'static Form; ALIKES] {
    let ([a, b, c], [d, e, f]) = (FORMS[WARM], FORMS[ANIMAL]) else {
        unreachable!("three forms of each sort are in the table")
    };
    [a, b, c, d, e, f]
}

/// The outline of a warm shape, as natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outline {
    /// Of its length in metres; of length over width; of the rise of its warmest tenth over its mean rise.
    pub(super) form: [f64; 3],
    /// Its width in pixels.
    pub(super) width_px: f64,
}

/// The outlines that were seen of one thing: their weighted mean, which is all that matters of them where each is
/// the thing's own and an error of known size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// How many sights of views of their own the mean is worth, and how many had no outline.
    pub(super) n: f64,
    pub(super) bare: f64,
    pub(super) form: [f64; 3],
    pub(super) width_px: f64,
}

impl Shape {
    pub(super) fn add(&mut self, outline: Option<&Outline>, weight: f64) {
        let one = match outline {
            Some(o) => Self { n: weight, bare: 0.0, form: o.form, width_px: o.width_px },
            None => Self { bare: weight, ..Self::default() },
        };
        self.join(&one);
    }

    pub(super) fn join(&mut self, other: &Self) {
        let n = self.n + other.n;
        if n > 0.0 {
            let part = other.n / n;
            self.form = std::array::from_fn(|i| self.form[i] + (other.form[i] - self.form[i]) * part);
            self.width_px += (other.width_px - self.width_px) * part;
            self.n = n;
        }
        self.bare += other.bare;
    }

    /// The sum of the squares of three deviations from `other`; 0 while either has no outline.
    pub(super) fn unlike(&self, other: &Self) -> f64 {
        if self.n <= 0.0 || other.n <= 0.0 {
            return 0.0;
        }
        let off = (0..3).map(|i| {
            let error = FORM_ERROR[i].powi(2) * (1.0 / self.n + 1.0 / other.n);
            (self.form[i] - other.form[i]).powi(2) / (FORM_TURNS[i].powi(2) + error)
        });
        off.sum()
    }

    /// Logarithm of how likely it is for things of one form: that of the mean, what the sights are apart among
    /// themselves being the same for all. None while it never had an outline.
    pub(super) fn of(&self, form: &Form) -> Option<f64> {
        if self.n <= 0.0 {
            return None;
        }
        let blur = (BLUR / self.width_px.max(1.0).powi(2)).min(0.5);
        let vague = [0.5 * blur, 0.5 / self.width_px.max(1.0), 0.9 * blur];
        let parts = [form.length, form.slender, (form.peak.0 + blur, form.peak.1)];
        let log = (0..3).map(|i| {
            let variance = parts[i].1.powi(2) + FORM_ERROR[i].powi(2) / self.n + vague[i].powi(2);
            let off = self.form[i] - parts[i].0;
            -off * off / (2.0 * variance) - variance.ln() / 2.0
        });
        // Whether it has an outline is as alike in all frames as what the outline is.
        let bare = self.bare / (self.n + self.bare);
        let outlined = (1.0 - bare) * form.outlined.ln() + bare * (-form.outlined).ln_1p();
        Some(log.sum::<f64>() + outlined)
    }

    /// The same for things of a kind.
    pub(super) fn of_kind(&self, kind: usize) -> Option<f64> {
        let mut terms = [(f64::NEG_INFINITY, 0.0); 3];
        for (term, form) in terms.iter_mut().zip(FORMS[kind]) {
            *term = (self.of(form)?, form.share);
        }
        Some(log_sum_exp(&terms).max(-16.0))
    }
}

/// How many things a square kilometre look like a person to the network and are none, by sort, where `seen` were on
/// `km2` of ground.
pub(super) fn alike_per_km2(seen: [u32; ALIKES], km2: f64) -> [f64; ALIKES] {
    std::array::from_fn(|n| {
        (f64::from(seen[n]) + FIRST_ALIKE_PER_KM2[n] * FIRST_ALIKE_KM2) / (km2 + FIRST_ALIKE_KM2)
    })
}

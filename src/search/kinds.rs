//! The kinds of thing that a candidate may be: the order in which every table of likelihoods has them, and how
//! the likelihoods of several are mixed. What is known of each is told by the tables themselves, in
//! [`evidence`](super::evidence) and [`outline`](super::outline).

/// How many kinds there are.
pub(super) const KINDS: usize = 7;
pub(super) const PERSON: usize = 0;
/// A person under leaves: the kind after the one in the open.
pub(super) const PERSON_HIDDEN: usize = 1;
pub(super) const VEHICLE: usize = 2;
pub(super) const ANIMAL: usize = 3;
/// Warm, and neither alive nor a vehicle: stones, bare ground, posts.
pub(super) const WARM: usize = 4;
/// The same under leaves: the kind after the one in the open.
pub(super) const WARM_HIDDEN: usize = 5;
/// Nothing at all.
pub(super) const NOISE: usize = 6;

/// Logarithm of a weighted sum of exponentials, of pairs of exponent and weight.
pub(super) fn log_sum_exp(terms: &[(f64, f64)]) -> f64 {
    let most = terms.iter().fold(f64::NEG_INFINITY, |m, t| m.max(t.0));
    most + terms.iter().map(|(log, weight)| weight * (log - most).exp()).sum::<f64>().ln()
}

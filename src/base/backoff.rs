//! Jittered exponential backoff.

use std::time::Duration;

use super::error::Error;

/// A valid range of waits. Each wait is drawn evenly between `min` and three times the previous
/// wait, capped at `max` ("decorrelated jitter"), so that fifty boxes behind one switch do not
/// come back in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// `0 < min <= max`.
    pub fn try_new(min: Duration, max: Duration) -> Result<Self, Error> {
        if min.is_zero() || min > max {
            return Err(Error::config(format!("backoff from {min:?} to {max:?} is not a range"))
                .remedy("the smallest wait must be above zero and at most the largest"));
        }
        Ok(Self { min, max })
    }

    /// The waits of one series of failures, the first one drawn from the low end.
    pub fn waits(self) -> Waits {
        Waits { range: self, last: self.min }
    }

    /// The longest wait.
    pub fn max(self) -> Duration {
        self.max
    }
}

/// An endless series of waits; [`Waits::reset`] starts over after a success.
#[derive(Clone, Debug)]
pub struct Waits {
    range: Backoff,
    last: Duration,
}

impl Waits {
    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let high = (self.last * 3).min(self.range.max).max(self.range.min);
        self.last = self.range.min + (high - self.range.min).mul_f64(rand::random::<f64>());
        self.last
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.last = self.range.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_wait_lies_in_the_range(min in 1u64..5_000, extra in 0u64..60_000, n in 1usize..200) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + extra));
            let mut waits = Backoff::try_new(min, max).unwrap().waits();
            for _ in 0..n {
                let w = waits.next_wait();
                prop_assert!(w >= min && w <= max);
            }
        }
    }
}

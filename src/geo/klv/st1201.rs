//! Real numbers in whole ones: the mapping IMAPB of MISB ST 1201.5 (section 7), between a smallest
//! and a largest value, in one to eight bytes.

use crate::base::{Culprit, Error, Kind, Result};

/// A mapping of `min..=max` into so many bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Imapb {
    min: f64,
    max: f64,
    bytes: usize,
    /// Units of the mapped number in one of the value's.
    scale: f64,
    /// Moves the mapped number so that zero is mapped exactly.
    offset: f64,
}

/// What a mapped number says. Only [`Mapped::Value`] is a number; the rest are bit patterns that
/// no value has (ST 1201.5 section 7.2, tables 2 and 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mapped {
    /// A value within the range, or up to one step of the mapping beside it.
    Value(f64),
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegativeInfinity,
    /// Not a number: quiet or signalling, of either sign.
    NotANumber,
    /// What was measured lies below the range.
    BelowMinimum,
    /// What was measured lies above the range.
    AboveMaximum,
    /// A pattern without a meaning that the standard gives.
    Reserved,
}

impl Mapped {
    /// The value, if it is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

impl Imapb {
    /// A mapping. `min < max`, both finite; 1 to 8 bytes.
    pub fn try_new(min: f64, max: f64, bytes: usize) -> Result<Self> {
        let span = max - min;
        if !(span.is_finite() && span > 0.0 && (1..=8).contains(&bytes)) {
            return Err(Error::internal(format!("there is no IMAPB of {min} to {max} in {bytes} bytes")));
        }
        // Powers of two as the standard names them: the span's, rounded up, and the mapped number's
        // without its highest bit.
        let span_power = span.log2().ceil();
        let mapped_power = (8 * bytes - 1) as f64;
        let scale = (mapped_power - span_power).exp2();
        let offset = if min < 0.0 && max > 0.0 { scale * min - (scale * min).floor() } else { 0.0 };
        Ok(Self { min, max, bytes, scale, offset })
    }

    /// The mapped number of `value` in its low bytes. Values beyond the range and those that are no
    /// numbers become the patterns that say so.
    pub fn forward(&self, value: f64) -> u64 {
        let pattern = |byte: u64| byte << (8 * (self.bytes - 1));
        match value {
            v if v.is_nan() && v.is_sign_negative() => pattern(0xf0),
            v if v.is_nan() => pattern(0xd0),
            f64::INFINITY => pattern(0xc8),
            f64::NEG_INFINITY => pattern(0xe8),
            v if v < self.min => pattern(0xe0),
            v if v > self.max => pattern(0xe1),
            v => (self.scale * (v - self.min) + self.offset) as u64,
        }
    }

    /// What `mapped` says. Bits above the mapping's bytes must be zero.
    pub fn reverse(&self, mapped: u64) -> Mapped {
        let highest = 1u64 << (8 * self.bytes - 1);
        if mapped > highest {
            let byte = mapped >> (8 * (self.bytes - 1));
            return match byte & 0xf8 {
                0xc8 => Mapped::Infinity,
                0xe8 => Mapped::NegativeInfinity,
                0xd0 | 0xf0 | 0xd8 | 0xf8 => Mapped::NotANumber,
                0xe0 if byte == 0xe0 => Mapped::BelowMinimum,
                0xe0 if byte == 0xe1 => Mapped::AboveMaximum,
                _ => Mapped::Reserved,
            };
        }
        // The highest bit alone is the largest value of a range whose width is a power of two.
        let value = (mapped as f64 - self.offset) / self.scale + self.min;
        // Up to one step beside the range (and what a double rounds where steps are finer than it is):
        // the mapped range is as wide as the next power of two.
        let beside = 1.0 / self.scale + self.min.abs().max(self.max.abs()) * 1e-12;
        if value < self.min - beside || value > self.max + beside {
            return Mapped::Reserved;
        }
        Mapped::Value(value)
    }

    /// Writes `value`, big-endian.
    pub fn put(&self, out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(&self.forward(value).to_be_bytes()[8 - self.bytes..]);
    }

    /// Reads a big-endian mapped number of as many bytes as the mapping has.
    pub fn read(&self, bytes: &[u8]) -> Result<Mapped> {
        if bytes.len() != self.bytes {
            let says = format!("{} bytes hold no IMAPB of {}", bytes.len(), self.bytes);
            return Err(Error::new(Kind::Malformed, Culprit::Camera, says));
        }
        Ok(self.reverse(bytes.iter().fold(0, |mapped, byte| mapped << 8 | u64::from(*byte))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_no_values() {
        let map = Imapb::try_new(-900.0, 40_000.0, 3).unwrap();
        for (value, back) in [
            (f64::INFINITY, Mapped::Infinity),
            (f64::NEG_INFINITY, Mapped::NegativeInfinity),
            (f64::NAN, Mapped::NotANumber),
            (-f64::NAN, Mapped::NotANumber),
            (-900.1, Mapped::BelowMinimum),
            (40_000.1, Mapped::AboveMaximum),
        ] {
            assert_eq!(map.reverse(map.forward(value)), back);
            assert_eq!(back.value(), None);
        }
        for reserved in [0xc0_0000, 0xe2_0000, 0x80_0001, 0x90_0000, 0x7f_ffff] {
            assert_eq!(map.reverse(reserved), Mapped::Reserved, "{reserved:x}");
        }
        assert!(map.read(&[0, 0]).is_err());
        for bad in [(0.0, 0.0, 2), (1.0, 0.0, 2), (0.0, f64::INFINITY, 2), (0.0, 1.0, 0), (0.0, 1.0, 9)] {
            assert!(Imapb::try_new(bad.0, bad.1, bad.2).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_comes_back_within_one_step(
            min in -1e6..1e6f64, span in 1e-3..1e6f64, part in 0.0..=1.0f64, bytes in 1usize..=8,
        ) {
            let map = Imapb::try_new(min, min + span, bytes).unwrap();
            let value = (min + span * part).min(map.max);
            let step = 1.0 / map.scale;
            let back = map.reverse(map.forward(value)).value().unwrap();
            prop_assert!((back - value).abs() <= step + 1e-9, "{} {} {}", value, back, step);
        }

        #[test]
        fn zero_is_exact(min in -1e6..-1e-3f64, max in 1e-3..1e6f64, bytes in 3usize..=6) {
            let map = Imapb::try_new(min, max, bytes).unwrap();
            let back = map.reverse(map.forward(0.0)).value().unwrap();
            prop_assert!(back.abs() < 1e-6 * (1.0 / map.scale).max(1e-3), "{back}");
        }
    }
}

//! A face as 128 numbers, and how two of them compare.

use std::fmt;

use zeroize::Zeroize;

use crate::base::{Error, Result};
use crate::infer::sface::DIMENSIONS;

/// A face's vector, of length 1. Overwritten when dropped; never printed.
///
/// It is biometric data: it stays in memory, and no event, log or file may carry it.
#[derive(Clone)]
pub struct Template(Box<[f32; DIMENSIONS]>);

impl Template {
    /// Takes an embedder's raw vector, brings it to length 1, and overwrites the source.
    pub fn from_raw(raw: &mut [f32; DIMENSIONS]) -> Result<Self> {
        let mut template = Self(Box::new([0.0; DIMENSIONS]));
        template.0.copy_from_slice(raw);
        raw.zeroize();
        template
            .normalise()
            .then_some(template)
            .ok_or_else(|| Error::internal("the embedder gave a vector without a direction"))
    }

    /// Cosine similarity, -1 to 1.
    pub fn similarity(&self, other: &Self) -> f32 {
        let dot: f32 = self.0.iter().zip(other.0.iter()).map(|(a, b)| a * b).sum();
        dot.clamp(-1.0, 1.0)
    }

    /// One template out of several of the same person, by weight. `None` if there is nothing to
    /// fuse or the templates cancel out.
    pub fn fuse(parts: &[(&Self, f32)]) -> Option<Self> {
        let mut sum = Self(Box::new([0.0; DIMENSIONS]));
        for (template, weight) in parts {
            for (s, v) in sum.0.iter_mut().zip(template.0.iter()) {
                *s += v * weight;
            }
        }
        sum.normalise().then_some(sum)
    }

    /// The vector itself, for an encrypted gallery and for checking against another
    /// implementation.
    pub fn values(&self) -> &[f32; DIMENSIONS] {
        &self.0
    }

    fn normalise(&mut self) -> bool {
        let length = self.0.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length < 1e-6 {
            return false;
        }
        self.0.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        true
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Template {
    /// Nothing of the face.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(seed: usize) -> Template {
        Template::from_raw(&mut std::array::from_fn(|i| ((i * 7 + seed * 13) % 17) as f32 - 8.0)).unwrap()
    }

    #[test]
    fn similarity_is_one_with_itself_and_symmetric() {
        let (a, b) = (template(1), template(2));
        assert!((a.similarity(&a) - 1.0).abs() < 1e-6);
        assert_eq!(a.similarity(&b), b.similarity(&a));
    }

    #[test]
    fn fusing_lies_between_and_nothing_fuses_to_nothing() {
        let (a, b) = (template(1), template(2));
        let both = Template::fuse(&[(&a, 1.0), (&b, 1.0)]).unwrap();
        assert!(both.similarity(&a) > a.similarity(&b));
        assert!((Template::fuse(&[(&a, 0.3)]).unwrap().similarity(&a) - 1.0).abs() < 1e-6);
        assert!(Template::fuse(&[]).is_none());
        assert!(Template::fuse(&[(&a, 1.0), (&a, -1.0)]).is_none());
    }

    #[test]
    fn a_vector_without_direction_is_an_error_and_the_raw_one_is_wiped() {
        assert!(Template::from_raw(&mut [0.0; DIMENSIONS]).is_err());
        assert!(Template::from_raw(&mut [f32::NAN; DIMENSIONS]).is_err());
        let mut raw = [1.0; DIMENSIONS];
        Template::from_raw(&mut raw).unwrap();
        assert_eq!(raw, [0.0; DIMENSIONS]);
        assert_eq!(format!("{:?}", template(1)), "Template(..)");
    }
}

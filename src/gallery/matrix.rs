//! The templates in memory: one contiguous block of f32, locked, and overwritten when it goes.
//!
//! A search reads the block once from front to back and does the same work for every row, whatever
//! stands in it: its time tells how many people are enrolled and nothing of who they are or how like
//! the probe anybody is.
//!
//! f32 and not a narrower form: a narrower one would have to look again at what it found near the
//! threshold, and how often it does depends on the content. The plain loop below is as fast as memory
//! (`benches/README.md`).

use zeroize::Zeroize;

use crate::infer::sface::DIMENSIONS;

/// Length of a row.
const D: usize = DIMENSIONS;
/// Rows that a first block holds.
const FIRST_ROWS: usize = 256;
/// Independent sums, so that the processor's vector units need not wait for each other.
const LANES: usize = 16;

/// Rows of [`DIMENSIONS`] values, each of length 1.
pub(super) struct Matrix {
    /// Keeps the pages in memory while it lives. `None` where the system refused. Before the values,
    /// so that it ends before they are freed.
    lock: Option<region::LockGuard>,
    values: Vec<f32>,
}

impl Matrix {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), lock: None }
    }

    /// A block with room for so many rows.
    pub(super) fn with_rows(rows: usize) -> Self {
        let mut matrix = Self::new();
        matrix.grow(rows);
        matrix
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / D
    }

    /// Whether every page is locked in memory.
    pub(super) fn locked(&self) -> bool {
        self.values.capacity() == 0 || self.lock.is_some()
    }

    pub(super) fn row(&self, at: usize) -> Option<&[f32; D]> {
        self.values.as_chunks::<D>().0.get(at)
    }

    pub(super) fn push(&mut self, row: &[f32; D]) {
        if self.values.len() + D > self.values.capacity() {
            self.grow((self.len() + self.len() / 2).max(FIRST_ROWS));
        }
        self.values.extend_from_slice(row);
    }

    /// Takes row `at` out; the last one moves into its place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        let last = self.len().saturating_sub(1);
        if at > last {
            return;
        }
        self.values.copy_within(last * D.., at * D);
        self.values[last * D..].zeroize();
        self.values.truncate(last * D);
    }

    /// A larger block: a vector that grows by itself would leave its old memory as it was.
    fn grow(&mut self, rows: usize) {
        let mut larger = Vec::with_capacity(rows.max(self.len() + 1) * D);
        let lock = region::lock(larger.as_ptr(), larger.capacity() * size_of::<f32>()).ok();
        larger.extend_from_slice(&self.values);
        self.values.zeroize();
        // The old pages are unlocked before they are freed.
        self.lock = None;
        (self.values, self.lock) = (larger, lock);
    }

    /// The cosine of `probe` with every row, into `scores`.
    pub(super) fn scores(&self, probe: &[f32; D], scores: &mut Vec<f32>) {
        scores.clear();
        scores.extend(self.values.as_chunks::<D>().0.iter().map(|row| dot(row, probe)));
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

/// The scalar product, in [`LANES`] sums.
#[inline]
pub(super) fn dot(a: &[f32; D], b: &[f32; D]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a, b) = (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: usize) -> [f32; D] {
        std::array::from_fn(|i| ((i * 31 + seed * 17) % 23) as f32 / 23.0 - 0.5)
    }

    #[test]
    fn rows_come_and_go_and_keep_their_values() {
        let mut m = Matrix::new();
        for n in 0..600 {
            m.push(&row(n));
        }
        m.swap_remove(0);
        m.swap_remove(598);
        m.swap_remove(9_999);
        assert_eq!(m.len(), 598);
        assert_eq!(m.row(0), Some(&row(599)));
        assert_eq!(m.row(597), Some(&row(597)));
        let mut scores = Vec::new();
        m.scores(&row(3), &mut scores);
        for (n, score) in scores.iter().enumerate() {
            let exact: f64 =
                m.row(n).unwrap().iter().zip(&row(3)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(*score) - exact).abs() < 1e-4);
        }
    }
}

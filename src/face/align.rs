//! Alignment: the five landmarks are brought to where the embedder expects them.

use super::{Face, Point};
use crate::capture::RgbImage;
use crate::infer::sface::SIDE;

/// Where the landmarks of an aligned face lie in its 112x112 pixels, order of [`Face::landmarks`].
pub const TEMPLATE: [Point; 5] = [
    Point { x: 38.2946, y: 51.6963 },
    Point { x: 73.5318, y: 51.5014 },
    Point { x: 56.0252, y: 71.7366 },
    Point { x: 41.5493, y: 92.3655 },
    Point { x: 70.7299, y: 92.2041 },
];

/// A similarity: turn, scale, shift. `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Scale times cosine.
    pub a: f32,
    /// Scale times sine.
    pub b: f32,
    /// Shift to the right, pixels.
    pub tx: f32,
    /// Shift down, pixels.
    pub ty: f32,
}

impl Similarity {
    /// The similarity that brings `from` closest to `to` in the least squares sense, never
    /// mirrored (Umeyama 1991; in the plane it has a closed form). `None` if `from` is one point.
    pub fn between(from: &[Point; 5], to: &[Point; 5]) -> Option<Self> {
        let mean = |points: &[Point; 5]| {
            let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + f64::from(p.x), y + f64::from(p.y)));
            (x / 5.0, y / 5.0)
        };
        let ((fx, fy), (gx, gy)) = (mean(from), mean(to));
        let (mut dot, mut cross, mut spread) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (f64::from(p.x) - fx, f64::from(p.y) - fy);
            let (qx, qy) = (f64::from(q.x) - gx, f64::from(q.y) - gy);
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
            spread += px * px + py * py;
        }
        let (a, b) = (dot / spread, cross / spread);
        let found = Self {
            a: a as f32,
            b: b as f32,
            tx: (gx - a * fx + b * fy) as f32,
            ty: (gy - b * fx - a * fy) as f32,
        };
        let usable = spread > 1e-6 && (a != 0.0 || b != 0.0) && found.tx.is_finite() && found.ty.is_finite();
        usable.then_some(found)
    }

    /// Where a point goes.
    pub fn apply(&self, p: Point) -> Point {
        Point { x: self.a * p.x - self.b * p.y + self.tx, y: self.b * p.x + self.a * p.y + self.ty }
    }

    /// The way back.
    pub fn inverse(&self) -> Self {
        let n = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / n, -self.b / n);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

/// From the 112x112 pixels of the aligned face to the picture. `None` for landmarks in one point.
pub fn to_picture(face: &Face) -> Option<Similarity> {
    Similarity::between(&face.landmarks, &TEMPLATE).map(|s| s.inverse())
}

/// Calls `each` with the place (row by row) and the colour of every pixel of the aligned face,
/// 0 to 255, interpolated linearly between the four neighbours; black beyond the picture's edge.
pub fn sample(image: &RgbImage, map: &Similarity, mut each: impl FnMut(usize, [f32; 3])) {
    let (w, h) = (image.width() as i32, image.height() as i32);
    let (data, stride) = (image.data(), image.width() as usize * 3);
    let pixel = |x: i32, y: i32| -> [f32; 3] {
        if x < 0 || y < 0 || x >= w || y >= h {
            return [0.0; 3];
        }
        let at = y as usize * stride + x as usize * 3;
        data.get(at..at + 3).map_or([0.0; 3], |p| [f32::from(p[0]), f32::from(p[1]), f32::from(p[2])])
    };
    for v in 0..SIDE {
        let (bx, by) = (map.tx - map.b * v as f32, map.ty + map.a * v as f32);
        for u in 0..SIDE {
            let (x, y) = (bx + map.a * u as f32, by + map.b * u as f32);
            let (left, top) = (x.floor(), y.floor());
            let (fx, fy) = (x - left, y - top);
            let (left, top) = (left as i32, top as i32);
            let inside = left >= 0 && top >= 0 && left < w - 1 && top < h - 1;
            let (p, q) = if inside {
                let at = top as usize * stride + left as usize * 3;
                match (data.get(at..at + 6), data.get(at + stride..at + stride + 6)) {
                    (Some(p), Some(q)) => (pair(p), pair(q)),
                    _ => ([[0.0; 3]; 2], [[0.0; 3]; 2]),
                }
            } else {
                (
                    [pixel(left, top), pixel(left.saturating_add(1), top)],
                    [
                        pixel(left, top.saturating_add(1)),
                        pixel(left.saturating_add(1), top.saturating_add(1)),
                    ],
                )
            };
            let colour = std::array::from_fn(|c| {
                let upper = p[0][c] + (p[1][c] - p[0][c]) * fx;
                let lower = q[0][c] + (q[1][c] - q[0][c]) * fx;
                upper + (lower - upper) * fy
            });
            each(v * SIDE + u, colour);
        }
    }
}

fn pair(bytes: &[u8]) -> [[f32; 3]; 2] {
    let f = |i: usize| bytes.get(i).map_or(0.0, |b| f32::from(*b));
    [[f(0), f(1), f(2)], [f(3), f(4), f(5)]]
}

/// Fills the embedder's input, three planes R G B. False for landmarks in one point.
pub(super) fn fill(image: &RgbImage, face: &Face, planes: &mut [f32]) -> bool {
    let Some(map) = to_picture(face) else { return false };
    let (red, rest) = planes.split_at_mut(SIDE * SIDE);
    let (green, blue) = rest.split_at_mut(SIDE * SIDE);
    let (Some(red), Some(green), Some(blue)) = (
        red.first_chunk_mut::<{ SIDE * SIDE }>(),
        green.first_chunk_mut::<{ SIDE * SIDE }>(),
        blue.first_chunk_mut::<{ SIDE * SIDE }>(),
    ) else {
        return false;
    };
    sample(image, &map, |at, [r, g, b]| {
        red[at] = r;
        green[at] = g;
        blue[at] = b;
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_similarity_is_found_again(
            scale in 0.05f32..20.0, angle in -3.1f32..3.1, tx in -500f32..500.0, ty in -500f32..500.0,
        ) {
            let want = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx, ty };
            let moved = TEMPLATE.map(|p| want.apply(p));
            let back = Similarity::between(&moved, &TEMPLATE).unwrap();
            for (p, q) in moved.iter().zip(&TEMPLATE) {
                prop_assert!(back.apply(*p).distance(*q) < 2e-2);
                prop_assert!(back.inverse().apply(*q).distance(*p) < 2e-2 * scale.max(1.0));
            }
        }
    }

    #[test]
    fn landmarks_in_one_point_are_no_face() {
        assert_eq!(Similarity::between(&[Point { x: 3.0, y: 4.0 }; 5], &TEMPLATE), None);
    }

    #[test]
    fn the_identity_copies_the_picture_and_beyond_it_is_black() {
        let data = (0..112 * 112 * 3).map(|i| (i % 251) as u8).collect();
        let image = RgbImage::new(112, 112, data).unwrap();
        let mut planes = vec![0.0; 3 * SIDE * SIDE];
        let bbox = super::super::BBox::default();
        assert!(fill(&image, &Face { bbox, landmarks: TEMPLATE, score: 1.0 }, &mut planes));
        for (i, p) in image.data().chunks_exact(3).enumerate() {
            for (c, byte) in p.iter().enumerate() {
                assert!((planes[c * SIDE * SIDE + i] - f32::from(*byte)).abs() < 0.1);
            }
        }
        let away = TEMPLATE.map(|p| Point { x: p.x + 1e7, y: p.y });
        assert!(fill(&image, &Face { bbox, landmarks: away, score: 1.0 }, &mut planes));
        assert!(planes.iter().all(|v| *v == 0.0));
    }
}

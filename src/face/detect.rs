//! Placing pictures in the detector's input, and making one face out of overlapping detections.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use zeroize::Zeroize;

use super::{BBox, Face, Point};
use crate::base::{Error, Result};
use crate::capture::RgbImage;
use crate::infer::yunet::{Detection, MULTIPLE, Yunet};

/// Detections below this score are dropped.
pub(super) const KEEP: f32 = 0.6;
/// Detections that overlap by more than this (intersection over union) are one face.
const SAME_FACE: f32 = 0.3;
/// A detection that lies within a better one by this share is a part of that face.
const PART_OF_FACE: f32 = 0.7;
/// Most detections of one look that are considered, the best ones.
const MAX_DETECTIONS: usize = 1_000;
/// The detector is good for faces up to this width in its input, pixels.
const LARGEST_FACE: f32 = 300.0;

/// Where a picture lies in the detector's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    /// Width and height of the input, multiples of 32.
    pub canvas: (u32, u32),
    /// Width and height of the picture within it.
    pub picture: (u32, u32),
    /// Left and top margin.
    pub margin: (u32, u32),
}

impl Layout {
    /// The picture with its long side at most `long_side` pixels, never enlarged, in the top left
    /// corner.
    pub(super) fn shrunk(width: u32, height: u32, long_side: u32) -> Self {
        let longest = width.max(height).max(1);
        Self::sized(width, height, longest.min(long_side), 0)
    }

    /// The picture with its long side exactly `long_side` pixels and a black margin around it.
    pub(super) fn sized(width: u32, height: u32, long_side: u32, margin: u32) -> Self {
        let longest = u64::from(width.max(height).max(1));
        let scale = |side: u32| {
            let scaled = (u64::from(side) * u64::from(long_side) + longest / 2) / longest;
            (scaled as u32).max(1)
        };
        let picture = (scale(width), scale(height));
        let whole = |side: u32| (side + 2 * margin).div_ceil(MULTIPLE) * MULTIPLE;
        Self { canvas: (whole(picture.0), whole(picture.1)), picture, margin: (margin, margin) }
    }
}

/// Fills the detector's input; keeps the memory it needs for that.
#[derive(Debug, Default)]
pub(super) struct Placer {
    resizer: Resizer,
    scaled: Vec<u8>,
    sums: Vec<u16>,
}

impl Placer {
    /// Puts `image` into `planes`, blue first.
    pub(super) fn place(&mut self, image: &RgbImage, layout: &Layout, planes: &mut [f32]) -> Result<()> {
        let (w, h) = layout.picture;
        let factor = image.width() / w.max(1);
        if (image.width(), image.height()) == (w, h) {
            spread(image.data(), layout, planes);
        } else if (2..=8).contains(&factor) && (image.width(), image.height()) == (w * factor, h * factor) {
            self.shrink_whole(image, factor as usize, layout, planes);
        } else {
            self.resize(image, w, h)?;
            spread(&self.scaled, layout, planes);
        }
        Ok(())
    }

    /// Overwrites what is left of pictures.
    pub(super) fn wipe(&mut self) {
        self.scaled.zeroize();
        self.sums.zeroize();
        // The resizer's own buffers hold rows of the last picture.
        self.resizer = Resizer::new();
    }

    fn resize(&mut self, image: &RgbImage, w: u32, h: u32) -> Result<()> {
        let failed =
            |what: &dyn std::fmt::Display| Error::internal(format!("cannot resize a picture: {what}"));
        self.scaled.resize(w as usize * h as usize * 3, 0);
        let source = ImageRef::new(image.width(), image.height(), image.data(), PixelType::U8x3)
            .map_err(|e| failed(&e))?;
        let mut target =
            Image::from_slice_u8(w, h, &mut self.scaled, PixelType::U8x3).map_err(|e| failed(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize(&source, &mut target, &options).map_err(|e| failed(&e))
    }

    /// Shrinks by a whole factor and fills the planes in one pass: each value is the mean of
    /// `factor` x `factor` pixels. This is the usual case of a live camera (1280x720 to 640x360).
    fn shrink_whole(&mut self, image: &RgbImage, factor: usize, layout: &Layout, planes: &mut [f32]) {
        let row_bytes = image.width() as usize * 3;
        let width = layout.picture.0 as usize;
        let share = 1.0 / (factor * factor) as f32;
        self.sums.resize(row_bytes, 0);
        let mut rows = Rows::new(layout, planes);
        for block in image.data().chunks_exact(row_bytes * factor) {
            // Eight rows of 255 fit easily.
            self.sums.iter_mut().zip(block).for_each(|(s, b)| *s = u16::from(*b));
            for row in block.chunks_exact(row_bytes).skip(1) {
                self.sums.iter_mut().zip(row).for_each(|(s, b)| *s += u16::from(*b));
            }
            let Some((blue, green, red)) = rows.next_row(width) else { return };
            let targets = blue.iter_mut().zip(green).zip(red);
            for (((b, g), r), sums) in targets.zip(self.sums.chunks_exact(factor * 3)) {
                let (mut sr, mut sg, mut sb) = (0, 0, 0);
                for p in sums.as_chunks::<3>().0 {
                    sr += p[0];
                    sg += p[1];
                    sb += p[2];
                }
                *r = f32::from(sr) * share;
                *g = f32::from(sg) * share;
                *b = f32::from(sb) * share;
            }
        }
        rows.finish();
    }
}

impl Drop for Placer {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Spreads interleaved bytes over the planes.
fn spread(data: &[u8], layout: &Layout, planes: &mut [f32]) {
    let width = layout.picture.0 as usize;
    let mut rows = Rows::new(layout, planes);
    for row in data.chunks_exact(width * 3) {
        let Some((blue, green, red)) = rows.next_row(width) else { return };
        for (((b, g), r), p) in blue.iter_mut().zip(green).zip(red).zip(row.as_chunks::<3>().0) {
            *r = f32::from(p[0]);
            *g = f32::from(p[1]);
            *b = f32::from(p[2]);
        }
    }
    rows.finish();
}

/// Walks the three planes row by row and blackens what no picture covers.
struct Rows<'a> {
    planes: [std::slice::ChunksExactMut<'a, f32>; 3],
    left: usize,
}

impl<'a> Rows<'a> {
    fn new(layout: &Layout, planes: &'a mut [f32]) -> Self {
        let (w, h) = (layout.canvas.0 as usize, layout.canvas.1 as usize);
        let (blue, rest) = planes.split_at_mut((w * h).min(planes.len()));
        let (green, red) = rest.split_at_mut((w * h).min(rest.len()));
        let mut rows = Self {
            planes: [blue, green, red].map(|p| p.chunks_exact_mut(w)),
            left: layout.margin.0 as usize,
        };
        for plane in &mut rows.planes {
            plane.by_ref().take(layout.margin.1 as usize).for_each(|row| row.fill(0.0));
        }
        rows
    }

    fn next_row(&mut self, width: usize) -> Option<(&'a mut [f32], &'a mut [f32], &'a mut [f32])> {
        let left = self.left;
        let mut cut = |plane: usize| {
            let (before, rest) = self.planes[plane].next()?.split_at_mut_checked(left)?;
            let (row, after) = rest.split_at_mut_checked(width)?;
            before.fill(0.0);
            after.fill(0.0);
            Some(row)
        };
        Some((cut(0)?, cut(1)?, cut(2)?))
    }

    fn finish(self) {
        for plane in self.planes {
            plane.for_each(|row| row.fill(0.0));
        }
    }
}

/// A detection in pixels of the source picture, and how far to trust its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    face: Face,
    /// 0 is best: within the detector's range, in the sharpest look.
    rank: u8,
}

/// Looks once at `image`. `rank` is the look's place in the order of preference.
pub(super) fn look(
    yunet: &mut Yunet,
    placer: &mut Placer,
    image: &RgbImage,
    layout: &Layout,
    rank: u8,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    placer.place(image, layout, yunet.input(layout.canvas.0, layout.canvas.1)?)?;
    let mut found = Vec::new();
    yunet.run(KEEP, &mut found)?;
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MAX_DETECTIONS);
    let scale =
        (image.width() as f32 / layout.picture.0 as f32, image.height() as f32 / layout.picture.1 as f32);
    let margin = (layout.margin.0 as f32, layout.margin.1 as f32);
    candidates.extend(found.iter().map(|d| Candidate {
        face: to_source(d, scale, margin),
        rank: if d.bbox[2] <= LARGEST_FACE { rank } else { u8::MAX },
    }));
    Ok(())
}

fn to_source(d: &Detection, (sx, sy): (f32, f32), (mx, my): (f32, f32)) -> Face {
    Face {
        bbox: BBox {
            x: (d.bbox[0] - mx) * sx,
            y: (d.bbox[1] - my) * sy,
            width: d.bbox[2] * sx,
            height: d.bbox[3] * sy,
        },
        landmarks: d.landmarks.map(|[x, y]| Point { x: (x - mx) * sx, y: (y - my) * sy }),
        score: d.score,
    }
}

/// One face per person, best score first.
pub(super) fn merge(mut candidates: Vec<Candidate>) -> Vec<Face> {
    candidates.sort_by(|a, b| a.rank.cmp(&b.rank).then(b.face.score.total_cmp(&a.face.score)));
    let mut faces: Vec<Face> = Vec::new();
    // Of detections that overlap, the preferred one stays.
    for Candidate { face, .. } in candidates {
        if faces.iter().all(|kept| kept.bbox.iou(face.bbox) <= SAME_FACE) {
            faces.push(face);
        }
    }
    // A nose is now and then taken for a face of its own.
    let whole: Vec<Face> = faces
        .iter()
        .filter(|face| {
            !faces.iter().any(|other| {
                other.bbox.area() > face.bbox.area()
                    && other.score >= face.score
                    && other.bbox.intersection(face.bbox) > PART_OF_FACE * face.bbox.area()
            })
        })
        .copied()
        .collect();
    let mut faces = whole;
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    faces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(w: u32, h: u32) -> RgbImage {
        let data = (0..w * h * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        RgbImage::new(w, h, data).unwrap()
    }

    #[test]
    fn a_720p_camera_gets_640_by_384() {
        let layout = Layout::shrunk(1280, 720, 640);
        assert_eq!(layout, Layout { canvas: (640, 384), picture: (640, 360), margin: (0, 0) });
        assert_eq!(Layout::shrunk(720, 1280, 640).canvas, (384, 640));
        assert_eq!(Layout::shrunk(320, 240, 640).canvas, (320, 256));
        assert_eq!(Layout::shrunk(1, 1, 640).canvas, (32, 32));
    }

    #[test]
    fn shrinking_by_a_whole_factor_is_the_mean() {
        let image = picture(64, 32);
        let layout = Layout::shrunk(64, 32, 32);
        let mut planes = vec![f32::NAN; 3 * 32 * 32];
        Placer::default().place(&image, &layout, &mut planes).unwrap();
        for (c, plane) in planes.chunks_exact(32 * 32).enumerate() {
            for y in 0..32 {
                for x in 0..32 {
                    let at = |dx: usize, dy: usize| {
                        f32::from(image.data()[((2 * y + dy) * 64 + 2 * x + dx) * 3 + (2 - c)])
                    };
                    let want = if y < 16 { (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0 } else { 0.0 };
                    assert_eq!(plane[y * 32 + x], want, "plane {c} at {x},{y}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_value_of_the_input_is_written(w in 1u32..200, h in 1u32..200, side in 1u32..200, margin in 0u32..40) {
            let image = picture(w, h);
            for layout in [Layout::shrunk(w, h, side), Layout::sized(w, h, side, margin)] {
                let mut planes = vec![f32::NAN; 3 * (layout.canvas.0 * layout.canvas.1) as usize];
                Placer::default().place(&image, &layout, &mut planes).unwrap();
                prop_assert!(planes.iter().all(|v| (0.0..=255.0).contains(v)), "{layout:?}");
            }
        }
    }

    #[test]
    fn overlapping_detections_are_one_face_and_neighbours_are_two() {
        let face = |x: f32, y: f32, side: f32, score: f32| Candidate {
            face: Face {
                bbox: BBox { x, y, width: side, height: side },
                landmarks: [Point::default(); 5],
                score,
            },
            rank: 0,
        };
        let merged = merge(vec![
            face(0.0, 0.0, 100.0, 0.8),
            face(5.0, 5.0, 100.0, 0.9),
            face(40.0, 40.0, 20.0, 0.7),
            face(110.0, 0.0, 100.0, 0.7),
        ]);
        let at: Vec<_> = merged.iter().map(|f| f.bbox.x).collect();
        assert_eq!(at, [5.0, 110.0]);
    }
}

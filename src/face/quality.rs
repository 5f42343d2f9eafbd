//! How good a face is for comparison: size, sharpness, exposure, pose.

use zeroize::Zeroizing;

use super::align::{self, Similarity};
use super::{Face, Point};
use crate::capture::RgbImage;
use crate::config::QualityConfig;
use crate::event::Reason;
use crate::infer::sface::SIDE;

/// What is known of one face's quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Pixels between the eyes, in the picture as given.
    pub inter_ocular_px: f32,
    /// 0 to 1, of the aligned face as the embedder sees it, whatever its contrast. Gaussian blur
    /// with a deviation of 2 % of the distance between the eyes leaves about 0.35, 4 % 0.2, 6 %
    /// 0.12; a template of 6 % blur has a cosine of 0.8 with the sharp one. Photographs have 0.4
    /// and more. Noise counts as sharpness.
    pub sharpness: f32,
    /// Mean brightness of the inner face, 0 to 255 (Rec. 601 luma).
    pub brightness: f32,
    /// Where the head is turned.
    pub pose: Pose,
    /// The detector's score, 0 to 1.
    pub score: f32,
    /// Part of the face lies beyond the picture's edge.
    pub cut_off: bool,
}

/// Where a head is turned, degrees, from the five landmarks and the mean proportions of heads.
/// Good to some 5 degrees for changes, to some 10 for a head never seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Aside: positive towards the person's left, which is the right of the picture.
    pub yaw_deg: f32,
    /// Positive upwards.
    pub pitch_deg: f32,
    /// Sideways tilt: positive is clockwise in the picture.
    pub roll_deg: f32,
}

/// What a face falls short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shortfall {
    /// Too few pixels between the eyes.
    TooSmall,
    /// The detector is not sure that it is a face.
    Doubtful,
    /// Reaches beyond the picture's edge.
    CutOff,
    /// Turned too far.
    TurnedAway,
    /// Too dark.
    TooDark,
    /// Too bright.
    TooBright,
    /// Blurred.
    Blurred,
}

impl Shortfall {
    /// How events name it. A doubtful face is one that is half hidden or half turned away.
    pub fn reason(self) -> Reason {
        match self {
            Self::TooSmall => Reason::TooSmall,
            Self::CutOff => Reason::CutOff,
            Self::TurnedAway | Self::Doubtful => Reason::TurnedAway,
            Self::TooDark => Reason::TooDark,
            Self::TooBright => Reason::TooBright,
            Self::Blurred => Reason::Blurred,
        }
    }
}

impl Quality {
    /// What this face falls short of, the gravest first; empty if it may be compared.
    /// `min_iod` is the least distance between the eyes, pixels: it differs for live faces and
    /// portraits.
    pub fn shortfalls(&self, limits: &QualityConfig, min_iod: f32) -> Vec<Shortfall> {
        // Written so that a value that is not a number falls short.
        let checks = [
            (self.inter_ocular_px >= min_iod, Shortfall::TooSmall),
            (!self.cut_off, Shortfall::CutOff),
            (
                self.pose.yaw_deg.abs() <= limits.max_yaw_deg
                    && self.pose.pitch_deg.abs() <= limits.max_pitch_deg,
                Shortfall::TurnedAway,
            ),
            (self.score >= limits.min_score, Shortfall::Doubtful),
            (self.brightness >= limits.min_brightness, Shortfall::TooDark),
            (self.brightness <= limits.max_brightness, Shortfall::TooBright),
            (self.sharpness >= limits.min_sharpness, Shortfall::Blurred),
        ];
        checks.into_iter().filter(|(good, _)| !good).map(|(_, shortfall)| shortfall).collect()
    }

    /// For choosing the best few pictures of a person, and as their weight when fused: 0 to 1,
    /// the product of what each property is worth.
    pub fn rank(&self) -> f32 {
        let size = (self.inter_ocular_px / 60.0).clamp(0.05, 1.0).sqrt();
        let turned = |deg: f32| (1.0 - (deg / 60.0).powi(2)).clamp(0.05, 1.0);
        let light = (1.0 - ((self.brightness - 128.0) / 128.0).powi(4)).clamp(0.05, 1.0);
        let sharp = (self.sharpness / 0.5).clamp(0.05, 1.0);
        let whole = if self.cut_off { 0.2 } else { 1.0 };
        let rank = size
            * turned(self.pose.yaw_deg)
            * turned(self.pose.pitch_deg)
            * light
            * sharp
            * whole
            * self.score;
        if rank.is_finite() { rank.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Measures one face.
pub fn assess(image: &RgbImage, face: &Face) -> Quality {
    let (sharpness, brightness, cut_off) = match align::to_picture(face) {
        None => (0.0, 0.0, true),
        Some(map) => {
            let mut luma = Zeroizing::new(vec![0.0f32; SIDE * SIDE]);
            align::sample(image, &map, |at, [r, g, b]| luma[at] = 0.299 * r + 0.587 * g + 0.114 * b);
            (sharpness(&luma), brightness(&luma), cut_off(image, &map))
        }
    };
    Quality {
        inter_ocular_px: face.inter_ocular_px(),
        sharpness,
        brightness,
        pose: pose(&face.landmarks),
        score: face.score,
        cut_off,
    }
}

/// The inner face in the aligned 112x112 pixels: no hair, no background.
const INNER: (std::ops::Range<usize>, std::ops::Range<usize>) = (26..86, 36..102);

fn brightness(luma: &[f32]) -> f32 {
    let rows = luma.chunks_exact(SIDE).skip(INNER.1.start).take(INNER.1.len());
    let sum: f32 = rows.map(|row| row[INNER.0].iter().sum::<f32>()).sum();
    sum / (INNER.0.len() * INNER.1.len()) as f32
}

/// How much brightness changes over one pixel, compared with four: 1/4 on any smooth slope, more
/// where there is detail. The direction with less detail counts: movement blurs only one.
fn sharpness(luma: &[f32]) -> f32 {
    const FAR: usize = 4;
    /// What a smooth slope has, and how much more a sharp photograph has.
    const SLOPE: f32 = 0.25;
    const DETAIL: f32 = 0.2;
    let change = |step: usize| -> f32 {
        let mut sum = 0.0;
        for y in INNER.1 {
            let row = &luma[y * SIDE..(y + 1) * SIDE];
            for x in INNER.0 {
                // Steps of both lengths in one direction; the other direction is a step of rows.
                let d = if step < SIDE { row[x + step] - row[x] } else { luma[y * SIDE + x + step] - row[x] };
                sum += d * d;
            }
        }
        sum
    };
    let ratio = |near: usize, far: usize| {
        let far = change(far);
        if far > 0.0 { (change(near) / far).sqrt() } else { 0.0 }
    };
    let ratio = ratio(1, FAR).min(ratio(SIDE, FAR * SIDE));
    ((ratio - SLOPE) / DETAIL).clamp(0.0, 1.0)
}

/// More than a tenth of the face between brow and chin lies beyond the edge.
fn cut_off(image: &RgbImage, map: &Similarity) -> bool {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let mut beyond = 0;
    for v in 0..10u8 {
        for u in 0..10u8 {
            let p = map.apply(Point { x: 22.0 + 7.5 * f32::from(u), y: 32.0 + 8.0 * f32::from(v) });
            let inside = p.x >= 0.0 && p.y >= 0.0 && p.x <= w && p.y <= h;
            beyond += u32::from(!inside);
        }
    }
    beyond > 10
}

/// Mean proportions of a head, millimetres: x to the picture's right, y down, z away from the
/// camera, the nose tip foremost. x and y are those of the embedder's template, the nose 5 mm
/// lower: so the mean of portraits, with this detector's landmarks, looks straight ahead.
const HEAD: [[f32; 3]; 5] =
    [[-31.5, -34.3, 0.0], [31.5, -34.6, 0.0], [0.2, 6.5, -30.0], [-25.7, 38.4, -3.0], [26.5, 38.1, -3.0]];

/// The pose of a head from its landmarks: the least squares fit of a scaled orthographic view of
/// the mean head.
pub fn pose(landmarks: &[Point; 5]) -> Pose {
    let mean3: [f32; 3] = std::array::from_fn(|k| HEAD.iter().map(|p| p[k]).sum::<f32>() / 5.0);
    let mean2 = landmarks.iter().fold((0.0, 0.0), |(x, y), p| (x + p.x / 5.0, y + p.y / 5.0));
    // Normal equations: A m = v, once for the picture's x and once for its y.
    let (mut a, mut vx, mut vy) = ([[0.0f32; 3]; 3], [0.0f32; 3], [0.0f32; 3]);
    for (head, p) in HEAD.iter().zip(landmarks) {
        let d: [f32; 3] = std::array::from_fn(|k| head[k] - mean3[k]);
        for i in 0..3 {
            for j in 0..3 {
                a[i][j] += d[i] * d[j];
            }
            vx[i] += d[i] * (p.x - mean2.0);
            vy[i] += d[i] * (p.y - mean2.1);
        }
    }
    let (mx, my) = (solve(&a, &vx), solve(&a, &vy));
    let (sx, sy) = (length(&mx), length(&my));
    if !(sx > 0.0 && sy > 0.0) {
        return Pose::default();
    }
    let (r1, r2) = (mx.map(|v| v / sx), my.map(|v| v / sy));
    let r3 = cross(&r1, &r2);
    Pose {
        yaw_deg: (-r1[2]).atan2(r3[2]).to_degrees(),
        pitch_deg: r2[2].clamp(-1.0, 1.0).asin().to_degrees(),
        roll_deg: (sy * r2[0]).atan2(sx * r1[0]).to_degrees(),
    }
}

fn length(v: &[f32; 3]) -> f32 {
    v.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn cross(a: &[f32; 3], b: &[f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Cramer's rule; the matrix is that of a solid head and never singular.
fn solve(a: &[[f32; 3]; 3], v: &[f32; 3]) -> [f32; 3] {
    let det = |c: [[f32; 3]; 3]| {
        let x = cross(&c[1], &c[2]);
        c[0][0] * x[0] + c[0][1] * x[1] + c[0][2] * x[2]
    };
    let whole = det(*a);
    std::array::from_fn(|k| {
        let mut replaced = *a;
        for (row, value) in replaced.iter_mut().zip(v) {
            row[k] = *value;
        }
        det(replaced) / whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::BBox;
    use proptest::prelude::*;

    /// The mean head, turned, as a distant camera sees it.
    fn view(yaw: f32, pitch: f32, roll: f32, scale: f32) -> [Point; 5] {
        let (yaw, pitch, roll) = (yaw.to_radians(), pitch.to_radians(), roll.to_radians());
        HEAD.map(|[x, y, z]| {
            // Up by pitch, then aside by yaw, then tilted by roll.
            let (y, z) = (y * pitch.cos() + z * pitch.sin(), -y * pitch.sin() + z * pitch.cos());
            let (x, _z) = (x * yaw.cos() - z * yaw.sin(), x * yaw.sin() + z * yaw.cos());
            let (x, y) = (x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos());
            Point { x: 300.0 + scale * x, y: 200.0 + scale * y }
        })
    }

    proptest! {
        #[test]
        fn a_turned_head_is_measured(
            yaw in -50f32..50.0, pitch in -35f32..35.0, roll in -40f32..40.0, scale in 0.3f32..5.0,
        ) {
            // Each alone is exact; together the angles mix a little.
            let aside = pose(&view(yaw, 0.0, 0.0, scale));
            prop_assert!((aside.yaw_deg - yaw).abs() < 0.5, "{aside:?}");
            prop_assert!(aside.pitch_deg.abs() < 0.5 && aside.roll_deg.abs() < 0.5, "{aside:?}");
            let up = pose(&view(0.0, pitch, 0.0, scale));
            prop_assert!((up.pitch_deg - pitch).abs() < 0.5 && up.yaw_deg.abs() < 0.5, "{up:?}");
            let tilted = pose(&view(0.0, 0.0, roll, scale));
            prop_assert!((tilted.roll_deg - roll).abs() < 0.5 && tilted.yaw_deg.abs() < 0.5, "{tilted:?}");
        }
    }

    #[test]
    fn a_nose_to_the_right_looks_to_its_left_and_a_raised_one_up() {
        let ahead = pose(&align::TEMPLATE);
        assert!(
            ahead.yaw_deg.abs() < 1.5 && ahead.pitch_deg.abs() < 12.0 && ahead.roll_deg.abs() < 1.0,
            "{ahead:?}"
        );
        let mut turned = align::TEMPLATE;
        turned[2].x += 6.0;
        turned[2].y -= 4.0;
        let turned = pose(&turned);
        assert!(turned.yaw_deg > 10.0 && turned.pitch_deg > ahead.pitch_deg + 5.0, "{turned:?}");
        assert_eq!(pose(&[Point::default(); 5]), Pose::default());
    }

    fn face_at(dx: f32, dy: f32) -> Face {
        Face {
            bbox: BBox::default(),
            landmarks: align::TEMPLATE.map(|p| Point { x: p.x + dx, y: p.y + dy }),
            score: 0.9,
        }
    }

    fn checkers(light: u8, dark: u8, square: u32) -> RgbImage {
        let data = (0..112 * 112u32)
            .flat_map(|i| {
                [if (i % 112 / square + i / 112 / square).is_multiple_of(2) { light } else { dark }; 3]
            })
            .collect();
        RgbImage::new(112, 112, data).unwrap()
    }

    #[test]
    fn detail_is_sharp_and_a_slope_is_not_at_any_contrast() {
        for (light, dark) in [(255, 0), (140, 120)] {
            assert!(assess(&checkers(light, dark, 3), &face_at(0.0, 0.0)).sharpness > 0.6);
        }
        let slope = (0..112 * 112u32).flat_map(|i| [(i % 112 + i / 112) as u8; 3]).collect();
        let slope = RgbImage::new(112, 112, slope).unwrap();
        assert!(assess(&slope, &face_at(0.0, 0.0)).sharpness < 0.05);
        // Smeared sideways: stripes along the movement stay sharp, and do not count.
        let smeared = (0..112 * 112u32).flat_map(|i| [(i / 112 % 4 * 30 + i % 112) as u8; 3]).collect();
        let smeared = RgbImage::new(112, 112, smeared).unwrap();
        assert!(assess(&smeared, &face_at(0.0, 0.0)).sharpness < 0.05);
    }

    #[test]
    fn each_shortfall_is_found_alone() {
        let limits = QualityConfig::default();
        let good = assess(&checkers(160, 100, 3), &face_at(0.0, 0.0));
        assert_eq!(good.shortfalls(&limits, 24.0), []);
        assert!(good.rank() > 0.3);
        let poor = |change: fn(&mut Quality)| {
            let mut quality = good;
            change(&mut quality);
            assert!(quality.rank() <= good.rank());
            quality.shortfalls(&limits, 24.0)
        };
        assert_eq!(poor(|q| q.inter_ocular_px = 20.0), [Shortfall::TooSmall]);
        assert_eq!(poor(|q| q.sharpness = 0.1), [Shortfall::Blurred]);
        assert_eq!(poor(|q| q.brightness = 10.0), [Shortfall::TooDark]);
        assert_eq!(poor(|q| q.brightness = 250.0), [Shortfall::TooBright]);
        assert_eq!(poor(|q| q.pose.yaw_deg = -45.0), [Shortfall::TurnedAway]);
        assert_eq!(poor(|q| q.pose.pitch_deg = 45.0), [Shortfall::TurnedAway]);
        assert_eq!(poor(|q| q.score = 0.61), [Shortfall::Doubtful]);
        assert_eq!(poor(|q| q.cut_off = true), [Shortfall::CutOff]);
        assert_eq!(poor(|q| q.brightness = f32::NAN).len(), 2);
    }

    #[test]
    fn a_face_beyond_the_edge_is_cut_off() {
        let image = checkers(160, 100, 3);
        assert!(!assess(&image, &face_at(0.0, 0.0)).cut_off);
        assert!(assess(&image, &face_at(40.0, 0.0)).cut_off);
        assert!(assess(&image, &face_at(0.0, 25.0)).cut_off);
    }
}

//! What of the ground a frame shows.

use super::earth::LocalFrame;
use super::locate::{Locator, NoGround, Projected, View};
use super::pose::Pose;
use super::units::Geodetic;

/// Points along each edge of the picture: hills bend what is straight.
const PER_EDGE: u32 = 8;
/// Halvings that find how far up the picture the ground reaches: a hundredth of a pixel.
const HALVINGS: u32 = 16;

/// The outline of a frame on the ground.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The outline, clockwise in the picture from its top left corner; the first point is not
    /// repeated. Between its points the ground is as it is.
    pub outline: Vec<Geodetic>,
    /// Square metres that it encloses, on the level.
    pub area_m2: f64,
    /// Whether the picture shows more than the outline: sky, ground beyond the range or too flat to
    /// place, or without a height.
    pub clipped: bool,
    frame: LocalFrame,
    /// East and north of the frame.
    level: Vec<[f64; 2]>,
}

impl Footprint {
    /// Whether a place lies within the outline. It may still be hidden: ask [`View::seen`].
    pub fn contains(&self, place: &Geodetic) -> bool {
        let [x, y, _] = self.frame.enu(place);
        let mut inside = false;
        for (a, b) in self.edges() {
            // A ray to the east crosses the outline an odd number of times from within.
            if (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) {
                inside = !inside;
            }
        }
        inside
    }

    fn edges(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
        edges(&self.level)
    }
}

fn edges(points: &[[f64; 2]]) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
    points.iter().zip(points.iter().cycle().skip(1)).map(|(a, b)| (*a, *b))
}

impl Locator {
    /// The outline of a frame on the ground.
    ///
    /// # Errors
    /// Why the frame shows no ground.
    pub fn footprint(&self, pose: &Pose) -> Result<Footprint, NoGround> {
        self.view(pose)?.footprint()
    }
}

impl View<'_> {
    /// The outline of this frame on the ground, out to the site's range and flattest line of sight.
    ///
    /// # Errors
    /// Why not even its steepest line of sight meets the ground.
    pub fn footprint(&self) -> Result<Footprint, NoGround> {
        let [w, h] = self.intrinsics.size().map(f64::from);
        let corners = [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]];
        let border: Vec<[f64; 2]> = (0..4)
            .flat_map(|c| {
                let (a, b) = (corners[c], corners[(c + 1) % 4]);
                (0..PER_EDGE).map(move |i| {
                    let t = f64::from(i) / f64::from(PER_EDGE);
                    [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
                })
            })
            .collect();
        // The steepest line of sight sees the ground, if any does.
        let mut steepest = [w / 2.0, h / 2.0];
        let mut down = self.ray(steepest)?[2];
        for pixel in &border {
            let up = self.ray(*pixel)?[2];
            if up < down {
                (steepest, down) = (*pixel, up);
            }
        }
        let anchor = self.hit(steepest)?;
        let mut clipped = false;
        let mut reached = Vec::with_capacity(border.len());
        for pixel in border {
            if let Ok(hit) = self.hit(pixel) {
                reached.push(hit.enu);
                continue;
            }
            clipped = true;
            // How far from the steepest pixel towards this one there is ground.
            let (mut near, mut far, mut last) = (0.0, 1.0, anchor);
            for _ in 0..HALVINGS {
                let t = (near + far) / 2.0;
                let between = std::array::from_fn(|i| steepest[i] + t * (pixel[i] - steepest[i]));
                match self.hit(between) {
                    Ok(hit) => (near, last) = (t, hit),
                    Err(_) => far = t,
                }
            }
            reached.push(last.enu);
        }
        let frame = self.scene.frame;
        let outline: Option<Vec<_>> = reached.iter().map(|p| frame.geodetic(*p)).collect();
        let level: Vec<_> = reached.iter().map(|p| [p[0], p[1]]).collect();
        let area_m2 = edges(&level).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>().abs() / 2.0;
        Ok(Footprint { outline: outline.ok_or(NoGround::BeyondRange)?, area_m2, clipped, frame, level })
    }

    /// Where a place is seen, if it is: in the picture, within the site's range and steepness, and no
    /// ground known to stand between. For the cells of a map.
    pub fn seen(&self, place: &Geodetic) -> Option<Projected> {
        let target = self.scene.frame.enu(place);
        let range = target.iter().map(|c| c * c).sum::<f64>().sqrt();
        let limits = self.locator.limits();
        let steep = -target[2] >= range * limits.min_depression.radians().sin();
        if !steep || range > limits.max_range_m {
            return None;
        }
        let seen = self.aim(target)?;
        if !seen.inside {
            return None;
        }
        let hidden = self.scene.hidden([0.0; 3], target);
        (hidden != Some(true)).then_some(Projected { hidden, ..seen })
    }
}

//! A grid of heights in memory, and where a place lies in it.

use crate::base::{Culprit, Error, Kind, Result};
use crate::geo::units::LatLon;

use super::transverse::Transverse;

/// Most posts of one grid: 6,000 on a side, 144 MB as floats.
pub(super) const MAX_POSTS: usize = 36_000_000;

/// What the heights of a grid count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerticalDatum {
    /// Mean sea level: EGM96, or a geoid that is like it to a metre.
    SeaLevel,
    /// The WGS 84 ellipsoid.
    Ellipsoid,
}

/// Which places the columns and rows of a grid are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Projection {
    /// Degrees of longitude and latitude.
    Geographic,
    /// Metres of easting and northing.
    Transverse(Transverse),
}

/// Where the first post of a grid is and how far the next ones are.
#[derive(Clone, Copy, Debug)]
pub(in crate::geo) struct Placement {
    pub(super) projection: Projection,
    /// Of the first post of the first row, the most northern and western: x east, y north.
    pub(super) origin: [f64; 2],
    /// Between columns, eastwards, and between rows, southwards. Both positive.
    pub(super) step: [f64; 2],
}

impl Placement {
    /// Column and row of a place in degrees, with fractions.
    pub(in crate::geo) fn locate(&self, lat: f64, lon: f64) -> [f64; 2] {
        let [x, y] = match &self.projection {
            Projection::Geographic => {
                // A grid may reach over the date line.
                let turns = ((lon - self.origin[0] + 180.0 - 1e-9) / 360.0).floor();
                [lon - 360.0 * turns, lat]
            }
            Projection::Transverse(map) => map.forward(lat, lon),
        };
        [(x - self.origin[0]) / self.step[0], (self.origin[1] - y) / self.step[1]]
    }

    /// The smaller step in metres, roughly.
    pub(super) fn spacing_m(&self) -> f64 {
        match &self.projection {
            Projection::Geographic => {
                let across = self.step[0] * self.origin[1].to_radians().cos().max(0.01);
                111_320.0 * across.min(self.step[1])
            }
            Projection::Transverse(_) => self.step[0].min(self.step[1]),
        }
    }
}

/// Heights, row by row from the north-west.
#[derive(Clone, Debug)]
pub(super) enum Posts {
    /// Whole metres; [`VOID`] is none.
    Whole(Vec<i16>),
    /// Metres; what is no number is none.
    Real(Vec<f32>),
}

/// SRTM's mark for a post without height.
pub(super) const VOID: i16 = i16::MIN;

/// A grid of heights over some part of the Earth.
#[derive(Clone, Debug)]
pub struct ElevationGrid {
    pub(in crate::geo) placement: Placement,
    pub(super) size: [usize; 2],
    posts: Posts,
    pub(in crate::geo) vertical: VerticalDatum,
}

impl ElevationGrid {
    /// A grid over degrees of latitude and longitude. `north_west` is the first post, `step_deg` the
    /// distance [eastwards, southwards] to the next, `size` [columns, rows]; heights in metres, row
    /// by row from the north; what is no number is a void.
    ///
    /// # Errors
    /// For a grid without area, one that is too large, and heights that are not as many as posts.
    pub fn geographic(
        north_west: LatLon,
        step_deg: [f64; 2],
        size: [usize; 2],
        heights_m: Vec<f32>,
        vertical: VerticalDatum,
    ) -> Result<Self> {
        let placement = Placement {
            projection: Projection::Geographic,
            origin: [north_west.lon().degrees(), north_west.lat().degrees()],
            step: step_deg,
        };
        Self::new(placement, size, Posts::Real(heights_m), vertical)
    }

    pub(super) fn new(
        placement: Placement,
        size: [usize; 2],
        posts: Posts,
        vertical: VerticalDatum,
    ) -> Result<Self> {
        check(&placement, size)?;
        let count = match &posts {
            Posts::Whole(p) => p.len(),
            Posts::Real(p) => p.len(),
        };
        if count != size[0] * size[1] {
            let says = format!("{count} heights for {} × {} posts", size[0], size[1]);
            return Err(Error::new(Kind::Malformed, Culprit::Config, says));
        }
        // No place on Earth is higher than 9,000 m or lower than 12,000 m under the sea.
        let sound = |h: f64| (-12_000.0..=9_000.0).contains(&h);
        let wrong = match &posts {
            Posts::Whole(p) => p.iter().position(|h| *h != VOID && !sound(f64::from(*h))),
            Posts::Real(p) => p.iter().position(|h| !h.is_nan() && !sound(f64::from(*h))),
        };
        if let Some(at) = wrong {
            let says =
                format!("the post in column {}, row {} has no height on Earth", at % size[0], at / size[0]);
            return Err(Error::new(Kind::Malformed, Culprit::Config, says)
                .remedy("heights are metres; mark posts without height as nodata"));
        }
        Ok(Self { placement, size, posts, vertical })
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.posts {
            Posts::Whole(p) => p.len() * 2,
            Posts::Real(p) => p.len() * 4,
        }
    }

    fn post(&self, col: usize, row: usize) -> f64 {
        let at = row * self.size[0] + col;
        match &self.posts {
            Posts::Whole(p) => match p[at] {
                VOID => f64::NAN,
                h => f64::from(h),
            },
            Posts::Real(p) => f64::from(p[at]),
        }
    }

    /// The height at a column and row with fractions, bilinear between posts; within one step beyond
    /// the edge that of the edge, so that grids which do not share their edge posts join. Not a
    /// number on a void, which is where one of the posts that count has none.
    pub(in crate::geo) fn height_m(&self, [col, row]: [f64; 2]) -> f64 {
        let whole = |v: f64, count: usize| {
            let v = v.clamp(0.0, (count - 1) as f64);
            let floor = (v as usize).min(count - 2);
            (floor, v - floor as f64)
        };
        let ((c, x), (r, y)) = (whole(col, self.size[0]), whole(row, self.size[1]));
        let mix = |a: f64, b: f64, t: f64| match t {
            // A void counts only where it has weight.
            0.0 => a,
            1.0 => b,
            t => a + t * (b - a),
        };
        mix(
            mix(self.post(c, r), self.post(c + 1, r), x),
            mix(self.post(c, r + 1), self.post(c + 1, r + 1), x),
            y,
        )
    }

    /// The smaller distance between posts in metres, roughly.
    pub(in crate::geo) fn spacing_m(&self) -> f64 {
        self.placement.spacing_m()
    }

    /// Whether a column and row lie between its outermost posts.
    pub(in crate::geo) fn contains(&self, [col, row]: [f64; 2]) -> bool {
        (0.0..=(self.size[0] - 1) as f64).contains(&col) && (0.0..=(self.size[1] - 1) as f64).contains(&row)
    }

    /// Whether a column and row lie in it, or within one step beside it.
    pub(in crate::geo) fn covers(&self, [col, row]: [f64; 2]) -> bool {
        covers(self.size, [col, row])
    }
}

/// What a grid must be like before its heights are read.
pub(super) fn check(placement: &Placement, size: [usize; 2]) -> Result<()> {
    let malformed = |says: String| Err(Error::new(Kind::Malformed, Culprit::Config, says));
    if size.iter().any(|s| *s < 2) {
        return malformed(format!("{} × {} posts have no area", size[0], size[1]));
    }
    if size[0].checked_mul(size[1]).is_none_or(|n| n > MAX_POSTS) {
        let says = format!("{} × {} posts are more than {MAX_POSTS}", size[0], size[1]);
        return Err(Error::new(Kind::TooLarge, Culprit::Config, says).remedy("cut it into several files"));
    }
    let [x, y] = placement.origin;
    let [dx, dy] = placement.step;
    let (limit, span) = match placement.projection {
        Projection::Geographic => ([180.0 + 1e-6, 90.0 + 1e-6], [360.0 + 1e-6, 180.0 + 1e-6]),
        // Metres; the easting may begin with the number of the zone.
        Projection::Transverse(_) => ([5e7, 1e7], [2e6, 2e7]),
    };
    let width = [dx * (size[0] - 1) as f64, dy * (size[1] - 1) as f64];
    let placed = x.abs() <= limit[0] && y.abs() <= limit[1];
    let sized = dx > 0.0 && dy > 0.0 && width[0] <= span[0] && width[1] <= span[1];
    if !(placed && sized) {
        return malformed(format!("a grid from {x}, {y} in steps of {dx}, {dy} does not lie on the Earth"));
    }
    Ok(())
}

pub(super) fn covers(size: [usize; 2], [col, row]: [f64; 2]) -> bool {
    (-1.0..=size[0] as f64).contains(&col) && (-1.0..=size[1] as f64).contains(&row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(heights: &[f32]) -> Result<ElevationGrid> {
        let corner = LatLon::from_degrees(45.0, -72.0).unwrap();
        ElevationGrid::geographic(corner, [0.1, 0.1], [2, 2], heights.to_vec(), VerticalDatum::SeaLevel)
    }

    #[test]
    fn heights_between_posts_are_bilinear_and_a_void_is_one() {
        let g = grid(&[100.0, 200.0, 300.0, f32::NAN]).unwrap();
        assert_eq!(g.height_m([0.0, 0.0]), 100.0);
        assert_eq!(g.height_m([0.5, 0.0]), 150.0);
        assert_eq!(g.height_m([0.0, 0.25]), 150.0);
        assert!(g.height_m([0.5, 0.5]).is_nan());
        assert_eq!(g.height_m([-0.9, -0.9]), 100.0, "beside the edge");
        let at = g.placement.locate(44.95, -71.95);
        assert!((at[0] - 0.5).abs() < 1e-9 && (at[1] - 0.5).abs() < 1e-9, "{at:?}");
        assert!(g.covers([1.9, 1.9]) && !g.covers([2.1, 0.0]) && !g.covers([f64::NAN, 0.0]));
    }

    #[test]
    fn a_grid_over_the_date_line_has_one_side() {
        let placement =
            Placement { projection: Projection::Geographic, origin: [179.0, 10.0], step: [0.5, 0.5] };
        assert_eq!(placement.locate(10.0, -179.5)[0], 3.0);
        assert_eq!(placement.locate(10.0, 179.5)[0], 1.0);
        assert_eq!(placement.locate(10.0, 178.5)[0], -1.0);
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        assert_eq!(grid(&[1.0, 2.0]).unwrap_err().kind(), Kind::Malformed);
        assert!(grid(&[1.0, 2.0, 3.0, 1e9]).unwrap_err().to_string().contains("column 1, row 1"));
        let corner = LatLon::from_degrees(45.0, -72.0).unwrap();
        for (step, size) in
            [([0.1, 0.1], [1, 9]), ([0.0, 0.1], [2, 2]), ([f64::NAN, 0.1], [2, 2]), ([300.0, 0.1], [3, 2])]
        {
            let made = ElevationGrid::geographic(
                corner,
                step,
                size,
                vec![0.0; size[0] * size[1]],
                VerticalDatum::SeaLevel,
            );
            assert_eq!(made.unwrap_err().kind(), Kind::Malformed);
        }
    }
}

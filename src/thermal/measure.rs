//! What a warm shape measures: how far it stands out, how large it is, how warm.

use super::plane::Plane;
use super::{Extent, PixelBox, ThermalImage};

/// At most so many values are taken of a surrounding, evenly.
const SAMPLES: usize = 256;
/// Of a normal distribution, the deviation by the median of absolute differences.
const MAD: f32 = 1.4826;

/// How much warmer the warm quarter of `bbox` is than its surroundings, in robust deviations of
/// these. `floor` is the smallest deviation that a surrounding is taken to have.
pub(super) fn contrast(plane: &Plane, bbox: &PixelBox, floor: f32) -> f32 {
    let [x, y, w, h] = plane.of_frame(bbox);
    let margin = 0.6 * w.max(h) + 3.0;
    let outer = span(x - margin, y - margin, w + 2.0 * margin, h + 2.0 * margin);
    let guard = span(x - 1.0, y - 1.0, w + 2.0, h + 2.0);
    let around =
        |px: i32, py: i32| !((guard[0]..guard[2]).contains(&px) && (guard[1]..guard[3]).contains(&py));
    let mut ring = samples(plane, outer, around);
    let mut inside = samples(plane, span(x, y, w, h), |_, _| true);
    let Some((ground, deviation)) = median_and_deviation(&mut ring) else { return 0.0 };
    if inside.is_empty() {
        return 0.0;
    }
    inside.sort_by(|a, b| b.total_cmp(a));
    inside.truncate(inside.len().div_ceil(4));
    let warm = inside.iter().sum::<f32>() / inside.len() as f32;
    let deviation = deviation.max(floor);
    if deviation > 0.0 { (warm - ground) / deviation } else { 0.0 }
}

/// The warmest part in kelvin, less one pixel in fifty: a dead pixel is no fever.
pub(super) fn warmest(image: &ThermalImage, bbox: &PixelBox) -> Option<f32> {
    let radiometry = image.radiometry()?;
    let [x0, y0, x1, y1] = span(bbox.x, bbox.y, bbox.width, bbox.height);
    let mut counts: Vec<u16> = (y0.max(0)..y1)
        .flat_map(|y| (x0.max(0)..x1).map(move |x| (x, y)))
        .filter_map(|(x, y)| image.at(x as u32, y as u32))
        .collect();
    let last = counts.len().checked_sub(1)?;
    let at = last - (last / 50).max(usize::from(last > 8));
    let (_, count, _) = counts.select_nth_unstable(at);
    radiometry.kelvin(f32::from(*count))
}

/// A shape grown around a peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Left, top, width, height in the plane's pixels.
    pub(super) bbox: [f32; 4],
    /// It goes on beyond where was looked: an edge, a wall, a road.
    pub(super) open: bool,
}

/// Grows the shape around (`x`, `y`): what hangs together there and lies above half of the rise over
/// the surroundings. Looks `3 / 2` `side` far.
pub(super) fn shape(plane: &Plane, x: f32, y: f32, side: f32) -> Option<Shape> {
    let (cx, cy) = (x as i32, y as i32);
    let reach = (1.5 * side) as i32 + 1;
    let near = (side / 2.0) as i32;
    let around = |r: i32| (-r..=r).flat_map(move |dy| (-r..=r).map(move |dx| (cx + dx, cy + dy)));
    let value = |(px, py): (i32, i32)| plane.at(px, py);
    let (seed, top) =
        around(near).filter_map(|at| Some((at, value(at)?))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let mut rim: Vec<f32> = around(reach)
        .filter(|(px, py)| (px - cx).abs() == reach || (py - cy).abs() == reach)
        .filter_map(value)
        .collect();
    let (ground, _) = median_and_deviation(&mut rim)?;
    if top <= ground {
        return None;
    }
    let least = ground + 0.5 * (top - ground);
    let wide = (2 * reach + 1) as usize;
    let slot = |(px, py): (i32, i32)| {
        let (dx, dy) = (px - cx + reach, py - cy + reach);
        let fits = |d: i32| (0..wide as i32).contains(&d);
        (fits(dx) && fits(dy)).then(|| dy as usize * wide + dx as usize)
    };
    let mut seen = vec![false; wide * wide];
    let mut todo = vec![seed];
    let (mut x0, mut y0, mut x1, mut y1, mut open) = (seed.0, seed.1, seed.0, seed.1, false);
    while let Some(at) = todo.pop() {
        let Some(slot) = slot(at) else {
            open |= value(at).is_some_and(|v| v >= least);
            continue;
        };
        if seen[slot] || value(at).is_none_or(|v| v < least) {
            continue;
        }
        seen[slot] = true;
        (x0, y0, x1, y1) = (x0.min(at.0), y0.min(at.1), x1.max(at.0), y1.max(at.1));
        todo.extend([(at.0 - 1, at.1), (at.0 + 1, at.1), (at.0, at.1 - 1), (at.0, at.1 + 1)]);
    }
    let bbox = [x0 as f32, y0 as f32, (x1 - x0 + 1) as f32, (y1 - y0 + 1) as f32];
    Some(Shape { bbox, open })
}

/// Most pixels to a side of what is looked at for an extent.
const MAX_EXTENT: i32 = 160;
/// What is warmer than this share of the rise over the surroundings belongs to a shape. Less than half: legs
/// and cloth are cooler than a head.
const OF_THE_RISE: f32 = 0.4;
/// And than so many deviations of the surroundings.
const OVER_GROUND: f32 = 2.5;

/// The outline of the warm shape in `bbox`: what hangs together with its warmest pixel and is warm enough. `None`
/// where nothing stands out, and where the shape goes on beyond its surroundings.
pub(super) fn extent(plane: &Plane, bbox: &PixelBox, floor: f32) -> Option<Extent> {
    let [x, y, w, h] = plane.of_frame(bbox);
    let margin = 0.6 * w.max(h) + 3.0;
    let outer = span(x - margin, y - margin, w + 2.0 * margin, h + 2.0 * margin);
    let guard = span(x - 1.0, y - 1.0, w + 2.0, h + 2.0);
    let inner = span(x, y, w, h);
    let around =
        |px: i32, py: i32| !((guard[0]..guard[2]).contains(&px) && (guard[1]..guard[3]).contains(&py));
    let (ground, deviation) = median_and_deviation(&mut samples(plane, outer, around))?;
    let mut inside = samples(plane, inner, |_, _| true);
    inside.sort_by(|a, b| b.total_cmp(a));
    inside.truncate(inside.len().div_ceil(4));
    let warm = inside.iter().sum::<f32>() / inside.len().max(1) as f32;
    let rise = (OF_THE_RISE * (warm - ground)).max(OVER_GROUND * deviation.max(floor));
    let least = ground + rise;
    let (wide, high) = (outer[2] - outer[0], outer[3] - outer[1]);
    if wide.max(high) > MAX_EXTENT || warm <= least {
        return None;
    }
    let cells = |b: [i32; 4]| (b[1]..b[3]).flat_map(move |y| (b[0]..b[2]).map(move |x| (x, y)));
    let value = |(px, py): (i32, i32)| plane.at(px, py);
    let (seed, _) =
        cells(inner).filter_map(|at| Some((at, value(at)?))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let slot = |(px, py): (i32, i32)| ((py - outer[1]) * wide + px - outer[0]) as usize;
    let mut seen = vec![false; (wide * high) as usize];
    let mut todo = vec![seed];
    let (mut n, mut sum, mut square) = (0.0f32, [0.0f32; 2], [0.0f32; 3]);
    let mut rises: Vec<f32> = Vec::new();
    while let Some(at @ (px, py)) = todo.pop() {
        if !(outer[0]..outer[2]).contains(&px) || !(outer[1]..outer[3]).contains(&py) {
            // It goes on beyond where was looked: unless the picture ends there.
            if value(at).is_some_and(|v| v >= least) {
                return None;
            }
            continue;
        }
        if std::mem::replace(&mut seen[slot(at)], true) || value(at).is_none_or(|v| v < least) {
            continue;
        }
        let (dx, dy) = ((px - seed.0) as f32, (py - seed.1) as f32);
        n += 1.0;
        rises.push(value(at).unwrap_or(0.0) - ground);
        sum = [sum[0] + dx, sum[1] + dy];
        square = [square[0] + dx * dx, square[1] + dx * dy, square[2] + dy * dy];
        todo.extend([(px - 1, py), (px + 1, py), (px, py - 1), (px, py + 1)]);
    }
    if n == 0.0 {
        return None;
    }
    let mean = sum.map(|s| s / n);
    // A pixel is a square: a twelfth of its side squared in either direction.
    let (a, b, c) = (
        square[0] / n - mean[0] * mean[0] + 1.0 / 12.0,
        square[1] / n - mean[0] * mean[1],
        square[2] / n - mean[1] * mean[1] + 1.0 / 12.0,
    );
    let (middle, apart) = ((a + c) / 2.0, ((a - c) / 2.0).hypot(b));
    let axis = |v: f32| 4.0 * v.max(1.0 / 16.0).sqrt();
    let scale = plane.factor() as f32;
    rises.sort_by(f32::total_cmp);
    let tenth = &rises[rises.len() * 9 / 10..];
    let top = tenth.iter().sum::<f32>() / tenth.len().max(1) as f32;
    let whole = rises.iter().sum::<f32>() / n;
    let centre = [seed.0 as f32 + 0.5 + mean[0], seed.1 as f32 + 0.5 + mean[1]];
    Some(Extent {
        centre: centre.map(|c| c * scale),
        length: axis(middle + apart) * scale,
        width: axis(middle - apart) * scale,
        peak: top / whole.max(1e-3),
    })
}

/// The deviation of the whole frame, from an even share of it.
pub(super) fn deviation(plane: &Plane) -> f32 {
    let (wide, high) = plane.size();
    let mut values = samples(plane, [0, 0, wide as i32, high as i32], |_, _| true);
    median_and_deviation(&mut values).map_or(0.0, |(_, d)| d)
}

/// Whole pixels of a box: left, top, and one beyond right and bottom.
fn span(x: f32, y: f32, w: f32, h: f32) -> [i32; 4] {
    [x.floor() as i32, y.floor() as i32, (x + w).ceil() as i32, (y + h).ceil() as i32]
}

fn samples(plane: &Plane, [x0, y0, x1, y1]: [i32; 4], wanted: impl Fn(i32, i32) -> bool) -> Vec<f32> {
    let all = i64::from((x1 - x0).max(0)) * i64::from((y1 - y0).max(0));
    let step = ((all as f64 / SAMPLES as f64).sqrt().ceil() as usize).max(1);
    let mut values = Vec::with_capacity(SAMPLES);
    for y in (y0..y1).step_by(step) {
        for x in (x0..x1).step_by(step) {
            if wanted(x, y) {
                values.extend(plane.at(x, y));
            }
        }
    }
    values
}

fn median_and_deviation(values: &mut [f32]) -> Option<(f32, f32)> {
    let middle = values.len().checked_sub(1)? / 2;
    let median = *values.select_nth_unstable_by(middle, f32::total_cmp).1;
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    Some((median, MAD * *values.select_nth_unstable_by(middle, f32::total_cmp).1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SampleData, SampleRange, Samples};
    use crate::thermal::Radiometry;

    /// Noise of a few counts around 20,000, and a warm block of 6 x 14 pixels at (30, 20).
    fn scene() -> ThermalImage {
        let mut data: Vec<u16> =
            (0..96 * 64u32).map(|i| 20_000 + (i.wrapping_mul(2_654_435_761) >> 28) as u16).collect();
        for y in 20..34 {
            for x in 30..36 {
                data[y * 96 + x] += 600;
            }
        }
        data[25 * 96 + 32] = 60_000; // a dead pixel
        let samples = Samples::new(96, 64, SampleData::Sixteen(data), SampleRange::Full).unwrap();
        ThermalImage::radiometric(samples, Radiometry::linear(0.01, 100.0))
    }

    fn plane(image: &ThermalImage) -> Plane {
        let mut plane = Plane::new(image.width(), image.height()).unwrap();
        plane.fill(image).unwrap();
        plane
    }

    #[test]
    fn a_warm_block_stands_out_and_its_surroundings_do_not() {
        let plane = plane(&scene());
        let at = |x, y| contrast(&plane, &PixelBox { x, y, width: 6.0, height: 14.0 }, 0.1);
        assert!(at(30.0, 20.0) > 50.0, "{}", at(30.0, 20.0));
        assert!(at(70.0, 30.0).abs() < 3.0, "{}", at(70.0, 30.0));
        assert_eq!(at(900.0, 900.0), 0.0);
    }

    #[test]
    fn a_dead_pixel_is_not_the_temperature() {
        let kelvin = warmest(&scene(), &PixelBox { x: 30.0, y: 20.0, width: 6.0, height: 14.0 }).unwrap();
        assert!((306.0..306.2).contains(&kelvin), "{kelvin}");
        assert_eq!(warmest(&scene(), &PixelBox { x: 200.0, ..PixelBox::default() }), None);
    }

    #[test]
    fn a_shape_is_as_large_as_it_is() {
        let mut image = scene();
        let plane_of = |image: &ThermalImage| plane(image);
        // Without the dead pixel, which would be a shape of its own.
        if let SampleData::Sixteen(v) = image.data() {
            let mut v = v.clone();
            v[25 * 96 + 32] = 20_600;
            image = ThermalImage::white_hot(
                Samples::new(96, 64, SampleData::Sixteen(v), SampleRange::Full).unwrap(),
            );
        }
        let found = shape(&plane_of(&image), 33.0, 27.0, 12.0).unwrap();
        assert_eq!(found, Shape { bbox: [30.0, 20.0, 6.0, 14.0], open: false });
        let small = shape(&plane_of(&image), 33.0, 27.0, 2.0);
        assert!(small.unwrap().open, "{small:?}");
    }

    #[test]
    fn an_outline_is_the_same_whatever_way_it_lies_and_from_whichever_box() {
        // Somebody who lies: 30 by 9 pixels turned by 30 degrees, the head twice as warm.
        let drawn = |turn: f32| {
            let (sin, cos) = turn.to_radians().sin_cos();
            let data = (0..96 * 64u32).map(|i| {
                let (x, y) = ((i % 96) as f32 - 48.0, (i / 96) as f32 - 32.0);
                let (along, across) = ((x * cos + y * sin) / 15.0, (y * cos - x * sin) / 4.5);
                let warm = if along * along + across * across < 1.0 { 600 } else { 0 };
                let head = if warm > 0 && along > 0.7 { 600 } else { 0 };
                20_000 + (i.wrapping_mul(2_654_435_761) >> 28) as u16 + warm + head
            });
            let data = SampleData::Sixteen(data.collect());
            plane(&ThermalImage::white_hot(Samples::new(96, 64, data, SampleRange::Full).unwrap()))
        };
        let whole = PixelBox { x: 33.0, y: 22.0, width: 30.0, height: 20.0 };
        let part = PixelBox { x: 44.0, y: 26.0, width: 17.0, height: 16.0 };
        let lying = drawn(30.0);
        let seen = extent(&lying, &whole, 1.0).unwrap();
        assert!((seen.length - 30.0).abs() < 2.0 && (seen.width - 9.0).abs() < 1.0, "{seen:?}");
        assert!((seen.centre[0] - 48.5).abs() < 1.0 && (seen.centre[1] - 32.5).abs() < 1.0, "{seen:?}");
        assert!(seen.peak > 1.5, "{seen:?}");
        assert!(seen.is(&extent(&lying, &part, 1.0).unwrap()));
        let straight = extent(&drawn(0.0), &whole, 1.0).unwrap();
        assert!((straight.length - seen.length).abs() < 2.0 && !straight.is(&Extent { width: 20.0, ..seen }));
        // What goes on beyond its surroundings has none, and the ground has none.
        assert_eq!(extent(&lying, &PixelBox { width: 4.0, height: 3.0, x: 46.0, y: 31.0 }, 1.0), None);
        assert_eq!(extent(&lying, &PixelBox { x: 5.0, y: 5.0, width: 8.0, height: 8.0 }, 1.0), None);
    }

    #[test]
    fn nothing_in_a_flat_frame() {
        let samples = Samples::new(64, 64, SampleData::Eight(vec![9; 4096]), SampleRange::Full).unwrap();
        let plane = plane(&ThermalImage::white_hot(samples));
        assert_eq!(shape(&plane, 30.0, 30.0, 12.0), None);
        assert_eq!(contrast(&plane, &PixelBox { x: 3.0, y: 3.0, width: 5.0, height: 5.0 }, 0.0), 0.0);
        assert_eq!(deviation(&plane), 0.0);
    }
}

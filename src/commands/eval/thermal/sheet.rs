//! A sheet of cuttings out of thermal pictures, with boxes drawn on them.

use std::convert::Infallible;
use std::path::Path;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X10;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use crate::base::{Culprit, Error, Result};
use crate::thermal::{PixelBox, ThermalImage};

/// Pixels of the picture that a cutting shows, across and down.
const CUT: i32 = 80;
/// How much larger they are drawn.
const ZOOM: i32 = 3;
/// Height of the lines of text below a cutting.
const CAPTION: i32 = 24;
/// Cuttings in a row.
const ACROSS: usize = 6;
/// Cuttings on a sheet.
pub(super) const MOST: usize = 36;

/// One cutting.
pub(super) struct Cutting<'a> {
    /// Out of which picture.
    pub(super) image: &'a ThermalImage,
    /// What stands in the middle.
    pub(super) centre: [f32; 2],
    /// Boxes and their colours.
    pub(super) boxes: Vec<(PixelBox, Rgb888)>,
    /// Two lines below it.
    pub(super) caption: [String; 2],
}

struct Canvas {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if x < self.width && y < self.height {
                let i = (y as usize * self.width as usize + x as usize) * 3;
                self.data[i..i + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

/// Writes a sheet of at most [`MOST`] cuttings as PNG.
pub(super) fn write(path: &Path, cuttings: &[Cutting<'_>]) -> Result<()> {
    let cuttings = &cuttings[..cuttings.len().min(MOST)];
    let side = side_of(CUT);
    let rows = cuttings.len().div_ceil(ACROSS).max(1);
    let (width, height) = (side as u32 * ACROSS as u32, (side + CAPTION) as u32 * rows as u32);
    let mut canvas = Canvas { width, height, data: vec![24; width as usize * height as usize * 3] };
    for (i, cutting) in cuttings.iter().enumerate() {
        let at = Point::new((i % ACROSS) as i32 * side, (i / ACROSS) as i32 * (side + CAPTION));
        let Ok(()) = draw(&mut canvas, at, cutting);
    }
    let format = image::ImageFormat::Png;
    image::save_buffer_with_format(path, &canvas.data, width, height, image::ExtendedColorType::Rgb8, format)
        .map_err(|e| {
            Error::io(Culprit::Disk, format!("cannot write {}", path.display()), std::io::Error::other(e))
        })?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn draw(canvas: &mut Canvas, at: Point, cutting: &Cutting<'_>) -> Result<(), Infallible> {
    let image = cutting.image;
    let corner = |middle: f32, size: u32| (middle as i32 - CUT / 2).clamp(0, (size as i32 - CUT).max(0));
    let (left, top) = (corner(cutting.centre[0], image.width()), corner(cutting.centre[1], image.height()));
    let value = |x: i32, y: i32| image.at((left + x) as u32, (top + y) as u32);
    let mut sorted: Vec<u16> = (0..CUT * CUT).filter_map(|i| value(i % CUT, i / CUT)).collect();
    sorted.sort_unstable();
    let rank =
        |share: f32| sorted.get((share * (sorted.len().max(1) - 1) as f32) as usize).copied().unwrap_or(0);
    let (dark, bright) = (f32::from(rank(0.01)), f32::from(rank(0.995)));
    let pixels = (0..side_of(CUT)).flat_map(|y| (0..side_of(CUT)).map(move |x| (x, y)));
    canvas.draw_iter(pixels.filter_map(|(x, y)| {
        let share = (f32::from(value(x / ZOOM, y / ZOOM)?) - dark) / (bright - dark).max(1.0);
        let grey = (255.0 * share.clamp(0.0, 1.0)) as u8;
        Some(Pixel(at + Point::new(x, y), Rgb888::new(grey, grey, grey)))
    }))?;
    let frame = Rectangle::new(at, Size::new_equal(side_of(CUT) as u32));
    for (b, colour) in &cutting.boxes {
        let place = |v: f32, from: i32| ((v - from as f32) * ZOOM as f32).round() as i32;
        let corner = at + Point::new(place(b.x, left), place(b.y, top));
        let size = Size::new((b.width * ZOOM as f32) as u32, (b.height * ZOOM as f32) as u32);
        let style = PrimitiveStyle::with_stroke(*colour, 1);
        let outline = Rectangle::new(corner, size).into_styled(style);
        // Not over into the neighbour.
        canvas.draw_iter(outline.pixels().filter(|p| frame.contains(p.0)))?;
    }
    let style = MonoTextStyle::new(&FONT_6X10, Rgb888::WHITE);
    for (line, text) in (0..).zip(&cutting.caption) {
        let below = at + Point::new(3, side_of(CUT) + 2 + 10 * line);
        Text::with_baseline(text, below, style, Baseline::Top).draw(canvas)?;
    }
    Ok(())
}

const fn side_of(cut: i32) -> i32 {
    cut * ZOOM
}

//! Elevation models in GeoTIFF: one band of heights in metres, and keys that say where they are.
//!
//! Taken: 16- and 32-bit integers and floats; `ModelPixelScale` with one `ModelTiepoint`; degrees on
//! WGS 84 and the datums that are it to two metres, UTM on those, Gauss-Krüger on CGCS2000; heights
//! above the sea or the ellipsoid. Anything else is refused by name: a model in the wrong place is
//! worse than none. Source: OGC 19-008r4 (GeoTIFF 1.1), sections 7 and 8.

use std::io::{Read, Seek};

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::grid::{self, ElevationGrid, MAX_POSTS, Placement, Posts, Projection, VerticalDatum};
use super::transverse::Transverse;
use crate::base::{Culprit, Error, Kind, Result};

/// Everything a file says before its heights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub placement: Placement,
    pub size: [usize; 2],
    vertical: VerticalDatum,
    nodata: Option<f64>,
}

impl ElevationGrid {
    /// Reads an elevation model from a GeoTIFF.
    ///
    /// # Errors
    /// For a file that is none, one that is too large, and a projection, datum or unit that is not
    /// taken, by its name or EPSG code.
    pub fn from_geotiff(file: impl Read + Seek) -> Result<Self> {
        let mut decoder = open(file)?;
        let header = header(&mut decoder)?;
        let heights = match decoder.read_image().map_err(broken)? {
            DecodingResult::I16(v) => real(v, f32::from),
            DecodingResult::U16(v) => real(v, f32::from),
            DecodingResult::I32(v) => real(v, |h| h as f32),
            DecodingResult::F32(v) => v,
            DecodingResult::F64(v) => real(v, |h| h as f32),
            _ => {
                return Err(unsupported("heights of this kind of number")
                    .remedy("convert it to 16-bit integers or 32-bit floats"));
            }
        };
        // As the reader rounded it, so that it compares.
        let nodata = header.nodata.map(|n| n as f32);
        let void = |h: f32| Some(h) == nodata || h == f32::from(grid::VOID) || !h.is_finite();
        let heights = heights.into_iter().map(|h| if void(h) { f32::NAN } else { h }).collect();
        Self::new(header.placement, header.size, Posts::Real(heights), header.vertical)
    }
}

fn real<T>(values: Vec<T>, to: impl Fn(T) -> f32) -> Vec<f32> {
    values.into_iter().map(to).collect()
}

/// Reads what a file says before its heights.
pub(super) fn read_header(file: impl Read + Seek) -> Result<Header> {
    header(&mut open(file)?)
}

fn open<R: Read + Seek>(file: R) -> Result<Decoder<R>> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_POSTS * 4;
    limits.intermediate_buffer_size = MAX_POSTS * 4;
    Ok(Decoder::new(file).map_err(broken)?.with_limits(limits))
}

fn header<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<Header> {
    let (width, height) = decoder.dimensions().map_err(broken)?;
    let size = [width as usize, height as usize];
    match decoder.colortype().map_err(broken)? {
        tiff::ColorType::Gray(16 | 32 | 64) => {}
        other => {
            return Err(unsupported(&format!("{other:?}"))
                .remedy("an elevation model has one band of 16- or 32-bit heights"));
        }
    }
    // With white for zero the reader would turn every height over.
    if decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(broken)? != Some(1) {
        return Err(unsupported("its highest place as black").remedy("write it anew with gdal_translate"));
    }
    let numbers = |decoder: &mut Decoder<R>, tag: Tag| -> Result<Option<Vec<f64>>> {
        let value = decoder.find_tag(tag).map_err(broken)?;
        value.map(|v| v.into_f64_vec().map_err(broken)).transpose()
    };
    let scale = numbers(decoder, Tag::ModelPixelScaleTag)?;
    let tie = numbers(decoder, Tag::ModelTiepointTag)?;
    let (Some([sx, sy, ..]), Some([i, j, _, x, y, _])) = (scale.as_deref(), tie.as_deref()) else {
        return Err(unsupported("a file that is not placed by ModelPixelScale and one ModelTiepoint")
            .remedy("write it anew with gdalwarp -t_srs EPSG:4326"));
    };
    let keys = Keys::read(decoder)?;
    let projection = keys.projection()?;
    // The first pixel's middle, which is the post.
    let half = match keys.get(1025).unwrap_or(1) {
        1 => 0.5,
        2 => 0.0,
        other => return Err(unsupported(&format!("raster type {other}"))),
    };
    let placement =
        Placement { projection, origin: [x + (half - i) * sx, y - (half - j) * sy], step: [*sx, *sy] };
    grid::check(&placement, size)?;
    let nodata = match decoder.find_tag(Tag::GdalNodata).map_err(broken)? {
        Some(text) => text.into_string().ok().and_then(|t| t.trim_matches(['\0', ' ']).parse().ok()),
        None => None,
    };
    Ok(Header { placement, size, vertical: keys.vertical()?, nodata })
}

/// The directory of keys: numbers that were written in place. Those that stand elsewhere are names
/// and parameters of projections that are not taken.
struct Keys(Vec<[u16; 2]>);

impl Keys {
    fn read<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<Self> {
        let Some(value) = decoder.find_tag(Tag::GeoKeyDirectoryTag).map_err(broken)? else {
            return Err(unsupported("a TIFF without GeoTIFF keys")
                .remedy("write it anew with gdalwarp -t_srs EPSG:4326"));
        };
        let all = value.into_u16_vec().map_err(broken)?;
        let keys = all.chunks_exact(4).skip(1).filter(|k| k[1] == 0).map(|k| [k[0], k[3]]).collect();
        Ok(Self(keys))
    }

    fn get(&self, key: u16) -> Option<u16> {
        self.0.iter().find(|k| k[0] == key).map(|k| k[1])
    }

    fn unit(&self, key: u16, wanted: u16, name: &str) -> Result<()> {
        match self.get(key) {
            None => Ok(()),
            Some(unit) if unit == wanted => Ok(()),
            Some(unit) => Err(unsupported(&format!("EPSG:{unit} as unit"))
                .remedy(format!("write it anew with gdalwarp in {name}"))),
        }
    }

    fn projection(&self) -> Result<Projection> {
        match self.get(1024) {
            Some(2) => {
                self.unit(2054, 9102, "degrees")?;
                match self.get(2048) {
                    // WGS 84 in two and three dimensions, ETRS89, CGCS2000, NAD83: alike to two metres.
                    Some(4326 | 4979 | 4258 | 4490 | 4269) => Ok(Projection::Geographic),
                    other => Err(elsewhere(other)),
                }
            }
            Some(1) => {
                self.unit(3076, 9001, "metres")?;
                let code = self.get(3072);
                code.and_then(Transverse::epsg).map(Projection::Transverse).ok_or_else(|| elsewhere(code))
            }
            other => Err(elsewhere(other)),
        }
    }

    fn vertical(&self) -> Result<VerticalDatum> {
        self.unit(4099, 9001, "metres")?;
        match self.get(4096) {
            None if self.get(2048) == Some(4979) => Ok(VerticalDatum::Ellipsoid),
            // Nothing said: heights of maps are above the sea.
            None => Ok(VerticalDatum::SeaLevel),
            // EGM96, EGM2008, EGM84, EVRF2007 and 2000, NAVD88, Yellow Sea 1985: the sea to a metre or two.
            Some(5773 | 3855 | 5798 | 5621 | 5730 | 5703 | 5737) => Ok(VerticalDatum::SeaLevel),
            Some(5030 | 4979) => Ok(VerticalDatum::Ellipsoid),
            Some(code) => Err(unsupported(&format!("heights above EPSG:{code}"))
                .remedy("convert the heights to EGM96 (EPSG:5773) or to the WGS 84 ellipsoid")),
        }
    }
}

fn elsewhere(code: Option<u16>) -> Error {
    let name = match code {
        Some(32_767) | None => "a projection of its own".to_owned(),
        Some(code) => format!("EPSG:{code}"),
    };
    unsupported(&name).remedy("write it anew with gdalwarp -t_srs EPSG:4326")
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::Unsupported, Culprit::Config, format!("an elevation model with {what} is not taken"))
}

fn broken(e: tiff::TiffError) -> Error {
    use tiff::TiffError as T;
    let (kind, says) = match &e {
        T::LimitsExceeded => (Kind::TooLarge, "it is larger than this box reads"),
        T::UnsupportedError(_) => (Kind::Unsupported, "this kind of TIFF is not read"),
        _ => (Kind::Malformed, "this is not a sound TIFF"),
    };
    Error::new(kind, Culprit::Config, says).with_source(e)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tiff::encoder::{Compression, TiffEncoder, colortype};

    use super::*;

    /// A GeoTIFF of 3 × 2 posts with these keys, its corner at x, y.
    fn geotiff(keys: &[[u16; 2]], [x, y]: [f64; 2], step: f64) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let mut tiff =
            TiffEncoder::new(&mut out).unwrap().with_compression(Compression::Deflate(Default::default()));
        let mut image = tiff.new_image::<colortype::Gray32Float>(3, 2).unwrap();
        let mut directory = vec![1, 1, 0, keys.len() as u16];
        directory.extend(keys.iter().flat_map(|[key, value]| [*key, 0, 1, *value]));
        let tags = image.encoder();
        tags.write_tag(Tag::ModelPixelScaleTag, &[step, step, 0.0][..]).unwrap();
        tags.write_tag(Tag::ModelTiepointTag, &[0.0, 0.0, 0.0, x, y, 0.0][..]).unwrap();
        tags.write_tag(Tag::GeoKeyDirectoryTag, &directory[..]).unwrap();
        tags.write_tag(Tag::GdalNodata, "-9999").unwrap();
        image.write_data(&[100.0f32, 110.0, 120.0, 200.0, -9999.0, 220.0]).unwrap();
        out.into_inner()
    }

    fn read(bytes: Vec<u8>) -> Result<ElevationGrid> {
        ElevationGrid::from_geotiff(Cursor::new(bytes))
    }

    const WGS84: [[u16; 2]; 2] = [[1024, 2], [2048, 4326]];

    #[test]
    fn posts_lie_where_the_keys_say() {
        let height = |grid: &ElevationGrid, lat, lon| grid.height_m(grid.placement.locate(lat, lon));
        // Pixels are areas: the first post is half a step from the corner.
        let areas = read(geotiff(&WGS84, [120.0, 31.0], 0.1)).unwrap();
        assert!((height(&areas, 30.95, 120.05) - 100.0).abs() < 1e-6);
        assert!((height(&areas, 30.95, 120.15) - 110.0).abs() < 1e-6);
        assert!((height(&areas, 30.85, 120.05) - 200.0).abs() < 1e-6);
        assert!(height(&areas, 30.9, 120.14).is_nan(), "nodata");
        assert_eq!(areas.vertical, VerticalDatum::SeaLevel);
        // Pixels are points.
        let points = read(geotiff(&[[1024, 2], [1025, 2], [2048, 4979]], [120.0, 31.0], 0.1)).unwrap();
        assert!((height(&points, 31.0, 120.0) - 100.0).abs() < 1e-6);
        assert_eq!(points.vertical, VerticalDatum::Ellipsoid);
        // UTM zone 51 north. To 30 degrees the meridian is 3,320,113.398 m long.
        let utm =
            read(geotiff(&[[1024, 1], [1025, 2], [3072, 32_651]], [500_000.0, 3_320_000.0], 30.0)).unwrap();
        let [col, row] = utm.placement.locate(30.0, 123.0);
        let south = (3_320_000.0 - 0.9996 * 3_320_113.398) / 30.0;
        assert!(col.abs() < 1e-6 && (row - south).abs() < 1e-4, "{col} {row}");
    }

    #[test]
    fn what_is_not_taken_is_refused_by_name() {
        let says = |keys: &[[u16; 2]]| read(geotiff(keys, [120.0, 31.0], 0.1)).unwrap_err().to_string();
        assert!(says(&[[1024, 1], [3072, 3857]]).contains("EPSG:3857"));
        assert!(says(&[[1024, 1], [3072, 32_767]]).contains("a projection of its own"));
        assert!(says(&[[1024, 2], [2048, 4214]]).contains("EPSG:4214"));
        assert!(says(&[[1024, 2], [2048, 4326], [4096, 5776]]).contains("EPSG:5776"));
        assert!(says(&[[1024, 2], [2048, 4326], [4099, 9002]]).contains("EPSG:9002 as unit"));
        assert!(says(&[]).contains("gdalwarp"));
        let lost = read(geotiff(&WGS84, [500.0, 31.0], 0.1)).unwrap_err();
        assert!(lost.to_string().contains("does not lie on the Earth"), "{lost}");
    }

    #[test]
    fn a_file_that_ends_early_is_no_model() {
        let whole = geotiff(&WGS84, [120.0, 31.0], 0.1);
        for end in 0..whole.len() {
            if let Err(e) = read(whole[..end].to_vec()) {
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
        assert!(read(whole[..40].to_vec()).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_answered(at in 0usize..400, byte: u8) {
            let mut bytes = geotiff(&WGS84, [120.0, 31.0], 0.1);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(grid) = read(bytes) {
                prop_assert!(grid.size[0] * grid.size[1] <= MAX_POSTS);
            }
        }
    }
}

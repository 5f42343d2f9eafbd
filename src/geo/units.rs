//! Units that cost lives when they are confused: degrees and radians, the three kinds of height.

use std::f64::consts::{PI, TAU};
use std::fmt;

/// An angle. Kept in radians, read and written in either unit by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Angle(f64);

impl Angle {
    /// Of no size.
    pub const ZERO: Self = Self(0.0);

    /// From degrees.
    pub const fn from_degrees(degrees: f64) -> Self {
        Self(degrees.to_radians())
    }

    /// From radians.
    pub const fn from_radians(radians: f64) -> Self {
        Self(radians)
    }

    /// In degrees.
    pub const fn degrees(self) -> f64 {
        self.0.to_degrees()
    }

    /// In radians.
    pub const fn radians(self) -> f64 {
        self.0
    }

    /// The same direction between -180 and 180 degrees.
    pub fn signed(self) -> Self {
        Self((self.0 + PI).rem_euclid(TAU) - PI)
    }

    /// The same direction between 0 and 360 degrees.
    pub fn compass(self) -> Self {
        Self(self.0.rem_euclid(TAU))
    }

    /// Part of the way to `other`, the short way round: 0 is here, 1 is there.
    pub fn towards(self, other: Self, part: f64) -> Self {
        Self(self.0 + Self(other.0 - self.0).signed().0 * part)
    }
}

impl std::ops::Add for Angle {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::Sub for Angle {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl std::ops::Neg for Angle {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Angle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}°", self.degrees())
    }
}

/// A place on the WGS 84 ellipsoid, without a height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatLon {
    lat: Angle,
    lon: Angle,
}

impl LatLon {
    /// Geodetic latitude, north positive, and longitude, east positive. `None` for a latitude
    /// beyond 90 degrees, a longitude beyond 180, and what is not a number.
    pub fn from_degrees(lat: f64, lon: f64) -> Option<Self> {
        (lat.abs() <= 90.0 && lon.abs() <= 180.0)
            .then_some(Self { lat: Angle::from_degrees(lat), lon: Angle::from_degrees(lon) })
    }

    /// Geodetic latitude, north positive.
    pub fn lat(self) -> Angle {
        self.lat
    }

    /// Longitude, east positive.
    pub fn lon(self) -> Angle {
        self.lon
    }
}

/// Metres above the WGS 84 ellipsoid (HAE): what a satellite receiver measures.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct EllipsoidHeight(pub f64);

/// Metres above mean sea level (MSL), that is above the EGM96 geoid: what maps and SRTM tiles say.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct SeaLevelHeight(pub f64);

/// Metres above the place of take-off: what a barometer that was zeroed there says.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TakeoffHeight(pub f64);

/// A height, as its source gives it. Turning one kind into another needs a geoid, or the height of
/// the place of take-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Height {
    /// Above the ellipsoid.
    Ellipsoid(EllipsoidHeight),
    /// Above sea level.
    SeaLevel(SeaLevelHeight),
    /// Above the place of take-off.
    Takeoff(TakeoffHeight),
}

/// A point in space: WGS 84, height above the ellipsoid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geodetic {
    /// Where on the ellipsoid.
    pub at: LatLon,
    /// How high above it.
    pub height: EllipsoidHeight,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_turn_the_short_way() {
        let a = Angle::from_degrees;
        assert!((a(350.0).towards(a(10.0), 0.5).compass().degrees() - 0.0).abs() < 1e-9);
        assert!((a(-170.0).towards(a(170.0), 0.25).signed().degrees() + 175.0).abs() < 1e-9);
        assert!((a(540.0).signed().degrees().abs() - 180.0).abs() < 1e-9);
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        assert!(LatLon::from_degrees(90.0, -180.0).is_some());
        for (lat, lon) in [(90.1, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(LatLon::from_degrees(lat, lon).is_none(), "{lat} {lon}");
        }
    }
}

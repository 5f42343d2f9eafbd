//! What a simulated flight is made of: landscape, weather, camera, path, telemetry, faults.
//!
//! A plan is TOML or JSON; whatever it leaves out has a default that makes a plausible night. All of
//! it is bounded, so that a plan from elsewhere costs bounded memory and time.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{Culprit, Error, Kind, Result};
use crate::geo::{Angle, EllipsoidHeight, Geodetic, LatLon, PoseSigma};

use super::fault::FaultPlan;

/// Largest plan file that is read.
const MAX_PLAN_BYTES: u64 = 1 << 20;
/// Most objects and faults that a plan may name.
const MAX_NAMED: usize = 1000;
/// Longest flight: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// A whole flight.
///
/// ```
/// let plan = vigil::sim::FlightPlan::parse("seed = 7\n[path]\nheight_m = 80")?;
/// assert_eq!(plan.scene.people, 3);
/// # Ok::<(), vigil::base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlightPlan {
    /// Everything random comes from it.
    pub seed: u64,
    /// How long the flight takes.
    pub seconds: f64,
    /// When it starts, by the drone's clock.
    pub start: Timestamp,
    /// The landscape and what is in it.
    pub scene: ScenePlan,
    /// How warm it is, and how wet.
    pub weather: Weather,
    /// The thermal camera.
    pub camera: CameraPlan,
    /// Where it flies and looks.
    pub path: PathPlan,
    /// What the drone says of itself, and how wrong that is.
    pub telemetry: TelemetryPlan,
    /// What goes wrong on purpose.
    #[serde(rename = "fault")]
    pub faults: Vec<FaultPlan>,
}

/// The landscape: a square around a place, its sides north-south and east-west.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScenePlan {
    /// Its middle: latitude and longitude in degrees, and the ground's height above the ellipsoid
    /// there in metres. With [`ScenePlan::terrain`] the height comes from the tiles.
    pub origin: [f64; 3],
    /// Its sides in metres. Beyond them the ground goes on as in a mirror, and bare.
    pub side_m: f64,
    /// How far hilltops stand above the valleys, in metres; 0 is level ground.
    pub hills_m: f64,
    /// A folder of elevation tiles (`.hgt`, GeoTIFF) instead of made-up hills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terrain: Option<PathBuf>,
    /// A road across.
    pub road: bool,
    /// A pond.
    pub water: bool,
    /// Trees in a hectare, on average; they stand in groves and rows.
    pub trees_per_ha: f64,
    /// How many leaves lie behind each other in a crown, seen from above: at 1 a third of it is gaps.
    pub leaf_layers: f64,
    /// Stones in a hectare, of 0.2 to 1.2 m.
    pub stones_per_ha: f64,
    /// Hollows in a hectare.
    pub hollows_per_ha: f64,
    /// Cars, every second one warm.
    pub vehicles: u32,
    /// Cows, deer and dogs.
    pub animals: u32,
    /// Road signs and poles.
    pub signs: u32,
    /// People, at random places: standing, walking, lying in the open, in weeds or under a crown.
    pub people: u32,
    /// Objects at places of your own.
    #[serde(rename = "object")]
    pub objects: Vec<ObjectPlan>,
}

/// One object at a place of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectPlan {
    /// What.
    pub kind: ObjectKind,
    /// Metres east and north of the middle.
    pub at: [f64; 2],
    /// Where it faces, in degrees on the compass.
    #[serde(default)]
    pub heading_deg: f64,
    /// What hides it.
    #[serde(default)]
    pub cover: Cover,
    /// How much warmer than the air its surface is, in kelvin. Otherwise what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmer_k: Option<f64>,
    /// Length in metres of a stone. Otherwise 0.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_m: Option<f64>,
}

/// What an object is, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A person who stands.
    PersonStanding,
    /// A person who walks to and fro.
    PersonWalking,
    /// A person who sits on the ground.
    PersonSitting,
    /// A person who lies on the ground.
    PersonLying,
    /// A car that was driven lately: its bonnet and tyres are warm.
    CarWarm,
    /// A car that stood for long.
    CarCold,
    /// A cow that stands or grazes.
    CowStanding,
    /// A cow that lies.
    CowLying,
    /// A deer that walks.
    Deer,
    /// A dog that runs about.
    Dog,
    /// A stone, warm from the day.
    Stone,
    /// A sign on a pole.
    Sign,
    /// A tree.
    Tree,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::PersonStanding,
        Self::PersonWalking,
        Self::PersonSitting,
        Self::PersonLying,
        Self::CarWarm,
        Self::CarCold,
        Self::CowStanding,
        Self::CowLying,
        Self::Deer,
        Self::Dog,
        Self::Stone,
        Self::Sign,
        Self::Tree,
    ];

    /// The coarse class that a search is about.
    pub fn class(self) -> ObjectClass {
        match self {
            Self::PersonStanding | Self::PersonWalking | Self::PersonSitting | Self::PersonLying => {
                ObjectClass::Person
            }
            Self::CarWarm | Self::CarCold => ObjectClass::Vehicle,
            Self::CowStanding | Self::CowLying | Self::Deer | Self::Dog => ObjectClass::Animal,
            Self::Stone => ObjectClass::Stone,
            Self::Sign => ObjectClass::Sign,
            Self::Tree => ObjectClass::Tree,
        }
    }
}

/// What an object is, for whoever counts finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectClass {
    /// A person.
    Person,
    /// A car.
    Vehicle,
    /// An animal.
    Animal,
    /// A stone.
    Stone,
    /// A sign or a pole.
    Sign,
    /// A tree.
    Tree,
}

/// What hides an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cover {
    /// Nothing.
    #[default]
    Open,
    /// Weeds around and over it.
    Weeds,
    /// The crown of a tree, metres above it.
    Crown,
    /// It lies in a hollow.
    Hollow,
}

/// How warm it is, and how wet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weather {
    /// Of the air, in degrees Celsius.
    pub air_c: f64,
    /// Rain in millimetres an hour: streaks, a veil, cold wet clothes, ground without contrast.
    pub rain_mm_h: f64,
    /// How much of the day's sun stones, roads and walls still hold, in kelvin: 15 soon after sunset, 2
    /// before dawn.
    pub sun_k: f64,
}

/// The thermal camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraPlan {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Horizontal field of view in degrees.
    pub fov_deg: f64,
    /// Frames a second.
    pub fps: f64,
    /// Noise of one pixel in one frame (NETD), in millikelvin.
    pub netd_mk: f64,
    /// Spread of the lens, one standard deviation in pixels.
    pub blur_px: f64,
    /// Whether 8-bit video shows warm as dark.
    pub black_hot: bool,
    /// 16-bit counts of so many kelvin each instead of 8-bit video: 0.04 and 0.01 are usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kelvin_per_count: Option<f64>,
    /// Seconds between two flat-field corrections, each of which holds the picture for 0.7 s; 0: none.
    pub ffc_every_s: f64,
}

/// Where the drone flies: strips to and fro over the square, then strips across them, and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathPlan {
    /// Metres above the ground, which is followed loosely.
    pub height_m: f64,
    /// Metres a second over the ground.
    pub speed_m_s: f64,
    /// Where the camera looks: -90 is straight down, -30 is far ahead.
    pub pitch_deg: f64,
    /// Metres between strips. Otherwise a little less than the picture is wide on the ground.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing_m: Option<f64>,
    /// Heading of the first strip, in degrees on the compass.
    pub heading_deg: f64,
    /// Sides in metres of the square that is flown, around the middle. Otherwise the whole scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side_m: Option<f64>,
}

/// What the drone says, and how wrong it is. Each deviation is one standard deviation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryPlan {
    /// Messages a second.
    pub hz: f64,
    /// Horizontal error of the position, that wanders over a minute, in metres.
    pub position_m: f64,
    /// The same, up and down.
    pub height_m: f64,
    /// Error of the direction on the compass, that wanders over two minutes, in degrees.
    pub yaw_deg: f64,
    /// Error of what the gimbal takes for level, in degrees: pitch.
    pub pitch_deg: f64,
    /// The same: roll.
    pub roll_deg: f64,
}

impl Default for FlightPlan {
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 60.0,
            start: Timestamp::constant(1_768_082_400, 0), // 10 January 2026, 22:00 UTC
            scene: ScenePlan::default(),
            weather: Weather::default(),
            camera: CameraPlan::default(),
            path: PathPlan::default(),
            telemetry: TelemetryPlan::default(),
            faults: Vec::new(),
        }
    }
}

impl Default for ScenePlan {
    fn default() -> Self {
        Self {
            origin: [30.2672, 120.1528, 18.0],
            side_m: 200.0,
            hills_m: 0.0,
            terrain: None,
            road: true,
            water: true,
            trees_per_ha: 14.0,
            leaf_layers: 1.4,
            stones_per_ha: 12.0,
            hollows_per_ha: 2.0,
            vehicles: 2,
            animals: 3,
            signs: 3,
            people: 3,
            objects: Vec::new(),
        }
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self { air_c: 7.0, rain_mm_h: 0.0, sun_k: 6.0 }
    }
}

impl Default for CameraPlan {
    fn default() -> Self {
        Self {
            size: [640, 512],
            fov_deg: 32.0,
            fps: 10.0,
            netd_mk: 60.0,
            blur_px: 0.75,
            black_hot: false,
            kelvin_per_count: None,
            ffc_every_s: 120.0,
        }
    }
}

impl Default for PathPlan {
    fn default() -> Self {
        Self {
            height_m: 60.0,
            speed_m_s: 6.0,
            pitch_deg: -65.0,
            spacing_m: None,
            heading_deg: 0.0,
            side_m: None,
        }
    }
}

/// A small drone with a good satellite fix: what its maker's data sheet says, roughly.
impl Default for TelemetryPlan {
    fn default() -> Self {
        Self { hz: 10.0, position_m: 1.5, height_m: 2.0, yaw_deg: 1.5, pitch_deg: 0.4, roll_deg: 0.4 }
    }
}

impl TelemetryPlan {
    /// The same deviations as a [`crate::geo::Pose`] carries them.
    pub fn sigma(&self) -> PoseSigma {
        PoseSigma {
            horizontal_m: self.position_m,
            vertical_m: self.height_m,
            yaw: Angle::from_degrees(self.yaw_deg),
            pitch: Angle::from_degrees(self.pitch_deg),
            roll: Angle::from_degrees(self.roll_deg),
            field_of_view: Angle::ZERO,
        }
    }
}

impl ScenePlan {
    /// Its middle on the ground.
    pub(super) fn middle(&self) -> Result<Geodetic> {
        let [lat, lon, hae] = self.origin;
        LatLon::from_degrees(lat, lon)
            .filter(|at| at.lat().degrees().abs() <= 85.0 && (-500.0..=9000.0).contains(&hae))
            .map(|at| Geodetic { at, height: EllipsoidHeight(hae) })
            .ok_or_else(|| wrong("scene.origin", "latitude (to 85), longitude, metres above the ellipsoid"))
    }
}

impl FlightPlan {
    /// Reads and checks a plan: JSON if the name ends so, otherwise TOML.
    ///
    /// # Errors
    /// For a file that cannot be read, is too large, or says what no flight is.
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let cannot = |e| Error::io(Culprit::Request, format!("cannot read {name}"), e);
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(cannot)?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_PLAN_BYTES + 1), &mut text)
            .map_err(cannot)?;
        if text.len() as u64 > MAX_PLAN_BYTES {
            let says = format!("the plan has more than {MAX_PLAN_BYTES} bytes");
            return Err(Error::new(Kind::TooLarge, Culprit::Request, says).context(name));
        }
        let plan = if path.extension().is_some_and(|e| e == "json") {
            serde_json::from_str(&text).map_err(|e| Error::config(format!("the plan is wrong: {e}")))
        } else {
            Self::parse_unchecked(&text)
        };
        plan.and_then(|plan: Self| plan.check().map(|()| plan)).map_err(|e| e.context(name))
    }

    /// Reads and checks a plan in TOML.
    ///
    /// # Errors
    /// As [`FlightPlan::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let plan = Self::parse_unchecked(text)?;
        plan.check()?;
        Ok(plan)
    }

    fn parse_unchecked(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.as_bytes().get(..span.start)).unwrap_or_default();
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            // What it quotes of the text may have lines of its own.
            let says: String = e.message().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            Error::config(format!("line {line}: the plan is wrong: {says}"))
        })
    }

    /// The plan in TOML, whole.
    ///
    /// # Errors
    /// For none that [`FlightPlan::check`] accepts.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::internal("the plan cannot be written as TOML").with_source(e))
    }

    /// Whether a flight can be made of it.
    ///
    /// # Errors
    /// Names the key and what it may be.
    pub fn check(&self) -> Result<()> {
        let within = |key: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(wrong(key, &format!("{low} to {high}, not {value}")))
            }
        };
        self.scene.middle()?;
        let (scene, camera, path, telemetry) = (&self.scene, &self.camera, &self.path, &self.telemetry);
        within("seconds", self.seconds, 0.1, MAX_SECONDS)?;
        within("scene.side_m", scene.side_m, 20.0, 2000.0)?;
        within("scene.hills_m", scene.hills_m, 0.0, 100.0)?;
        let hectares = scene.side_m * scene.side_m / 10_000.0;
        for (key, value, most) in [
            ("scene.trees_per_ha", scene.trees_per_ha, 400.0),
            ("scene.stones_per_ha", scene.stones_per_ha, 400.0),
            ("scene.hollows_per_ha", scene.hollows_per_ha, 100.0),
        ] {
            within(key, value, 0.0, most)?;
            if value * hectares > 20_000.0 {
                return Err(wrong(key, "few enough for 20,000 in all"));
            }
        }
        within("scene.leaf_layers", scene.leaf_layers, 0.1, 4.0)?;
        for (key, value) in [
            ("scene.vehicles", scene.vehicles),
            ("scene.animals", scene.animals),
            ("scene.signs", scene.signs),
            ("scene.people", scene.people),
        ] {
            within(key, f64::from(value), 0.0, 1000.0)?;
        }
        within("weather.air_c", self.weather.air_c, -40.0, 45.0)?;
        within("weather.rain_mm_h", self.weather.rain_mm_h, 0.0, 100.0)?;
        within("weather.sun_k", self.weather.sun_k, 0.0, 30.0)?;
        for side in camera.size {
            within("camera.size", f64::from(side), 32.0, 2048.0)?;
        }
        if camera.size.iter().any(|s| s % 2 == 1) {
            return Err(wrong("camera.size", "even numbers, as video is"));
        }
        within("camera.fov_deg", camera.fov_deg, 2.0, 120.0)?;
        within("camera.fps", camera.fps, 0.5, 60.0)?;
        within("camera.netd_mk", camera.netd_mk, 0.0, 2000.0)?;
        within("camera.blur_px", camera.blur_px, 0.0, 2.0)?;
        if let Some(k) = camera.kelvin_per_count {
            within("camera.kelvin_per_count", k, 0.006, 0.2)?;
        }
        within("camera.ffc_every_s", camera.ffc_every_s, 0.0, 3600.0)?;
        if camera.ffc_every_s > 0.0 && camera.ffc_every_s < 2.0 {
            return Err(wrong("camera.ffc_every_s", "0, or 2 and more"));
        }
        within("path.height_m", path.height_m, 10.0, 500.0)?;
        within("path.speed_m_s", path.speed_m_s, 0.0, 40.0)?;
        within("path.pitch_deg", path.pitch_deg, -90.0, -15.0)?;
        within("path.heading_deg", path.heading_deg, -360.0, 360.0)?;
        if let Some(spacing) = path.spacing_m {
            within("path.spacing_m", spacing, 4.0, 500.0)?;
        }
        if let Some(side) = path.side_m {
            within("path.side_m", side, 10.0, 2000.0)?;
        }
        within("telemetry.hz", telemetry.hz, 0.1, 100.0)?;
        within("telemetry.position_m", telemetry.position_m, 0.0, 100.0)?;
        within("telemetry.height_m", telemetry.height_m, 0.0, 100.0)?;
        for (key, value) in [
            ("telemetry.yaw_deg", telemetry.yaw_deg),
            ("telemetry.pitch_deg", telemetry.pitch_deg),
            ("telemetry.roll_deg", telemetry.roll_deg),
        ] {
            within(key, value, 0.0, 20.0)?;
        }
        if scene.objects.len() > MAX_NAMED || self.faults.len() > MAX_NAMED {
            return Err(wrong("object and fault", &format!("at most {MAX_NAMED} each")));
        }
        for object in &scene.objects {
            for at in object.at {
                within("object.at", at, -scene.side_m, scene.side_m)?;
            }
            within("object.heading_deg", object.heading_deg, -360.0, 360.0)?;
            within("object.warmer_k", object.warmer_k.unwrap_or(0.0), -40.0, 80.0)?;
            within("object.size_m", object.size_m.unwrap_or(0.6), 0.05, 3.0)?;
        }
        self.faults.iter().try_for_each(FaultPlan::check)
    }

    /// How many frames the flight has.
    pub fn frames(&self) -> u64 {
        (self.seconds * self.camera.fps).round().max(1.0) as u64
    }
}

pub(super) fn wrong(key: &str, wanted: &str) -> Error {
    Error::config(format!("{key} of the flight must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plan_survives_being_written() {
        let mut plan = FlightPlan::default();
        plan.scene.objects.push(ObjectPlan {
            kind: ObjectKind::PersonLying,
            at: [10.0, -4.5],
            heading_deg: 30.0,
            cover: Cover::Weeds,
            warmer_k: Some(5.0),
            size_m: None,
        });
        plan.faults.push("gps-jump@10..20=40,-30".parse().unwrap());
        assert_eq!(FlightPlan::parse(&plan.to_toml().unwrap()).unwrap(), plan);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FlightPlan>(&json).unwrap(), plan);
    }

    #[test]
    fn what_no_flight_is_is_named() {
        for (text, says) in [
            ("seed = 1\nspeed = 3", "line 2"),
            ("[path]\npitch_deg = -5", "path.pitch_deg of the flight must be -90 to -15, not -5"),
            ("[scene]\nside_m = 5000", "scene.side_m"),
            ("[scene]\nside_m = 2000\ntrees_per_ha = 300", "scene.trees_per_ha"),
            ("[camera]\nsize = [641, 512]", "even"),
            ("[camera]\nfov_deg = nan", "camera.fov_deg"),
            ("[[scene.object]]\nkind = \"horse\"\nat = [0, 0]", "horse"),
            ("[scene]\norigin = [95, 0, 0]", "scene.origin"),
        ] {
            let e = FlightPlan::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_plan_or_an_error(text in "\\PC{0,200}") {
            let _ = FlightPlan::parse(&text);
        }
    }
}

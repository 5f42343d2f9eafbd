//! Random geometries with noisy inputs: what a site would be told, beside the truth.

use std::sync::Arc;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vigil::geo::{
    Angle, Attitude, Boresight, Camera, EllipsoidHeight, FieldOfView, Geodetic, Geoid, Gimbal, Ground,
    GroundFix, Height, LatLon, LocalFrame, Locator, NoGround, Pose, PoseSigma, Sigmas, Terrain, Tilt, ce90,
    le90,
};

fn degrees(d: f64) -> Angle {
    Angle::from_degrees(d)
}

/// The stated errors of a small drone, one standard deviation.
pub(crate) fn drone() -> PoseSigma {
    PoseSigma {
        horizontal_m: 1.5,
        vertical_m: 3.0,
        yaw: degrees(3.0),
        pitch: degrees(0.5),
        roll: degrees(0.5),
        field_of_view: degrees(0.5),
    }
}

/// A detector's centroid, in pixels.
pub(crate) const PIXEL_SIGMA: f64 = 1.0;

/// What the ground is.
#[derive(Clone)]
pub(crate) enum Site {
    /// Flat, this high above the ellipsoid, around a place.
    Flat(LatLon, f64),
    /// An elevation model; geometries lie within half a degree around a place.
    Terrain(Arc<Terrain>, LatLon),
}

/// One answer.
pub(crate) struct Trial {
    /// Of the line of sight, as it was reported.
    pub(crate) depression_deg: f64,
    pub(crate) fix: Result<GroundFix, NoGround>,
    /// Metres on the level between the answer and the truth.
    pub(crate) miss_m: f64,
    /// Metres between their heights.
    pub(crate) height_miss_m: f64,
    pub(crate) ce90_m: f64,
    pub(crate) le90_m: f64,
}

impl Trial {
    pub(crate) fn inside(&self) -> bool {
        self.miss_m <= self.ce90_m
    }

    pub(crate) fn inside_height(&self) -> bool {
        self.height_miss_m <= self.le90_m
    }
}

pub(crate) struct Trials {
    rng: StdRng,
    site: Site,
    geoid: Arc<Geoid>,
    pub(crate) above_ground_m: (f64, f64),
    pub(crate) depression_deg: (f64, f64),
}

impl Trials {
    pub(crate) fn new(seed: u64, site: Site) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            site,
            geoid: Arc::new(Geoid::egm96()),
            above_ground_m: (40.0, 150.0),
            depression_deg: (12.0, 90.0),
        }
    }

    fn normal(&mut self, sigma: f64) -> f64 {
        let (u, v): (f64, f64) = (self.rng.random_range(f64::MIN_POSITIVE..1.0), self.rng.random());
        sigma * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn turn(&mut self, sigma: Angle) -> Angle {
        Angle::from_radians(self.normal(sigma.radians()))
    }

    pub(crate) fn locator(&self, camera: Camera) -> Locator {
        let ground = match &self.site {
            Site::Flat(_, height) => {
                Ground { terrain: None, flat: Some(Height::Ellipsoid(EllipsoidHeight(*height))) }
            }
            Site::Terrain(terrain, _) => Ground { terrain: Some(terrain.clone()), flat: None },
        };
        Locator::new(camera, ground, self.geoid.clone(), Sigmas::default())
    }

    /// A true pose and a pixel, where the true camera sees ground.
    pub(crate) fn pose(&mut self) -> (Pose, [f64; 2]) {
        let at = match &self.site {
            Site::Flat(at, _) => *at,
            Site::Terrain(_, middle) => {
                let (lat, lon) = (middle.lat().degrees(), middle.lon().degrees());
                let (dy, dx) = (self.rng.random_range(-0.45..0.45), self.rng.random_range(-0.45..0.45));
                LatLon::from_degrees(lat + dy, lon + dx).unwrap()
            }
        };
        let ground = self.locator(Camera::new([640, 512])).ground_height(at);
        let above = self.rng.random_range(self.above_ground_m.0..self.above_ground_m.1);
        let height = ground.map_or(0.0, |h| h.0) + above;
        let horizontal = degrees(self.rng.random_range(25.0..50.0));
        let depression = self.rng.random_range(self.depression_deg.0..self.depression_deg.1);
        let attitude = |yaw: f64, pitch: f64, roll: f64| Attitude {
            yaw: degrees(yaw),
            pitch: degrees(pitch),
            roll: degrees(roll),
        };
        let yaw = self.rng.random_range(-180.0..180.0);
        let roll = self.rng.random_range(-5.0..5.0);
        // Half of them with a gimbal that knows north, half with one that knows its platform.
        let (platform, gimbal) = if self.rng.random() {
            (attitude(0.0, 0.0, 0.0), Gimbal::World(attitude(yaw, -depression, roll)))
        } else {
            let azimuth = degrees(self.rng.random_range(-180.0..180.0));
            let (pitch, roll) = (self.rng.random_range(-8.0..8.0), self.rng.random_range(-8.0..8.0));
            let gimbal = Gimbal::Platform { azimuth, elevation: degrees(-depression), roll: Angle::ZERO };
            (attitude(yaw, pitch, roll), gimbal)
        };
        let pixel = [self.rng.random_range(0.0..640.0), self.rng.random_range(0.0..512.0)];
        let pose = Pose {
            time: Timestamp::UNIX_EPOCH,
            position: at,
            height: Height::Ellipsoid(EllipsoidHeight(height)),
            platform,
            gimbal,
            field_of_view: FieldOfView { horizontal, vertical: None },
            slant_range_m: None,
            ages: Vec::new(),
            assumed: Vec::new(),
            stale: Vec::new(),
            sigma: drone(),
        };
        (pose, pixel)
    }

    /// One geometry whose true line of sight meets the ground: drawn until there is one.
    pub(crate) fn trial(&mut self) -> Trial {
        loop {
            let (truth, pixel) = self.pose();
            let sigmas = Sigmas::default();
            let boresight = Boresight {
                yaw: self.turn(sigmas.boresight),
                pitch: self.turn(sigmas.boresight),
                roll: self.turn(sigmas.boresight),
            };
            // The ground is higher than it is known to: the same as a camera that is lower, seen from
            // the ground.
            let lift = match &self.site {
                Site::Flat(..) => self.normal(sigmas.flat_m),
                // The model counts from the sea, the camera from the ellipsoid.
                Site::Terrain(..) => {
                    let joint = sigmas.terrain_m.hypot(Geoid::SIGMA_M);
                    self.normal(joint)
                }
            };
            let Height::Ellipsoid(EllipsoidHeight(height)) = truth.height else { unreachable!() };
            let lowered = Pose { height: Height::Ellipsoid(EllipsoidHeight(height - lift)), ..truth.clone() };
            let real = self.locator(Camera { boresight, ..Camera::new([640, 512]) });
            let Ok(place) = real.view(&lowered).and_then(|v| v.place(pixel)) else { continue };
            let place = Geodetic { at: place.at, height: EllipsoidHeight(place.height.0 + lift) };

            let s = drone();
            let tilt = Tilt { yaw: self.turn(s.yaw), pitch: self.turn(s.pitch), roll: self.turn(s.roll) };
            let frame = LocalFrame::new(Geodetic { at: truth.position, height: EllipsoidHeight(height) });
            let off = [s.horizontal_m, s.horizontal_m, s.vertical_m].map(|s| self.normal(s));
            let moved = frame.geodetic(off).unwrap();
            let fov = truth.field_of_view.horizontal + self.turn(s.field_of_view);
            let reported = Pose {
                position: moved.at,
                height: Height::Ellipsoid(moved.height),
                field_of_view: FieldOfView { horizontal: fov, vertical: None },
                ..truth.tilted(&tilt)
            };
            let seen = pixel.map(|p| p + self.normal(PIXEL_SIGMA));
            let fix = self.locator(Camera::new([640, 512])).locate(&reported, seen, PIXEL_SIGMA);
            let mut trial = Trial {
                depression_deg: 0.0,
                miss_m: f64::INFINITY,
                height_miss_m: f64::INFINITY,
                ce90_m: 0.0,
                le90_m: 0.0,
                fix,
            };
            if let Ok(fix) = &trial.fix {
                let miss = LocalFrame::new(fix.position).enu(&place);
                trial.depression_deg = fix.depression_deg;
                trial.miss_m = miss[0].hypot(miss[1]);
                trial.height_miss_m = miss[2].abs();
                trial.ce90_m = ce90(&fix.covariance);
                trial.le90_m = le90(&fix.covariance);
            }
            return trial;
        }
    }
}

/// The bins of depression in which figures are reported.
pub(crate) const BINS: [(f64, f64); 6] =
    [(5.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 45.0), (45.0, 60.0), (60.0, 90.0)];

/// Figures over some trials.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) placed: usize,
    pub(crate) inside: usize,
    pub(crate) inside_height: usize,
    misses: Vec<f64>,
    ellipses: Vec<f64>,
}

impl Figures {
    pub(crate) fn of<'a>(trials: impl Iterator<Item = &'a Trial>) -> Self {
        let mut out = Self::default();
        for trial in trials.filter(|t| t.fix.is_ok()) {
            out.placed += 1;
            out.inside += usize::from(trial.inside());
            out.inside_height += usize::from(trial.inside_height());
            out.misses.push(trial.miss_m);
            out.ellipses.push(trial.ce90_m);
        }
        out.misses.sort_by(f64::total_cmp);
        out.ellipses.sort_by(f64::total_cmp);
        out
    }

    pub(crate) fn share(&self) -> f64 {
        self.inside as f64 / self.placed.max(1) as f64
    }

    pub(crate) fn height_share(&self) -> f64 {
        self.inside_height as f64 / self.placed.max(1) as f64
    }

    pub(crate) fn median_m(&self) -> f64 {
        self.misses.get(self.misses.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn p90_m(&self) -> f64 {
        self.misses.get(self.misses.len() * 9 / 10).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median_ce90_m(&self) -> f64 {
        self.ellipses.get(self.ellipses.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// A table of figures by depression, as lines.
pub(crate) fn table(trials: &[Trial]) -> String {
    let mut out =
        String::from("depression |  fixes | in CE90 | in LE90 | median m |  p90 m | median CE90 m\n");
    let mut line = |name: &str, f: &Figures| {
        out += &format!(
            "{name:>10} | {:6} | {:5.1} % | {:5.1} % | {:8.2} | {:6.2} | {:8.2}\n",
            f.placed,
            100.0 * f.share(),
            100.0 * f.height_share(),
            f.median_m(),
            f.p90_m(),
            f.median_ce90_m()
        );
    };
    for (low, high) in BINS {
        let bin = trials.iter().filter(|t| (low..high).contains(&t.depression_deg));
        line(&format!("{low:.0} to {high:.0}°"), &Figures::of(bin));
    }
    line("all", &Figures::of(trials.iter()));
    let refused = trials.iter().filter(|t| t.fix.is_err()).count();
    out + &format!("refused: {refused} of {}\n", trials.len())
}

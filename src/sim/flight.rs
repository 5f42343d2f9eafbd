//! A flight, frame by frame: what the camera shows, what the drone says, and what is true.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::{Error, Result};
use crate::capture::Samples;
use crate::geo::{
    Angle, Attitude, Camera, ElevationGrid, EllipsoidHeight, FieldOfView, Geodetic, Gimbal, Height,
    Intrinsics, LatLon, Pose, PoseSigma, VerticalDatum, enu_of_ned,
};
use crate::thermal::PixelBox;

use super::fault::FaultKind;
use super::path::{FlownPath, Truth};
use super::plan::{Cover, FlightPlan, ObjectClass, ObjectKind};
use super::render::{Canvas, View};
use super::scene::Scene;
use super::sensor::{Sensor, Upset};
use super::telemetry::{Instruments, SimPacket, encoded};

/// Most messages that a frame's time may hold, or that may be late at once.
const MOST_WAITING: usize = 8192;

/// An object of the scene, for whoever counts finds.
#[derive(Clone, Debug, PartialEq)]
pub struct SimObject {
    /// From 0 on; the same in every frame.
    pub id: usize,
    /// What, and what it does.
    pub kind: ObjectKind,
    /// What hides it.
    pub cover: Cover,
    /// The ground below its middle at the flight's start.
    pub position: Geodetic,
}

impl SimObject {
    /// The coarse class that a search is about.
    pub fn class(&self) -> ObjectClass {
        self.kind.class()
    }
}

/// How an object shows in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenObject {
    /// Which: [`SimObject::id`].
    pub id: usize,
    /// Its coarse class.
    pub class: ObjectClass,
    /// All of it that is within the picture, whether something hides it or not.
    pub bbox: PixelBox,
    /// The share of its pixels that nothing hides, 0 to 1.
    pub visible: f32,
    /// Part of it lies outside the picture.
    pub cut: bool,
    /// The ground below its middle, at the frame's time.
    pub position: Geodetic,
    /// Metres from the camera.
    pub range_m: f64,
}

/// What is true of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameTruth {
    /// Where the camera was and how it looked. Its deviations are zero: it is the truth.
    pub pose: Pose,
    /// Metres from the camera down to the ground.
    pub above_ground_m: f64,
    /// Objects within the picture, hidden ones too; without trees.
    pub objects: Vec<SeenObject>,
}

/// One frame of a flight.
#[derive(Clone, Debug, PartialEq)]
pub struct SimFrame {
    /// From 0 on.
    pub sequence: u64,
    /// From the flight's start.
    pub at: Duration,
    /// The same by the drone's clock.
    pub time: Timestamp,
    /// What the camera sends; `None` while a fault keeps it.
    pub picture: Option<Samples>,
    /// The picture is an older one: a flat-field correction or a fault holds it.
    pub held: bool,
    /// Warm is dark in it. Never with 16 bits.
    pub black_hot: bool,
    /// What is true at its time, whatever the picture shows.
    pub truth: FrameTruth,
    /// Messages that have arrived since the frame before, in the order of their arrival.
    pub packets: Vec<SimPacket>,
}

/// A flight over a simulated landscape. The same plan gives the same frames.
///
/// ```
/// use vigil::sim::{Flight, FlightPlan};
///
/// let mut plan = FlightPlan::parse("seed = 7\nseconds = 0.2\n[scene]\nside_m = 40")?;
/// plan.camera.size = [160, 128];
/// let flight = Flight::new(&plan)?;
/// assert_eq!(flight.objects().iter().filter(|o| o.kind.class() == vigil::sim::ObjectClass::Person).count(), 3);
/// for frame in flight {
///     let frame = frame?;
///     assert_eq!(frame.picture.unwrap().width(), 160);
///     assert!(!frame.packets[0].klv.is_empty());
/// }
/// # Ok::<(), vigil::base::Error>(())
/// ```
#[derive(Debug)]
pub struct Flight {
    plan: FlightPlan,
    scene: Scene,
    path: FlownPath,
    sensor: Sensor,
    instruments: Instruments,
    canvas: Canvas,
    camera: Camera,
    intrinsics: Intrinsics,
    field_of_view: FieldOfView,
    frame: u64,
    message: u64,
    waiting: VecDeque<SimPacket>,
}

impl Flight {
    /// Makes the landscape. Takes some seconds for a large one.
    ///
    /// # Errors
    /// For a plan that no flight can be made of, and elevation tiles that cannot be read.
    pub fn new(plan: &FlightPlan) -> Result<Self> {
        let scene = Scene::new(plan)?;
        let angle = Angle::from_degrees(plan.camera.fov_deg);
        let field_of_view = FieldOfView { horizontal: angle, vertical: None };
        let intrinsics = Intrinsics::from_field_of_view(plan.camera.size, &field_of_view)?;
        let field_of_view = intrinsics.field_of_view();
        Ok(Self {
            path: FlownPath::new(plan),
            sensor: Sensor::new(&plan.camera, &plan.weather, plan.seed),
            instruments: Instruments::new(&plan.telemetry, field_of_view, plan.seed),
            canvas: Canvas::new(plan.camera.size.map(|s| s as usize)),
            camera: Camera::new(plan.camera.size),
            intrinsics,
            field_of_view,
            scene,
            plan: plan.clone(),
            frame: 0,
            message: 0,
            waiting: VecDeque::new(),
        })
    }

    /// What it was made of.
    pub fn plan(&self) -> &FlightPlan {
        &self.plan
    }

    /// Everything that a search may find or mistake, without trees.
    pub fn objects(&self) -> Vec<SimObject> {
        let objects = self.scene.objects.iter().enumerate();
        objects
            .filter_map(|(id, o)| {
                let place = o.place(&self.scene.ground, 0.0);
                let position = self.scene.geodetic(place.at).ok()?;
                Some(SimObject { id, kind: o.kind, cover: o.cover, position })
            })
            .collect()
    }

    /// Where an object is at a time from the flight's start: the ground below its middle. `None` for
    /// an object that is not there.
    pub fn position(&self, id: usize, at: Duration) -> Option<Geodetic> {
        let place = self.scene.objects.get(id)?.place(&self.scene.ground, at.as_secs_f64());
        self.scene.geodetic(place.at).ok()
    }

    /// The camera, as a site would describe it to [`crate::geo`].
    pub fn camera(&self) -> Camera {
        self.camera
    }

    /// The deviations of what the drone says.
    pub fn sigma(&self) -> PoseSigma {
        self.plan.telemetry.sigma()
    }

    /// Seconds until everything was flown once, both ways.
    pub fn lap_s(&self) -> f64 {
        self.path.lap_s()
    }

    /// The height of the ground above the ellipsoid; made up beyond the scene's edge.
    pub fn ground_height(&self, at: LatLon) -> EllipsoidHeight {
        let origin = self.scene.frame.origin();
        let [east, north, _] = self.scene.frame.enu(&Geodetic { at, height: origin.height });
        let up = self.scene.ground.height(east, north);
        let height = self.scene.geodetic([east, north, up]).map_or(origin.height.0, |g| g.height.0);
        EllipsoidHeight(height)
    }

    /// The ground as an elevation model with posts every 4 m or so, for [`crate::geo::Terrain::of`]. It
    /// reaches half a side beyond the scene.
    ///
    /// # Errors
    /// For none, unless the scene lies where longitudes have no width.
    pub fn elevation(&self) -> Result<ElevationGrid> {
        const POSTS: usize = 401;
        let origin = self.scene.frame.origin().at;
        let side = self.plan.scene.side_m * 2.0;
        let posts = ((side / 4.0) as usize + 1).clamp(11, POSTS);
        let north = side / 111_320.0;
        let east = north / origin.lat().radians().cos().max(0.05);
        let (n, w) = (origin.lat().degrees() + north / 2.0, origin.lon().degrees() - east / 2.0);
        let step = [east, north].map(|d| d / (posts - 1) as f64);
        let nowhere = || Error::internal("the scene reaches over the edge of the map");
        let mut heights = Vec::with_capacity(posts * posts);
        for j in 0..posts {
            for i in 0..posts {
                let at = LatLon::from_degrees(n - j as f64 * step[1], w + i as f64 * step[0])
                    .ok_or_else(nowhere)?;
                heights.push(self.ground_height(at).0 as f32);
            }
        }
        let corner = LatLon::from_degrees(n, w).ok_or_else(nowhere)?;
        ElevationGrid::geographic(corner, step, [posts, posts], heights, VerticalDatum::Ellipsoid)
    }

    fn fault(&self, second: f64, wanted: impl Fn(&FaultKind) -> bool) -> Option<FaultKind> {
        self.plan.faults.iter().find(|f| f.lasts(second) && wanted(&f.kind)).map(|f| f.kind)
    }

    /// The messages that were sent up to `second`, into the queue of those on their way.
    fn send(&mut self, second: f64) -> Result<()> {
        loop {
            let at = self.message as f64 / self.plan.telemetry.hz;
            if at > second + 1e-9 || self.waiting.len() >= MOST_WAITING {
                return Ok(());
            }
            self.message += 1;
            let truth = self.path.at(&self.scene.ground, at);
            let jump = match self.fault(at, |k| matches!(k, FaultKind::GpsJump { .. })) {
                Some(FaultKind::GpsJump { east_m, north_m }) => [east_m, north_m],
                _ => [0.0; 2],
            };
            let time = self.time(at)?;
            let scene = &self.scene;
            let telemetry = self.instruments.report(time, &truth, jump, |p| scene.geodetic(p))?;
            if self.fault(at, |k| *k == FaultKind::TelemetryDropout).is_some() {
                continue;
            }
            let late = match self.fault(at, |k| matches!(k, FaultKind::KlvLate { .. })) {
                Some(FaultKind::KlvLate { ms }) => ms / 1000.0,
                _ => 0.0,
            };
            let klv = encoded(&telemetry, self.fault(at, |k| *k == FaultKind::KlvCorrupt).is_some())?;
            let packet = SimPacket { telemetry, klv, arrives: Duration::from_secs_f64(at + late) };
            // Late ones are overtaken.
            let place = self.waiting.partition_point(|p| p.arrives <= packet.arrives);
            self.waiting.insert(place, packet);
        }
    }

    fn time(&self, second: f64) -> Result<Timestamp> {
        // Whole microseconds, as ST 0601 counts.
        self.plan
            .start
            .checked_add(jiff::SignedDuration::from_micros((second * 1e6).round() as i64))
            .map_err(|e| Error::config("the flight's time is beyond the calendar").with_source(e))
    }

    fn view(&self, truth: &Truth) -> View {
        View {
            eye: truth.eye,
            axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
                .map(|a| enu_of_ned(truth.looks.apply(a))),
            focal: self.intrinsics.focal()[0],
            size: self.plan.camera.size.map(|s| s as usize),
        }
    }

    fn pose(&self, time: Timestamp, truth: &Truth) -> Result<Pose> {
        let at = self.scene.geodetic(truth.eye)?;
        let zero = Angle::ZERO;
        let sigma = PoseSigma {
            horizontal_m: 0.0,
            vertical_m: 0.0,
            yaw: zero,
            pitch: zero,
            roll: zero,
            field_of_view: zero,
        };
        Ok(Pose {
            time,
            position: at.at,
            height: Height::Ellipsoid(EllipsoidHeight(at.height.0)),
            platform: truth.platform,
            gimbal: truth.gimbal,
            field_of_view: self.field_of_view,
            slant_range_m: None,
            ages: Vec::new(),
            assumed: Vec::new(),
            stale: Vec::new(),
            sigma,
        })
    }

    fn next_frame(&mut self) -> Result<SimFrame> {
        let second = self.frame as f64 / self.plan.camera.fps;
        let sequence = self.frame;
        self.frame += 1;
        self.send(second)?;
        let at = Duration::from_secs_f64(second);
        let arrived = self.waiting.partition_point(|p| p.arrives <= at + Duration::from_nanos(500));
        let packets = self.waiting.drain(..arrived).collect();
        let truth = self.path.at(&self.scene.ground, second);
        let view = self.view(&truth);
        let shown = self.canvas.draw(&self.scene, &view, second);
        let objects = shown
            .into_iter()
            .map(|s| {
                let object = &self.scene.objects[s.object];
                let position = self.scene.geodetic(object.place(&self.scene.ground, second).at)?;
                Ok(SeenObject {
                    id: s.object,
                    class: object.kind.class(),
                    bbox: s.bbox,
                    visible: s.visible,
                    cut: s.cut,
                    position,
                    range_m: s.range,
                })
            })
            .collect::<Result<_>>()?;
        let upset = Upset {
            freeze: self.fault(second, |k| *k == FaultKind::VideoFreeze).is_some(),
            flip: self.fault(second, |k| *k == FaultKind::PolarityFlip).is_some(),
            gain: match self.fault(second, |k| matches!(k, FaultKind::GainStep { .. })) {
                Some(FaultKind::GainStep { factor }) => Some(factor),
                _ => None,
            },
        };
        let (picture, held) = self.sensor.expose(&self.canvas, second, upset)?;
        let dropped = self.fault(second, |k| *k == FaultKind::VideoDropout).is_some();
        let time = self.time(second)?;
        let below = self.scene.ground.height(truth.eye[0], truth.eye[1]);
        Ok(SimFrame {
            sequence,
            at,
            time,
            picture: (!dropped).then_some(picture),
            held,
            black_hot: self.plan.camera.kelvin_per_count.is_none()
                && self.plan.camera.black_hot != upset.flip,
            truth: FrameTruth {
                pose: self.pose(time, &truth)?,
                above_ground_m: truth.eye[2] - below,
                objects,
            },
            packets,
        })
    }

    /// How the camera looks against north and the horizon, as a person would say it.
    pub fn looks(pose: &Pose) -> Attitude {
        match pose.gimbal {
            Gimbal::World(attitude) => attitude,
            gimbal => gimbal.to_ned(&pose.platform).attitude(),
        }
    }
}

impl Iterator for Flight {
    type Item = Result<SimFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.frame < self.plan.frames()).then(|| self.next_frame())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.frames().saturating_sub(self.frame) as usize;
        (left, Some(left))
    }
}

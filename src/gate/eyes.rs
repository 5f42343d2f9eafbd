//! What a session needs of the faces room, as a door: the station and the portrait's thread see
//! pictures only through it. The daemon's eyes are the face engine's; a test's can hang or panic.

use std::time::Instant;

use super::session::{Grade, Likeness, Seen};
use crate::base::Result;
use crate::capture::RgbImage;
use crate::config::QualityConfig;
use crate::event::Reason;
use crate::face::{Engine, Face, Shortfall, Template, Tracker, quality};

/// A face of a portrait, before it is embedded.
#[derive(Clone, Copy, Debug)]
pub struct StillGrade {
    /// Pixels between the eyes.
    pub inter_ocular_px: f32,
    /// Why it cannot be compared.
    pub shortfall: Option<Reason>,
}

/// Looks at pictures. One per thread, used by one session at a time.
pub trait Eyes: Send + 'static {
    /// A face as the detector gave it.
    type Face: Clone + Send + 'static;
    /// What stands for a face. Overwrites itself when dropped.
    type Template: Likeness + Send + 'static;

    /// Pictures of this size are coming: what has to be opened for them is opened now, so that
    /// the first guest does not wait for it. Looks at nothing.
    fn prepare(&mut self, _width: u32, _height: u32) {}
    /// A session begins: nothing seen before is known any more.
    fn begin(&mut self);
    /// The faces of a camera's picture, each with its track.
    fn live(&mut self, picture: &RgbImage, at: Instant) -> Result<Vec<(Seen, Self::Face)>>;
    /// How good a camera's face is.
    fn grade(&mut self, picture: &RgbImage, face: &Self::Face) -> Grade;
    /// The faces of a portrait.
    fn still(&mut self, picture: &RgbImage) -> Result<Vec<Self::Face>>;
    /// How good a portrait's face is.
    fn grade_still(&mut self, picture: &RgbImage, face: &Self::Face) -> StillGrade;
    /// The template of a face.
    fn embed(&mut self, picture: &RgbImage, face: &Self::Face) -> Result<Self::Template>;
    /// A session ended: overwrites what the models' buffers still hold of it.
    fn scrub(&mut self);
    /// Somebody left while others are in view: overwrites what the models' buffers hold, and knows the
    /// others' tracks still.
    fn wipe(&mut self);
}

/// The eyes of the daemon: a face engine with a tracker.
pub struct FaceEyes {
    engine: Engine,
    tracker: Tracker,
    quality: QualityConfig,
}

impl FaceEyes {
    /// Looks with `engine`, by the measures of `quality`.
    pub fn new(engine: Engine, quality: QualityConfig) -> Self {
        Self { engine, tracker: Tracker::new(), quality }
    }
}

impl Likeness for Template {
    fn similarity(&self, other: &Self) -> f32 {
        Template::similarity(self, other)
    }

    fn fuse(weighted: &[(&Self, f32)]) -> Option<Self> {
        Template::fuse(weighted)
    }
}

impl Eyes for FaceEyes {
    type Face = Face;
    type Template = Template;

    fn prepare(&mut self, width: u32, height: u32) {
        if let Err(e) = self.engine.prepare_live(width, height) {
            tracing::warn!(error = %e.chain(), width, height, "the detector cannot be opened for this size");
        }
    }

    fn begin(&mut self) {
        self.tracker = Tracker::new();
    }

    fn live(&mut self, picture: &RgbImage, at: Instant) -> Result<Vec<(Seen, Face)>> {
        let faces = self.engine.detect_live(picture)?;
        let tracks = self.tracker.update(&faces, at);
        let seen = |track: u64, face: &Face| Seen {
            track,
            width: face.bbox.width,
            landmarks: face.landmarks.map(|p| [p.x, p.y]),
        };
        Ok(tracks.into_iter().filter_map(|(id, i)| faces.get(i).map(|f| (seen(id.0, f), *f))).collect())
    }

    fn grade(&mut self, picture: &RgbImage, face: &Face) -> Grade {
        let measured = quality::assess(picture, face);
        let shortfalls = measured.shortfalls(&self.quality, self.quality.min_inter_ocular_px);
        // Only a face that falls short of nothing else is "turned away": the presentation check
        // looks at such pictures.
        let gravest = shortfalls.iter().find(|s| s.reason() != Reason::TurnedAway).or(shortfalls.first());
        Grade { rank: measured.rank(), shortfall: gravest.map(|s| s.reason()) }
    }

    fn still(&mut self, picture: &RgbImage) -> Result<Vec<Face>> {
        let mut faces = self.engine.detect_still(picture)?;
        // Patterns that might be faces do not count beside one that is; alone, they are a poor one.
        if faces.iter().any(|f| f.score >= self.quality.min_score) {
            faces.retain(|f| f.score >= self.quality.min_score);
        } else {
            faces.truncate(1);
        }
        Ok(faces)
    }

    fn grade_still(&mut self, picture: &RgbImage, face: &Face) -> StillGrade {
        let measured = quality::assess(picture, face);
        let shortfalls = measured.shortfalls(&self.quality, self.quality.min_portrait_inter_ocular_px);
        StillGrade {
            inter_ocular_px: measured.inter_ocular_px,
            shortfall: shortfalls.first().map(|s| match s {
                Shortfall::TooSmall => Reason::PortraitTooSmall,
                _ => Reason::PortraitPoor,
            }),
        }
    }

    fn embed(&mut self, picture: &RgbImage, face: &Face) -> Result<Template> {
        self.engine.embed(picture, face)
    }

    fn scrub(&mut self) {
        self.tracker = Tracker::new();
        self.wipe();
    }

    fn wipe(&mut self) {
        if let Err(e) = self.engine.scrub() {
            tracing::error!(error = %e.chain(), "the models' buffers could not be overwritten");
        }
    }
}

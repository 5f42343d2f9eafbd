//! The two networks behind one handle: pictures in, faces and templates out.

use super::detect::{Layout, Placer, look, merge};
use super::{Face, Template, align};
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::RgbImage;
use crate::config::InferenceConfig;
use crate::event::ModelRef;
use crate::infer::sface::{DIMENSIONS, Sface};
use crate::infer::yunet::Yunet;
use crate::infer::{Manifest, Runtime};

/// Long side of the first look at a still picture, pixels. Larger pictures are shrunk to it.
const STILL_SIDE: u32 = 1280;
/// Long side of the look for faces too large for the first one.
const LARGE_FACES_SIDE: u32 = 320;
/// Long side of the last look at a large picture in which nothing was found.
const SMALL_FACES_SIDE: u32 = 2560;
/// Long side and margin of the look for a face that fills the picture to its edges.
const TIGHT_SIDE: u32 = 224;
const TIGHT_MARGIN: u32 = 48;

/// Detector and embedder of one stream. One call at a time; a thread that looks at pictures owns
/// one.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    manifest: Manifest,
    config: InferenceConfig,
    /// Opened for the size of the stream's pictures when the first one comes.
    live: Option<(Layout, Yunet)>,
    still: Yunet,
    embedder: Sface,
    placer: Placer,
}

impl Engine {
    /// Opens both models.
    pub fn open(runtime: &Runtime, manifest: &Manifest, config: &InferenceConfig) -> Result<Self> {
        Ok(Self {
            runtime: runtime.clone(),
            manifest: manifest.clone(),
            config: config.clone(),
            live: None,
            still: Yunet::open_free(runtime, manifest, config.threads)?,
            embedder: Sface::open(runtime, manifest, config.threads)?,
            placer: Placer::default(),
        })
    }

    /// The embedding model, as events name it.
    pub fn model(&self) -> &ModelRef {
        self.embedder.model()
    }

    /// Opens the detector for pictures of this size, so that the first one does not wait for it.
    pub fn prepare_live(&mut self, width: u32, height: u32) -> Result<()> {
        let layout = Layout::shrunk(width, height, self.config.detect_size);
        if self.live.as_ref().is_none_or(|(open, _)| *open != layout) {
            let (w, h) = layout.canvas;
            let threads = self.config.threads;
            self.live = Some((layout, Yunet::open_fixed(&self.runtime, &self.manifest, threads, w, h)?));
        }
        Ok(())
    }

    /// The faces in a picture of a stream, best score first: one look, the long side of the
    /// picture shrunk to `inference.detect_size`.
    pub fn detect_live(&mut self, image: &RgbImage) -> Result<Vec<Face>> {
        self.prepare_live(image.width(), image.height())?;
        let Some((layout, yunet)) = &mut self.live else { return Ok(Vec::new()) };
        let mut candidates = Vec::new();
        look(yunet, &mut self.placer, image, layout, 0, &mut candidates)?;
        Ok(merge(candidates))
    }

    /// The faces in a single picture, best score first: at its own size up to 1280 pixels, once
    /// more at a small size for faces larger than the detector's range, and where nothing was
    /// found, with a margin (a portrait cut at chin and hair) and enlarged or less shrunk.
    pub fn detect_still(&mut self, image: &RgbImage) -> Result<Vec<Face>> {
        let (w, h) = (image.width(), image.height());
        let longest = w.max(h);
        let mut candidates = Vec::new();
        let mut look = |layout: Layout, rank: u8| -> Result<bool> {
            look(&mut self.still, &mut self.placer, image, &layout, rank, &mut candidates)?;
            Ok(!candidates.is_empty())
        };
        let mut found = look(Layout::shrunk(w, h, STILL_SIDE), 0)?;
        if longest > LARGE_FACES_SIDE {
            found = look(Layout::shrunk(w, h, LARGE_FACES_SIDE), 1)?;
        }
        if !found {
            found = look(Layout::sized(w, h, TIGHT_SIDE, TIGHT_MARGIN), 2)?;
        }
        if !found && longest < LARGE_FACES_SIDE {
            found = look(Layout::sized(w, h, 2 * longest, 0), 3)?;
        }
        if !found && longest > STILL_SIDE {
            look(Layout::shrunk(w, h, SMALL_FACES_SIDE), 4)?;
        }
        Ok(merge(candidates))
    }

    /// The template of one face.
    pub fn embed(&mut self, image: &RgbImage, face: &Face) -> Result<Template> {
        if !align::fill(image, face, self.embedder.input()) {
            return Err(Error::new(
                Kind::Malformed,
                Culprit::Request,
                "the face's landmarks lie in one point",
            ));
        }
        let mut vector = [0.0; DIMENSIONS];
        self.embedder.run(&mut vector)?;
        Template::from_raw(&mut vector)
    }

    /// Overwrites every buffer that held a face, those that ONNX Runtime keeps by running the
    /// networks on black pictures, or gives it back. To be called between two people.
    pub fn scrub(&mut self) -> Result<()> {
        self.placer.wipe();
        if let Some((_, yunet)) = &mut self.live {
            yunet.scrub()?;
        }
        self.still.scrub()?;
        self.embedder.scrub()
    }
}

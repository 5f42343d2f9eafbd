//! Photographs become a template, or a reason why not.
//!
//! Each photograph must show exactly one face that is large, sharp, lit and frontal enough: an
//! enrolment is compared for months, so nothing poor gets in. Several photographs are fused by their
//! quality, after each pair of them was found to show one person.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Denied, Enrolment, Gallery, Order, Refusal};
use crate::base::Result;
use crate::capture::still::{self, Limits};
use crate::config::{InferenceConfig, QualityConfig};
use crate::event::{GalleryDone, GalleryPut, GalleryReason, MAX_NAMED, MAX_PHOTOS, ModelRef, PortraitText};
use crate::face::{Engine, Shortfall, Template, quality};
use crate::infer::{Manifest, Runtime};

/// Largest photograph: a telephone's, not a scanner's.
pub const PHOTO_LIMITS: Limits = Limits { max_bytes: 32 << 20, max_pixels: 64_000_000 };

/// Turns a photograph into a template. Tests give another one in.
pub trait Photographer {
    /// The template of the one good face in a picture file, and its weight beside others; or why there
    /// is none.
    fn template(&mut self, photo: &[u8]) -> Result<std::result::Result<(Template, f32), GalleryReason>>;
}

/// The models behind [`Photographer`].
#[derive(Debug)]
pub struct Studio {
    engine: Engine,
    quality: QualityConfig,
}

impl Studio {
    /// Opens the models.
    pub fn open(
        runtime: &Runtime,
        manifest: &Manifest,
        inference: &InferenceConfig,
        quality: &QualityConfig,
    ) -> Result<Self> {
        Ok(Self { engine: Engine::open(runtime, manifest, inference)?, quality: quality.clone() })
    }

    /// The embedding model.
    pub fn model(&self) -> &ModelRef {
        self.engine.model()
    }

    fn look(&mut self, photo: &[u8]) -> Result<std::result::Result<(Template, f32), GalleryReason>> {
        let image = match still::decode(photo, &PHOTO_LIMITS) {
            Ok(image) => image,
            Err(e) => {
                tracing::debug!(error = %e.chain(), "a photograph cannot be read");
                return Ok(Err(GalleryReason::PhotoUnreadable));
            }
        };
        let faces = self.engine.detect_still(&image)?;
        // Patterns that might be faces do not count beside one that is.
        let sure: Vec<_> = faces.iter().filter(|f| f.score >= self.quality.min_score).collect();
        let face = match (sure.as_slice(), faces.first()) {
            ([face], _) => *face,
            ([_, _, ..], _) => return Ok(Err(GalleryReason::SeveralFaces)),
            ([], Some(_)) => return Ok(Err(GalleryReason::TurnedAway)),
            ([], None) => return Ok(Err(GalleryReason::NoFace)),
        };
        let measured = quality::assess(&image, face);
        if let Some(shortfall) = measured.shortfalls(&self.quality, self.quality.min_inter_ocular_px).first()
        {
            return Ok(Err(match shortfall {
                Shortfall::TooSmall => GalleryReason::TooSmall,
                Shortfall::CutOff => GalleryReason::CutOff,
                Shortfall::TurnedAway | Shortfall::Doubtful => GalleryReason::TurnedAway,
                Shortfall::TooDark => GalleryReason::TooDark,
                Shortfall::TooBright => GalleryReason::TooBright,
                Shortfall::Blurred => GalleryReason::Blurred,
            }));
        }
        let template = self.engine.embed(&image, face)?;
        Ok(Ok((template, measured.rank().max(0.01))))
    }
}

impl Photographer for Studio {
    fn template(&mut self, photo: &[u8]) -> Result<std::result::Result<(Template, f32), GalleryReason>> {
        let looked = self.look(photo);
        // Between two people nothing of the first stays in the models' buffers.
        self.engine.scrub()?;
        looked
    }
}

impl Gallery {
    /// One template out of a person's photographs. Of several, each pair must be as like as the
    /// duplicate rate asks of one person.
    pub fn portray(
        &self,
        photographer: &mut impl Photographer,
        photos: &[Zeroizing<Vec<u8>>],
    ) -> std::result::Result<Template, Denied> {
        let refuse = |reason| Err(Denied::Refused(Refusal::of(reason)));
        if photos.is_empty() {
            return refuse(GalleryReason::NoPhoto);
        }
        if photos.len() > MAX_PHOTOS {
            return refuse(GalleryReason::TooManyPhotos);
        }
        let mut parts = Vec::with_capacity(photos.len());
        for photo in photos {
            match photographer.template(photo)? {
                Ok(part) => parts.push(part),
                Err(reason) => return refuse(reason),
            }
        }
        self.fuse(&parts)
    }

    /// One template out of several pictures of a session, each with its weight.
    pub fn fuse(&self, parts: &[(Template, f32)]) -> std::result::Result<Template, Denied> {
        let one_person = self.calibration().threshold(self.0.config.duplicate_fmr)?;
        for (n, (a, _)) in parts.iter().enumerate() {
            if parts[n + 1..].iter().any(|(b, _)| !one_person.accepts(a.similarity(b))) {
                return Err(Denied::Refused(Refusal::of(GalleryReason::PhotosDisagree)));
            }
        }
        let weighted: Vec<_> = parts.iter().map(|(t, w)| (t, *w)).collect();
        Template::fuse(&weighted).ok_or(Denied::Refused(Refusal::of(GalleryReason::NoPhoto)))
    }
}

impl Gallery {
    /// Carries a numbered `gallery/put` out: photographs, template, entry. A refusal is an answer as
    /// well; `Err` means that it could not be tried and may be sent again.
    pub fn carry_out_put(
        &self,
        put: &GalleryPut,
        order: &Order,
        photographer: &mut impl Photographer,
    ) -> Result<GalleryDone> {
        if let Some(done) = self.seen(order)? {
            return Ok(done);
        }
        let enrolled = self.enrolment_of(put, photographer);
        match enrolled {
            Ok(enrolment) => self.put_ordered(&enrolment, order),
            Err(Denied::Refused(refusal)) => self.refuse_ordered(refusal.reason, order),
            Err(Denied::Failed(e)) => Err(e),
        }
    }

    /// The enrolment that a `gallery/put` asks for.
    pub fn enrolment_of(
        &self,
        put: &GalleryPut,
        photographer: &mut impl Photographer,
    ) -> std::result::Result<Enrolment, Denied> {
        if put.photos.len() > MAX_PHOTOS || put.distinct_from.len() > MAX_NAMED {
            return Err(Denied::Refused(Refusal::of(GalleryReason::TooManyPhotos)));
        }
        let mut photos = Vec::with_capacity(put.photos.len());
        for text in &put.photos {
            photos.push(decode(text).map_err(|r| Denied::Refused(Refusal::of(r)))?);
        }
        let template = self.portray(photographer, &photos)?;
        let source: Vec<&[u8]> = photos.iter().map(|p| p.as_slice()).collect();
        Ok(self.enrolment(put.terms.clone(), template, &source, put.distinct_from.clone())?)
    }
}

/// A photograph's bytes out of its base64 text, overwritten when dropped.
pub fn decode(text: &PortraitText) -> std::result::Result<Zeroizing<Vec<u8>>, GalleryReason> {
    if text.as_base64().len() / 4 * 3 > PHOTO_LIMITS.max_bytes {
        return Err(GalleryReason::PhotoUnreadable);
    }
    STANDARD.decode(text.as_base64()).map(Zeroizing::new).map_err(|_| GalleryReason::PhotoUnreadable)
}

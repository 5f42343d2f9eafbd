//! Who lives in the demonstration's house: people whose cards open its door.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::base::{Culprit, Error, Kind, Result, SystemClock};
use crate::capture::still;
use crate::config::Config;
use crate::event::EntryTerms;
use crate::face::{Calibration, Engine};
use crate::gallery::{self, Actor, Gallery};
use crate::gate::{FaceEyes, portrait_template};
use crate::infer::{Manifest, Runtime, Slot};

/// Opens the daemon's gallery beside it, as `vigil gallery` does.
pub(super) struct Household {
    gallery: Gallery,
    eyes: FaceEyes,
}

impl Household {
    /// Opens the gallery of the daemon's configuration, and the models that make templates.
    pub(super) fn open(config: &Path) -> Result<Self> {
        let config = Config::load(config)?;
        let manifest = Manifest::load(&config.models.dir)?;
        let runtime = Runtime::load(&config.models)?;
        let engine = Engine::open(&runtime, &manifest, &config.inference)?;
        let embedding = manifest.model(Slot::FaceEmbedding)?;
        let calibration = Calibration::of_site(&config.verify, embedding)?;
        let clock = Arc::new(SystemClock::default());
        let (setup, master) = gallery::setup(&config, embedding.model_ref(), calibration, clock)?
            .ok_or_else(|| Error::internal("the demonstration has no gallery"))?;
        let gallery = Gallery::open(setup, master)?;
        Ok(Self { gallery, eyes: FaceEyes::new(engine, config.verify.quality) })
    }

    /// Gives `person`, whom the photograph shows, a card for so long.
    pub(super) fn move_in(
        &mut self,
        person: &str,
        card: &str,
        photo: &[u8],
        stays: SignedDuration,
    ) -> Result<()> {
        let until = Timestamp::now() + stays;
        let terms: EntryTerms = serde_json::from_value(json!({
            "person_ref": person, "purpose": "tenant", "basis": {"consent": "demo/1"},
            "valid_until": until.to_string(), "credentials": [{"kind": "card", "value": card}],
        }))
        .map_err(|e| Error::internal("the terms are none").with_source(e))?;
        let limits = still::Limits { max_bytes: 16 << 20, max_pixels: 24_000_000 };
        let picture = still::decode(photo, &limits)?;
        let template = portrait_template(&mut self.eyes, &picture, |_| {}).map_err(|reason| {
            Error::new(
                Kind::Refused,
                Culprit::Host,
                format!("the photograph of {person} is no portrait: {reason:?}"),
            )
        })?;
        let enrolment = self.gallery.enrolment(terms, template, &[photo], Vec::new())?;
        self.gallery
            .put(&enrolment, &Actor::new("demo")?)
            .map(|_| ())
            .map_err(|denied| Error::internal(format!("{person} cannot be enrolled: {denied:?}")))
    }
}

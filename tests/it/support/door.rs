//! A gallery with people in it, made before the daemon starts or beside it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vigil::base::SystemClock;
use vigil::capture::still;
use vigil::config::{Config, InferenceConfig, VerifyConfig};
use vigil::event::EntryTerms;
use vigil::face::{Calibration, Engine, Template};
use vigil::gallery::{Actor, Gallery, MasterKey};
use vigil::gate::{FaceEyes, portrait_template};
use vigil::infer::{Manifest, Runtime, Slot};

use super::daemon::{models, photo};

/// What `[gallery]` has to say.
pub(crate) fn section(home: &Path) -> String {
    let key = home.join("gallery.key");
    if !key.exists() {
        MasterKey::generate().unwrap().write_new(&key).unwrap();
    }
    format!("[gallery]\nkey_file = \"{}\"\n", key.display())
}

/// The template of a photograph; each is looked at once.
pub(crate) fn template(name: &'static str) -> Template {
    static MADE: Mutex<Vec<(&str, Template)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    if let Some((_, template)) = made.iter().find(|(n, _)| *n == name) {
        return template.clone();
    }
    let manifest = Manifest::load(&models()).unwrap();
    let runtime =
        Runtime::load(&vigil::config::ModelsConfig { dir: models(), ..Default::default() }).unwrap();
    let engine = Engine::open(&runtime, &manifest, &InferenceConfig::default()).unwrap();
    let mut eyes = FaceEyes::new(engine, VerifyConfig::default().quality);
    let limits = still::Limits { max_bytes: 1 << 24, max_pixels: 1 << 25 };
    let picture = still::decode(&std::fs::read(photo(name)).unwrap(), &limits).unwrap();
    let template = portrait_template(&mut eyes, &picture, |_| {}).unwrap();
    made.push((name, template.clone()));
    template
}

/// Opens the gallery of a configuration.
pub(crate) fn gallery(config: &Path) -> Gallery {
    let config = Config::load(config).unwrap();
    let manifest = Manifest::load(&config.models.dir).unwrap();
    let entry = manifest.model(Slot::FaceEmbedding).unwrap();
    let calibration = Calibration::of_model(entry).unwrap();
    let clock = Arc::new(SystemClock::default());
    std::fs::create_dir_all(&config.identity.state_dir).unwrap();
    let (setup, master) =
        vigil::gallery::setup(&config, entry.model_ref(), calibration, clock).unwrap().unwrap();
    Gallery::open(setup, master).unwrap()
}

/// Terms of a tenant who holds `cards`; `more` is merged in.
pub(crate) fn terms(person: &str, credentials: &[(&str, &str)], more: Value) -> EntryTerms {
    let until = Timestamp::now() + SignedDuration::from_hours(24);
    let credentials: Vec<_> =
        credentials.iter().map(|(kind, value)| json!({"kind": kind, "value": value})).collect();
    let mut terms = json!({
        "person_ref": person, "purpose": "tenant", "basis": {"consent": "contract-7"},
        "valid_until": until.to_string(), "credentials": credentials,
    });
    for (key, value) in more.as_object().unwrap() {
        terms[key] = value.clone();
    }
    serde_json::from_value(terms).unwrap()
}

/// Enrols a person.
pub(crate) fn enrol(gallery: &Gallery, terms: EntryTerms, template: &Template) {
    let source = terms.person_ref.as_str().to_owned();
    let enrolment = gallery.enrolment(terms, template.clone(), &[source.as_bytes()], Vec::new()).unwrap();
    gallery.put(&enrolment, &Actor::new("test").unwrap()).map_err(|d| format!("{d:?}")).unwrap();
}

/// A direction that is like nobody's face.
pub(crate) fn nobody(seed: usize) -> Template {
    let mut raw = std::array::from_fn(|i| ((i * (seed * 2 + 7) + seed * 13) % 17) as f32 - 8.0);
    Template::from_raw(&mut raw).unwrap()
}

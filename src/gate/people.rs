//! Who may be looked for and who may be looked up: what lookout and desk need of the gallery, as a
//! door to it.

use uuid::Uuid;

use crate::base::{Kind, Name, Result};
use crate::config::{FalsePositiveRate, Purpose, WatchConfig};
use crate::event::{Band, Candidate, PersonRef, Reason, Reference, SearchTerms};
use crate::face::Template;
use crate::gallery::audit::{Action, Note};
use crate::gallery::{Actor, Gallery, SearchQuery, Standing};

/// A missing person who was recognised.
#[derive(Clone, PartialEq)]
pub struct Sighted {
    /// The entry.
    pub entry: Uuid,
    /// The pseudonym.
    pub person: PersonRef,
    /// The reference of the authority's request.
    pub authority: Reference,
    /// Where the comparison lies.
    pub band: Band,
    /// What the search promises.
    pub terms: SearchTerms,
}

impl std::fmt::Debug for Sighted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sighted({}, {:?})", self.entry, self.band)
    }
}

/// The people who are looked for. Nothing here blocks.
pub trait Wanted<T>: Send + Sync + 'static {
    /// How many there are now, or why nobody can be looked for although somebody is missing.
    fn missing(&self) -> Result<u32>;

    /// Compares a passer-by with them, and with nobody else.
    fn look_up(&self, probe: &T) -> Result<Option<Sighted>>;

    /// Notes for the audit log that somebody was recognised. What cannot be noted is not told.
    fn recognised(&self, sighted: &Sighted, camera: &Name) -> Result<()>;
}

/// The missing persons of a gallery, at the rate of a configuration.
pub struct Missing {
    gallery: Gallery,
    config: WatchConfig,
}

impl Missing {
    /// Those of `gallery`.
    pub fn new(gallery: Gallery, config: WatchConfig) -> Self {
        Self { gallery, config }
    }
}

impl Wanted<Template> for Missing {
    fn missing(&self) -> Result<u32> {
        let missing = self.gallery.missing();
        if missing > 0 {
            crate::gallery::watch_threshold(self.gallery.calibration(), &self.config, missing)?;
        }
        Ok(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    fn look_up(&self, probe: &Template) -> Result<Option<Sighted>> {
        let found = self.gallery.search_missing(probe, &self.config)?;
        Ok(found.map(|w| Sighted {
            entry: w.entry,
            person: w.person,
            authority: w.authority,
            band: w.band,
            terms: w.terms,
        }))
    }

    fn recognised(&self, sighted: &Sighted, camera: &Name) -> Result<()> {
        let by = Actor::new(format!("watch:{camera}")).unwrap_or_else(|_| Actor::system());
        let note = Note::new(Action::Match, &by).purpose(Purpose::MissingPerson);
        self.gallery.record_soon(Some(&sighted.person), note)
    }
}

/// What a search at the desk found.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The likest first.
    pub candidates: Vec<Candidate>,
    /// Whether the first is clearly ahead of the second.
    pub clear: bool,
    /// What the search promises; `None` if there was nobody to be compared with.
    pub terms: Option<SearchTerms>,
}

/// The people who may be looked up at the desk. To be called where blocking is allowed: the audit log
/// is on disk before an answer is given.
pub trait People<T>: Send + Sync + 'static {
    /// Looks a face up among the entries of `purposes`; `by` asked. The reason is that of a search that
    /// was not made.
    fn look_up(
        &self,
        probe: &T,
        purposes: &[Purpose],
        limit: usize,
        fpir: Option<FalsePositiveRate>,
        by: &Actor,
    ) -> std::result::Result<Looked, Reason>;

    /// Whether an entry holds now.
    fn holds(&self, entry: Uuid) -> bool;

    /// Notes a clerk's decision: whom the clerk confirmed, or nobody.
    fn decided(&self, confirmed: Option<&PersonRef>, by: &Actor) -> Result<()>;
}

impl People<Template> for Gallery {
    fn look_up(
        &self,
        probe: &Template,
        purposes: &[Purpose],
        limit: usize,
        fpir: Option<FalsePositiveRate>,
        by: &Actor,
    ) -> std::result::Result<Looked, Reason> {
        let query = SearchQuery { purposes: purposes.to_vec(), limit, fpir };
        let found = self.identify(probe, &query, by).map_err(|e| {
            tracing::error!(error = %e.chain(), "a guest could not be looked up");
            match e.kind() {
                Kind::Config => Reason::ThresholdUnsupported,
                Kind::NoSpace | Kind::Unavailable => Reason::StorageUnavailable,
                _ => Reason::GalleryUnavailable,
            }
        })?;
        let candidates = found.hits.iter().map(crate::gallery::Hit::candidate).collect();
        Ok(Looked { candidates, clear: found.clear, terms: found.terms })
    }

    fn holds(&self, entry: Uuid) -> bool {
        self.standing(entry) == Some(Standing::Valid)
    }

    fn decided(&self, confirmed: Option<&PersonRef>, by: &Actor) -> Result<()> {
        match confirmed {
            Some(person) => self.record_about(person, Note::new(Action::Confirm, by)),
            None => self.record(Note::new(Action::Reject, by)),
        }
    }
}

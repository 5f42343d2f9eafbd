//! The people this box may recognise: an encrypted store of templates, and a search over them.
//!
//! [`Gallery`] keeps every entry's terms and template in memory and the same, sealed, in one SQLite
//! file. Reading ([`Gallery::resolve`], [`Gallery::template`], [`Gallery::search`]) never touches the
//! disk. Writing ([`Gallery::put`], [`Gallery::revoke`], [`Gallery::erase`], …) is one durable
//! transaction that also holds the audit record and the notice for the hub. Several processes may
//! have the gallery open: each notices what the others changed, at the latest in
//! [`Gallery::maintain`], which a [`Keeper`] calls every second.
//!
//! # On disk
//!
//! `gallery.db` and `gallery.db-wal` in the state directory, mode 0600: SQLite 3, `application_id`
//! 0x56474741 (`VGGA`), `user_version` 1, WAL, `synchronous=FULL`, `secure_delete`.
//!
//! | table | what |
//! |---|---|
//! | `meta` | id of the master key, the model, the newest revision, head and anchor of the audit log, digest of the configuration |
//! | `vault` | one row: keys for keyed hashes, audit log and notices, and the box's secret for bundles, sealed with the master key |
//! | `slot` | six slots a row: a data key, wrapped by the master key, and the template, sealed with the data key; zeros where nobody is |
//! | `entry` | the record (pseudonym, purpose, basis, validity, hours, hashes of credentials, …), sealed with the data key; a keyed hash of the pseudonym; the end of its validity |
//! | `audit` | the audit log ([`audit`]) |
//! | `command` | the last order of each source, and how it ended |
//! | `notice` | `gallery.changed` events that the daemon has not handed to its outbox yet, sealed |
//!
//! Everything sealed names in its additional data what it is: a template the entry's id, the model
//! and the purpose, so that none can be moved to another entry or another purpose.
//!
//! # Forgetting
//!
//! Erasing overwrites the slot in place with zeros, deletes the record, and cuts the write-ahead log
//! to nothing. A slot's row fills a page of its own and never changes its size, so SQLite never moves
//! it and leaves no copy in free pages. With the wrapped key gone nothing that was sealed with the data
//! key opens any more, whoever holds the master key. What a flash disk keeps in blocks it has taken
//! out of use, no program can reach; copies of the file made before are the operator's
//! (`docs/data-protection.md`).
//!
//! # Limits
//!
//! 100,000 entries, 16 credentials and 8 photographs a person, 32 rules of hours, 250,000 notices, an
//! audit log of `gallery.audit_days`.

pub mod audit;
pub mod bundle;
mod crypto;
mod db;
mod enrol;
mod entry;
mod index;
mod keeper;
mod key;
mod matrix;
mod search;
mod write;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

pub use audit::{Action, Note};
pub use enrol::{PHOTO_LIMITS, Photographer, Studio, decode};
pub use entry::{Actor, Standing};
pub use keeper::Keeper;
pub use key::MasterKey;
pub use search::{
    Found, Hit, MissingHit, SearchQuery, Skipped, WATCH_LOOKS, identification_threshold, watch_capacity,
    watch_threshold,
};
pub use write::{Denied, Enrolment, Maintained, Notice, Order, Outcome, Refusal};

use self::crypto::Key;
use self::entry::{Record, Row};
use self::index::{Delta, FreeSlots, Index, Values};
use crate::base::error::Context as _;
use crate::base::{Clock, Culprit, Error, Kind, Result, hex};
use crate::config::{GalleryConfig, Purpose};
use crate::event::{
    CredentialText, EntryState, EntryView, GalleryList, GalleryPage, Language, Minute, ModelRef, PersonRef,
};
use crate::face::{Calibration, Template};
use crate::infer::sface::DIMENSIONS;

/// Audit records that may wait for [`Gallery::maintain`].
const MAX_WAITING_NOTES: usize = 1024;
/// Most entries on a page of a list.
const PAGE: u32 = 1000;

/// What a gallery is opened with.
#[derive(Clone)]
pub struct Setup {
    /// The directory of `gallery.db`.
    pub state_dir: PathBuf,
    /// `[gallery]`.
    pub config: GalleryConfig,
    /// The embedding model of this box. A gallery of another one is refused.
    pub model: ModelRef,
    /// What that model's scores are worth here.
    pub calibration: Calibration,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

/// The keys of the vault.
struct Secrets {
    /// Keyed hashes of pseudonyms and credentials.
    lookup: Key,
    /// Head and anchor of the audit log.
    audit: Key,
    /// Notices that wait for the daemon.
    notice: Key,
    /// X25519 secret that bundles are sealed to.
    bundle: Key,
}

const VAULT_AAD: &[u8] = b"vigil/gallery/vault/1";

impl Secrets {
    fn generate() -> Result<Self> {
        Ok(Self {
            lookup: Key::generate()?,
            audit: Key::generate()?,
            notice: Key::generate()?,
            bundle: Key::generate()?,
        })
    }

    fn seal(&self, master: &MasterKey) -> Result<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(128));
        for key in [&self.lookup, &self.audit, &self.notice, &self.bundle] {
            plain.extend_from_slice(key.bytes());
        }
        master.wrap().seal(VAULT_AAD, &plain)
    }

    fn open(master: &MasterKey, sealed: &[u8]) -> Result<Self> {
        let plain = master.wrap().open(VAULT_AAD, sealed)?;
        let mut keys = plain.chunks(32).map(Key::from_bytes);
        let mut next = || keys.next().unwrap_or_else(|| Err(Error::internal("the vault is short")));
        Ok(Self { lookup: next()?, audit: next()?, notice: next()?, bundle: next()? })
    }
}

/// The database and what belongs to the one who writes.
struct Db {
    conn: Connection,
    master: MasterKey,
    /// The model as the database names it.
    model: Vec<u8>,
    /// The newest revision that memory has.
    rev: u64,
    /// Tells that another process wrote.
    data_version: i64,
    slots: FreeSlots,
    /// Something was erased and the journal may still hold it.
    journal_dirty: bool,
}

struct Inner {
    db: Mutex<Db>,
    index: RwLock<Index>,
    secrets: Secrets,
    model: ModelRef,
    config: GalleryConfig,
    calibration: Calibration,
    zone: TimeZone,
    clock: Arc<dyn Clock>,
    /// Audit records of the frame path, on their way to the disk.
    waiting: Mutex<VecDeque<(Timestamp, Note)>>,
    /// Entries that could not be opened.
    damaged: AtomicU32,
    /// The templates' pages could not be locked.
    unlocked_told: AtomicBool,
}

/// A handle to the gallery; clones share it.
#[derive(Clone)]
pub struct Gallery(Arc<Inner>);

impl fmt::Debug for Gallery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gallery(..)")
    }
}

/// The person whom a credential belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The entry.
    pub entry: Uuid,
    /// The pseudonym.
    pub person: PersonRef,
    /// Why the person is in the gallery.
    pub purpose: Purpose,
    /// How the entry stands now.
    pub standing: Standing,
    /// Until when it holds.
    pub until: Timestamp,
    /// The language of prompts.
    pub language: Option<Language>,
}

/// The gallery's own figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Entries, whatever their state.
    pub entries: u32,
    /// The most there may be.
    pub max_entries: u32,
    /// From so many on the box warns.
    pub warn_entries: u32,
    /// Entries by purpose.
    pub by_purpose: Vec<(Purpose, u32)>,
    /// Entries that were revoked and wait for their end.
    pub revoked: u32,
    /// Entries that wait for a photograph of the new model.
    pub awaiting: u32,
    /// Entries on disk that do not open: damaged, or changed by hand.
    pub damaged: u32,
    /// Whether the templates are locked in memory.
    pub locked: bool,
    /// The model.
    pub model: ModelRef,
    /// Names the master key.
    pub key_id: String,
    /// Bytes of the database.
    pub bytes: u64,
}

impl Stats {
    /// One line if there are so many entries that somebody has to act.
    pub fn warning(&self) -> Option<String> {
        nearly_full(self.entries, self.warn_entries, self.max_entries)
    }
}

fn nearly_full(entries: u32, warn: u32, max: u32) -> Option<String> {
    (entries >= warn).then(|| {
        format!(
            "the gallery holds {entries} entries of {max} at most; some regulators want a filing at 100,000"
        )
    })
}

// No panic can leave the values half-written.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

impl Gallery {
    /// Opens the gallery, and makes one if there is none. Everything is decrypted into memory: some
    /// 10 µs an entry.
    pub fn open(setup: Setup, master: MasterKey) -> Result<Self> {
        Self::open_as(setup, master, false)
    }

    /// As [`Self::open`], and a gallery of another model is opened too: to list who has to be enrolled
    /// again, and to [`Self::migrate`].
    pub fn open_any_model(setup: Setup, master: MasterKey) -> Result<Self> {
        Self::open_as(setup, master, true)
    }

    fn open_as(setup: Setup, master: MasterKey, any_model: bool) -> Result<Self> {
        let (conn, fresh) = db::open(&setup.state_dir)?;
        let at = || format!("gallery {}", setup.state_dir.join(db::FILE).display());
        let secrets = if fresh {
            create(&conn, &setup, &master)?
        } else {
            unlock(&conn, &setup, &master, any_model).context(at)?
        };
        let zone = setup.config.timezone.as_ref().map_or_else(TimeZone::system, |z| z.get().clone());
        let count = db::count(&conn)? as usize;
        let model = db::get(&conn, "model")?.unwrap_or_default();
        let gallery = Self(Arc::new(Inner {
            db: Mutex::new(Db {
                conn,
                master,
                model,
                rev: 0,
                data_version: -1,
                slots: FreeSlots::default(),
                journal_dirty: true,
            }),
            index: RwLock::new(Index::with_rows(count)),
            secrets,
            model: setup.model,
            config: setup.config,
            calibration: setup.calibration,
            zone,
            clock: setup.clock,
            waiting: Mutex::default(),
            damaged: AtomicU32::new(0),
            unlocked_told: AtomicBool::new(false),
        }));
        gallery.refresh()?;
        gallery.note_config()?;
        Ok(gallery)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(|e| e.into_inner())
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(|e| e.into_inner())
    }

    fn minute(&self, now: Timestamp) -> Minute {
        Minute::of(now, &self.0.zone)
    }

    /// The time by the gallery's clock.
    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Takes over what other processes changed.
    pub fn refresh(&self) -> Result<()> {
        self.refresh_locked(&mut lock(&self.0.db))
    }

    fn refresh_locked(&self, db: &mut Db) -> Result<()> {
        let version: i64 = db
            .conn
            .pragma_query_value(None, "data_version", |r| r.get(0))
            .map_err(db::fault("read the database"))?;
        if version == db.data_version {
            return Ok(());
        }
        self.still_ours(db)?;
        let rev = db::get_number(&db.conn, "rev")?;
        if rev != db.rev || db.data_version == -1 {
            let mut deltas = Vec::new();
            let mut damaged = 0;
            db::each_since(&db.conn, db.rev, |stored| {
                let id = stored.id;
                match open_entry(&db.master, stored) {
                    Ok((row, values)) => deltas.push(Delta::Put(Box::new(row), values)),
                    Err(e) => {
                        damaged += 1;
                        tracing::error!(entry = %id, error = %e.chain(), "an entry of the gallery does not open");
                    }
                }
                Ok(())
            })?;
            let there: std::collections::HashSet<Uuid> = db::ids(&db.conn)?.into_iter().collect();
            let gone: Vec<Uuid> =
                self.index().rows().iter().map(|r| r.id).filter(|id| !there.contains(id)).collect();
            let mut index = self.index_mut();
            gone.into_iter().for_each(|id| index.apply(Delta::Gone(id)));
            deltas.into_iter().for_each(|d| index.apply(d));
            drop(index);
            self.0.damaged.fetch_add(damaged, Ordering::Relaxed);
            db.slots = self.free_slots(db)?;
            db.rev = rev;
        }
        db.data_version = version;
        if !self.index().matrix().locked() && !self.0.unlocked_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("templates could not be locked in memory: raise LimitMEMLOCK, or turn swap off");
        }
        Ok(())
    }

    /// Another process may have changed the key or the model, and then nothing of ours fits any more.
    fn still_ours(&self, db: &Db) -> Result<()> {
        if db::get(&db.conn, "key")?.unwrap_or_default() != db.master.id().as_bytes() {
            return Err(Error::new(
                Kind::Mismatch,
                Culprit::Config,
                "gallery: its key was changed meanwhile",
            )
            .remedy("start Vigil again, so that it reads the new key"));
        }
        if db::get(&db.conn, "model")?.unwrap_or_default() != db.model {
            return Err(Error::new(
                Kind::Mismatch,
                Culprit::Model,
                "gallery: its model was changed meanwhile",
            )
            .remedy("start Vigil again with that model"));
        }
        Ok(())
    }

    /// The slots that no entry uses, those of damaged entries left alone.
    fn free_slots(&self, db: &Db) -> Result<FreeSlots> {
        if self.0.damaged.load(Ordering::Relaxed) == 0 {
            return Ok(self.index().free_slots());
        }
        let mut all = Vec::new();
        db::each_since(&db.conn, 0, |s| {
            all.push(s.slot);
            Ok(())
        })?;
        Ok(FreeSlots::from_used(all))
    }

    /// Notes in the audit log that the configuration is another one than at the last start.
    fn note_config(&self) -> Result<()> {
        // Where the key lies has another path inside the unit than outside.
        let config = GalleryConfig { key_file: PathBuf::new(), ..self.0.config.clone() };
        let text = serde_json::to_vec(&config)
            .map_err(|e| Error::internal("the configuration is not JSON").with_source(e))?;
        let digest = Sha256::digest(&text);
        let db = lock(&self.0.db);
        let known = db::get(&db.conn, "config")?;
        drop(db);
        if known.as_deref() == Some(&digest[..]) {
            return Ok(());
        }
        self.change(|c| {
            db::set(c.conn(), "config", &digest)?;
            let note =
                Note::new(Action::ConfigChange, &Actor::system()).note(format!("sha256 {}", hex(&digest)));
            c.audit(note).map(drop)
        })
    }

    // Reading ---------------------------------------------------------------------------------

    /// Who holds this credential, and how the entry stands now. Never waits for the disk; a PIN is
    /// checked, which takes some 20 ms, and a wrong one is answered as an unknown one.
    pub fn resolve(&self, credential: &CredentialText) -> Result<Option<Holder>> {
        let Ok(lookup) = entry::lookup(&self.0.secrets.lookup, credential) else { return Ok(None) };
        let (holder, stored) = {
            let index = self.index();
            let Some(at) = index.by_credential(&lookup) else { return Ok(None) };
            let row = &index.rows()[at];
            let Some(stored) = row.record.credentials.iter().find(|c| c.lookup == lookup) else {
                return Ok(None);
            };
            (self.holder(row), stored.clone())
        };
        let proved = stored.proves(&self.0.secrets.lookup, credential)?;
        Ok(proved.then_some(holder))
    }

    fn holder(&self, row: &Row) -> Holder {
        let now = self.0.clock.now();
        Holder {
            entry: row.id,
            person: row.record.person.clone(),
            purpose: row.record.purpose,
            standing: row.standing(now, self.minute(now)),
            until: row.record.until,
            language: row.record.language,
        }
    }

    /// The entry of a person, as [`Self::resolve`] gives it: for a credential that was resolved
    /// elsewhere.
    pub fn holder_of(&self, person: &PersonRef) -> Option<Holder> {
        let index = self.index();
        index.by_person(person).map(|at| self.holder(&index.rows()[at]))
    }

    /// How an entry stands now; `None` if it is not there. To be asked again at the moment of
    /// comparison: a lease may end while somebody stands at the door.
    pub fn standing(&self, entry: Uuid) -> Option<Standing> {
        let index = self.index();
        let now = self.0.clock.now();
        index.by_id(entry).map(|at| index.rows()[at].standing(now, self.minute(now)))
    }

    /// The template of an entry that is valid now.
    pub fn template(&self, entry: Uuid) -> Option<Template> {
        let index = self.index();
        let now = self.0.clock.now();
        let at = index.by_id(entry)?;
        if index.rows()[at].standing(now, self.minute(now)) != Standing::Valid {
            return None;
        }
        let mut values = Zeroizing::new(*index.matrix().row(at)?);
        Template::from_raw(&mut values).ok()
    }

    /// One entry. The caller notes who looked: [`Self::record`] with [`Action::List`].
    pub fn show(&self, person: &PersonRef) -> Option<EntryView> {
        let index = self.index();
        index.by_person(person).map(|at| index.rows()[at].view())
    }

    /// A page of entries in the order of their references. It is written to the audit log who asked.
    pub fn list(&self, list: &GalleryList, by: &Actor) -> Result<GalleryPage> {
        let page = self.page(list, |_| true);
        let mut note = Note::new(Action::List, by).count(page.entries.len() as u64);
        if let Some(purpose) = list.purpose {
            note = note.purpose(purpose);
        }
        self.record(note)?;
        Ok(page)
    }

    fn page(&self, list: &GalleryList, keep: impl Fn(&Row) -> bool) -> GalleryPage {
        let limit = list.limit.unwrap_or(PAGE).clamp(1, PAGE) as usize;
        let index = self.index();
        let mut rows = index
            .in_order(list.after.as_ref())
            .filter(|r| list.purpose.is_none_or(|p| r.record.purpose == p) && keep(r));
        let entries: Vec<_> = rows.by_ref().take(limit).map(Row::view).collect();
        let more = rows.next().is_some();
        GalleryPage { entries, total: u32::try_from(index.len()).unwrap_or(u32::MAX), more }
    }

    /// Entries without a template of this box's model: who has to be photographed again. In the order
    /// of their references, after `after`.
    pub fn to_enrol_again(&self, after: Option<PersonRef>) -> GalleryPage {
        let list = GalleryList { after, ..GalleryList::default() };
        self.page(&list, |r| {
            r.record.state == EntryState::Awaiting
                || r.record.state == EntryState::Active && r.record.model != self.0.model.sha256
        })
    }

    /// The gallery's figures.
    pub fn stats(&self) -> Stats {
        let (key_id, bytes) = {
            let db = lock(&self.0.db);
            let pages = |name| db.conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).unwrap_or(0);
            (db.master.id(), u64::try_from(pages("page_count") * pages("page_size")).unwrap_or(0))
        };
        let index = self.index();
        let count = |f: &dyn Fn(&Record) -> bool| {
            u32::try_from(index.rows().iter().filter(|r| f(&r.record)).count()).unwrap_or(u32::MAX)
        };
        Stats {
            entries: count(&|_| true),
            max_entries: self.0.config.max_entries,
            warn_entries: self.0.config.warn_entries,
            by_purpose: Purpose::ALL.map(|p| (p, count(&|r| r.purpose == p))).into(),
            revoked: count(&|r| r.state == EntryState::Revoked),
            awaiting: count(&|r| r.state == EntryState::Awaiting),
            damaged: self.0.damaged.load(Ordering::Relaxed),
            locked: index.matrix().locked(),
            model: self.0.model.clone(),
            key_id,
            bytes,
        }
    }

    /// One line if the gallery is nearly full: for the alarm `gallery_nearly_full`.
    pub fn nearly_full(&self) -> Option<String> {
        let entries = u32::try_from(self.index().len()).unwrap_or(u32::MAX);
        nearly_full(entries, self.0.config.warn_entries, self.0.config.max_entries)
    }

    /// The embedding model.
    pub fn model(&self) -> &ModelRef {
        &self.0.model
    }

    /// What that model's scores are worth.
    pub fn calibration(&self) -> &Calibration {
        &self.0.calibration
    }

    /// Follows the audit log from its oldest record to its newest and calls `each` with the text of
    /// every record as far as the chain holds.
    pub fn audit_log(&self, each: impl FnMut(&str) -> Result<()>) -> Result<audit::Verdict> {
        let db = lock(&self.0.db);
        audit::verify(&db.conn, &self.0.secrets.audit, each)
    }

    /// How the audit log writes a person: 32 hex digits.
    pub fn subject_of(&self, person: &PersonRef) -> String {
        hex(&self.person_hash(person)[..16])
    }

    fn person_hash(&self, person: &PersonRef) -> [u8; 32] {
        self.0.secrets.lookup.mac("vigil/gallery/person/1", &[person.as_str().as_bytes()])
    }

    /// Writes a record to the audit log. Waits for the disk: for searches, lists and exports.
    pub fn record(&self, note: Note) -> Result<()> {
        self.change(|c| c.audit(note).map(drop))
    }

    /// As [`Self::record`], about one person.
    pub fn record_about(&self, person: &PersonRef, note: Note) -> Result<()> {
        let subject = self.subject_of(person);
        self.record(note.subject(subject))
    }

    /// Notes something about a person without waiting: the record is written by the next
    /// [`Self::maintain`], within a second. Refused while 1,024 wait, because what cannot be recorded is
    /// not done.
    pub fn record_soon(&self, person: Option<&PersonRef>, note: Note) -> Result<()> {
        let note = match person {
            Some(person) => note.subject(self.subject_of(person)),
            None => note,
        };
        let mut waiting = lock(&self.0.waiting);
        if waiting.len() >= MAX_WAITING_NOTES {
            return Err(Error::new(
                Kind::Unavailable,
                Culprit::Disk,
                format!("gallery: {MAX_WAITING_NOTES} audit records wait for the disk already"),
            )
            .remedy("the disk under box.state_dir is too slow or hangs"));
        }
        waiting.push_back((self.0.clock.now(), note));
        Ok(())
    }
}

/// Fills a new database.
fn create(conn: &Connection, setup: &Setup, master: &MasterKey) -> Result<Secrets> {
    let secrets = Secrets::generate()?;
    let f = db::fault("set up the gallery");
    let tx =
        rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate).map_err(&f)?;
    // Two processes may have found it empty.
    if db::get(&tx, "key")?.is_some() {
        drop(tx);
        return unlock(conn, setup, master, false);
    }
    tx.execute("INSERT INTO vault (id, body) VALUES (1, ?1)", [secrets.seal(master)?]).map_err(&f)?;
    db::set(&tx, "key", master.id().as_bytes())?;
    set_model(&tx, &setup.model)?;
    db::set_number(&tx, "rev", 0)?;
    let note = Note::new(Action::Create, &Actor::system()).note(format!("model {}", setup.model.sha256));
    audit::append(&tx, &secrets.audit, setup.clock.now(), note)?;
    tx.commit().map_err(&f)?;
    std::fs::File::open(&setup.state_dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| Error::io(Culprit::Disk, "gallery: cannot sync the state directory", e))?;
    Ok(secrets)
}

fn set_model(conn: &Connection, model: &ModelRef) -> Result<()> {
    let json =
        serde_json::to_vec(model).map_err(|e| Error::internal("a model is not JSON").with_source(e))?;
    db::set(conn, "model", &json)
}

/// Checks key and model, and opens the vault.
fn unlock(conn: &Connection, setup: &Setup, master: &MasterKey, any_model: bool) -> Result<Secrets> {
    let id = db::get(conn, "key")?.unwrap_or_default();
    if id != master.id().as_bytes() {
        return Err(Error::config(format!(
            "it is sealed with key {}, and gallery.key_file holds key {}",
            String::from_utf8_lossy(&id),
            master.id()
        ))
        .remedy("put the right key in place; without it the gallery cannot be opened by anybody"));
    }
    let model: ModelRef = db::get(conn, "model")?
        .and_then(|m| serde_json::from_slice(&m).ok())
        .ok_or_else(|| Error::new(Kind::Corrupt, Culprit::Disk, "it does not say which model made it"))?;
    if model.sha256 != setup.model.sha256 && !any_model {
        return Err(Error::new(
            Kind::Mismatch,
            Culprit::Model,
            format!(
                "it was enrolled with model {} {}, this box runs {} {}",
                model.name, model.sha256, setup.model.name, setup.model.sha256
            ),
        )
        .remedy("install that model, or run `vigil gallery migrate` and enrol again"));
    }
    let body: Vec<u8> = conn
        .query_row("SELECT body FROM vault WHERE id = 1", [], |r| r.get(0))
        .map_err(db::fault("read the vault"))?;
    Secrets::open(master, &body).context(|| "the vault")
}

fn key_aad(id: Uuid) -> Vec<u8> {
    [b"vigil/gallery/key/1".as_slice(), id.as_bytes()].concat()
}

fn record_aad(id: Uuid) -> Vec<u8> {
    [b"vigil/gallery/record/1".as_slice(), id.as_bytes()].concat()
}

fn template_aad(id: Uuid, record: &Record) -> Vec<u8> {
    let purpose = record.purpose.as_str().as_bytes();
    [b"vigil/gallery/template/1".as_slice(), id.as_bytes(), record.model.as_bytes(), b"/", purpose].concat()
}

/// Opens what is stored of an entry.
fn open_entry(master: &MasterKey, stored: db::Stored) -> Result<(Row, Option<Values>)> {
    let (wrapped, sealed) = stored
        .slot_bytes
        .split_at_checked(db::WRAPPED)
        .ok_or_else(|| Error::new(Kind::Corrupt, Culprit::Disk, "its slot is short"))?;
    let key = Key::from_bytes(&master.wrap().open(&key_aad(stored.id), wrapped).context(|| "its key")?)?;
    let record = key.open(&record_aad(stored.id), &stored.record).context(|| "its record")?;
    let mut record = Record::from_bytes(&record)?;
    // The column serves the sweep. It may shorten a life and never lengthen it.
    if let Ok(until) = Timestamp::from_second(stored.until_s) {
        record.until = record.until.min(until);
    }
    let values = match record.state {
        EntryState::Active => {
            let plain = key.open(&template_aad(stored.id, &record), sealed).context(|| "its template")?;
            let mut values = Values::new(Zeroizing::new([0f32; DIMENSIONS]));
            for (value, bytes) in values.iter_mut().zip(plain.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            Some(values)
        }
        EntryState::Revoked | EntryState::Awaiting => None,
    };
    Ok((Row { id: stored.id, slot: stored.slot, record }, values))
}

/// The slot's bytes of an entry: its key, wrapped, and its template, sealed. Without values the
/// template's place stays empty.
fn seal_slot(
    master: &MasterKey,
    id: Uuid,
    key: &Key,
    record: &Record,
    values: Option<&[f32; DIMENSIONS]>,
) -> Result<[u8; db::SLOT]> {
    let mut out = [0; db::SLOT];
    let (wrapped, sealed) = out.split_at_mut(db::WRAPPED);
    wrapped.copy_from_slice(&master.wrap().seal(&key_aad(id), key.bytes())?);
    if let Some(values) = values {
        let mut plain = Zeroizing::new([0u8; 4 * DIMENSIONS]);
        for (bytes, value) in plain.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            let mut le = value.to_le_bytes();
            bytes.copy_from_slice(&le);
            le.zeroize();
        }
        sealed.copy_from_slice(&key.seal(&template_aad(id, record), &plain[..])?);
    }
    Ok(out)
}

/// What the gallery of a configuration is opened with, and its master key; `None` if it has none. A
/// rotation that was cut off before it moved the new key into place is seen, and the new key is used.
pub fn setup(
    config: &crate::config::Config,
    model: ModelRef,
    calibration: Calibration,
    clock: Arc<dyn Clock>,
) -> Result<Option<(Setup, MasterKey)>> {
    let Some(gallery) = &config.gallery else { return Ok(None) };
    let mut master = MasterKey::load(&gallery.key_file)?;
    let state_dir = config.identity.state_dir.clone();
    let next = MasterKey::next_path(&gallery.key_file);
    if next.exists() && exists(&state_dir) {
        let (conn, _) = db::open(&state_dir)?;
        let sealed_with = db::get(&conn, "key")?.unwrap_or_default();
        let new = MasterKey::load(&next)?;
        if sealed_with == new.id().as_bytes() {
            tracing::warn!(
                "the gallery is sealed with the key in {}: run `vigil gallery rotate` to put it into place",
                next.display()
            );
            master = new;
        }
    }
    let setup = Setup { state_dir, config: gallery.clone(), model, calibration, clock };
    Ok(Some((setup, master)))
}

/// Whether key and model fit the gallery that is there, without reading its people: how many there
/// are, or `None` if there is no gallery yet.
pub fn inspect(setup: &Setup, master: &MasterKey) -> Result<Option<u32>> {
    if !exists(&setup.state_dir) {
        return Ok(None);
    }
    let (conn, fresh) = db::open(&setup.state_dir)?;
    if fresh {
        return Ok(None);
    }
    unlock(&conn, setup, master, false)
        .context(|| format!("gallery {}", setup.state_dir.join(db::FILE).display()))?;
    db::count(&conn).map(Some)
}

/// Whether there is a gallery in `state_dir`.
fn exists(state_dir: &Path) -> bool {
    state_dir.join(db::FILE).exists()
}

#[cfg(test)]
mod tests;

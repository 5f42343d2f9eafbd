//! Changes: each one is a durable transaction with its audit record and its notice for the hub, and
//! reaches memory after the disk has confirmed.

use std::cmp::Ordering as CmpOrdering;
use std::fmt;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::audit::{self, Action, Note};
use super::crypto::Key;
use super::db;
use super::entry::{Actor, Digest, Record, Row, StoredCredential, lookup, source_digest};
use super::index::{Delta, FreeSlots, Values};
use super::matrix::dot;
use super::{Db, Gallery, MasterKey, lock, seal_slot, set_model};
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::{
    AuditMark, EntryState, EntryTerms, GalleryChange, GalleryChanged, GalleryDone, GalleryReason,
    GalleryRevoke, PersonRef,
};
use crate::face::Template;
use crate::infer::sface::DIMENSIONS;

/// How many references a refusal names at most.
const MAX_ALIKE: usize = 10;
/// Expired entries erased in one transaction.
const SWEEP: usize = 512;
/// Notices that may wait for the daemon; of more, the oldest are dropped.
const MAX_NOTICES: i64 = 250_000;
/// Audit records past their time are removed in steps of a day.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_hours(24);
const NOTICE_AAD: &[u8] = b"vigil/gallery/notice/1";

/// Why somebody was not enrolled.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: GalleryReason,
    /// The references under which somebody this alike is enrolled. For the box's operator alone.
    pub alike: Vec<PersonRef>,
}

impl Refusal {
    /// A refusal that concerns nobody else.
    pub fn of(reason: GalleryReason) -> Self {
        Self { reason, alike: Vec::new() }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({:?}, {} alike)", self.reason, self.alike.len())
    }
}

impl From<GalleryReason> for Refusal {
    fn from(reason: GalleryReason) -> Self {
        Self::of(reason)
    }
}

/// A change that was not made.
#[derive(Debug)]
pub enum Denied {
    /// It is against the rules; trying again cannot help.
    Refused(Refusal),
    /// It could not be made.
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

impl From<Refusal> for Denied {
    fn from(r: Refusal) -> Self {
        Self::Refused(r)
    }
}

impl From<Denied> for Error {
    /// Without the references: they are for the operator alone.
    fn from(d: Denied) -> Self {
        match d {
            Denied::Refused(r) => Self::new(Kind::Refused, Culprit::Request, r.reason.sentence()),
            Denied::Failed(e) => e,
        }
    }
}

/// A person to be enrolled: the terms, the template, and what it was made from.
#[derive(Debug)]
pub struct Enrolment {
    pub(super) terms: EntryTerms,
    pub(super) template: Template,
    pub(super) source: Digest,
    pub(super) distinct_from: Vec<PersonRef>,
}

impl Gallery {
    /// An enrolment out of a template. `source` is what it was made from (the photographs' bytes): the
    /// same terms and the same source again change nothing.
    pub fn enrolment(
        &self,
        terms: EntryTerms,
        template: Template,
        source: &[&[u8]],
        distinct_from: Vec<PersonRef>,
    ) -> Result<Enrolment> {
        let source = self.source(&terms, source)?;
        Ok(Enrolment { terms, template, source, distinct_from })
    }

    /// Whether exactly this is enrolled already, so that nobody need look at the photographs again.
    pub fn is_enrolled(&self, terms: &EntryTerms, source: &[&[u8]]) -> Result<bool> {
        let source = self.source(terms, source)?;
        let index = self.index();
        Ok(index.by_person(&terms.person_ref).is_some_and(|at| {
            let record = &index.rows()[at].record;
            record.source == source && record.state == EntryState::Active
        }))
    }

    fn source(&self, terms: &EntryTerms, source: &[&[u8]]) -> Result<Digest> {
        source_digest(&self.0.secrets.lookup, terms, &self.0.model.sha256, source)
    }
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What changed; `None` if it was so already.
    pub change: Option<GalleryChange>,
    /// The entry.
    pub entry: Option<Uuid>,
}

impl Outcome {
    const NOTHING: Self = Self { change: None, entry: None };
}

/// An order of somebody who numbers them: carried out once, and none after a later one.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who orders, at most 64 bytes: `hub:…`, `desk:…`.
    pub source: Actor,
    /// The order's number: each is larger than the one before.
    pub seq: u64,
    /// SHA-256 of the order's text: a number that is used again must say the same.
    pub digest: [u8; 32],
}

/// A transaction under way.
pub(super) struct Change<'a> {
    gallery: &'a Gallery,
    conn: &'a Connection,
    master: &'a MasterKey,
    slots: &'a mut FreeSlots,
    rev: u64,
    now: Timestamp,
    deltas: Vec<Delta>,
    notices: Vec<GalleryChanged>,
    erased: bool,
}

impl Change<'_> {
    pub(super) fn conn(&self) -> &Connection {
        self.conn
    }

    pub(super) fn audit(&mut self, note: Note) -> Result<AuditMark> {
        audit::append(self.conn, &self.gallery.0.secrets.audit, self.now, note)
    }

    /// Records a change and what the hub is told of it.
    fn tell(
        &mut self,
        change: GalleryChange,
        row: &Row,
        action: Action,
        by: &Actor,
        note: Option<&str>,
    ) -> Result<()> {
        let mut record = Note::new(action, by)
            .subject(self.gallery.subject_of(&row.record.person))
            .purpose(row.record.purpose);
        if let Some(note) = note {
            record = record.note(note);
        }
        let audit = self.audit(record)?;
        self.notices.push(GalleryChanged {
            change,
            person_ref: Some(row.record.person.clone()),
            entry: Some(row.id),
            purpose: Some(row.record.purpose),
            by: by.to_string(),
            entries: 0,
            audit,
        });
        Ok(())
    }

    /// Records a change of the whole gallery.
    fn tell_all(&mut self, change: GalleryChange, note: Note, by: &Actor) -> Result<()> {
        let audit = self.audit(note)?;
        let by = by.to_string();
        self.notices.push(GalleryChanged {
            change,
            person_ref: None,
            entry: None,
            purpose: None,
            by,
            entries: 0,
            audit,
        });
        Ok(())
    }

    /// The row of a person as it will be when this transaction ends.
    fn find(&self, matches: impl Fn(&Row) -> bool, in_memory: Option<usize>) -> Option<Row> {
        let gone = |id: Uuid| self.deltas.iter().any(|d| matches!(d, Delta::Gone(g) if *g == id));
        let pending = self.deltas.iter().rev().find_map(|d| match d {
            Delta::Put(row, _) if matches(row) && !gone(row.id) => Some((**row).clone()),
            _ => None,
        });
        pending.or_else(|| {
            let index = self.gallery.index();
            in_memory.map(|at| index.rows()[at].clone()).filter(|r| !gone(r.id) && matches(r))
        })
    }

    fn person(&self, person: &PersonRef) -> Option<Row> {
        let at = self.gallery.index().by_person(person);
        self.find(|r| r.record.person == *person, at)
    }

    fn credential(&self, lookup: &Digest) -> Option<Row> {
        let at = self.gallery.index().by_credential(lookup);
        self.find(|r| r.record.credentials.iter().any(|c| c.lookup == *lookup), at)
    }

    fn entries(&self) -> u32 {
        let change: i64 = self
            .deltas
            .iter()
            .map(|d| match d {
                Delta::Put(row, _) if self.gallery.index().by_id(row.id).is_none() => 1,
                Delta::Put(..) => 0,
                Delta::Gone(_) => -1,
            })
            .sum();
        let there = i64::try_from(self.gallery.index().len()).unwrap_or(i64::MAX);
        u32::try_from(there.saturating_add(change)).unwrap_or(0)
    }

    /// Everybody else who is like this template at the duplicate rate, the likest first.
    fn alike(&self, person: &PersonRef, template: &Template) -> Result<Vec<PersonRef>> {
        let threshold = self
            .gallery
            .0
            .calibration
            .threshold(self.gallery.0.config.duplicate_fmr)
            .map_err(|e| e.context("gallery.duplicate_fmr"))?;
        let mut found: Vec<(f32, PersonRef)> = Vec::new();
        let mut see = |score: f32, row: &Row| {
            if threshold.accepts(score) && row.record.person != *person {
                found.push((score, row.record.person.clone()));
            }
        };
        let index = self.gallery.index();
        let gone = |id: Uuid| self.deltas.iter().any(|d| matches!(d, Delta::Gone(g) if *g == id));
        for (row, values) in
            index.rows().iter().zip(0..).filter_map(|(r, at)| Some((r, index.matrix().row(at)?)))
        {
            let score = dot(values, template.values());
            if score >= threshold.score && !gone(row.id) {
                see(score, row);
            }
        }
        for delta in &self.deltas {
            if let Delta::Put(row, Some(values)) = delta
                && !gone(row.id)
            {
                see(dot(values, template.values()), row);
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(found.into_iter().map(|(_, p)| p).collect())
    }

    /// Every rule that an enrolment must keep. Nothing is written before they are all kept.
    fn permit(
        &self,
        e: &Enrolment,
        known: Option<&Row>,
    ) -> Result<std::result::Result<Vec<StoredCredential>, Refusal>> {
        let refuse = |reason: GalleryReason| Ok(Err(Refusal::of(reason)));
        if let Err(reason) = e.terms.check(self.now) {
            return refuse(reason);
        }
        let config = &self.gallery.0.config;
        if !config.purposes.contains(&e.terms.purpose) {
            return refuse(GalleryReason::PurposeNotAllowed);
        }
        if known.is_none() && self.entries() >= config.max_entries {
            return refuse(GalleryReason::GalleryFull);
        }
        let mut credentials: Vec<StoredCredential> = Vec::new();
        for text in &e.terms.credentials {
            let key = &self.gallery.0.secrets.lookup;
            let stored = match StoredCredential::make(key, text)? {
                Ok(stored) => stored,
                Err(reason) => return refuse(reason),
            };
            if self.credential(&stored.lookup).is_some_and(|r| r.record.person != e.terms.person_ref) {
                return refuse(GalleryReason::CredentialTaken);
            }
            if !credentials.iter().any(|c| c.lookup == stored.lookup) {
                credentials.push(stored);
            }
        }
        let mut alike = self.alike(&e.terms.person_ref, &e.template)?;
        alike.retain(|p| !e.distinct_from.contains(p));
        alike.truncate(MAX_ALIKE);
        if !alike.is_empty() {
            return Ok(Err(Refusal { reason: GalleryReason::AlreadyEnrolled, alike }));
        }
        Ok(Ok(credentials))
    }

    fn put(&mut self, e: &Enrolment, by: &Actor) -> Result<std::result::Result<Outcome, Refusal>> {
        let known = self.person(&e.terms.person_ref);
        if let Some(known) = &known
            && known.record.source == e.source
            && known.record.state == EntryState::Active
        {
            return Ok(Ok(Outcome { change: None, entry: Some(known.id) }));
        }
        let credentials = match self.permit(e, known.as_ref())? {
            Ok(credentials) => credentials,
            Err(refusal) => {
                let subject = self.gallery.subject_of(&e.terms.person_ref);
                let note = Note::new(Action::Refuse, by).subject(subject).purpose(e.terms.purpose);
                self.audit(note.note(word(refusal.reason)))?;
                return Ok(Err(refusal));
            }
        };
        let whole = |t: Timestamp| Timestamp::from_second(t.as_second()).unwrap_or(t);
        let row = Row {
            id: Uuid::new_v4(),
            slot: self.slots.take(),
            record: Record {
                person: e.terms.person_ref.clone(),
                purpose: e.terms.purpose,
                basis: e.terms.basis.clone(),
                state: EntryState::Active,
                from: whole(e.terms.valid_from.unwrap_or(self.now)),
                until: whole(e.terms.valid_until),
                hours: e.terms.hours.clone(),
                language: e.terms.language,
                created: whole(self.now),
                by: by.clone(),
                model: self.gallery.0.model.sha256.clone(),
                credentials,
                source: e.source,
            },
        };
        let change = match &known {
            Some(known) => {
                self.remove(known)?;
                GalleryChange::Replaced
            }
            None => {
                self.remove_damaged(&e.terms.person_ref)?;
                GalleryChange::Enrolled
            }
        };
        let values = Values::new(Zeroizing::new(*e.template.values()));
        let id = row.id;
        self.store(&row, Some(&values), true)?;
        let action = if known.is_some() { Action::Replace } else { Action::Enrol };
        self.tell(change, &row, action, by, None)?;
        self.deltas.push(Delta::Put(Box::new(row), Some(values)));
        Ok(Ok(Outcome { change: Some(change), entry: Some(id) }))
    }

    /// Writes slot and record under a fresh data key.
    fn store(&mut self, row: &Row, values: Option<&[f32; DIMENSIONS]>, new: bool) -> Result<()> {
        let key = Key::generate()?;
        let slot = seal_slot(self.master, row.id, &key, &row.record, values)?;
        db::write_slot(self.conn, row.slot, &slot)?;
        let record = key.seal(&super::record_aad(row.id), &row.record.to_bytes()?)?;
        let f = db::fault("write an entry");
        let rev = i64::try_from(self.rev).unwrap_or(i64::MAX);
        let until = row.record.until.as_second();
        let id = row.id.as_bytes().as_slice();
        if new {
            let person = self.gallery.person_hash(&row.record.person);
            self.conn
                .prepare_cached(
                    "INSERT INTO entry (id, slot, person, until_s, rev, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut s| s.execute(params![id, row.slot, person, until, rev, record]))
                .map_err(f)?;
        } else {
            self.conn
                .prepare_cached("UPDATE entry SET until_s = ?2, rev = ?3, record = ?4 WHERE id = ?1")
                .and_then(|mut s| s.execute(params![id, until, rev, record]))
                .map_err(f)?;
            self.erased = true;
        }
        Ok(())
    }

    /// Takes an entry off the disk: the key first, which everything else hangs on.
    fn remove(&mut self, row: &Row) -> Result<()> {
        db::erase_slot(self.conn, row.slot)?;
        self.conn
            .prepare_cached("DELETE FROM entry WHERE id = ?1")
            .and_then(|mut s| s.execute([row.id.as_bytes().as_slice()]))
            .map_err(db::fault("erase an entry"))?;
        self.slots.give_back(row.slot);
        self.deltas.push(Delta::Gone(row.id));
        self.erased = true;
        Ok(())
    }

    /// Takes a person's entry off the disk that memory does not have, because it does not open.
    fn remove_damaged(&mut self, person: &PersonRef) -> Result<Option<Uuid>> {
        let found: Option<(Vec<u8>, u32)> = self
            .conn
            .prepare_cached("SELECT id, slot FROM entry WHERE person = ?1")
            .and_then(|mut s| {
                s.query_row([self.gallery.person_hash(person)], |r| Ok((r.get(0)?, r.get(1)?))).optional()
            })
            .map_err(db::fault("look for an entry"))?;
        let Some((id, slot)) = found else { return Ok(None) };
        let id = Uuid::from_slice(&id).map_err(|_| Error::internal("an entry's id has another length"))?;
        self.erase_damaged(id, slot)?;
        Ok(Some(id))
    }

    fn erase_damaged(&mut self, id: Uuid, slot: u32) -> Result<()> {
        db::erase_slot(self.conn, slot)?;
        self.conn
            .execute("DELETE FROM entry WHERE id = ?1", [id.as_bytes().as_slice()])
            .map_err(db::fault("erase an entry"))?;
        self.slots.give_back(slot);
        self.erased = true;
        let fewer = |n: u32| Some(n.saturating_sub(1));
        let _ = self.gallery.0.damaged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        Ok(())
    }

    /// Erases a person, also one whose entry does not open.
    fn erase_person(&mut self, person: &PersonRef, by: &Actor) -> Result<Outcome> {
        if let Some(row) = self.person(person) {
            self.erase(&row, GalleryChange::Erased, Action::Erase, by)?;
            return Ok(Outcome { change: Some(GalleryChange::Erased), entry: Some(row.id) });
        }
        let Some(id) = self.remove_damaged(person)? else { return Ok(Outcome::NOTHING) };
        let subject = self.gallery.subject_of(person);
        let audit =
            self.audit(Note::new(Action::Erase, by).subject(subject).note("an entry that did not open"))?;
        self.notices.push(GalleryChanged {
            change: GalleryChange::Erased,
            person_ref: Some(person.clone()),
            entry: Some(id),
            purpose: None,
            by: by.to_string(),
            entries: 0,
            audit,
        });
        Ok(Outcome { change: Some(GalleryChange::Erased), entry: Some(id) })
    }

    fn erase(&mut self, row: &Row, change: GalleryChange, action: Action, by: &Actor) -> Result<()> {
        self.remove(row)?;
        self.tell(change, row, action, by, None)
    }

    /// Keeps the record and overwrites the template.
    fn strip(&mut self, row: &Row, state: EntryState) -> Result<Row> {
        let mut row = row.clone();
        row.record.state = state;
        self.store(&row, None, false)?;
        self.deltas.push(Delta::Put(Box::new(row.clone()), None));
        Ok(row)
    }

    fn revoke(&mut self, order: &GalleryRevoke, by: &Actor) -> Result<std::result::Result<Outcome, Refusal>> {
        if order.credential.is_none() && !order.keep_record {
            return self.erase_person(&order.person_ref, by).map(Ok);
        }
        let Some(row) = self.person(&order.person_ref) else { return Ok(Ok(Outcome::NOTHING)) };
        let done = |change| Ok(Ok(Outcome { change: Some(change), entry: Some(row.id) }));
        let nothing = Ok(Ok(Outcome { change: None, entry: Some(row.id) }));
        if let Some(text) = &order.credential {
            let lookup = match lookup(&self.gallery.0.secrets.lookup, text) {
                Ok(lookup) => lookup,
                Err(reason) => return Ok(Err(reason.into())),
            };
            let mut left = row.clone();
            left.record.credentials.retain(|c| c.lookup != lookup);
            if left.record.credentials.len() == row.record.credentials.len() {
                return nothing;
            }
            let values = self.values_of(&row);
            self.store(&left, values.as_deref().map(|v| &**v), false)?;
            self.tell(
                GalleryChange::CredentialRevoked,
                &left,
                Action::RevokeCredential,
                by,
                Some(text.kind.as_str()),
            )?;
            self.deltas.push(Delta::Put(Box::new(left), values));
            return done(GalleryChange::CredentialRevoked);
        }
        if row.record.state == EntryState::Revoked {
            return nothing;
        }
        let row = self.strip(&row, EntryState::Revoked)?;
        self.tell(GalleryChange::Revoked, &row, Action::Revoke, by, None)?;
        done(GalleryChange::Revoked)
    }

    /// The template of an active row, from memory or from this transaction.
    fn values_of(&self, row: &Row) -> Option<Values> {
        if row.record.state != EntryState::Active {
            return None;
        }
        let pending = self.deltas.iter().rev().find_map(|d| match d {
            Delta::Put(r, values) if r.id == row.id => Some(values.clone()),
            _ => None,
        });
        pending.unwrap_or_else(|| {
            let index = self.gallery.index();
            index.by_id(row.id).and_then(|at| index.matrix().row(at)).map(|v| Values::new(Zeroizing::new(*v)))
        })
    }

    /// Whether an order may be carried out; its answer if it was already.
    fn order(&self, order: &Order) -> Result<std::result::Result<Option<GalleryDone>, Refusal>> {
        let f = db::fault("read the last order");
        let last: Option<(i64, Vec<u8>, String)> = self
            .conn
            .query_row(
                "SELECT seq, digest, reply FROM command WHERE source = ?1",
                [order.source.as_str()],
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
            )
            .optional()
            .map_err(f)?;
        let Some((seq, digest, reply)) = last else { return Ok(Ok(None)) };
        match u64::try_from(seq).unwrap_or(0).cmp(&order.seq) {
            CmpOrdering::Less => Ok(Ok(None)),
            CmpOrdering::Greater => Ok(Err(GalleryReason::Stale.into())),
            CmpOrdering::Equal if digest != order.digest => Ok(Err(GalleryReason::NumberReused.into())),
            CmpOrdering::Equal => {
                let done: GalleryDone = serde_json::from_str(&reply).map_err(|e| {
                    Error::new(Kind::Corrupt, Culprit::Disk, "gallery: the last order's answer is damaged")
                        .with_source(e)
                })?;
                Ok(Ok(Some(GalleryDone { repeated: true, ..done })))
            }
        }
    }

    fn ordered(&self, order: &Order, done: &GalleryDone) -> Result<()> {
        let reply = serde_json::to_string(done)
            .map_err(|e| Error::internal("an answer is not JSON").with_source(e))?;
        let seq = i64::try_from(order.seq).map_err(|_| {
            Error::new(Kind::Usage, Culprit::Request, "an order's number is at most 9223372036854775807")
        })?;
        self.conn
            .execute(
                "INSERT INTO command (source, seq, digest, reply) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (source)
                 DO UPDATE SET seq = excluded.seq, digest = excluded.digest, reply = excluded.reply",
                params![order.source.as_str(), seq, order.digest.as_slice(), reply],
            )
            .map(drop)
            .map_err(db::fault("write the order"))
    }

    /// The notices, sealed: a pseudonym that was erased does not stay readable here.
    fn write_notices(&mut self) -> Result<()> {
        let entries = self.entries();
        for notice in &mut self.notices {
            notice.entries = entries;
            let json = serde_json::to_vec(&(self.now, &notice))
                .map_err(|e| Error::internal("a notice is not JSON").with_source(e))?;
            let body = self.gallery.0.secrets.notice.seal(NOTICE_AAD, &json)?;
            self.conn
                .prepare_cached("INSERT INTO notice (body) VALUES (?1)")
                .and_then(|mut s| s.execute([body]))
                .map_err(db::fault("write a notice"))?;
        }
        if !self.notices.is_empty() {
            // A box that nobody connects to a hub keeps a bounded number.
            self.conn
                .prepare_cached("DELETE FROM notice WHERE n <= (SELECT max(n) FROM notice) - ?1")
                .and_then(|mut s| s.execute([MAX_NOTICES]))
                .map_err(db::fault("write a notice"))?;
        }
        Ok(())
    }
}

/// A reason as the contract writes it.
fn word(reason: GalleryReason) -> String {
    serde_json::to_value(reason).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A change that the hub has not been told of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What it was.
    pub changed: GalleryChanged,
}

/// What [`Gallery::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Entries that had expired and were erased.
    pub expired: usize,
    /// Audit records of doors and desks that were written.
    pub noted: usize,
    /// Audit records past their time that were removed.
    pub pruned: u64,
}

impl Gallery {
    /// One transaction: `f` inside it, then the disk, then memory.
    pub(super) fn change<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        let mut guard = lock(&self.0.db);
        let db = &mut *guard;
        let result = self.change_locked(db, f);
        if result.is_err() {
            // Slots that were taken are free again, and what other processes changed is seen anew.
            db.slots = self.free_slots(db)?;
        }
        result
    }

    fn change_locked<T>(&self, db: &mut Db, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        // A panic may have left a transaction open.
        if !db.conn.is_autocommit() {
            db.conn.execute_batch("ROLLBACK").map_err(db::fault("end a change"))?;
        }
        db.conn.execute_batch("BEGIN IMMEDIATE").map_err(db::fault("begin a change"))?;
        let result = self.in_transaction(db, f);
        if result.is_err() && !db.conn.is_autocommit() {
            db.conn.execute_batch("ROLLBACK").map_err(db::fault("end a change"))?;
        }
        let (out, deltas, rev, erased) = result?;
        db.rev = rev;
        // A search that is under way is waited for; the disk is not.
        let mut index = self.index_mut();
        deltas.into_iter().for_each(|d| index.apply(d));
        drop(index);
        if erased || db.journal_dirty {
            db.journal_dirty = !db::checkpoint(&db.conn)?;
        }
        Ok(out)
    }

    /// What happens between `BEGIN` and the end of `COMMIT`.
    fn in_transaction<T>(
        &self,
        db: &mut Db,
        f: impl FnOnce(&mut Change<'_>) -> Result<T>,
    ) -> Result<(T, Vec<Delta>, u64, bool)> {
        // From here on nobody else writes, so what memory has now stays true until the commit.
        self.refresh_locked(db)?;
        let rev = db.rev + 1;
        let mut change = Change {
            gallery: self,
            conn: &db.conn,
            master: &db.master,
            slots: &mut db.slots,
            rev,
            now: self.0.clock.now(),
            deltas: Vec::new(),
            notices: Vec::new(),
            erased: false,
        };
        let out = f(&mut change)?;
        change.write_notices()?;
        let (deltas, erased) = (change.deltas, change.erased);
        let rev = if deltas.is_empty() { db.rev } else { rev };
        if !deltas.is_empty() {
            db::set_number(&db.conn, "rev", rev)?;
        }
        db.conn.execute_batch("COMMIT").map_err(db::fault("commit a change"))?;
        Ok((out, deltas, rev, erased))
    }

    /// Enrols a person, or replaces the person's entry. The same again changes nothing.
    pub fn put(&self, enrolment: &Enrolment, by: &Actor) -> std::result::Result<Outcome, Denied> {
        self.change(|c| c.put(enrolment, by))?.map_err(Denied::Refused)
    }

    /// Enrols several people in one transaction; each has its own outcome, and those who are refused
    /// do not hinder the others.
    pub fn put_all(
        &self,
        enrolments: &[Enrolment],
        by: &Actor,
    ) -> Result<Vec<std::result::Result<Outcome, Refusal>>> {
        self.change(|c| enrolments.iter().map(|e| c.put(e, by)).collect())
    }

    /// Writes into the audit log that somebody was refused because of the photographs.
    pub fn note_refusal(&self, person: &PersonRef, reason: GalleryReason, by: &Actor) -> Result<()> {
        self.record_about(person, Note::new(Action::Refuse, by).note(word(reason)))
    }

    /// Ends a person's entry or one credential of it. Nobody to be ended is no error.
    pub fn revoke(&self, revoke: &GalleryRevoke, by: &Actor) -> std::result::Result<Outcome, Denied> {
        self.change(|c| c.revoke(revoke, by))?.map_err(Denied::Refused)
    }

    /// Erases a person. When this returns, the key, the template and the record are gone from the
    /// database and its journal.
    pub fn erase(&self, person: &PersonRef, by: &Actor) -> Result<Outcome> {
        let outcome = self.change(|c| c.erase_person(person, by))?;
        if outcome.change.is_some() && lock(&self.0.db).journal_dirty {
            return Err(Error::new(
                Kind::Unavailable,
                Culprit::Disk,
                "the person is erased, but another process keeps the journal that may hold the old bytes",
            )
            .remedy("the daemon folds it as soon as it can; stop other readers of gallery.db"));
        }
        Ok(outcome)
    }

    /// The answer to an order that was carried out already, or why it must not be; `None` if it is
    /// new. [`Self::put_ordered`] and [`Self::revoke_ordered`] ask again inside their transaction: this is for
    /// not looking at photographs in vain.
    pub fn seen(&self, order: &Order) -> Result<Option<GalleryDone>> {
        self.change(|c| c.order(order)).map(|seen| match seen {
            Ok(done) => done,
            Err(refusal) => Some(refused(&refusal)),
        })
    }

    /// `gallery/put` of somebody who numbers orders. A refusal is an answer, too.
    pub fn put_ordered(&self, enrolment: &Enrolment, order: &Order) -> Result<GalleryDone> {
        self.ordered(order, |c| c.put(enrolment, &order.source))
    }

    /// `gallery/put` that cannot be made because of its photographs: the refusal is what the order
    /// led to.
    pub fn refuse_ordered(&self, reason: GalleryReason, order: &Order) -> Result<GalleryDone> {
        self.ordered(order, |c| {
            c.audit(Note::new(Action::Refuse, &order.source).note(word(reason)))?;
            Ok(Err(reason.into()))
        })
    }

    /// `gallery/revoke` of somebody who numbers orders.
    pub fn revoke_ordered(&self, revoke: &GalleryRevoke, order: &Order) -> Result<GalleryDone> {
        self.ordered(order, |c| c.revoke(revoke, &order.source))
    }

    fn ordered(
        &self,
        order: &Order,
        f: impl FnOnce(&mut Change<'_>) -> Result<std::result::Result<Outcome, Refusal>>,
    ) -> Result<GalleryDone> {
        self.change(|c| {
            match c.order(order)? {
                Ok(None) => {}
                Ok(Some(done)) => return Ok(done),
                Err(refusal) => return Ok(refused(&refusal)),
            }
            let done = match f(c)? {
                Ok(Outcome { change, entry }) => {
                    GalleryDone { change, entry, refused: None, repeated: false }
                }
                Err(refusal) => refused(&refusal),
            };
            c.ordered(order, &done)?;
            Ok(done)
        })
    }

    /// Erases what has expired: all of it, in transactions of 512. Entries that do not open are
    /// erased as well when their time is over.
    pub fn expire(&self, by: &Actor) -> Result<usize> {
        let mut all = 0;
        loop {
            let due = self.due()?;
            if due.is_empty() {
                return Ok(all);
            }
            let done = due.len();
            self.change(|c| {
                for (id, slot) in due {
                    let at = c.gallery.index().by_id(id);
                    match c.find(|r| r.id == id, at) {
                        Some(row) => c.erase(&row, GalleryChange::Expired, Action::Expire, by)?,
                        None => {
                            c.erase_damaged(id, slot)?;
                            c.audit(Note::new(Action::Expire, by).note("an entry that did not open"))?;
                        }
                    }
                }
                Ok(())
            })?;
            all += done;
        }
    }

    fn due(&self) -> Result<Vec<(Uuid, u32)>> {
        let now = self.0.clock.now().as_second();
        let db = lock(&self.0.db);
        let f = db::fault("look for expired entries");
        let mut statement = db
            .conn
            .prepare_cached("SELECT id, slot FROM entry WHERE until_s <= ?1 ORDER BY until_s LIMIT ?2")
            .map_err(&f)?;
        let rows = statement
            .query_map(params![now, SWEEP as i64], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get(1)?)))
            .map_err(&f)?;
        rows.map(|r| {
            let (id, slot) = r.map_err(&f)?;
            let id =
                Uuid::from_slice(&id).map_err(|_| Error::internal("an entry's id has another length"))?;
            Ok((id, slot))
        })
        .collect()
    }

    /// What has to be done again and again: takes over what other processes changed, writes the audit
    /// records that wait, erases what has expired, shortens the audit log, folds the journal.
    pub fn maintain(&self) -> Result<Maintained> {
        let mut done = Maintained::default();
        self.refresh()?;
        // Without the clock nothing expires: a clock that stands years ahead would erase everybody.
        if self.0.clock.quality() != crate::base::TimeQuality::Unsynced {
            done.expired = self.expire(&Actor::system())?;
        }
        done.noted = self.flush_notes()?;
        done.pruned = self.prune()?;
        let mut db = lock(&self.0.db);
        if db.journal_dirty {
            db.journal_dirty = !db::checkpoint(&db.conn)?;
        }
        Ok(done)
    }

    fn flush_notes(&self) -> Result<usize> {
        let notes: Vec<_> = lock(&self.0.waiting).iter().cloned().collect();
        if notes.is_empty() {
            return Ok(0);
        }
        let count = notes.len();
        self.change(|c| {
            for (at, note) in notes {
                audit::append(c.conn, &c.gallery.0.secrets.audit, at, note)?;
            }
            Ok(())
        })?;
        lock(&self.0.waiting).drain(..count);
        Ok(count)
    }

    fn prune(&self) -> Result<u64> {
        let now = self.0.clock.now();
        let last = {
            let db = lock(&self.0.db);
            db::get_number(&db.conn, "pruned")?
        };
        let last = Timestamp::from_second(i64::try_from(last).unwrap_or(0)).unwrap_or(now);
        if now.duration_since(last) < PRUNE_EVERY {
            return Ok(0);
        }
        let days = i64::from(self.0.config.audit_days);
        let before = now - SignedDuration::from_hours(24 * days);
        self.change(|c| {
            db::set_number(c.conn, "pruned", u64::try_from(now.as_second()).unwrap_or(0))?;
            let removed = audit::prune(c.conn, &c.gallery.0.secrets.audit, before)?;
            if removed > 0 {
                c.audit(Note::new(Action::Prune, &Actor::system()).count(removed))?;
                c.erased = true;
            }
            Ok(removed)
        })
    }

    /// Seals everything with another master key, in one transaction: after it the old key opens
    /// nothing. The caller keeps the new key where it survives *before* calling this
    /// ([`MasterKey::next_path`]).
    pub fn rotate(&self, new: &MasterKey, by: &Actor) -> Result<u32> {
        let mut guard = lock(&self.0.db);
        let db = &mut *guard;
        let count = self.change_locked(db, |c| {
            let f = db::fault("read the entries");
            let entries: Vec<(Uuid, u32)> = {
                let mut statement = c.conn.prepare("SELECT id, slot FROM entry").map_err(&f)?;
                let rows = statement
                    .query_map([], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, u32>(1)?)))
                    .map_err(&f)?;
                rows.map(|r| {
                    let (id, slot) = r.map_err(&f)?;
                    Uuid::from_slice(&id)
                        .map(|id| (id, slot))
                        .map_err(|_| Error::internal("an entry's id has another length"))
                })
                .collect::<Result<_>>()?
            };
            let mut count = 0;
            for (id, slot) in entries {
                let mut bytes = db::read_slot(c.conn, slot)?;
                let aad = super::key_aad(id);
                // One that does not open now does not open afterwards either.
                let Ok(key) = c.master.wrap().open(&aad, &bytes[..db::WRAPPED]) else { continue };
                bytes[..db::WRAPPED].copy_from_slice(&new.wrap().seal(&aad, &key)?);
                db::write_slot(c.conn, slot, &bytes)?;
                count += 1;
            }
            let vault = c.gallery.0.secrets.seal(new)?;
            c.conn
                .execute("UPDATE vault SET body = ?1 WHERE id = 1", [vault])
                .map_err(db::fault("write the vault"))?;
            db::set(c.conn, "key", new.id().as_bytes())?;
            c.erased = true;
            let note =
                Note::new(Action::KeyRotation, by).count(count.into()).note(format!("key {}", new.id()));
            c.tell_all(GalleryChange::KeyRotated, note, by)?;
            Ok(count)
        })?;
        db.master = new.clone();
        Ok(count)
    }

    /// Makes a gallery that was enrolled with another model ready for this box's: templates of the old
    /// one are overwritten, and every person waits for a photograph ([`Self::to_enrol_again`]). Terms and
    /// credentials stay. Returns how many wait.
    pub fn migrate(&self, by: &Actor) -> Result<u32> {
        let mut guard = lock(&self.0.db);
        let db = &mut *guard;
        let count = self.change_locked(db, |c| {
            let model = c.gallery.0.model.clone();
            let old: Vec<Row> = c
                .gallery
                .index()
                .rows()
                .iter()
                .filter(|r| r.record.state == EntryState::Active && r.record.model != model.sha256)
                .cloned()
                .collect();
            let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
            for row in &old {
                c.strip(row, EntryState::Awaiting)?;
            }
            set_model(c.conn, &model)?;
            let note =
                Note::new(Action::Migrate, by).count(count.into()).note(format!("model {}", model.sha256));
            c.tell_all(GalleryChange::Migrated, note, by)?;
            Ok(count)
        })?;
        db.model = db::get(&db.conn, "model")?.unwrap_or_default();
        Ok(count)
    }

    // Notices ---------------------------------------------------------------------------------

    /// Up to `limit` changes that have not been handed on yet, oldest first. The
    /// daemon records them as `gallery.changed` and then calls [`Self::noticed`]: each is told at least once,
    /// whichever process made the change.
    pub fn notices(&self, limit: usize) -> Result<Vec<Notice>> {
        let db = lock(&self.0.db);
        let f = db::fault("read the notices");
        let mut statement =
            db.conn.prepare_cached("SELECT n, body FROM notice ORDER BY n LIMIT ?1").map_err(&f)?;
        let rows = statement
            .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?))
            })
            .map_err(&f)?;
        let mut out = Vec::new();
        for row in rows {
            let (n, body) = row.map_err(&f)?;
            let plain = self.0.secrets.notice.open(NOTICE_AAD, &body)?;
            let (at, changed) = serde_json::from_slice(&plain).map_err(|e| {
                Error::new(Kind::Corrupt, Culprit::Disk, "gallery: a notice is damaged").with_source(e)
            })?;
            out.push(Notice { number: u64::try_from(n).unwrap_or(0), at, changed });
        }
        Ok(out)
    }

    /// Notices up to this number are durable elsewhere.
    pub fn noticed(&self, up_to: u64) -> Result<()> {
        self.change(|c| {
            c.conn
                .execute("DELETE FROM notice WHERE n <= ?1", [i64::try_from(up_to).unwrap_or(i64::MAX)])
                .map(drop)
                .map_err(db::fault("delete notices"))
        })
    }

    /// The key that bundles for this box are sealed to.
    pub(super) fn bundle_secret(&self) -> &Key {
        &self.0.secrets.bundle
    }
}

fn refused(refusal: &Refusal) -> GalleryDone {
    GalleryDone { change: None, entry: None, refused: Some(refusal.reason), repeated: false }
}

//! The audit log: what was done to the gallery and with it, by whom.
//!
//! Records are numbered without gaps. Each one's hash is SHA-256 over the hash of the one before it
//! and over its own text, which is kept as it was hashed; so whoever changes, removes or inserts a
//! record has to change every hash after it. The newest number and hash (the head) and those of the
//! oldest record's predecessor (the anchor) are authenticated with a key that the master key wraps:
//! a log cut off at its end does not fit its head, and a new head cannot be made from the disk alone.
//! A record is written in the transaction of the change it records.
//!
//! A person appears as the first 16 bytes of a keyed hash of the pseudonym. Who holds the master key
//! can ask whether records are about a given pseudonym, also after it was erased: that is what shows
//! an authority that the erasure took place. Nobody can list pseudonyms out of the log.
//!
//! What it cannot show: that the whole database was replaced by an older copy of itself. For that,
//! `gallery.changed` carries the newest record's number and hash to the hub.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::crypto::{Key, same};
use super::db;
use super::entry::Actor;
use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::event::{AuditMark, Purpose};

/// Longest note.
const MAX_NOTE: usize = 200;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The gallery was made.
    Create,
    /// A person was enrolled.
    Enrol,
    /// A person's entry was replaced.
    Replace,
    /// An enrolment was refused.
    Refuse,
    /// The gallery was searched for a face.
    Search,
    /// A face was compared with one person's template at a door.
    Match,
    /// A clerk confirmed a candidate.
    Confirm,
    /// A clerk rejected the candidates.
    Reject,
    /// Entries were listed or shown.
    List,
    /// Data left the box.
    Export,
    /// An entry was revoked.
    Revoke,
    /// A credential was revoked.
    RevokeCredential,
    /// A person was erased.
    Erase,
    /// An expired entry was erased.
    Expire,
    /// The configuration differs from the last start's.
    ConfigChange,
    /// The master key was changed.
    KeyRotation,
    /// The gallery was made ready for another model.
    Migrate,
    /// Records past their time were removed.
    Prune,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// What.
    pub action: Action,
    /// Who asked.
    pub by: Actor,
    /// Whom it concerns: 32 hex digits of the pseudonym's keyed hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The purpose of the entry, or of the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// How many entries it concerned, where it is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How it ended, or why: a word or a short line without anything of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What is to be recorded; number and time are added.
#[derive(Clone, Debug)]
pub struct Note {
    pub(super) action: Action,
    pub(super) by: Actor,
    pub(super) subject: Option<String>,
    pub(super) purpose: Option<Purpose>,
    pub(super) count: Option<u64>,
    pub(super) note: Option<String>,
}

impl Note {
    /// `by` did `action`.
    pub fn new(action: Action, by: &Actor) -> Self {
        Self { action, by: by.clone(), subject: None, purpose: None, count: None, note: None }
    }

    /// The purpose it concerned.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// How many entries it concerned.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// How it ended: a word or a short line, cut at 200 bytes.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        let mut end = text.len().min(MAX_NOTE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.note = Some(text);
        self
    }

    pub(super) fn subject(mut self, subject: String) -> Self {
        self.subject = Some(subject);
        self
    }
}

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    seq: u64,
    hash: [u8; 32],
}

impl Link {
    const START: Self = Self { seq: 0, hash: [0; 32] };

    fn next(self, body: &str) -> Self {
        let mut sum = Sha256::new();
        sum.update(b"vigil/gallery/audit/1");
        sum.update(self.hash);
        sum.update((body.len() as u64).to_be_bytes());
        sum.update(body.as_bytes());
        Self { seq: self.seq + 1, hash: sum.finalize().into() }
    }

    fn mac(self, key: &Key, name: &str) -> [u8; 32] {
        key.mac("vigil/gallery/audit-link/1", &[name.as_bytes(), &self.seq.to_be_bytes(), &self.hash])
    }

    /// Reads a link of table `meta`; `None` if it was never written.
    fn load(conn: &Connection, key: &Key, name: &str) -> Result<Option<(Self, bool)>> {
        let Some(bytes) = db::get(conn, name)? else { return Ok(None) };
        let (seq, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| broken(name))?;
        let (hash, mac) = rest.split_first_chunk::<32>().ok_or_else(|| broken(name))?;
        let mac: &[u8; 32] = mac.try_into().map_err(|_| broken(name))?;
        let link = Self { seq: u64::from_be_bytes(*seq), hash: *hash };
        Ok(Some((link, same(&link.mac(key, name), mac))))
    }

    fn store(self, conn: &Connection, key: &Key, name: &str) -> Result<()> {
        let mut bytes = Vec::with_capacity(72);
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.hash);
        bytes.extend_from_slice(&self.mac(key, name));
        db::set(conn, name, &bytes)
    }

    fn mark(self) -> AuditMark {
        AuditMark { seq: self.seq, sha256: hex(&self.hash) }
    }
}

const HEAD: &str = "audit-head";
const ANCHOR: &str = "audit-anchor";

fn broken(what: &str) -> Error {
    Error::new(Kind::Corrupt, Culprit::Disk, format!("gallery: the audit log's {what} is damaged"))
}

/// Adds a record. Belongs into the transaction of what it records.
pub(super) fn append(conn: &Connection, key: &Key, now: Timestamp, note: Note) -> Result<AuditMark> {
    let head = Link::load(conn, key, HEAD)?.map_or(Link::START, |(link, _)| link);
    let record = Record {
        seq: head.seq + 1,
        time: now,
        action: note.action,
        by: note.by,
        subject: note.subject,
        purpose: note.purpose,
        count: note.count,
        note: note.note,
    };
    let body = serde_json::to_string(&record)
        .map_err(|e| Error::internal("an audit record is not JSON").with_source(e))?;
    let link = head.next(&body);
    conn.prepare_cached("INSERT INTO audit (seq, at_s, body, hash) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut s| s.execute(params![number(link.seq), now.as_second(), body, link.hash]))
        .map_err(db::fault("write the audit log"))?;
    link.store(conn, key, HEAD)?;
    Ok(link.mark())
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records that were looked at.
    pub records: u64,
    /// The oldest one's number; those before it were removed when their time was over.
    pub first: u64,
    /// The newest one.
    pub head: AuditMark,
    /// The first broken link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Break>,
}

/// A broken link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The record at which it shows.
    pub seq: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Follows the chain from the oldest record to the newest and calls `each` with every record's text
/// as far as the chain holds.
pub(super) fn verify(
    conn: &Connection,
    key: &Key,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<Verdict> {
    let (anchor, anchor_sound) = Link::load(conn, key, ANCHOR)?.unwrap_or((Link::START, true));
    let (head, head_sound) = Link::load(conn, key, HEAD)?.unwrap_or((Link::START, false));
    let mut verdict = Verdict { records: 0, first: anchor.seq + 1, head: head.mark(), broken: None };
    let f = db::fault("read the audit log");
    let mut statement = conn.prepare("SELECT seq, body, hash FROM audit ORDER BY seq").map_err(&f)?;
    let mut rows = statement.query([]).map_err(&f)?;
    let mut link = anchor;
    let mut broken = (!anchor_sound)
        .then_some(Break { seq: anchor.seq + 1, what: "the mark before the oldest record was changed" });
    while broken.is_none()
        && let Some(row) = rows.next().map_err(&f)?
    {
        let seq: i64 = row.get(0).map_err(&f)?;
        let body: String = row.get(1).map_err(&f)?;
        let hash: Vec<u8> = row.get(2).map_err(&f)?;
        let next = link.next(&body);
        let stated = serde_json::from_str::<Record>(&body).map(|r| r.seq).ok();
        let what = if number(next.seq) != seq {
            Some("records before it are missing")
        } else if hash != next.hash {
            Some("its text or its hash was changed")
        } else if stated != Some(next.seq) {
            Some("its text has another number")
        } else {
            None
        };
        if let Some(what) = what {
            broken = Some(Break { seq: next.seq, what });
            break;
        }
        each(&body)?;
        verdict.records += 1;
        link = next;
    }
    verdict.broken = broken.or_else(|| {
        if link == head && head_sound {
            None
        } else if link.seq < head.seq {
            Some(Break { seq: link.seq + 1, what: "records were cut off at the end" })
        } else if link != head {
            Some(Break { seq: link.seq, what: "it is not the record that the log ended with" })
        } else {
            Some(Break { seq: link.seq, what: "the mark at the log's end was changed" })
        }
    });
    Ok(verdict)
}

/// Removes records from before `before`, but not the newest, and moves the anchor. Returns how many.
pub(super) fn prune(conn: &Connection, key: &Key, before: Timestamp) -> Result<u64> {
    let f = db::fault("shorten the audit log");
    // The time of a record need not rise with its number: the clock may have been set. So only what
    // stands before the first record that has to stay goes.
    let keep: Option<i64> = conn
        .query_row("SELECT min(seq) FROM audit WHERE at_s >= ?1", [before.as_second()], |r| r.get(0))
        .optional()
        .map_err(&f)?
        .flatten();
    let Some(keep) = keep else { return Ok(0) };
    let last: Option<(i64, Vec<u8>)> = conn
        .query_row("SELECT seq, hash FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT 1", [keep], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .optional()
        .map_err(&f)?;
    let Some((seq, hash)) = last else { return Ok(0) };
    let hash = hash.try_into().map_err(|_| broken("chain"))?;
    let removed = conn.execute("DELETE FROM audit WHERE seq <= ?1", [seq]).map_err(&f)?;
    Link { seq: u64::try_from(seq).unwrap_or(0), hash }.store(conn, key, ANCHOR)?;
    Ok(removed as u64)
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

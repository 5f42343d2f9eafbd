//! The database file: the only code that speaks SQL.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Row;
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::{Envelope, EventKind};

/// `VGOB`: Vigil's outbox.
const APPLICATION_ID: i64 = 0x5647_4f42;
/// The layout below.
const USER_VERSION: i64 = 1;
/// Pages past `max_mib` that decisions already taken may still use.
const HEADROOM_BYTES: u64 = 16 << 20;
/// Corrupt databases kept for a person to look at.
const KEPT_ASIDE: usize = 4;
/// Unused pages worth giving back to the file system.
const VACUUM_PAGES: i64 = 1024;

/// Pages of journal before they are folded into the database: 1 MiB, well under the ballast.
const JOURNAL_PAGES: i64 = 256;

const SCHEMA: &str = "
CREATE TABLE event (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    boot       BLOB    NOT NULL CHECK (length(boot) = 16),
    seq        INTEGER NOT NULL CHECK (seq > 0),
    kind       TEXT    NOT NULL,
    decided_us INTEGER NOT NULL,
    sum        INTEGER NOT NULL,
    damaged    INTEGER NOT NULL DEFAULT 0,
    body       TEXT    NOT NULL,
    UNIQUE (boot, seq)
) STRICT;
";

/// One open database. Dropping it closes the file.
#[derive(Debug)]
pub(super) struct Store {
    conn: Connection,
}

/// What opening found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// A corrupt database was moved away: one line about it.
    pub(super) moved_aside: Option<String>,
}

/// What the database holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    pub(super) depth: u64,
    pub(super) damaged: u64,
    pub(super) last_row: u64,
}

/// An event ready to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) kind: EventKind,
    pub(super) decided: Timestamp,
    pub(super) boot: Uuid,
    pub(super) seq: u64,
    pub(super) body: String,
}

impl Sealed {
    pub(super) fn new(kind: EventKind, envelope: &Envelope) -> Result<Self> {
        let body = serde_json::to_string(envelope)
            .map_err(|e| Error::internal("an envelope is not JSON").with_source(e))?;
        Ok(Self { kind, decided: envelope.time, boot: envelope.bootid, seq: envelope.seq, body })
    }
}

/// What a row holds of its body's SHA-256: enough against decay, not against an attacker.
fn sum(body: &str) -> i64 {
    let digest = Sha256::digest(body.as_bytes());
    let mut head = [0u8; 8];
    head.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(head)
}

/// Turns a database error into ours.
fn fault(what: &str, e: rusqlite::Error) -> Error {
    let kind = match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Kind::NoSpace,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Unavailable,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Kind::Permission,
        Some(ErrorCode::CannotOpen) => Kind::Permission,
        _ => Kind::Unavailable,
    };
    Error::new(kind, Culprit::Disk, format!("outbox: cannot {what}")).with_source(e)
}

impl Store {
    /// Opens or creates `dir/outbox.db`. A corrupt one is moved aside, what can be read of it is
    /// carried over, and a new one is begun.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> Result<Opened> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
            Error::io(Culprit::Disk, format!("cannot create {}", dir.display()), e)
                .remedy("create it and give it to the user that Vigil runs as")
        })?;
        let path = dir.join("outbox.db");
        match Self::try_open(&path, max_bytes) {
            Ok(store) => {
                sync_dir(dir)?;
                Ok(Opened { store, moved_aside: None })
            }
            Err(e) if e.kind() == Kind::Corrupt => {
                let rows = salvage(&path);
                let aside = move_aside(dir)?;
                let mut store = Self::try_open(&path, max_bytes)?;
                let saved = rows.len();
                store.insert_salvaged(&rows)?;
                sync_dir(dir)?;
                let line = format!(
                    "the outbox was corrupt ({}) and was moved to {}; {saved} waiting events were carried over, events beyond them are lost to the hub",
                    e.chain(),
                    aside.display()
                );
                Ok(Opened { store, moved_aside: Some(line) })
            }
            Err(e) => Err(e),
        }
    }

    fn try_open(path: &Path, max_bytes: u64) -> Result<Self> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|e| {
            Error::io(Culprit::Disk, format!("cannot open {}", path.display()), e)
                .remedy("the state directory must be writable by the user that Vigil runs as")
        })?;
        let f = |what: &'static str| move |e| fault(what, e);
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(f("open the database"))?;
        conn.busy_timeout(Duration::from_secs(2)).map_err(f("set a timeout"))?;
        // Exclusive: one process owns an outbox, and the WAL index lives on the heap, so that a
        // full disk cannot fault a memory map.
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(f("lock the database"))?;
        let application: i64 =
            conn.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(locked)?;
        let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(locked)?;
        let tables: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(locked)?;
        let fresh = application == 0 && version == 0 && tables == 0;
        if fresh {
            conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(f("set up the database"))?;
        }
        let mode: String =
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0)).map_err(locked)?;
        if mode != "wal" {
            return Err(Error::new(
                Kind::Unsupported,
                Culprit::Disk,
                format!("outbox: journal mode is {mode}, not wal"),
            )
            .remedy("put the state directory on a local file system"));
        }
        conn.pragma_update(None, "synchronous", "FULL").map_err(f("set synchronous=FULL"))?;
        // What the hub has is not kept: a deleted event is overwritten, not merely unlinked.
        conn.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))
            .map_err(f("set secure_delete"))?;
        conn.pragma_update(None, "journal_size_limit", 1 << 20).map_err(f("limit the journal"))?;
        conn.pragma_update(None, "wal_autocheckpoint", JOURNAL_PAGES).map_err(f("limit the journal"))?;
        if fresh {
            conn.execute_batch(&format!(
                "BEGIN IMMEDIATE;{SCHEMA}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={USER_VERSION};COMMIT;"
            ))
            .map_err(f("set up the database"))?;
        } else if application != APPLICATION_ID {
            return Err(Error::new(Kind::Corrupt, Culprit::Disk, "outbox.db is not an outbox"));
        } else if version > USER_VERSION {
            return Err(Error::new(
                Kind::Unsupported,
                Culprit::Host,
                format!("outbox.db has layout {version}, this program knows {USER_VERSION}"),
            )
            .remedy("run the newer Vigil until the outbox is empty, then go back"));
        }
        let page: i64 =
            conn.pragma_query_value(None, "page_size", |r| r.get(0)).map_err(f("read the page size"))?;
        let pages = (max_bytes + HEADROOM_BYTES) / u64::try_from(page.max(512)).unwrap_or(4096);
        conn.pragma_update(None, "max_page_count", i64::try_from(pages).unwrap_or(i64::MAX))
            .map_err(f("limit the database"))?;
        let verdict: String =
            conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).map_err(f("check the database"))?;
        if verdict != "ok" {
            return Err(Error::new(
                Kind::Corrupt,
                Culprit::Disk,
                format!("integrity check: {}", verdict.trim()),
            ));
        }
        Ok(Self { conn })
    }

    /// Writes events and deletes acknowledged rows in one durable transaction. Returns the new
    /// row numbers in order, and how many rows were deleted.
    pub(super) fn commit(&mut self, events: &[Sealed], acked: &[u64]) -> Result<(Vec<u64>, usize)> {
        let f = |e| fault("write events", e);
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(f)?;
        let mut rows = Vec::with_capacity(events.len());
        let mut deleted = 0;
        {
            let mut insert = tx
                .prepare_cached(
                    "INSERT INTO event (boot, seq, kind, decided_us, sum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .map_err(f)?;
            for e in events {
                insert
                    .execute(params![
                        e.boot.as_bytes().as_slice(),
                        i64_of(e.seq),
                        e.kind.as_str(),
                        e.decided.as_microsecond(),
                        sum(&e.body),
                        e.body
                    ])
                    .map_err(f)?;
                rows.push(u64_of(tx.last_insert_rowid()));
            }
            let mut delete = tx.prepare_cached("DELETE FROM event WHERE row = ?1").map_err(f)?;
            for row in acked {
                deleted += delete.execute([i64_of(*row)]).map_err(f)?;
            }
        }
        tx.commit().map_err(f)?;
        Ok((rows, deleted))
    }

    /// Rows after `after`, oldest first. A row whose body does not match its sum is set aside in
    /// its place and counted in the second value.
    pub(super) fn pending(&mut self, after: u64, limit: usize) -> Result<(Vec<Row>, u64)> {
        let raw = self.select(
            "SELECT row, boot, seq, kind, decided_us, sum, body FROM event WHERE row > ?1 AND damaged = 0 ORDER BY row LIMIT ?2",
            params![i64_of(after), i64::try_from(limit).unwrap_or(i64::MAX)],
        )?;
        self.verified(raw)
    }

    /// The rows of these numbers that are still there.
    pub(super) fn fetch(&mut self, rows: &[u64]) -> Result<(Vec<Row>, u64)> {
        let mut raw = Vec::new();
        for row in rows {
            raw.append(&mut self.select(
                "SELECT row, boot, seq, kind, decided_us, sum, body FROM event WHERE row = ?1 AND damaged = 0",
                params![i64_of(*row)],
            )?);
        }
        self.verified(raw)
    }

    fn select(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<RawRow>> {
        let f = |e| fault("read events", e);
        let mut statement = self.conn.prepare_cached(sql).map_err(f)?;
        let rows = statement.query_map(params, RawRow::read).map_err(f)?;
        rows.collect::<std::result::Result<_, _>>().map_err(f)
    }

    fn verified(&mut self, raw: Vec<RawRow>) -> Result<(Vec<Row>, u64)> {
        let mut good = Vec::with_capacity(raw.len());
        let mut damaged = 0;
        for r in raw {
            let number = r.row;
            match r.verify() {
                Some(row) => good.push(row),
                None => {
                    self.conn
                        .execute("UPDATE event SET damaged = 1 WHERE row = ?1", [number])
                        .map_err(|e| fault("set a damaged row aside", e))?;
                    damaged += 1;
                }
            }
        }
        Ok((good, damaged))
    }

    /// Counts what is there.
    pub(super) fn census(&self) -> Result<Census> {
        let f = |e| fault("count events", e);
        let (depth, damaged): (i64, i64) = self
            .conn
            .query_row(
                "SELECT count(*) FILTER (WHERE damaged = 0), count(*) FILTER (WHERE damaged <> 0) FROM event",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .map_err(f)?;
        let last: Option<i64> = self
            .conn
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'event'", [], |r| r.get(0))
            .optional()
            .map_err(f)?;
        Ok(Census { depth: u64_of(depth), damaged: u64_of(damaged), last_row: u64_of(last.unwrap_or(0)) })
    }

    /// When the oldest waiting event was decided.
    pub(super) fn oldest(&self) -> Result<Option<Timestamp>> {
        let f = |e| fault("look at the oldest event", e);
        let us: Option<i64> = self
            .conn
            .prepare_cached("SELECT decided_us FROM event WHERE damaged = 0 ORDER BY row LIMIT 1")
            .map_err(f)?
            .query_row([], |r| r.get(0))
            .optional()
            .map_err(f)?;
        Ok(us.and_then(|us| Timestamp::from_microsecond(us).ok()))
    }

    /// Bytes in use, without free pages.
    pub(super) fn bytes(&self) -> Result<u64> {
        let f = |e| fault("measure the database", e);
        let get = |name: &str| self.conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).map_err(f);
        Ok(u64_of((get("page_count")? - get("freelist_count")?).max(0) * get("page_size")?))
    }

    /// Folds the whole journal into the database and empties it.
    pub(super) fn fold_journal(&self) -> Result<()> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|e| fault("fold the journal", e))
    }

    /// Gives unused pages back to the file system, a few at a time.
    pub(super) fn tidy(&self) -> Result<()> {
        let f = |e| fault("shrink the database", e);
        let free: i64 = self.conn.pragma_query_value(None, "freelist_count", |r| r.get(0)).map_err(f)?;
        if free > VACUUM_PAGES {
            // The pragma frees one page per step of the statement.
            let mut statement = self.conn.prepare("PRAGMA incremental_vacuum(1024)").map_err(f)?;
            let mut rows = statement.query([]).map_err(f)?;
            while rows.next().map_err(f)?.is_some() {}
        }
        Ok(())
    }

    /// Deletes events of `boot` past `confirmed`: their writers were told that they failed.
    pub(super) fn forget_unconfirmed(&mut self, boot: Uuid, confirmed: u64) -> Result<usize> {
        self.conn
            .execute(
                "DELETE FROM event WHERE boot = ?1 AND seq > ?2",
                params![boot.as_bytes().as_slice(), i64_of(confirmed)],
            )
            .map_err(|e| fault("remove unconfirmed events", e))
    }

    fn insert_salvaged(&mut self, rows: &[RawRow]) -> Result<()> {
        let f = |e| fault("carry events over", e);
        let tx = self.conn.transaction().map_err(f)?;
        for r in rows {
            tx.execute(
                "INSERT OR IGNORE INTO event (boot, seq, kind, decided_us, sum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![r.boot, r.seq, r.kind, r.decided_us, r.sum, r.body],
            )
            .map_err(f)?;
        }
        tx.commit().map_err(f)
    }

    /// Lowers the hard size limit; tests use it where they cannot mount a small disk.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) {
        self.conn.pragma_update(None, "max_page_count", pages).unwrap();
    }
}

/// A busy database at opening is another process's.
fn locked(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::new(Kind::Unavailable, Culprit::Host, "the outbox is in use by another process")
                .remedy("stop the other vigil, or give this one its own box.state_dir")
                .with_source(e)
        }
        _ => fault("open the database", e),
    }
}

#[derive(Debug)]
struct RawRow {
    row: i64,
    boot: Vec<u8>,
    seq: i64,
    kind: String,
    decided_us: i64,
    sum: i64,
    body: String,
}

impl RawRow {
    fn read(r: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        // A body that is no longer UTF-8 is damage like any other: let the sum say so.
        let body = match r.get_ref(6)? {
            rusqlite::types::ValueRef::Text(t) | rusqlite::types::ValueRef::Blob(t) => {
                String::from_utf8_lossy(t).into_owned()
            }
            _ => String::new(),
        };
        Ok(Self {
            row: r.get(0)?,
            boot: r.get(1)?,
            seq: r.get(2)?,
            kind: r.get(3)?,
            decided_us: r.get(4)?,
            sum: r.get(5)?,
            body,
        })
    }

    fn verify(self) -> Option<Row> {
        if sum(&self.body) != self.sum || !self.body.contains(super::NOT_REPLAYED) {
            return None;
        }
        Some(Row {
            row: u64_of(self.row),
            boot: Uuid::from_slice(&self.boot).ok()?,
            seq: u64_of(self.seq),
            kind: self.kind.parse().ok()?,
            decided: Timestamp::from_microsecond(self.decided_us).ok()?,
            attempted: false,
            body: self.body,
        })
    }
}

/// Whatever of a corrupt database can still be read and matches its sum.
fn salvage(path: &Path) -> Vec<RawRow> {
    let mut saved = Vec::new();
    let Ok(conn) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return saved };
    let _ = conn.pragma_update(None, "locking_mode", "EXCLUSIVE");
    let Ok(mut statement) =
        conn.prepare("SELECT row, boot, seq, kind, decided_us, sum, body FROM event ORDER BY row")
    else {
        return saved;
    };
    let Ok(rows) = statement.query_map([], RawRow::read) else { return saved };
    for row in rows {
        match row {
            Ok(r) if sum(&r.body) == r.sum => saved.push(r),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    saved
}

fn move_aside(dir: &Path) -> Result<PathBuf> {
    let stamp = Timestamp::now().as_millisecond();
    let aside = dir.join(format!("outbox.db.corrupt-{stamp}"));
    for suffix in ["-wal", ""] {
        let from = dir.join(format!("outbox.db{suffix}"));
        let to = dir.join(format!("outbox.db.corrupt-{stamp}{suffix}"));
        match std::fs::rename(&from, &to) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !suffix.is_empty() => {}
            Err(e) => {
                return Err(Error::io(Culprit::Disk, format!("cannot move {} aside", from.display()), e));
            }
        }
    }
    let _ = std::fs::remove_file(dir.join("outbox.db-shm"));
    let mut old: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| entries.filter_map(|e| e.ok()).map(|e| e.path()).collect())
        .unwrap_or_default();
    old.retain(|p| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("outbox.db.corrupt-") && !name.ends_with("-wal")
    });
    old.sort();
    for path in old.iter().rev().skip(KEPT_ASIDE) {
        let _ = std::fs::remove_file(path);
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        let _ = std::fs::remove_file(wal);
    }
    Ok(aside)
}

/// Makes the directory's entries durable.
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| Error::io(Culprit::Disk, format!("cannot make {} durable", dir.display()), e))
}

// Row numbers and sequence numbers start at 1 and count up by one: 2^63 is out of reach.
fn i64_of(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn u64_of(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

//! The last command of every key, on disk before the command is carried out.
//!
//! # On disk
//!
//! `hub-counters` in the state directory, mode 0600. The first line is the SHA-256 of the rest in
//! hexadecimal, the rest is JSON: `since`, when the file was first made (0 if the clock could not say), and for every key, named by the
//! SHA-256 of its public half, the counter, the time and the digest of its last command. It is written
//! whole to `hub-counters.new`, synced, renamed over the old one, and the directory is synced: after a
//! power cut there is the old file or the new one, never a torn one. A `hub-counters.new` that is found at
//! the start is the rest of a write that nobody waited for, and is overwritten by the next.
//!
//! A key with new bytes is a new key and begins anew, whatever it is called. At most [`MAX_KEYS`] are
//! kept; then the one whose last command is oldest goes, configured keys never (there are at most 16).
//!
//! A file that is lost, or set back with a backup, forgets counters. What was signed before `since` is
//! refused for that reason, and everything else is bounded by the time that a command carries.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::{Culprit, Error, Kind, Result, hex};

/// The file's name.
pub const FILE: &str = "hub-counters";
/// Keys that are remembered.
const MAX_KEYS: usize = 64;
/// No file of that many keys is larger.
const MAX_BYTES: u64 = 64 * 1024;

/// The last command of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its counter.
    pub ctr: u64,
    /// When it was signed, seconds since 1970.
    pub iat: i64,
    /// SHA-256 of its envelope, hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    since: i64,
    keys: BTreeMap<String, Last>,
}

/// The counters.
#[derive(Debug)]
pub struct Counters {
    dir: PathBuf,
    stored: Stored,
    keep: Vec<String>,
}

impl Counters {
    /// Reads the file, or makes one that says `since`. `keep` names the configured keys.
    pub fn open(dir: &Path, since: i64, keep: Vec<String>) -> Result<Self> {
        let path = dir.join(FILE);
        let cannot = |e| {
            Error::io(Culprit::Disk, format!("{} cannot be read", path.display()), e)
                .remedy("the state directory must belong to the daemon's user")
        };
        let stored = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
                let damaged = || {
                    Error::new(Kind::Corrupt, Culprit::Disk, format!("{} is damaged", path.display()))
                        .remedy("delete it: what was signed before the next start is refused from then on")
                };
                let (digest, json) = text.split_once('\n').ok_or_else(damaged)?;
                if digest != hex(&Sha256::digest(json)) {
                    return Err(damaged());
                }
                serde_json::from_str(json).map_err(|e| damaged().with_source(e))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Stored { since, keys: BTreeMap::new() },
            Err(e) => return Err(cannot(e)),
        };
        let fresh = !path.exists();
        let counters = Self { dir: dir.to_owned(), stored, keep };
        if fresh {
            counters.write(&counters.stored)?;
        }
        Ok(counters)
    }

    /// What was signed before this, in seconds since 1970, is from before this file.
    pub fn since(&self) -> i64 {
        self.stored.since
    }

    /// The last command of a key.
    pub fn last(&self, key: &str) -> Option<&Last> {
        self.stored.keys.get(key)
    }

    /// Makes a key's last command durable. After an error nothing has changed, and the command must not
    /// be carried out.
    pub fn advance(&mut self, key: &str, last: Last) -> Result<()> {
        let mut next = self.stored.clone();
        next.keys.insert(key.to_owned(), last);
        while next.keys.len() > MAX_KEYS {
            let others = next.keys.iter().filter(|(k, _)| k.as_str() != key && !self.keep.contains(k));
            let Some(oldest) = others.min_by_key(|(_, l)| l.iat).map(|(k, _)| k.clone()) else { break };
            next.keys.remove(&oldest);
        }
        self.write(&next)?;
        self.stored = next;
        Ok(())
    }

    fn write(&self, stored: &Stored) -> Result<()> {
        let json = serde_json::to_string(stored)
            .map_err(|e| Error::internal("counters are not JSON").with_source(e))?;
        let text = format!("{}\n{json}", hex(&Sha256::digest(&json)));
        let (path, new) = (self.dir.join(FILE), self.dir.join(format!("{FILE}.new")));
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| {
            Error::io(Culprit::Disk, format!("{} cannot be written", path.display()), e)
                .remedy("free space on the disk under the state directory, and send the command again")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(ctr: u64) -> Last {
        Last { ctr, iat: ctr as i64, sha256: String::new() }
    }

    #[test]
    fn what_was_accepted_is_there_after_any_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut counters = Counters::open(dir.path(), 100, vec![]).unwrap();
        assert_eq!(counters.last("a"), None);
        counters.advance("a", last(5)).unwrap();
        // A write that was cut off leaves its torn half beside the file.
        std::fs::write(dir.path().join(format!("{FILE}.new")), "torn").unwrap();
        let mut counters = Counters::open(dir.path(), 200, vec![]).unwrap();
        assert_eq!((counters.since(), counters.last("a").map(|l| l.ctr)), (100, Some(5)));
        counters.advance("a", last(6)).unwrap();
        assert_eq!(Counters::open(dir.path(), 0, vec![]).unwrap().last("a").map(|l| l.ctr), Some(6));
    }

    #[test]
    fn a_damaged_file_is_said_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        Counters::open(dir.path(), 100, vec![]).unwrap().advance("a", last(55)).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [text.replace("55", "54"), text[..text.len() - 1].to_owned(), String::new(), "x\n".into()]
        {
            std::fs::write(&path, bad).unwrap();
            let e = Counters::open(dir.path(), 100, vec![]).unwrap_err();
            assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut counters = Counters::open(dir.path(), 100, vec![]).unwrap();
        // A directory in the place of the new file: not even root can write it.
        std::fs::create_dir(dir.path().join(format!("{FILE}.new"))).unwrap();
        assert!(counters.advance("a", last(1)).is_err());
        assert_eq!(counters.last("a"), None);
    }

    #[test]
    fn old_keys_go_and_configured_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut counters = Counters::open(dir.path(), 0, vec!["k0".into()]).unwrap();
        for n in 0..MAX_KEYS as u64 + 10 {
            counters.advance(&format!("k{n}"), last(n + 1)).unwrap();
        }
        assert_eq!(counters.stored.keys.len(), MAX_KEYS);
        assert!(counters.last("k0").is_some() && counters.last("k1").is_none());
    }
}

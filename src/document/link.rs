//! The key that links two results about one document, and nothing else to anybody else.

use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rand::Rng as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::resolve_path;

/// The key's name in the state directory.
const FILE: &str = "document.key";
/// Length of a key made here, bytes.
const MADE: usize = 32;
/// Shortest and longest key of a site's own, bytes.
const ACCEPTED: std::ops::RangeInclusive<usize> = 16..=1024;
/// What the key is for: under another purpose the same number would give another hash.
const PURPOSE: &[u8] = b"vigil document link 1\0";

/// A box's own key.
pub struct LinkKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(***)")
    }
}

impl LinkKey {
    /// Reads the key from `file`, or from the state directory, where it is made if it is not there.
    ///
    /// Errors: the file cannot be read, is open to others, or is too short to be a key.
    pub fn open(file: Option<&Path>, state_dir: &Path) -> Result<Self> {
        match file {
            Some(file) => Self::read(&resolve_path(file, Path::new(""))),
            None => {
                let path = state_dir.join(FILE);
                match Self::make(state_dir, &path) {
                    Ok(key) => Ok(key),
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::read(&path),
                    Err(e) => Err(Error::io(Culprit::Disk, format!("cannot make {}", path.display()), e)
                        .remedy("the directory must belong to the daemon's user")),
                }
            }
        }
    }

    fn make(dir: &Path, path: &Path) -> std::io::Result<Self> {
        if path.exists() {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        let mut key = Zeroizing::new(vec![0; MADE]);
        rand::rng().fill_bytes(&mut key);
        // Written whole and then given its name: a power cut leaves no half key.
        let draft = dir.join(format!(".{FILE}-{}", std::process::id()));
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file
            .write_all(&key)
            .and_then(|()| file.sync_all())
            // A link, unlike a rename, never replaces a key that came in between.
            .and_then(|()| std::fs::hard_link(&draft, path));
        let removed = std::fs::remove_file(&draft);
        written.and(removed)?;
        std::fs::File::open(dir)?.sync_all()?;
        Ok(Self(key))
    }

    fn read(path: &Path) -> Result<Self> {
        let place = || format!("the key {}", path.display());
        let cannot = |e| {
            Error::io(Culprit::Config, "cannot be read", e)
                .remedy("the file must exist and belong to the daemon's user")
                .context(place())
        };
        let file = std::fs::File::open(path).map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(Error::new(Kind::Config, Culprit::Config, "is open to everybody on this machine")
                .remedy(format!("run chmod o= {}", path.display()))
                .context(place()));
        }
        let mut key = Zeroizing::new(Vec::with_capacity(ACCEPTED.end() + 1));
        file.take(*ACCEPTED.end() as u64 + 1).read_to_end(&mut key).map_err(cannot)?;
        if !ACCEPTED.contains(&key.len()) {
            let what = format!("has not {} to {} bytes", ACCEPTED.start(), ACCEPTED.end());
            return Err(Error::new(Kind::Config, Culprit::Config, what)
                .remedy("make one with: head -c 32 /dev/urandom")
                .context(place()));
        }
        Ok(Self(key))
    }

    /// The link of a document: HMAC-SHA-256 over its issuer and number, lower-case hex.
    pub fn link(&self, issuer: &str, number: &str) -> String {
        // A key of any length is taken: HMAC has no wrong ones.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes keys of every length")
        };
        for part in [PURPOSE, issuer.as_bytes(), b"\0", number.as_bytes()] {
            mac.update(part);
        }
        mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let first = LinkKey::open(None, dir.path()).unwrap();
        let again = LinkKey::open(None, dir.path()).unwrap();
        assert_eq!(first.0, again.0);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a draft is left");
        let other = LinkKey::open(None, tempfile::tempdir().unwrap().path()).unwrap();
        let link = first.link("D", "C11T002JM");
        assert_eq!(link, again.link("D", "C11T002JM"));
        assert_ne!(link, other.link("D", "C11T002JM"));
        assert_ne!(link, first.link("DC", "11T002JM"), "issuer and number run together");
        assert_eq!(link.len(), 64);
        assert_eq!(format!("{first:?}"), "LinkKey(***)");
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let with = |bytes: &[u8], mode: u32| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            LinkKey::open(Some(&path), dir.path())
        };
        assert!(with(&[7; 32], 0o600).is_ok());
        assert!(with(&[7; 32], 0o644).unwrap_err().to_string().contains("open to everybody"));
        assert!(with(&[7; 4], 0o600).unwrap_err().to_string().contains("16 to 1024"));
        assert!(with(&[7; 2000], 0o600).unwrap_err().to_string().contains("16 to 1024"));
        let e = LinkKey::open(Some(Path::new("/nowhere/key")), dir.path()).unwrap_err();
        assert!(e.to_string().contains("/nowhere/key"));
    }
}

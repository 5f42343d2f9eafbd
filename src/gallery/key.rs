//! The box's master key: one line in a file that nobody else may read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::crypto::Key;
use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::config::resolve_path;

/// How the file's one line begins; base64 of the key's 32 bytes follows.
const PREFIX: &str = "vigil-gallery-key-1:";
/// Largest key file.
const MAX_BYTES: u64 = 256;

/// The key that wraps every other one. Overwritten when dropped, never printed.
#[derive(Clone)]
pub struct MasterKey {
    key: Key,
    wrap: Key,
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Result<Self> {
        Self::new(Key::generate()?)
    }

    fn new(key: Key) -> Result<Self> {
        let wrap = key.derive(b"vigil/gallery/1", b"wrap")?;
        Ok(Self { key, wrap })
    }

    /// Names the key without telling anything about it: 16 hex digits.
    pub fn id(&self) -> String {
        hex(&self.key.mac("vigil/gallery/key-id/1", &[])[..8])
    }

    /// Reads the key file at `path`; `${CREDENTIALS_DIRECTORY}` at its start is systemd's.
    ///
    /// The file must belong to the daemon's user or to root, and nobody else may read it. Of a
    /// systemd credential the group's bits are the mask of its access list, and do not count.
    pub fn load(path: &Path) -> Result<Self> {
        let path = resolve_path(path, Path::new(""));
        let at = || format!("gallery key {}", path.display());
        Self::read(&path).context(at)
    }

    fn read(path: &Path) -> Result<Self> {
        if path.starts_with("${CREDENTIALS_DIRECTORY}") {
            return Err(Error::new(Kind::NotFound, Culprit::Config, "CREDENTIALS_DIRECTORY is not set")
                .remedy(
                    "start the systemd unit with LoadCredential=gallery-key:…, or set gallery.key_file",
                ));
        }
        let cannot = |e| {
            Error::io(Culprit::Config, "cannot be read", e)
                .remedy("make one with `vigil gallery key init`; it must belong to the daemon's user")
        };
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err(
                Error::config("is not a file").remedy("name the file that `vigil gallery key init` wrote")
            );
        }
        let me = nix::unistd::geteuid().as_raw();
        if meta.uid() != me && meta.uid() != 0 {
            return Err(Error::config(format!("belongs to user {}", meta.uid()))
                .remedy(format!("run chown {me} {}", path.display())));
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|d| path.starts_with(d));
        let others = if credential { 0o007 } else { 0o077 };
        if meta.mode() & others != 0 {
            return Err(Error::config(format!(
                "may be used by others: its mode is {:03o}",
                meta.mode() & 0o777
            ))
            .remedy(format!("run chmod 400 {}", path.display())));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES as usize + 1));
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
        Self::parse(&text)
    }

    /// Reads a key file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config("is not a gallery key").remedy("name the file that `vigil gallery key init` wrote")
        };
        let body = text.trim_end_matches(['\r', '\n']).strip_prefix(PREFIX).ok_or_else(wrong)?;
        if body.len() > 64 {
            return Err(wrong());
        }
        let bytes = Zeroizing::new(STANDARD.decode(body).map_err(|_| wrong())?);
        Self::new(Key::from_bytes(&bytes).map_err(|_| wrong())?)
    }

    /// Writes the key into a new file that only its owner may read. A file that is there is never
    /// overwritten: it may be the only key of a gallery.
    pub fn write_new(&self, path: &Path) -> Result<()> {
        let at = || format!("gallery key {}", path.display());
        let cannot = |e: std::io::Error| {
            let e = Error::io(Culprit::Disk, "cannot be written", e);
            match path.exists() {
                true => e.remedy("a file of that name is there: name another, or move it away"),
                false => e.remedy("name a directory that you may write to"),
            }
        };
        let mut line = Zeroizing::new(String::with_capacity(PREFIX.len() + 46));
        line.push_str(PREFIX);
        STANDARD.encode_string(&self.key.bytes()[..], &mut line);
        line.push('\n');
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()
        };
        write().map_err(cannot).context(at)
    }

    /// Where a rotation keeps the new key until the gallery is sealed with it.
    pub fn next_path(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".next");
        PathBuf::from(name)
    }

    /// The key that seals data keys and the vault.
    pub(super) fn wrap(&self) -> &Key {
        &self.wrap
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_written_once_and_read_only_while_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gallery.key");
        let key = MasterKey::generate().unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(MasterKey::load(&path).unwrap().id(), key.id());
        assert!(
            MasterKey::generate().unwrap().write_new(&path).unwrap_err().to_string().contains("is there")
        );
        for mode in [0o440, 0o404, 0o420] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let e = MasterKey::load(&path).unwrap_err().to_string();
            assert!(e.contains("may be used by others") && e.contains("chmod 400"), "{e}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(MasterKey::load(&link).is_err());
        assert!(!format!("{key:?}").contains(&key.id()));
    }

    #[test]
    fn what_is_not_a_key_is_refused_without_repeating_it() {
        for text in
            ["", "secret", "vigil-gallery-key-1:", "vigil-gallery-key-1:AAAA", "vigil-gallery-key-1:!"]
        {
            let e = MasterKey::parse(text).unwrap_err().to_string();
            assert!(e.contains("is not a gallery key") && !e.contains("secret"), "{e}");
        }
    }
}

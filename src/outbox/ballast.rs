//! Space set aside on the disk, given back when the disk is full.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::base::{Culprit, Error, Kind, Result};

/// One file of really allocated blocks. While it stands, its size can be had at any moment by
/// deleting it; that is what makes "this decision can be recorded" a promise on a full disk.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    standing: bool,
}

impl Ballast {
    /// The ballast of `dir`, not allocated yet unless an earlier run left it whole.
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        let path = dir.join("outbox.reserve");
        let standing = bytes == 0
            || std::fs::metadata(&path).is_ok_and(|m| m.len() == bytes && m.blocks() * 512 >= bytes);
        Self { path, bytes, standing }
    }

    /// Whether the space is held now.
    pub(super) fn standing(&self) -> bool {
        self.standing
    }

    /// Its size when it stands.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the space back; true if there was any to give.
    pub(super) fn release(&mut self) -> bool {
        if !self.standing || self.bytes == 0 {
            return false;
        }
        self.standing = false;
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Takes the space again. An attempt that fails leaves nothing behind.
    pub(super) fn restore(&mut self) -> Result<()> {
        if self.standing {
            return Ok(());
        }
        let made = self.allocate();
        if made.is_err() {
            let _ = std::fs::remove_file(&self.path);
        }
        self.standing = made.is_ok();
        made
    }

    fn allocate(&self) -> Result<()> {
        let io = |e: std::io::Error| Error::io(Culprit::Disk, "cannot set disk space aside", e);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(io)?;
        let length = i64::try_from(self.bytes)
            .map_err(|_| Error::new(Kind::TooLarge, Culprit::Config, "outbox.reserve_mib is too large"))?;
        match fallocate(&file, FallocateFlags::empty(), 0, length) {
            Ok(()) => {}
            // A file system without allocation: written blocks are allocated blocks.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => write_zeros(&mut file, self.bytes).map_err(io)?,
            Err(e) => return Err(io(e.into())),
        }
        file.sync_all().map_err(io)
    }
}

fn write_zeros(file: &mut File, bytes: u64) -> std::io::Result<()> {
    let block = vec![0u8; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(block.len() as u64) as usize;
        file.write_all(&block[..n])?;
        left -= n as u64;
    }
    Ok(())
}

/// Free bytes, for this user, on the file system of `dir`.
pub(super) fn free_bytes(dir: &Path) -> Result<u64> {
    let s = nix::sys::statvfs::statvfs(dir).map_err(|e| {
        Error::io(Culprit::Disk, format!("cannot ask for the free space of {}", dir.display()), e.into())
    })?;
    Ok(s.blocks_available() * s.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_real_blocks_and_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut b = Ballast::new(dir.path(), 1 << 20);
        assert!(!b.standing());
        assert!(!b.release());
        b.restore().unwrap();
        assert!(std::fs::metadata(dir.path().join("outbox.reserve")).unwrap().blocks() * 512 >= 1 << 20);
        assert!(Ballast::new(dir.path(), 1 << 20).standing());
        assert!(!Ballast::new(dir.path(), 2 << 20).standing(), "another size is another promise");
        assert!(b.release());
        assert!(!dir.path().join("outbox.reserve").exists());
    }
}

//! The few primitives the gallery is built from, with one way to use each.
//!
//! Sealing is XChaCha20-Poly1305 (RFC 8439 with the 192-bit nonce of draft-irtf-cfrg-xchacha): a
//! random nonce, then ciphertext and tag. Keyed hashes are HMAC-SHA-256 (RFC 2104), derived keys
//! HKDF-SHA-256 (RFC 5869).

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::{Culprit, Error, Kind, Result};

/// Bytes of a nonce.
pub(super) const NONCE: usize = 24;
/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = NONCE + 16;

/// A key of 256 bits, overwritten when dropped.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        if bytes.len() != 32 {
            return Err(Error::internal("a key has another length"));
        }
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    pub(super) fn generate() -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        fill(&mut key.0[..])?;
        Ok(key)
    }

    /// HKDF-Expand of this key for one use.
    pub(super) fn derive(&self, salt: &[u8], info: &[u8]) -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        Hkdf::<Sha256>::new(Some(salt), &self.0[..])
            .expand(info, &mut key.0[..])
            .map_err(|_| Error::internal("a key cannot be derived"))?;
        Ok(key)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC over parts whose lengths are part of what is hashed.
    pub(super) fn mac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32] {
        // A key of any length is accepted, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0[..]) else {
            unreachable!("HMAC takes keys of every length")
        };
        for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Nonce, ciphertext and tag: [`OVERHEAD`] bytes more than `plain`.
    pub(super) fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&self.seal_with(&nonce, aad, plain)?);
        Ok(out)
    }

    /// Ciphertext and tag under a nonce that the caller never uses again with this key.
    pub(super) fn seal_with(&self, nonce: &[u8; NONCE], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        self.cipher()
            .encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad })
            .map_err(|_| Error::internal("sealing failed"))
    }

    /// Opens what [`Self::seal`] made. `Kind::Corrupt` if the key, `aad` or a byte is another one.
    pub(super) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        match sealed.split_first_chunk::<NONCE>() {
            Some((nonce, body)) => self.open_with(nonce, aad, body),
            None => Err(torn()),
        }
    }

    /// Opens what [`Self::seal_with`] made.
    pub(super) fn open_with(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.cipher()
            .decrypt(&XNonce::from(*nonce), Payload { msg: body, aad })
            .map(Zeroizing::new)
            .map_err(|_| torn())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

fn torn() -> Error {
    Error::new(Kind::Corrupt, Culprit::Disk, "sealed bytes do not open: another key, or they were changed")
}

/// Random bytes of the operating system.
pub(super) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| {
        Error::new(Kind::Unavailable, Culprit::Host, "the operating system gives no random bytes")
            .with_source(e)
    })
}

/// Whether two keyed hashes are equal, in a time that does not depend on where they differ.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0u8, |d, (x, y)| d | (x ^ y)) == 0
}

/// 32 bytes out of lower-case hex.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;

    #[test]
    fn what_was_changed_does_not_open() {
        let key = Key::generate().unwrap();
        let sealed = key.seal(b"entry", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(&key.open(b"entry", &sealed).unwrap()[..], b"secret");
        assert!(key.open(b"other", &sealed).is_err());
        assert!(Key::generate().unwrap().open(b"entry", &sealed).is_err());
        for i in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[i] ^= 1;
            assert!(key.open(b"entry", &broken).is_err(), "byte {i}");
            assert!(key.open(b"entry", &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_keyed_hash_knows_where_its_parts_end() {
        let key = Key::generate().unwrap();
        assert_ne!(key.mac("d", &[b"ab", b"c"]), key.mac("d", &[b"a", b"bc"]));
        assert_ne!(key.mac("d", &[b"ab"]), key.mac("e", &[b"ab"]));
        assert_eq!(unhex(&hex(&key.mac("d", &[]))), Some(key.mac("d", &[])));
    }
}

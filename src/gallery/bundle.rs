//! Enrolments on their way to one box: a file that only this box can open.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VGBUNDL1` |
//! | 32 | the sender's X25519 public key (RFC 7748), made for this file |
//! | 16 | first part of every nonce, random |
//! | records | each: length of its body (u32, big-endian), body |
//!
//! A body is ChaCha20-Poly1305 with 192-bit nonces under the key HKDF-SHA-256 makes of the X25519 secret,
//! with both public keys as salt. The nonce of record n is the random part, 7 bytes of n, and 1 in the
//! last byte of the last record: a record left out, moved or cut off does not open (the STREAM
//! construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). The last record is empty.
//!
//! A record is the JSON of a `gallery/put`. Bundles are anonymous: whoever has the box's public key
//! can make one, so somebody must have the right to hand it to the box.

use std::io::{Read, Write};

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Gallery;
use super::crypto::{Key, NONCE, fill, unhex};
use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::event::GalleryPut;

const MAGIC: &[u8; 8] = b"VGBUNDL1";
/// Largest record: eight photographs of some megabytes in base64.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// Most records in one bundle.
pub const MAX_RECORDS: u64 = 1_000_000;
const TAG: usize = 16;

/// The public key that bundles for one box are sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleKey([u8; 32]);

impl BundleKey {
    /// Reads the text that `vigil gallery key show` prints: `vigil-bundle-1:` and 64 hex digits.
    pub fn parse(text: &str) -> Result<Self> {
        let hex = text.trim().strip_prefix("vigil-bundle-1:");
        hex.and_then(unhex).map(Self).ok_or_else(|| {
            Error::new(Kind::Usage, Culprit::Request, "this is not a box's bundle key")
                .remedy("copy the line that `vigil gallery key show` prints on the box")
        })
    }
}

impl std::fmt::Display for BundleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vigil-bundle-1:{}", hex(&self.0))
    }
}

struct Cipher {
    key: Key,
    nonce: [u8; NONCE],
    count: u64,
}

impl Cipher {
    fn new(
        secret: &StaticSecret,
        theirs: &[u8; 32],
        sender: &[u8; 32],
        box_key: &[u8; 32],
        part: [u8; 16],
    ) -> Result<Self> {
        let shared = secret.diffie_hellman(&PublicKey::from(*theirs));
        if !shared.was_contributory() {
            return Err(malformed("its key is not one"));
        }
        let salt = [sender.as_slice(), box_key].concat();
        let key = Key::from_bytes(shared.as_bytes())?.derive(&salt, b"vigil/gallery/bundle/1")?;
        let mut nonce = [0; NONCE];
        nonce[..16].copy_from_slice(&part);
        Ok(Self { key, nonce, count: 0 })
    }

    /// The nonce of the next record.
    fn next(&mut self, last: bool) -> [u8; NONCE] {
        self.nonce[16..23].copy_from_slice(&self.count.to_be_bytes()[1..]);
        self.nonce[23] = u8::from(last);
        self.count += 1;
        self.nonce
    }
}

fn malformed(what: &str) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, format!("the bundle is damaged: {what}"))
        .remedy("make it again with `vigil gallery bundle`, for this box's key")
}

/// Writes a bundle. Without [`BundleWriter::finish`] it is cut off, and no box takes its end for one.
pub struct BundleWriter<W: Write> {
    to: W,
    cipher: Cipher,
}

impl<W: Write> std::fmt::Debug for BundleWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BundleWriter({} records)", self.cipher.count)
    }
}

fn unwritten(e: std::io::Error) -> Error {
    Error::io(Culprit::Disk, "the bundle cannot be written", e)
}

impl<W: Write> BundleWriter<W> {
    /// Begins a bundle for the box of this key.
    pub fn new(mut to: W, box_key: BundleKey) -> Result<Self> {
        let secret = StaticSecret::from(*Key::generate()?.bytes());
        let sender = PublicKey::from(&secret).to_bytes();
        let mut part = [0; 16];
        fill(&mut part)?;
        let cipher = Cipher::new(&secret, &box_key.0, &sender, &box_key.0, part)?;
        to.write_all(MAGIC)
            .and_then(|()| to.write_all(&sender))
            .and_then(|()| to.write_all(&part))
            .map_err(unwritten)?;
        Ok(Self { to, cipher })
    }

    /// Adds a person.
    pub fn add(&mut self, put: &GalleryPut) -> Result<()> {
        let json = Zeroizing::new(
            serde_json::to_vec(put)
                .map_err(|e| Error::internal("an enrolment is not JSON").with_source(e))?,
        );
        if json.len() + TAG > MAX_RECORD_BYTES || self.cipher.count >= MAX_RECORDS {
            return Err(Error::new(Kind::TooLarge, Culprit::Request, "too much for one bundle")
                .remedy("give fewer or smaller photographs of a person, or make several bundles"));
        }
        self.record(&json, false)
    }

    /// Marks the end.
    pub fn finish(mut self) -> Result<W> {
        self.record(&[], true)?;
        self.to.flush().map_err(unwritten)?;
        Ok(self.to)
    }

    fn record(&mut self, plain: &[u8], last: bool) -> Result<()> {
        let nonce = self.cipher.next(last);
        let body = self.cipher.key.seal_with(&nonce, MAGIC, plain)?;
        let length = u32::try_from(body.len()).map_err(|_| Error::internal("a record is too long"))?;
        self.to.write_all(&length.to_be_bytes()).and_then(|()| self.to.write_all(&body)).map_err(unwritten)
    }
}

/// Reads a bundle, person by person.
pub struct BundleReader<R: Read> {
    from: R,
    cipher: Cipher,
    ended: bool,
}

impl<R: Read> std::fmt::Debug for BundleReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BundleReader({} records)", self.cipher.count)
    }
}

impl<R: Read> BundleReader<R> {
    fn open(mut from: R, secret: &StaticSecret) -> Result<Self> {
        let mut head = [0u8; 56];
        from.read_exact(&mut head).map_err(|e| unread(e, "it ends in its head"))?;
        let (magic, rest) = head.split_at(8);
        if magic != MAGIC {
            return Err(Error::new(Kind::Malformed, Culprit::Request, "this is not a bundle")
                .remedy("make one with `vigil gallery bundle`"));
        }
        let (mut sender, mut part) = ([0; 32], [0; 16]);
        sender.copy_from_slice(&rest[..32]);
        part.copy_from_slice(&rest[32..]);
        let own = PublicKey::from(secret).to_bytes();
        let cipher = Cipher::new(secret, &sender, &sender, &own, part)?;
        Ok(Self { from, cipher, ended: false })
    }

    /// The next person; `None` at the bundle's end. An error ends it: what was read before is genuine,
    /// what follows is not there.
    pub fn read(&mut self) -> Result<Option<GalleryPut>> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let at = self.cipher.count + 1;
        if at > MAX_RECORDS {
            return Err(malformed("it has too many records"));
        }
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(|e| unread(e, "it was cut off"))?;
        let length = u32::from_be_bytes(length) as usize;
        if !(TAG..=MAX_RECORD_BYTES).contains(&length) {
            return Err(malformed("a record's length is impossible"));
        }
        // As much memory as bytes really come, not as many as are promised.
        let mut body = Zeroizing::new(Vec::new());
        (&mut self.from)
            .take(length as u64)
            .read_to_end(&mut body)
            .map_err(|e| unread(e, "it was cut off"))?;
        if body.len() < length {
            return Err(malformed("it was cut off"));
        }
        let last = length == TAG;
        let nonce = self.cipher.next(last);
        let plain = self.cipher.key.open_with(&nonce, MAGIC, &body).map_err(|_| {
            let what = match at {
                1 => "it is for another box, or its first record was changed".to_owned(),
                _ => format!("record {at} was changed, moved or left out"),
            };
            malformed(&what)
        })?;
        if last {
            let more = self.from.read(&mut [0]).map_err(|e| unread(e, "its end cannot be read"))?;
            return if more == 0 { Ok(None) } else { Err(malformed("something follows its end")) };
        }
        let put = serde_json::from_slice(&plain).map_err(|e| {
            // The text of serde's message may repeat a value, and values here are a person's.
            malformed(&format!("record {at} is not an enrolment (line {}, column {})", e.line(), e.column()))
        })?;
        self.ended = false;
        Ok(Some(put))
    }
}

fn unread(e: std::io::Error, what: &str) -> Error {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => malformed(what),
        _ => Error::io(Culprit::Disk, "the bundle cannot be read", e),
    }
}

impl Gallery {
    fn bundle_pair(&self) -> StaticSecret {
        StaticSecret::from(*self.bundle_secret().bytes())
    }

    /// The public key that bundles for this box are sealed to.
    pub fn bundle_key(&self) -> BundleKey {
        BundleKey(PublicKey::from(&self.bundle_pair()).to_bytes())
    }

    /// Opens a bundle for this box.
    pub fn open_bundle<R: Read>(&self, from: R) -> Result<BundleReader<R>> {
        BundleReader::open(from, &self.bundle_pair())
    }
}

/// Reads bytes as a bundle for the box whose secret is all sevens. For the fuzzer.
#[doc(hidden)]
pub fn read_for_fuzzing(bytes: &[u8]) -> Result<usize> {
    let mut reader = BundleReader::open(bytes, &StaticSecret::from([7; 32]))?;
    let mut count = 0;
    while reader.read()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::PortraitText;

    fn put(n: usize) -> GalleryPut {
        serde_json::from_value(serde_json::json!({
            "terms": { "person_ref": format!("p-{n}"), "purpose": "guest", "basis": { "consent": "c/1" },
                       "valid_until": "2026-04-01T00:00:00Z" },
            "photos": [PortraitText::new("/9j/")],
        }))
        .unwrap()
    }

    fn bundle(count: usize) -> Vec<u8> {
        let key = BundleKey(PublicKey::from(&StaticSecret::from([7; 32])).to_bytes());
        assert_eq!(BundleKey::parse(&key.to_string()).unwrap(), key);
        let mut writer = BundleWriter::new(Vec::new(), key).unwrap();
        (0..count).for_each(|n| writer.add(&put(n)).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_put_in_comes_out_at_this_box_alone() {
        let bytes = bundle(3);
        let mut reader = BundleReader::open(&bytes[..], &StaticSecret::from([7; 32])).unwrap();
        for n in 0..3 {
            assert_eq!(reader.read().unwrap().unwrap(), put(n));
        }
        assert_eq!(reader.read().unwrap(), None);
        assert_eq!(reader.read().unwrap(), None);
        let mut other = BundleReader::open(&bytes[..], &StaticSecret::from([8; 32])).unwrap();
        assert!(other.read().unwrap_err().to_string().contains("for another box"));
        assert!(!bytes.windows(3).any(|w| w == b"p-1"));
    }

    #[test]
    fn a_bundle_that_was_changed_says_so_wherever_it_was() {
        let whole = bundle(2);
        assert_eq!(read_for_fuzzing(&whole).unwrap(), 2);
        for cut in 0..whole.len() {
            assert!(read_for_fuzzing(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(3) {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            assert!(read_for_fuzzing(&broken).is_err(), "byte {at}");
        }
        assert!(read_for_fuzzing(&[whole.as_slice(), b"x"].concat()).is_err());
        // One record left out.
        let first = 56 + 4 + u32::from_be_bytes(whole[56..60].try_into().unwrap()) as usize;
        assert!(read_for_fuzzing(&[&whole[..56], &whole[first..]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            if magic && bytes.len() > 8 {
                bytes[..8].copy_from_slice(MAGIC);
            }
            prop_assert!(read_for_fuzzing(&bytes).is_err());
        }
    }
}

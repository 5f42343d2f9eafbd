//! KLV: the metadata that travels in a drone's video (SMPTE ST 336), as far as MISB ST 0601 goes.
//!
//! [`Reader`] finds sets in bytes that come in any pieces, with anything between them; [`Set`] is
//! what one set says, and writes it.

pub mod ber;
mod st0601;
pub mod st1201;

use std::fmt;

use crate::base::{Culprit, Error, Kind};
use ber::Ber;
pub use st0601::{Decoded, Flags, Refusal, Set, Tag, VERSION, Value};

/// The universal label of the UAS Datalink Local Set (ST 0601.19 section 6.1).
pub const KEY: [u8; 16] =
    [0x06, 0x0e, 0x2b, 0x34, 0x02, 0x0b, 0x01, 0x01, 0x0e, 0x01, 0x03, 0x01, 0x01, 0x00, 0x00, 0x00];

/// Largest set that is read. A drone's has some 200 bytes; those with moving targets have thousands.
pub const MAX_SET_BYTES: usize = 32 * 1024;

/// Why a set was not taken: nothing of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The next set begins, or the bytes end, before it does.
    Torn,
    /// Its length is none, or beyond [`MAX_SET_BYTES`].
    Length,
    /// It does not end in a checksum.
    NoChecksum,
    /// Its checksum is not that of its bytes.
    Checksum,
    /// Its checksum is right, and its items do not fit into it.
    Items,
    /// It says no time.
    NoTime,
    /// Its time is no time, or it says two.
    Time,
}

impl Fault {
    /// As one word for programs: `no_checksum`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Length => "length",
            Self::NoChecksum => "no_checksum",
            Self::Checksum => "checksum",
            Self::Items => "items",
            Self::NoTime => "no_time",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torn => "the KLV set is cut off",
            Self::Length => "the KLV set's length is none, or too large",
            Self::NoChecksum => "the KLV set does not end in a checksum",
            Self::Checksum => "the KLV set's checksum is wrong",
            Self::Items => "the KLV set's items do not fit into it",
            Self::NoTime => "the KLV set says no time",
            Self::Time => "the KLV set's time is no time",
        })
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::new(Kind::Malformed, Culprit::Camera, fault.to_string())
            .remedy("look at the drone's encoder and the link: `vigil telemetry FILE` says where")
    }
}

/// Something that was found in the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it starts, in bytes from the beginning.
    pub at: u64,
    /// The set, or why it was not taken.
    pub set: Result<Decoded, Fault>,
}

impl Found {
    /// The set.
    pub fn set(&self) -> Result<&Decoded, Fault> {
        self.set.as_ref().map_err(|fault| *fault)
    }
}

/// Finds sets in bytes that come in pieces of any size.
///
/// A set ends before the next key begins: one whose length lies, or whose end was lost, costs
/// itself and not those behind it, and no more than [`MAX_SET_BYTES`] and the piece at hand are kept.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<u8>,
    /// Where `kept` starts, from the beginning.
    at: u64,
    /// Up to here in `kept` no key begins behind the first byte.
    searched: usize,
    strange: u64,
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far that belonged to no set.
    pub fn strange_bytes(&self) -> u64 {
        self.strange
    }

    /// Takes bytes that belong together and are whole, such as a packet of a transport stream's KLV:
    /// a set that they do not end is torn.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Found> {
        let mut found = self.push(bytes);
        found.extend(self.finish());
        found
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        // A set of the largest size may be kept already; a piece is not larger than the caller's own.
        self.kept.extend_from_slice(piece);
        let mut from = 0;
        loop {
            let key = find_key(&self.kept, from);
            let Some(key) = key else {
                let rest = partial_key(&self.kept[from..]);
                self.strange += (self.kept.len() - from - rest) as u64;
                from = self.kept.len() - rest;
                self.searched = 0;
                break;
            };
            self.strange += (key - from) as u64;
            from = key;
            let already = if key == 0 { self.searched } else { 0 };
            let head = key + KEY.len();
            let (fault, end) = match ber::length(&self.kept[head..]) {
                Ber::Bad => (Some(Fault::Length), head),
                Ber::Read(length, _) if length > MAX_SET_BYTES => (Some(Fault::Length), head),
                Ber::Read(length, used) => (None, head + used + length),
                Ber::Short => (None, usize::MAX),
            };
            let within = &self.kept[..end.min(self.kept.len())];
            match (fault, find_key(within, head.max(already))) {
                (Some(fault), _) => found.push(Found { at: self.at + key as u64, set: Err(fault) }),
                (None, Some(next)) => {
                    found.push(Found { at: self.at + key as u64, set: Err(Fault::Torn) });
                    from = next;
                    continue;
                }
                (None, None) if end > self.kept.len() => {
                    // A key may begin in the last bytes and end in the next piece.
                    self.searched = (self.kept.len() - key).saturating_sub(KEY.len() - 1);
                    break;
                }
                (None, None) => {
                    let set = Decoded::read(&self.kept[key..end]);
                    // A set that lost bytes reaches into the next one's key.
                    let reached = if set.is_err() { partial_key(&self.kept[head..end]) } else { 0 };
                    found.push(Found { at: self.at + key as u64, set });
                    from = end - reached;
                    continue;
                }
            }
            from = end;
        }
        self.kept.drain(..from);
        self.at += from as u64;
        found
    }

    /// The bytes end here: what was begun is torn. The reader starts over behind them.
    pub fn finish(&mut self) -> Option<Found> {
        let torn = self.kept.starts_with(&KEY).then_some(Found { at: self.at, set: Err(Fault::Torn) });
        if torn.is_none() {
            self.strange += self.kept.len() as u64;
        }
        self.at += self.kept.len() as u64;
        self.kept.clear();
        self.searched = 0;
        torn
    }
}

fn find_key(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(KEY.len()).position(|w| w == KEY).map(|at| from + at)
}

/// How many of the last bytes may be the beginning of a key.
fn partial_key(bytes: &[u8]) -> usize {
    (1..KEY.len()).rev().find(|n| bytes.ends_with(&KEY[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(second: i64) -> Vec<u8> {
        Set::new(jiff::Timestamp::from_second(1_700_000_000 + second).unwrap())
            .unwrap()
            .with(Tag::SENSOR_LATITUDE, 30.25)
            .unwrap()
            .with(Tag::MISSION, "night")
            .unwrap()
            .encode()
            .unwrap()
    }

    fn seconds(found: &[Found]) -> Vec<Result<i64, Fault>> {
        found.iter().map(|f| f.set().map(|d| d.set.time().as_second() - 1_700_000_000)).collect()
    }

    #[test]
    fn sets_are_found_in_rubbish_and_a_lost_end_costs_one() {
        let mut all = b"rubbish\x06\x0e\x2b".to_vec();
        all.extend(packet(1));
        all.extend(KEY[..9].iter());
        let cut = packet(2);
        for lost in 1..cut.len() - KEY.len() {
            let mut bytes = all.clone();
            bytes.extend(&cut[..cut.len() - lost]);
            bytes.extend(packet(3));
            let mut reader = Reader::new();
            let found = reader.read(&bytes);
            let got = seconds(&found);
            assert_eq!(got.len(), 3, "{lost}: {got:?}");
            assert_eq!((got[0], got[2]), (Ok(1), Ok(3)), "{lost}");
            assert!(got[1].is_err(), "{lost}: {got:?}");
            assert_eq!(found[0].at, 10);
            assert!(reader.strange_bytes() >= 19);
        }
    }

    #[test]
    fn a_lying_length_hides_nothing_behind_it() {
        for length in [&[0x82, 0x7f, 0xff][..], &[0x84, 0xff, 0xff, 0xff, 0xff], &[0x80], &[0xff]] {
            let mut bytes = KEY.to_vec();
            bytes.extend(length);
            bytes.extend(packet(7));
            let mut reader = Reader::new();
            // Told at once, without waiting for as many bytes as the length promises.
            assert_eq!(seconds(&reader.push(&bytes))[1..], [Ok(7)], "{length:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut reader = Reader::new();
        reader.push(&KEY);
        reader.push(&[0x82, 0x7f, 0xff]);
        for _ in 0..100 {
            reader.push(&[0; 1000]);
            assert!(reader.kept.len() <= MAX_SET_BYTES + 1100);
        }
        assert!(reader.kept.len() < KEY.len());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(
            cuts in prop::collection::vec(1usize..80, 1..40),
            noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 4),
        ) {
            let mut bytes = Vec::new();
            for (n, noise) in noise.iter().enumerate() {
                bytes.extend(noise);
                bytes.extend(packet(n as i64));
            }
            let mut whole = Reader::new();
            let expected = whole.read(&bytes);
            let (mut reader, mut found, mut rest, mut cuts) =
                (Reader::new(), Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                found.extend(reader.push(piece));
                rest = after;
            }
            found.extend(reader.finish());
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(reader.strange_bytes(), whole.strange_bytes());
            prop_assert_eq!(seconds(&found), (0..4).map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn rubbish_is_no_set(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut all = KEY.to_vec();
            all.extend(&bytes);
            // A checksum that is right by chance is one in 65,536, and needs the rest to fit.
            for found in Reader::new().read(&all) {
                let _ = found.set();
            }
        }
    }
}

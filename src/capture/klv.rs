//! KLV packets (SMPTE ST 336) out of the pieces in which a stream carries them.
//!
//! A PES packet may hold one KLV packet, several, or a part of one; synchronous metadata stand in
//! cells with five bytes of header (ISO/IEC 13818-1, 2.12.4; MISB ST 1402). What a packet says is not
//! looked at here: its checksum is the decoder's business.

/// Most bytes of one KLV packet. Those of MISB ST 0601 have a few hundred.
pub const MAX_KLV_BYTES: usize = 64 << 10;
/// Every key of SMPTE begins so (ST 298).
const PREFIX: [u8; 4] = [0x06, 0x0e, 0x2b, 0x34];
const KEY: usize = 16;
/// Bytes of a metadata cell's header: service, sequence, flags, length.
const CELL: usize = 5;

/// What an assembler met, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KlvFigures {
    /// Packets that came out whole.
    pub packets: u64,
    /// Packets whose end never came.
    pub torn: u64,
    /// Packets that say they are longer than [`MAX_KLV_BYTES`].
    pub oversized: u64,
    /// Bytes that belong to no packet.
    pub garbage: u64,
}

/// Puts the packets of one stream together. Keeps at most [`MAX_KLV_BYTES`] and one piece.
#[derive(Debug, Default)]
pub struct KlvAssembler<T> {
    pending: Vec<u8>,
    /// What is known of the piece in which the pending packet began.
    tag: Option<T>,
    cells: bool,
    figures: KlvFigures,
}

impl<T: Copy> KlvAssembler<T> {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { pending: Vec::new(), tag: None, cells: false, figures: KlvFigures::default() }
    }

    /// What was met.
    pub fn figures(&self) -> KlvFigures {
        self.figures
    }

    /// Takes the next piece; `each` gets every packet that is now whole, with the tag of the piece in
    /// which it began.
    pub fn push(&mut self, piece: &[u8], tag: T, mut each: impl FnMut(Vec<u8>, T)) {
        if piece.starts_with(&PREFIX) {
            self.add(piece, tag);
        } else if self.cells || self.pending.is_empty() && in_cells(piece) {
            self.cells = true;
            self.add_cells(piece, tag);
        } else {
            self.add(piece, tag);
        }
        self.take_whole(tag, &mut each);
    }

    /// The pieces after this do not continue those before: a gap in the stream.
    pub fn gap(&mut self) {
        if !self.pending.is_empty() {
            self.figures.torn += 1;
            self.pending.clear();
        }
    }

    fn add_cells(&mut self, mut piece: &[u8], tag: T) {
        while let [_, _, _, a, b, rest @ ..] = piece {
            let length = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
            self.add(&rest[..length], tag);
            piece = &rest[length..];
        }
        self.figures.garbage += piece.len() as u64;
    }

    fn add(&mut self, bytes: &[u8], tag: T) {
        // A new key where the rest of a packet is due: its end is lost.
        if bytes.starts_with(&PREFIX) && !self.pending.is_empty() && !self.is_whole() {
            self.gap();
        }
        if self.pending.is_empty() {
            self.tag = Some(tag);
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Whether the pending bytes end with a packet.
    fn is_whole(&self) -> bool {
        let mut rest = &self.pending[..];
        while let Some(Ok(length)) = length_of(rest) {
            let Some(next) = rest.get(length..) else { return false };
            rest = next;
        }
        rest.is_empty()
    }

    fn take_whole(&mut self, tag: T, each: &mut impl FnMut(Vec<u8>, T)) {
        let mut at = 0;
        loop {
            let rest = &self.pending[at..];
            // As much of a key as is there must be one.
            let seen = rest.len().min(PREFIX.len());
            if rest[..seen] != PREFIX[..seen] {
                let skip = (1..rest.len())
                    .find(|n| {
                        let seen = (rest.len() - n).min(PREFIX.len());
                        rest[*n..n + seen] == PREFIX[..seen]
                    })
                    .unwrap_or(rest.len());
                self.figures.garbage += skip as u64;
                at += skip;
                self.tag = Some(tag);
                continue;
            }
            match length_of(rest) {
                Some(Ok(length)) if rest.len() >= length => {
                    self.figures.packets += 1;
                    each(rest[..length].to_vec(), self.tag.unwrap_or(tag));
                    self.tag = Some(tag);
                    at += length;
                }
                Some(Err(())) => {
                    self.figures.oversized += 1;
                    // Behind this key another may stand.
                    at += PREFIX.len();
                    self.tag = Some(tag);
                }
                _ => break,
            }
        }
        self.pending.drain(..at);
    }
}

/// Whether a piece begins with a cell whose content begins with a key.
fn in_cells(piece: &[u8]) -> bool {
    piece.get(CELL..).is_some_and(|p| p.starts_with(&PREFIX))
}

/// The whole length of the packet that begins here: `None` while that is not known, an error beyond
/// what any has. Lengths are BER (ISO/IEC 8825-1, 8.1.3): short, or long with up to four bytes.
fn length_of(packet: &[u8]) -> Option<Result<usize, ()>> {
    let first = usize::from(*packet.get(KEY)?);
    let (header, value) = match first {
        0..=0x7f => (KEY + 1, first),
        0x81..=0x84 => {
            let bytes = packet.get(KEY + 1..KEY + 1 + (first & 0x7f))?;
            (KEY + 1 + bytes.len(), bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)))
        }
        _ => return Some(Err(())),
    };
    let length = header.saturating_add(value);
    Some(if length <= MAX_KLV_BYTES { Ok(length) } else { Err(()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(value: usize) -> Vec<u8> {
        let mut p = PREFIX.to_vec();
        p.extend([2, 11, 1, 1, 14, 1, 3, 1, 1, 0, 0, 0]);
        match value {
            0..=0x7f => p.push(value as u8),
            _ => p.extend([0x82, (value >> 8) as u8, value as u8]),
        }
        p.extend((0..value).map(|n| n as u8));
        p
    }

    fn assemble(pieces: &[&[u8]]) -> (Vec<(Vec<u8>, usize)>, KlvFigures) {
        let (mut assembler, mut out) = (KlvAssembler::new(), Vec::new());
        for (n, piece) in pieces.iter().enumerate() {
            assembler.push(piece, n, |bytes, tag| out.push((bytes, tag)));
            assert!(assembler.pending.len() <= MAX_KLV_BYTES + piece.len());
        }
        (out, assembler.figures())
    }

    #[test]
    fn packets_of_one_piece_of_several_and_torn_ones() {
        let (a, b) = (packet(100), packet(1_000));
        let both = [a.clone(), b.clone()].concat();
        assert_eq!(assemble(&[&both]).0, [(a.clone(), 0), (b.clone(), 0)]);
        for cut in 1..both.len() {
            let (out, figures) = assemble(&[&both[..cut], &both[cut..]]);
            let started = usize::from(cut <= a.len());
            assert_eq!(out, [(a.clone(), 0), (b.clone(), started)], "cut at {cut}");
            assert_eq!((figures.torn, figures.garbage), (0, 0));
        }
        let (out, figures) = assemble(&[&b[..500], &a]);
        assert_eq!((out, figures.torn), (vec![(a, 1)], 1));
    }

    #[test]
    fn cells_of_synchronous_metadata() {
        let a = packet(300);
        let cell = |flags: u8, bytes: &[u8]| {
            [&[0, 7, flags, (bytes.len() >> 8) as u8, bytes.len() as u8][..], bytes].concat()
        };
        let (whole, first, last) = (cell(0xdf, &a), cell(0x9f, &a[..200]), cell(0x5f, &a[200..]));
        assert_eq!(assemble(&[&whole, &first, &last]).0, [(a.clone(), 0), (a.clone(), 1)]);
        let two = [whole.clone(), whole].concat();
        assert_eq!(assemble(&[&two]).0, [(a.clone(), 0), (a, 0)]);
    }

    #[test]
    fn lies_about_the_length_cost_nothing() {
        let mut liar = packet(200);
        liar[KEY] = 0x84;
        liar[KEY + 1] = 0xff;
        let good = packet(10);
        let (out, figures) = assemble(&[&liar, &good]);
        assert_eq!((out, figures.oversized), (vec![(good, 1)], 1));
        let mut endless = packet(0);
        endless[KEY] = 0x80;
        assert_eq!(assemble(&[&endless]).1.oversized, 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_grow(pieces in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(6u8), Just(14), Just(0x2b), Just(0x34), any::<u8>()], 0..200),
            0..20)) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            assemble(&pieces);
        }
    }
}

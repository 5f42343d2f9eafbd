//! What is let through to the demultiplexer of an MPEG transport stream (ISO/IEC 13818-1).
//!
//! The bytes come from whoever can send to a UDP port. A demultiplexer that believes them keeps up to
//! 32 MiB for each of the two hundred streams that one table can name, and GStreamer's does not know
//! the synchronous metadata of MISB ST 1402 (stream type 0x15) at all. So this filter stands before it:
//!
//! - it finds packets of 188, 192 or 204 bytes in whatever comes, again after a gap;
//! - it reads the program tables (PAT and PMT, checksums verified) and chooses the first program with
//!   a video this box decodes;
//! - it lets through that video, up to [`MAX_KLV_STREAMS`] KLV streams and the clock, nothing else;
//! - it writes the tables anew, short, with every KLV stream called what the demultiplexer knows
//!   (stream type 0x06, registered as `KLVA`; SMPTE RP 217).
//!
//! It keeps less than 32 KiB, whatever comes.

use super::klv::MAX_KLV_BYTES;

/// Most KLV streams of one program that are listened to.
pub(super) const MAX_KLV_STREAMS: usize = 4;
/// A transport packet, without what recorders and broadcasters add.
pub(super) const PACKET: usize = 188;
/// Distances between packets: plain, with a recorder's time in front, with parity behind.
const STRIDES: [(usize, usize); 3] = [(188, 0), (192, 4), (204, 0)];
const SYNC: u8 = 0x47;
/// So many packets in a row begin with the sync byte before they are believed to be packets.
const IN_A_ROW: usize = 3;
const MAX_PROGRAMS: usize = 16;
/// Longest section of a program table (2.4.4.9), with its three bytes of header.
const MAX_SECTION: usize = 1024;
const PID_PAT: u16 = 0;
const PID_NULL: u16 = 0x1fff;
/// `KLVA`, as in a registration descriptor.
const KLVA: [u8; 4] = *b"KLVA";
/// Most bytes of one KLV access unit on its way: the packet, its cell header, the PES header.
const MAX_KLV_PES: usize = MAX_KLV_BYTES + 512;

/// What the filter saw, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportFigures {
    /// Bytes that came.
    pub bytes: u64,
    /// Transport packets found in them.
    pub packets: u64,
    /// Bytes that belong to no packet.
    pub garbage: u64,
    /// Packets of the video or the metadata that are missing, by their continuity counters.
    pub lost: u64,
    /// Packets that are encrypted.
    pub scrambled: u64,
    /// Packets of metadata beyond the size of any.
    pub oversized: u64,
}

/// The program that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its video: packet identifier and stream type.
    pub video: (u16, u8),
    /// Its KLV streams.
    pub klv: Vec<u16>,
    clock: u16,
    number: u16,
}

/// Lets the wanted part of a transport stream through.
#[derive(Debug, Default)]
pub struct TransportFilter {
    /// Bytes not looked at yet, fewer than [`IN_A_ROW`] of the longest packets.
    carry: Vec<u8>,
    stride: Option<(usize, usize)>,
    pat: Section,
    /// Where the programs' tables are.
    tables: Vec<(u16, Section)>,
    program: Option<Program>,
    /// Counts of the tables written here.
    counters: [u8; 2],
    version: u8,
    streams: Vec<Stream>,
    without_video: bool,
    figures: TransportFigures,
}

/// One stream that is let through.
#[derive(Debug)]
struct Stream {
    pid: u16,
    counter: Option<u8>,
    /// Bytes since the last start of a PES packet; `None` for the video.
    klv_bytes: Option<usize>,
}

impl TransportFilter {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was seen.
    pub fn figures(&self) -> TransportFigures {
        self.figures
    }

    /// The program that was chosen, once its table was read.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Whether a program was found and has no video that this box decodes.
    pub fn without_video(&self) -> bool {
        self.program.is_none() && self.without_video
    }

    /// Takes the next bytes, as they come, and adds to `out` whole packets of 188 bytes.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.figures.bytes += bytes.len() as u64;
        // In slices, so that what is kept stays small whatever comes at once.
        for piece in bytes.chunks(8 * PACKET) {
            self.carry.extend_from_slice(piece);
            let carry = std::mem::take(&mut self.carry);
            let used = self.consume(&carry, out);
            self.carry = carry;
            self.carry.drain(..used);
        }
    }

    /// How many bytes were used.
    fn consume(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        loop {
            let Some((stride, before)) = self.stride else {
                match find_packets(&bytes[at..]) {
                    Ok((skip, stride)) => {
                        self.figures.garbage += skip as u64;
                        at += skip;
                        self.stride = Some(stride);
                        continue;
                    }
                    Err(undecided) => {
                        let skip = bytes.len() - at - undecided;
                        self.figures.garbage += skip as u64;
                        return at + skip;
                    }
                }
            };
            let Some(whole) = bytes.get(at..at + stride) else { return at };
            let Some(packet) = whole.get(before..before + PACKET).filter(|p| p[0] == SYNC) else {
                self.stride = None;
                continue;
            };
            self.packet(packet, out);
            at += stride;
        }
    }

    fn packet(&mut self, packet: &[u8], out: &mut Vec<u8>) {
        self.figures.packets += 1;
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (starts, damaged) = (packet[1] & 0x40 != 0, packet[1] & 0x80 != 0);
        let (control, counter) = (packet[3] >> 4 & 3, packet[3] & 15);
        if damaged || control == 0 || pid == PID_NULL {
            return;
        }
        let adaptation = if control & 2 != 0 { 1 + usize::from(packet[4]) } else { 0 };
        if adaptation > PACKET - 4 {
            return;
        }
        let announced_gap = adaptation > 1 && packet[5] & 0x80 != 0;
        let payload = if control & 1 != 0 { &packet[4 + adaptation..] } else { &[][..] };
        if pid == PID_PAT {
            if let Some(section) = self.pat.push(payload, starts) {
                self.read_pat(&section);
            }
            return;
        }
        if let Some(n) = self.tables.iter().position(|(p, _)| *p == pid) {
            if let Some(section) = self.tables[n].1.push(payload, starts) {
                self.read_pmt(pid, &section, out);
            }
            return;
        }
        let Some(program) = &self.program else { return };
        let clock = program.clock;
        let Some(stream) = self.streams.iter_mut().find(|s| s.pid == pid) else {
            if pid == clock && adaptation > 1 {
                // Only its time: the payload is nobody's business.
                let mut only_time = [0xffu8; PACKET];
                only_time[..4 + adaptation].copy_from_slice(&packet[..4 + adaptation]);
                only_time[1] &= 0x1f;
                only_time[3] = 0x20 | counter;
                only_time[4] = (PACKET - 5) as u8;
                out.extend_from_slice(&only_time);
            }
            return;
        };
        if packet[3] & 0xc0 != 0 {
            self.figures.scrambled += 1;
            return;
        }
        if !payload.is_empty() {
            if let Some(last) = stream.counter.filter(|_| !announced_gap) {
                // A packet may be sent twice (2.4.3.3).
                let gap = counter.wrapping_sub(last).wrapping_sub(1) & 15;
                self.figures.lost += if gap == 15 { 0 } else { u64::from(gap) };
            }
            stream.counter = Some(counter);
            if let Some(so_far) = &mut stream.klv_bytes {
                *so_far = if starts { payload.len() } else { *so_far + payload.len() };
                if *so_far > MAX_KLV_PES {
                    self.figures.oversized += 1;
                    return;
                }
            }
        }
        out.extend_from_slice(packet);
    }

    /// The program association table (2.4.4.3).
    fn read_pat(&mut self, section: &[u8]) {
        let Some(entries) = body(section, 0x00, 8) else { return };
        let mut pids: Vec<u16> = Vec::new();
        for entry in entries.chunks_exact(4) {
            let (number, pid) = (u16::from_be_bytes([entry[0], entry[1]]), pid_of(entry[2], entry[3]));
            if number != 0 && pid > PID_PAT && pid < PID_NULL && !pids.contains(&pid) {
                pids.push(pid);
                if pids.len() == MAX_PROGRAMS {
                    break;
                }
            }
        }
        if !pids.iter().eq(self.tables.iter().map(|(pid, _)| pid)) {
            self.tables = pids.into_iter().map(|pid| (pid, Section::default())).collect();
            self.without_video = false;
            // Another set of programs: choose anew.
            self.program = None;
            self.streams.clear();
        }
    }

    /// A program map table (2.4.4.9).
    fn read_pmt(&mut self, pid: u16, section: &[u8], out: &mut Vec<u8>) {
        let Some(rest) = body(section, 0x02, 12) else { return };
        let skip = usize::from(u16::from_be_bytes([section[10], section[11]]) & 0xfff);
        let Some(mut rest) = rest.get(skip..) else { return };
        let number = u16::from_be_bytes([section[3], section[4]]);
        let clock = pid_of(section[8], section[9]);
        let mut found = Program { video: (0, 0), klv: Vec::new(), clock, number };
        while let [kind, a, b, c, d, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([c, d]) & 0xfff);
            let Some(descriptors) = rest.get(5..5 + length) else { return };
            let stream = pid_of(a, b);
            let taken = stream == PID_PAT || stream == PID_NULL || stream == pid;
            match meaning(kind, descriptors) {
                Some(Meaning::Video(kind)) if found.video.0 == 0 && !taken => found.video = (stream, kind),
                Some(Meaning::Klv) if found.klv.len() < MAX_KLV_STREAMS && !taken => found.klv.push(stream),
                _ => {}
            }
            rest = &rest[5 + length..];
        }
        if found.video.0 == 0 {
            self.without_video = true;
            return;
        }
        // The first program with a video stays the one, whatever other tables say, on this PID too.
        let first = self.tables.iter().find(|(_, s)| s.chosen).map(|(p, _)| *p);
        if self.program.as_ref().is_some_and(|p| first != Some(pid) || p.number != number) {
            return;
        }
        if self.program.as_ref() != Some(&found) {
            self.version = (self.version + 1) & 31;
            self.streams = std::iter::once((found.video.0, None))
                .chain(found.klv.iter().map(|p| (*p, Some(0))))
                .map(|(pid, klv_bytes)| Stream { pid, counter: None, klv_bytes })
                .collect();
            for (p, table) in &mut self.tables {
                table.chosen = *p == pid;
            }
        }
        self.write_tables(pid, &found, out);
        self.program = Some(found);
    }

    fn write_tables(&mut self, pmt: u16, program: &Program, out: &mut Vec<u8>) {
        let version = 0xc1 | self.version << 1;
        let [hi, lo] = pmt.to_be_bytes();
        let pat = [0x00, 0x00, 0x01, version, 0, 0, 0x00, 0x01, 0xe0 | hi, lo];
        let [hi, lo] = program.clock.to_be_bytes();
        let mut map = vec![0x02, 0x00, 0x01, version, 0, 0, 0xe0 | hi, lo, 0xf0, 0];
        let [hi, lo] = program.video.0.to_be_bytes();
        map.extend([program.video.1, 0xe0 | hi, lo, 0xf0, 0]);
        for pid in &program.klv {
            let [hi, lo] = pid.to_be_bytes();
            map.extend([0x06, 0xe0 | hi, lo, 0xf0, 6, 0x05, 4]);
            map.extend(KLVA);
        }
        for (n, (pid, content)) in [(PID_PAT, &pat[..]), (pmt, &map[..])].into_iter().enumerate() {
            self.counters[n] = (self.counters[n] + 1) & 15;
            out.extend_from_slice(&table_packet(pid, self.counters[n], content));
        }
    }
}

enum Meaning {
    Video(u8),
    Klv,
}

/// What a stream of the program map carries, as far as it is wanted. Table 2-34 of ISO/IEC 13818-1.
fn meaning(kind: u8, descriptors: &[u8]) -> Option<Meaning> {
    let registered =
        |wanted: &[u8; 4]| descriptor(descriptors, 0x05).is_some_and(|d| d.get(..4) == Some(wanted));
    match kind {
        // MPEG-1, MPEG-2, MPEG-4, H.264, H.265.
        0x01 | 0x02 | 0x10 | 0x1b | 0x24 => Some(Meaning::Video(kind)),
        0x06 if registered(b"HEVC") => Some(Meaning::Video(0x24)),
        // Some encoders forget to say what their private data are; the KLV reader finds out.
        0x06 if descriptors.is_empty() || registered(&KLVA) => Some(Meaning::Klv),
        // Synchronous metadata (MISB ST 1402): of KLV, or without a word.
        0x15 => {
            let said = descriptor(descriptors, 0x26);
            let klv = said.is_none_or(|d| d.windows(4).any(|w| w == KLVA));
            klv.then_some(Meaning::Klv)
        }
        _ => None,
    }
}

fn descriptor(mut descriptors: &[u8], tag: u8) -> Option<&[u8]> {
    while let [t, length, rest @ ..] = descriptors {
        let content = rest.get(..usize::from(*length))?;
        if *t == tag {
            return Some(content);
        }
        descriptors = &rest[content.len()..];
    }
    None
}

fn pid_of(hi: u8, lo: u8) -> u16 {
    u16::from_be_bytes([hi & 0x1f, lo])
}

/// What stands between a table's header of `header` bytes and its checksum, if it is this table, whole,
/// valid now.
fn body(section: &[u8], table: u8, header: usize) -> Option<&[u8]> {
    let now =
        section.len() >= header + 4 && section[0] == table && section[1] & 0x80 != 0 && section[5] & 1 != 0;
    (now && crc32(section) == 0).then(|| &section[header..section.len() - 4])
}

/// A table in one packet. `content` begins with the table's identifier and goes on behind its length.
fn table_packet(pid: u16, counter: u8, content: &[u8]) -> [u8; PACKET] {
    let mut packet = [0xffu8; PACKET];
    let length = content.len() - 1 + 4;
    let [hi, lo] = pid.to_be_bytes();
    packet[..5].copy_from_slice(&[SYNC, 0x40 | hi, lo, 0x10 | counter, 0]);
    packet[5..8].copy_from_slice(&[content[0], 0xb0 | (length >> 8) as u8, length as u8]);
    let end = 8 + content.len() - 1;
    packet[8..end].copy_from_slice(&content[1..]);
    let crc = crc32(&packet[5..end]);
    packet[end..end + 4].copy_from_slice(&crc.to_be_bytes());
    packet
}

/// CRC-32 of MPEG-2 (Annex A): zero over what ends with its own checksum.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 1 << 31 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
        }
    }
    crc
}

/// Whether these first bytes of a file are those of a transport stream.
pub(crate) fn looks_like_one(start: &[u8]) -> bool {
    find_packets(start).is_ok_and(|(skip, _)| skip < 3 * STRIDES[2].0)
}

/// Where packets begin and how far apart, or how many bytes at the end are undecided.
fn find_packets(bytes: &[u8]) -> Result<(usize, (usize, usize)), usize> {
    let longest = STRIDES[2].0 * IN_A_ROW;
    for at in 0..bytes.len() {
        let mut undecided = false;
        for (stride, before) in STRIDES {
            let mut seen = 0;
            let fits = (0..IN_A_ROW).all(|n| match bytes.get(at + before + n * stride) {
                Some(b) => {
                    seen += 1;
                    *b == SYNC
                }
                None => true,
            });
            if fits && seen == IN_A_ROW {
                return Ok((at, (stride, before)));
            }
            undecided |= fits;
        }
        if undecided && bytes.len() - at < longest {
            return Err(bytes.len() - at);
        }
    }
    Err(0)
}

/// Puts a table's section together out of packets.
#[derive(Debug, Default)]
struct Section {
    bytes: Vec<u8>,
    /// The program whose table this is was chosen.
    chosen: bool,
}

impl Section {
    /// The section, when it is whole.
    fn push(&mut self, payload: &[u8], starts: bool) -> Option<Vec<u8>> {
        if starts {
            // The first byte says how much of the section before still comes. Tables that follow in
            // the same packet come again by themselves.
            let (pointer, rest) = payload.split_first()?;
            self.bytes.clear();
            self.bytes.extend_from_slice(rest.get(usize::from(*pointer)..)?);
        } else if self.bytes.is_empty() {
            return None;
        } else {
            self.bytes.extend_from_slice(payload);
        }
        let [_, a, b, ..] = *self.bytes else { return None };
        let length = 3 + usize::from(u16::from_be_bytes([a, b]) & 0xfff);
        if length > MAX_SECTION {
            self.bytes.clear();
            return None;
        }
        if self.bytes.len() < length {
            return None;
        }
        self.bytes.truncate(length);
        Some(std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PMT: u16 = 0x1000;
    const VIDEO: u16 = 0x100;
    const META: u16 = 0x101;
    const SOUND: u16 = 0x102;

    fn pat() -> [u8; PACKET] {
        table_packet(PID_PAT, 0, &[0x00, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | 0x10, 0x00])
    }

    fn pmt(klv: &[u8]) -> [u8; PACKET] {
        let mut content = vec![0x02, 0, 1, 0xc1, 0, 0, 0xe1, 0x00, 0xf0, 0];
        content.extend([0x0f, 0xe1, 0x02, 0xf0, 0]);
        content.extend([0x1b, 0xe1, 0x00, 0xf0, 0]);
        content.extend(klv);
        table_packet(PMT, 0, &content)
    }

    /// Synchronous, as MISB ST 1402 has it: metadata and metadata_std descriptors.
    fn synchronous() -> Vec<u8> {
        let mut entry = vec![0x15, 0xe1, 0x01, 0xf0, 22, 0x26, 9, 0x01, 0x00, 0xff];
        entry.extend(KLVA);
        entry.extend([0x00, 0x0f, 0x27, 9, 0xc0, 0, 0, 0xc0, 0, 0, 0xc0, 0, 0]);
        entry
    }

    fn data(pid: u16, counter: u8, starts: bool, fill: u8) -> [u8; PACKET] {
        let mut packet = [fill; PACKET];
        let [hi, lo] = pid.to_be_bytes();
        packet[..4].copy_from_slice(&[SYNC, hi | u8::from(starts) << 6, lo, 0x10 | counter & 15]);
        packet
    }

    fn through(filter: &mut TransportFilter, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        filter.push(bytes, &mut out);
        assert_eq!(out.len() % PACKET, 0);
        out
    }

    fn pids(out: &[u8]) -> Vec<u16> {
        out.chunks(PACKET).map(|p| pid_of(p[1], p[2])).collect()
    }

    #[test]
    fn synchronous_metadata_is_called_what_the_demultiplexer_knows() {
        let mut filter = TransportFilter::new();
        let stream = [
            pat(),
            pmt(&synchronous()),
            data(VIDEO, 0, true, 1),
            data(SOUND, 0, true, 2),
            data(META, 0, true, 3),
            data(0x666, 0, true, 4),
        ]
        .concat();
        let out = through(&mut filter, &stream);
        assert_eq!(pids(&out), [PID_PAT, PMT, VIDEO, META], "sound and strangers stay outside");
        let table = &out[PACKET + 5..];
        let length = 3 + usize::from(table[2]);
        assert_eq!(crc32(&table[..length]), 0);
        assert_eq!(table[length - 4 - 11..length - 4], *b"\x06\xe1\x01\xf0\x06\x05\x04KLVA");
        assert_eq!(filter.program().unwrap().klv, [META]);
        // Its own output is a stream it understands.
        let mut again = TransportFilter::new();
        assert_eq!(pids(&through(&mut again, &out)), [PID_PAT, PMT, VIDEO, META]);
    }

    #[test]
    fn a_table_with_a_wrong_checksum_or_no_video_is_not_believed() {
        let mut torn = pmt(&synchronous());
        torn[20] ^= 1;
        let mut filter = TransportFilter::new();
        assert!(through(&mut filter, &[pat(), torn, data(VIDEO, 0, true, 1)].concat()).is_empty());
        let sound = [0x02, 0, 1, 0xc1, 0, 0, 0xe1, 0x00, 0xf0, 0, 0x0f, 0xe1, 0x02, 0xf0, 0];
        let packets = [pat(), table_packet(PMT, 0, &sound), data(SOUND, 0, true, 1)].concat();
        assert!(through(&mut filter, &packets).is_empty() && filter.without_video());
    }

    #[test]
    fn packets_of_every_length_are_found_behind_garbage() {
        let plain = [pat(), pmt(&synchronous()), data(VIDEO, 0, true, 1), data(VIDEO, 1, false, 1)];
        for (stride, before) in STRIDES {
            let mut stream = vec![0x47, 0x00, 0x47];
            for packet in &plain {
                stream.extend(vec![0u8; before]);
                stream.extend(packet);
                stream.extend(vec![9u8; stride - before - PACKET]);
            }
            let mut filter = TransportFilter::new();
            assert_eq!(pids(&through(&mut filter, &stream)), [PID_PAT, PMT, VIDEO, VIDEO], "{stride}");
            assert_eq!(filter.figures().garbage, 3);
        }
    }

    #[test]
    fn gaps_are_counted_and_repeated_packets_are_not() {
        let mut filter = TransportFilter::new();
        let mut stream = [pat(), pmt(&synchronous())].concat();
        for counter in [0u8, 1, 1, 2, 5, 6] {
            stream.extend(data(VIDEO, counter, false, 0));
        }
        through(&mut filter, &stream);
        assert_eq!(filter.figures().lost, 2);
    }

    #[test]
    fn metadata_without_end_stops_here() {
        let mut filter = TransportFilter::new();
        through(&mut filter, &[pat(), pmt(&synchronous()), data(META, 0, true, 0)].concat());
        let mut passed = 0;
        for n in 1..2_000u32 {
            passed += through(&mut filter, &data(META, n as u8, false, 0)).len();
        }
        assert!(passed / PACKET * (PACKET - 4) <= MAX_KLV_PES && filter.figures().oversized > 0, "{passed}");
        assert!(!through(&mut filter, &data(META, 0, true, 0)).is_empty(), "the next one passes");
    }

    #[test]
    fn noise_is_dropped_and_nothing_of_it_kept() {
        let mut filter = TransportFilter::new();
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        assert!(through(&mut filter, &noise).is_empty());
        assert!(filter.carry.len() <= IN_A_ROW * 204 && filter.carry.capacity() < 8_192);
        // And a stream behind it is found.
        let stream = [pat(), pmt(&synchronous()), data(VIDEO, 0, true, 1), data(VIDEO, 1, true, 1)].concat();
        assert!(pids(&through(&mut filter, &stream)).ends_with(&[VIDEO]));
    }

    proptest! {
        /// However the bytes are cut, the same comes out.
        #[test]
        fn cuts_do_not_matter(
            cuts in proptest::collection::vec(1usize..500, 1..20),
            wrong in proptest::collection::vec((0usize..3_000, any::<u8>()), 0..12),
        ) {
            let mut stream = [pat(), pmt(&synchronous())].concat();
            for n in 0..14u8 {
                stream.extend(data(if n % 3 == 0 { META } else { VIDEO }, n, n % 4 == 0, n));
            }
            for (at, byte) in wrong {
                if let Some(b) = stream.get_mut(at) {
                    *b = byte;
                }
            }
            let whole = through(&mut TransportFilter::new(), &stream);
            let (mut filter, mut out, mut rest) = (TransportFilter::new(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                filter.push(piece, &mut out);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(
            prop_oneof![3 => Just(0x47u8), 1 => any::<u8>()], 0..3_000)) {
            through(&mut TransportFilter::new(), &bytes);
        }
    }
}

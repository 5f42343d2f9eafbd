//! What a camera says besides its pictures: KLV packets on their way to whoever reads telemetry.
//!
//! # Which frame a packet belongs to
//!
//! Three clocks are about, and they are kept apart:
//!
//! - the **stream's** ([`StreamTime`]): presentation times of frames and packets on one axis, from the
//!   same demultiplexer. It starts over with every opening of the camera, so it carries the opening's
//!   number. A frame and a packet with the same stream time belong together, however late either came;
//! - the **drone's**, inside the packet: the precision time stamp (MISB ST 0601 tag 2, microseconds
//!   since 1970). The decoder learns the offset between this clock and the stream's from packets that
//!   carry both, and with it the drone's time of every frame;
//! - the **box's** ([`Metadata::arrived`]): when the packet came. Good for "how old is what I know",
//!   and for alignment only where nothing better is there, because pictures take longer on their way
//!   (encoder, decoder) than packets.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Packets waiting for their reader: at 30 a second, half a minute.
pub(super) const MAX_WAITING: usize = 1_024;
/// Bytes waiting for their reader.
pub(super) const MAX_WAITING_BYTES: usize = 4 << 20;

/// A place in a camera's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTime {
    /// Which opening of the camera, from 1. Places of two openings cannot be compared.
    pub opening: u64,
    /// Presentation time from the start of the stream.
    pub position: Duration,
}

/// One KLV packet, key to checksum, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The packet (SMPTE ST 336): 16 bytes of key, length, value. Not looked at.
    pub bytes: Vec<u8>,
    /// Where in the stream it stands.
    pub at: Option<StreamTime>,
    /// Whether the packet was sent with its own presentation time. If not, [`Metadata::at`] is that of
    /// the video it was found beside.
    pub stamped: bool,
    /// When this box got it, monotonic.
    pub arrived: Instant,
}

impl std::fmt::Debug for Metadata {
    /// Without the bytes: they say where somebody is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata")
            .field("bytes", &self.bytes.len())
            .field("at", &self.at)
            .field("stamped", &self.stamped)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    packets: VecDeque<Metadata>,
    bytes: usize,
    dropped: u64,
    /// Nobody ever asked: nothing is kept, and that is no loss.
    wanted: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Shared {
    // Held for a move of one packet, never across I/O.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Where a camera puts its packets. Never waits.
#[derive(Clone, Default)]
pub(crate) struct MetadataQueue(Arc<Shared>);

impl MetadataQueue {
    /// Adds a packet; the oldest go where there are too many.
    pub(crate) fn push(&self, packet: Metadata) {
        let mut waiting = self.0.lock();
        if !waiting.wanted {
            return;
        }
        waiting.bytes += packet.bytes.len();
        waiting.packets.push_back(packet);
        while waiting.packets.len() > MAX_WAITING || waiting.bytes > MAX_WAITING_BYTES {
            let Some(old) = waiting.packets.pop_front() else { break };
            waiting.bytes -= old.bytes.len();
            waiting.dropped += 1;
        }
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Packets that were thrown away because their reader was slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
        self.0.filled.notify_all();
    }

    /// The reader's end. From now on packets are kept.
    pub(crate) fn reader(&self) -> MetadataReader {
        self.0.lock().wanted = true;
        MetadataReader(self.0.clone())
    }
}

/// What [`MetadataReader::recv`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum MetadataReceived {
    /// The oldest packet.
    Packet(Metadata),
    /// None came within the timeout.
    Empty,
    /// The camera's thread has ended and everything was read.
    Closed,
}

/// Takes a camera's packets, oldest first. Several readers of one camera share them.
pub struct MetadataReader(Arc<Shared>);

impl std::fmt::Debug for MetadataReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataReader").finish_non_exhaustive()
    }
}

impl MetadataReader {
    /// Waits up to `timeout` for a packet.
    pub fn recv(&self, timeout: Duration) -> MetadataReceived {
        let until = Instant::now() + timeout;
        let mut waiting = self.0.lock();
        loop {
            if let Some(packet) = waiting.packets.pop_front() {
                waiting.bytes -= packet.bytes.len();
                return MetadataReceived::Packet(packet);
            }
            if waiting.closed {
                return MetadataReceived::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return MetadataReceived::Empty;
            }
            waiting = self.0.filled.wait_timeout(waiting, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Takes a packet without waiting.
    pub fn try_recv(&self) -> Option<Metadata> {
        match self.recv(Duration::ZERO) {
            MetadataReceived::Packet(packet) => Some(packet),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize, n: u8) -> Metadata {
        Metadata { bytes: vec![n; bytes], at: None, stamped: false, arrived: Instant::now() }
    }

    #[test]
    fn the_oldest_goes_and_is_counted_but_only_where_somebody_reads() {
        let queue = MetadataQueue::default();
        queue.push(packet(10, 0));
        assert_eq!(queue.dropped(), 0);
        let reader = queue.reader();
        assert_eq!(reader.try_recv(), None, "what came before anybody asked is gone");
        for n in 0..=MAX_WAITING {
            queue.push(packet(1, n as u8));
        }
        assert_eq!(queue.dropped(), 1);
        assert_eq!(reader.try_recv().unwrap().bytes, [1], "the oldest left");
        for _ in 0..80 {
            queue.push(packet(64 << 10, 7));
        }
        assert!(queue.0.lock().bytes <= MAX_WAITING_BYTES);
        while reader.try_recv().is_some() {}
        assert_eq!(queue.0.lock().bytes, 0);
        queue.close();
        assert_eq!(reader.recv(Duration::from_secs(9)), MetadataReceived::Closed);
    }
}

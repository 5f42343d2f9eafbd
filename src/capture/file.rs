//! Reading a video file whole, for commands: every picture, in order, at the reader's pace.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::frame::{Frame, FrameInfo};
use super::metadata::{Metadata, StreamTime};
use super::pipeline::{GstOpener, open_every_frame};
use super::source::{Pull, Source, SourceMetadata};
use super::tiff::TiffSource;
use super::transport::KlvReader;
use crate::base::{Culprit, Error, Kind, Name, Result, TimeSource};

/// A file that gives nothing for this long is given up: a disk that sleeps wakes in less.
const NOTHING_FOR: Duration = Duration::from_secs(20);

/// The pictures of one video file, an iterator.
///
/// Their times are the file's: the first frame arrived when the file was opened, the others as much
/// later as they stand later in the stream, however fast they are read.
pub struct FileReader {
    source: Box<dyn Source>,
    camera: Name,
    opened: (Instant, Timestamp),
    seq: u64,
    ended: bool,
}

impl std::fmt::Debug for FileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReader").field("seq", &self.seq).finish_non_exhaustive()
    }
}

/// Opens a video file, or a folder of TIFF pictures, to read every picture of it.
pub fn read_file(path: &Path) -> Result<FileReader> {
    let opened = if path.is_dir() {
        TiffSource::open(path, None, false).map(|s| Box::new(s) as Box<dyn Source>)
    } else {
        open_every_frame(path).map(|s| Box::new(s) as Box<dyn Source>)
    };
    let source = opened.map_err(|e| e.context(path.display().to_string()))?;
    let opened = (Instant::now(), Timestamp::now());
    Ok(FileReader { source, camera: Name::new("file")?, opened, seq: 0, ended: false })
}

/// What [`read_flight`] finds.
#[derive(Debug)]
pub enum Recorded {
    /// A picture.
    Frame(Frame),
    /// A KLV packet.
    Metadata(Metadata),
}

/// The pictures and KLV packets of one recorded flight, an iterator.
///
/// They come in stream order, the same for the same file every time: a packet before the first picture
/// of its time or a later one. A packet that stands in the file more than two seconds later than its
/// picture comes as late as that, as it does in flight.
///
/// ```no_run
/// use vigil::capture::{Recorded, read_flight};
///
/// for item in read_flight("flight.ts".as_ref())? {
///     match item? {
///         Recorded::Metadata(packet) => println!("{} bytes at {:?}", packet.bytes.len(), packet.at),
///         Recorded::Frame(frame) => println!("a frame at {:?}", frame.stream_time()),
///     }
/// }
/// # Ok::<(), vigil::base::Error>(())
/// ```
#[derive(Debug)]
pub struct FlightReader {
    frames: FileReader,
    packets: Option<KlvReader>,
    /// The picture that waits for the packets before it.
    next: Option<Frame>,
    ended: bool,
}

/// Opens a recorded flight: a transport stream with KLV, or any file of [`read_file`] without.
pub fn read_flight(path: &Path) -> Result<FlightReader> {
    let frames = read_file(path)?;
    let packets = if path.is_dir() { None } else { KlvReader::open(path)? };
    Ok(FlightReader { frames, packets, next: None, ended: false })
}

/// The KLV packets of one recorded transport stream, an iterator, in the order of the file.
#[derive(Debug)]
pub struct PacketReader {
    packets: KlvReader,
    opened: Instant,
    ended: bool,
}

/// Opens a transport stream to read its KLV packets and not its pictures; `None` if it is none.
pub fn read_packets(path: &Path) -> Result<Option<PacketReader>> {
    GstOpener::new()?;
    let packets = KlvReader::open(path).map_err(|e| e.context(path.display().to_string()))?;
    Ok(packets.map(|packets| PacketReader { packets, opened: Instant::now(), ended: false }))
}

impl Iterator for PacketReader {
    type Item = Result<Metadata>;

    fn next(&mut self) -> Option<Result<Metadata>> {
        if self.ended {
            return None;
        }
        let packet = self.packets.before(None).transpose();
        self.ended = !matches!(packet, Some(Ok(_)));
        packet.map(|packet| packet.map(|packet| recorded(packet, self.opened)))
    }
}

/// A packet of a file that was opened at `opened`.
fn recorded(packet: SourceMetadata, opened: Instant) -> Metadata {
    let SourceMetadata { bytes, position, stamped, .. } = packet;
    let at = position.map(|position| StreamTime { opening: 1, position });
    Metadata { bytes, at, stamped, arrived: opened + position.unwrap_or_default() }
}

impl FlightReader {
    fn item(&mut self) -> Result<Option<Recorded>> {
        if self.next.is_none() {
            self.next = self.frames.next().transpose()?;
        }
        let position = self.next.as_ref().map(|f| f.stream_time().map_or(Duration::MAX, |t| t.position));
        if let Some(packets) = &mut self.packets
            && let Some(packet) = packets.before(position)?
        {
            return Ok(Some(Recorded::Metadata(recorded(packet, self.frames.opened.0))));
        }
        Ok(self.next.take().map(Recorded::Frame))
    }
}

impl Iterator for FlightReader {
    type Item = Result<Recorded>;

    fn next(&mut self) -> Option<Result<Recorded>> {
        if self.ended {
            return None;
        }
        let item = self.item().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Iterator for FileReader {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        if self.ended {
            return None;
        }
        let pulled = match self.source.next(NOTHING_FOR) {
            Ok(Pull::Picture(picture)) => Ok(picture),
            Ok(Pull::Ended) if self.seq > 0 => {
                self.ended = true;
                return None;
            }
            Ok(Pull::Ended) => {
                Err(Error::new(Kind::Malformed, Culprit::Request, "the file holds no picture"))
            }
            Ok(Pull::Nothing) => {
                let text = format!("no picture for {} s", NOTHING_FOR.as_secs());
                Err(Error::new(Kind::Timeout, Culprit::Host, text))
            }
            Err(e) => Err(e),
        };
        self.ended = pulled.is_err();
        Some(pulled.map(|picture| {
            self.seq += 1;
            let at = picture.position.map(|position| StreamTime { opening: 1, position });
            let position = picture.position.unwrap_or_default();
            let info = FrameInfo {
                camera: self.camera.clone(),
                seq: self.seq,
                time: self.opened.1 + position,
                time_source: TimeSource::Arrival,
                arrived: self.opened.0 + position,
            };
            Frame::new(info, picture.pixels).at_stream_time(at)
        }))
    }
}

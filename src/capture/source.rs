//! The door to the world: what opens a camera, and what comes out of one.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::frame::{Pixels, RgbImage};
use crate::base::Result;
use crate::config::CameraConfig;

/// Opens cameras. The daemon's is [`GstOpener`](super::GstOpener); tests bring their own.
pub trait Opener: Send + Sync {
    /// Starts opening a camera. May return before the camera has answered: that it does not
    /// answer shows in [`Source::next`]. Each call builds everything anew.
    fn open(&self, camera: &CameraConfig) -> Result<Box<dyn Source>>;

    /// The same, of a camera that did not answer in time for so many times in a row: it may be slow
    /// rather than gone.
    fn open_slow(&self, camera: &CameraConfig, times: u32) -> Result<Box<dyn Source>> {
        let _ = times;
        self.open(camera)
    }
}

/// An opened camera. Dropping it closes the camera, which may take long or hang.
pub trait Source: Send {
    /// Waits up to `timeout` for the next picture. An error ends this source.
    fn next(&mut self, timeout: Duration) -> Result<Pull>;

    /// What this source threw away since it was opened.
    fn drops(&self) -> SourceDrops {
        SourceDrops::default()
    }

    /// Takes the KLV packets that came since the last call, oldest first.
    fn take_metadata(&mut self) -> Vec<SourceMetadata> {
        Vec::new()
    }

    /// Why no picture comes, as far as the source can tell. For the reason of a loss.
    fn silence(&self) -> Option<String> {
        None
    }
}

/// A KLV packet as it left the demultiplexer.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceMetadata {
    /// The packet.
    pub bytes: Vec<u8>,
    /// Place in the stream, on the axis of [`Picture::position`].
    pub position: Option<Duration>,
    /// Whether the place is the packet's own, or that of the video beside it.
    pub stamped: bool,
    /// When it came.
    pub arrived: Instant,
}

impl std::fmt::Debug for SourceMetadata {
    /// Without the bytes: they say where somebody is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceMetadata({} bytes at {:?})", self.bytes.len(), self.position)
    }
}

/// What [`Source::next`] found.
#[derive(Debug)]
pub enum Pull {
    /// A picture.
    Picture(Picture),
    /// Nothing came within the timeout.
    Nothing,
    /// The source is at its end: of a file, the last picture; of a camera, a loss.
    Ended,
}

/// A picture as it left the decoder.
#[derive(Debug)]
pub struct Picture {
    /// The pixels.
    pub pixels: Pixels,
    /// The camera's own wall clock, when the camera said it.
    pub camera_time: Option<Timestamp>,
    /// Place in the stream, from its start.
    pub position: Option<Duration>,
}

impl Picture {
    /// A picture without times, for sources that make their own pictures.
    pub fn from_rgb(image: RgbImage) -> Self {
        Self { pixels: image.into(), camera_time: None, position: None }
    }
}

/// Pictures and packets thrown away inside a source, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceDrops {
    /// Times the compressed backlog in front of a slow decoder was full and its oldest went.
    pub backlog: u64,
    /// Decoded pictures that a fresher one replaced before they were pulled.
    pub late: u64,
    /// Pictures the decoder marked as damaged, or whose layout makes no sense.
    pub corrupt: u64,
    /// KLV packets that were torn, too long, or one too many inside the source.
    pub metadata: u64,
    /// Packets of a transport stream that the network lost.
    pub lost: u64,
}

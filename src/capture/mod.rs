//! A source becomes a stream of frames: pipelines, and the supervisor that brings them back.
//!
//! One thread per camera: it opens a [`Source`] through the [`Opener`], pulls pictures from it, and
//! puts each into a [`mailbox`](crate::base::mailbox) where the next one replaces it. Nothing in
//! this room waits for a consumer, and nothing in it outlives a loss: a camera that is back gets a
//! new pipeline, always, because a used one does not come back to life.
//!
//! How a network camera dies, and what is made of it:
//!
//! | what happens | what GStreamer says | what the camera's status says |
//! |---|---|---|
//! | it closes the connection | end of stream, no error | `lost`, at once |
//! | nothing listens | an error | `lost`, at once |
//! | it accepts and says nothing | nothing, or a timeout of the handshake | `lost` after `connect_within_ms` |
//! | it freezes, the connection stays | nothing | `stalled` after `stall_after_ms` |
//! | it ends the stream | end of stream | `lost`, at once |
//! | it is not there at boot | an error | `lost` from the start, opened when it comes |
//! | it sent UDP and stops | nothing | `stalled` after `stall_after_ms`, then `lost` |
//! | an SRT caller goes | end of stream, or an error | `lost`, at once |

mod camera;
mod disposable;
mod fault;
mod file;
mod frame;
mod klv;
mod metadata;
mod mpegts;
mod needs;
mod pipeline;
mod samples;
mod source;
pub mod still;
mod tiff;
mod transport;

pub use camera::{Camera, CameraStats, CameraStatus, Drops, Probe, probe};
pub use file::{FileReader, FlightReader, PacketReader, Recorded, read_file, read_flight, read_packets};
pub use frame::{Converter, Frame, FrameInfo, MAX_PIXELS, MAX_SIDE, Pixels, RgbImage};
pub use klv::{KlvAssembler, KlvFigures, MAX_KLV_BYTES};
pub use metadata::{Metadata, MetadataReader, MetadataReceived, StreamTime};
pub use mpegts::{Program, TransportFigures, TransportFilter};
pub use needs::check_elements;
pub use pipeline::GstOpener;
pub use samples::{SampleData, SampleRange, Samples};
pub use source::{Opener, Picture, Pull, Source, SourceDrops, SourceMetadata};
pub use tiff::TiffPages;

//! The cross-cutting kit: errors, clocks, shutdown, backoff, supervision, names.
//!
//! Knows nothing of cameras, faces or brokers. Every other room may import from here, and this
//! room imports from none of them.

pub mod backoff;
pub mod clock;
pub mod error;
mod hex;
pub mod id;
pub mod mailbox;
pub mod memory;
pub mod progress;
pub mod shutdown;
pub mod supervise;

pub use clock::{Clock, SystemClock, TimeQuality, TimeSource};
pub use error::{Culprit, Error, Kind, Result};
pub use hex::hex;
pub use id::Name;
pub use shutdown::Shutdown;

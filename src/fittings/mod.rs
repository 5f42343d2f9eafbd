//! What is screwed to a door: locks, readers on a cable, a loudspeaker; and the maps of a search.
//!
//! Nothing here decides anything, and nothing that decides waits for anything here. A lock is told
//! to open only on the strength of a durable event whose time runs ([`unlocking`]); a reader hands
//! on what was read; the voice says what was decided, late or not at all.

mod cot;
mod hook;
mod locks;
pub mod reader;
pub mod voice;

pub use cot::{Cot, CotState};
pub use locks::{AGAIN, HOLD, LockSetup, Locks, unlocking};
pub use reader::Reader;
pub use voice::Voice;

//! The document itself: whether it is real, still valid, and whether its portrait is the issuer's.
//!
//! Everything in here comes from a reader somebody else built, about a document somebody else
//! made. Each part says what it could check and what it could not, and bad bytes cost bounded time
//! and memory.
//!
//! ```text
//!  DocumentRequest ─┬─► resident   number, region, birth date, check character, period of validity
//!                   ├─► mrz        the printed machine-readable zone
//!                   ├─► lds ─► mrz the same zone in the chip
//!                   ├─► chip       passive authentication
//!                   ├─► portrait   DG2's picture, the reference of the face comparison
//!                   └─► the reader's own checks, repeated by its name
//!                             └──────► Inspector ──► DocumentReport, one word for it, a portrait
//! ```

pub mod chip;
mod inspect;
pub mod lds;
mod link;
pub mod mrz;
pub mod portrait;
mod request;
pub mod resident;
mod states;
pub mod tlv;

pub use inspect::{Findings, Inspector, Portraits};
pub use link::LinkKey;
pub use request::{DocumentRequest, Files, shown_path};

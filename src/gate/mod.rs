//! The gate box's decisions: a verification session from the request to the answer.
//!
//! ```text
//!  VerifyRequest ──► Verifier ──► portrait thread: document, one face, template ┐
//!                       │                                                      ▼
//!                       ├───────► station (one per camera): pictures ──► Session ──► Verdict
//!                       │                                                              │
//!                       └───────► answers: deadline guard ◄────────────────────────────┘
//!                                        └──► Recorder (durable) ──► Answer
//! ```
//!
//! [`session`] decides and [`presentation`] measures, both pure; [`looks`] says where the lines
//! are; the rest is threads around them. What was seen of a guest lives in the session's own
//! values, which overwrite themselves, and in the models' buffers, which are scrubbed when the
//! session ends.

pub mod door;
mod doors;
mod eyes;
pub mod follow;
pub mod identify;
mod ledger;
pub mod lookout;
pub mod looks;
pub mod people;
mod portrait;
mod post;
pub mod presentation;
mod register;
pub mod request;
pub mod session;
mod station;
mod verifier;
mod watch;

pub use doors::{
    CredentialRead, DoorAnswer, DoorParts, DoorSetup, DoorStats, Doors, Happened, StaffWord, read_command,
};
pub use eyes::{Eyes, FaceEyes, StillGrade};
pub use identify::{ClerkWord, Identified, Identifier, IdentifierParts};
pub use ledger::Ledger;
pub use looks::Looks;
pub use people::{Looked as LookedUp, Missing, People, Sighted, Wanted};
pub use portrait::template as portrait_template;
pub use post::Duty;
pub use register::{Found, NoRegister, Register};
pub use request::{Portrait, VerifyRequest, read_object};
pub use session::Instruction;
pub use station::Prompt;
pub use verifier::{Answer, CHECKS, Lane, Parts, RESERVE, Verifier, VerifierStats};
pub use watch::{Looked, Watch};

//! The reference side: a document is looked at, and a portrait's bytes become a template or a reason,
//! on a thread of their own, while the station already looks at the guest.
//!
//! The document comes first: a template is only handed over when the document's report is there, so
//! no match can come before it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::eyes::Eyes;
use super::request::{MAX_PORTRAIT_BYTES, Portrait};
use crate::base::backoff::Backoff;
use crate::base::supervise::{End, supervise};
use crate::base::{Clock, Kind, Result, Shutdown};
use crate::capture::{RgbImage, still};
use crate::document::{DocumentRequest, Inspector, Portraits};
use crate::event::{Check, DocumentReport, PortraitSource, Reason, ReferenceFacts};

/// Largest portrait, pixels: a page scanned at 600 dpi is larger, a portrait never is.
const MAX_PORTRAIT_PIXELS: u64 = 24_000_000;
/// How long the thread sleeps between two looks at the stop signal.
const IDLE: Duration = Duration::from_millis(200);

/// What was found out about the document: for the event, and for its one line among the checks.
pub(super) type Paper = Arc<Mutex<Option<(DocumentReport, Check)>>>;

/// A document to be looked at, a portrait to be read.
pub(super) struct Job<T> {
    pub portrait: Option<Portrait>,
    pub document: Option<DocumentRequest>,
    pub facts: Arc<Mutex<Option<ReferenceFacts>>>,
    pub paper: Paper,
    pub then: Then<T>,
}

/// What happens once the document's report is there.
pub(super) enum Then<T> {
    /// The portrait becomes a template, or a reason why not.
    Template(Sender<Result<T, Reason>>),
    /// Nobody looks at a face: this is called.
    Call(Box<dyn FnOnce() + Send>),
}

/// The thread's body: reads portraits until `stop`.
pub(super) fn serve<E: Eyes>(
    mut eyes: E,
    jobs: Receiver<Job<E::Template>>,
    inspector: &Inspector,
    clock: &dyn Clock,
    stop: &Shutdown,
    backoff: Backoff,
) {
    supervise(
        "gate-portrait",
        backoff,
        stop,
        || {
            // After a panic the buffers may hold the portrait that caused it.
            eyes.scrub();
            while !stop.requested() {
                match jobs.recv_timeout(IDLE) {
                    Ok(job) => {
                        let Job { portrait, document, facts, paper, then } = job;
                        let portraits = match then {
                            Then::Template(_) => Portraits::Decode,
                            Then::Call(_) => Portraits::LeaveClosed,
                        };
                        let found = document.map(|d| inspector.inspect(&d, portraits, clock.now()));
                        let chip = found.and_then(|mut found| {
                            let check = found.check();
                            let picture = found.portrait.take();
                            *paper.lock().unwrap_or_else(|e| e.into_inner()) = Some((found.report, check));
                            picture
                        });
                        match then {
                            Then::Call(call) => call(),
                            Then::Template(reply) => {
                                let _ = reply.send(read(&mut eyes, chip, portrait, &facts));
                                eyes.scrub();
                            }
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(End::Finished),
                }
            }
            Ok(End::Finished)
        },
        |e, _| tracing::error!(error = %e.chain(), "the portrait's thread failed; the session got an error"),
    );
}

/// Reads one portrait, the chip's if there is one. Bytes and pixels are overwritten before this
/// returns.
fn read<E: Eyes>(
    eyes: &mut E,
    chip: Option<RgbImage>,
    portrait: Option<Portrait>,
    facts: &Mutex<Option<ReferenceFacts>>,
) -> Result<E::Template, Reason> {
    let (picture, source) = match (chip, portrait) {
        (Some(picture), _) => (picture, PortraitSource::Chip),
        (None, Some(portrait)) => {
            let limits = still::Limits { max_bytes: MAX_PORTRAIT_BYTES, max_pixels: MAX_PORTRAIT_PIXELS };
            let picture = still::decode(portrait.bytes(), &limits).map_err(|e| {
                tracing::info!(error = %e.chain(), "a portrait cannot be read");
                Reason::PortraitUnreadable
            })?;
            (picture, PortraitSource::Request)
        }
        (None, None) => return Err(Reason::PortraitUnreadable),
    };
    let note = |inter_ocular_px| {
        let known =
            ReferenceFacts { source, width: picture.width(), height: picture.height(), inter_ocular_px };
        *facts.lock().unwrap_or_else(|e| e.into_inner()) = Some(known);
    };
    note(None);
    template(eyes, &picture, note)
}

/// The template of a portrait's one face, or why there is none; `note` hears how many pixels lie
/// between the eyes.
pub fn template<E: Eyes>(
    eyes: &mut E,
    picture: &RgbImage,
    note: impl Fn(Option<u32>),
) -> Result<E::Template, Reason> {
    let fault = |e: crate::base::Error| {
        tracing::error!(error = %e.chain(), "a portrait could not be looked at");
        Reason::InternalFault
    };
    let faces = eyes.still(picture).map_err(fault)?;
    let face = match &faces[..] {
        [] => return Err(Reason::PortraitNoFace),
        [face] => face,
        _ => return Err(Reason::PortraitSeveralFaces),
    };
    let grade = eyes.grade_still(picture, face);
    note(grade.inter_ocular_px.is_finite().then_some(grade.inter_ocular_px.round() as u32));
    if let Some(reason) = grade.shortfall {
        return Err(reason);
    }
    eyes.embed(picture, face).map_err(|e| match e.kind() {
        // A face at the picture's edge cannot be aligned: the portrait's fault, not the box's.
        Kind::Malformed | Kind::Unsupported => Reason::PortraitPoor,
        _ => fault(e),
    })
}

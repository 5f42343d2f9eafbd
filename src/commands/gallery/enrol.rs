//! Enrolling many: photographs are looked at by several threads, and what they made is written by one,
//! in batches. Each batch is one transaction, so a run that was killed has enrolled whole batches; the
//! next run finds them and goes on.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use zeroize::Zeroizing;

use super::people::{Person, Photos};
use crate::base::progress::Progress;
use crate::base::{Culprit, Error, Result, supervise};
use crate::event::{GalleryChange, GalleryReason, PersonRef};
use crate::gallery::{self, Actor, Denied, Enrolment, Gallery, PHOTO_LIMITS, Photographer, Refusal};

/// People in one transaction at most.
const BATCH: usize = 64;
/// A batch that is not full is written after this time.
const WAIT: Duration = Duration::from_millis(500);

/// How an enrolment of many went.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) people: u64,
    pub(super) enrolled: u64,
    pub(super) replaced: u64,
    /// They were enrolled exactly so already.
    pub(super) unchanged: u64,
    pub(super) refused: Vec<Refused>,
    pub(super) seconds: f64,
}

/// Somebody who was not enrolled.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) place: String,
    pub(super) person_ref: PersonRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<GalleryReason>,
    pub(super) message: String,
    /// Under which references somebody this alike is enrolled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) alike: Vec<PersonRef>,
}

enum Made {
    Ready(Box<Enrolment>),
    Unchanged,
    Refused(Refusal),
    Unreadable(Error),
}

/// Enrols `people` with as many photographers as `open` makes, `jobs` of them.
pub(super) fn enrol_all<P: Photographer>(
    gallery: &Gallery,
    people: impl Iterator<Item = Result<Person>> + Send,
    total: u64,
    jobs: usize,
    by: &Actor,
    open: impl Fn() -> Result<P> + Sync,
) -> Result<Report> {
    let started = Instant::now();
    let people = Mutex::new(people);
    let mut report = Report::default();
    let mut progress = Progress::new("enrolling", total);
    std::thread::scope(|scope| {
        let (sender, made) = mpsc::sync_channel(2 * jobs);
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                let (sender, people, open) = (sender.clone(), &people, &open);
                scope.spawn(move || -> Result<()> {
                    let mut photographer = open()?;
                    loop {
                        let next = people.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(person) = next.transpose()? else { return Ok(()) };
                        let made = make(gallery, &mut photographer, &person)?;
                        if sender.send((person.place, person.terms.person_ref, made)).is_err() {
                            return Ok(());
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut batch = Vec::new();
        let mut oldest = Instant::now();
        // After an error the receiver goes, and the workers with it.
        let written = (|| -> Result<()> {
            loop {
                match made.recv_timeout(WAIT) {
                    Ok((place, person_ref, made)) => {
                        report.people += 1;
                        let refuse = |refusal: Refusal| Refused {
                            place: place.clone(),
                            person_ref: person_ref.clone(),
                            reason: Some(refusal.reason),
                            message: refusal.reason.sentence().to_owned(),
                            alike: refusal.alike,
                        };
                        match made {
                            Made::Ready(e) => {
                                if batch.is_empty() {
                                    oldest = Instant::now();
                                }
                                batch.push((place, person_ref, *e));
                            }
                            Made::Unchanged => {
                                report.unchanged += 1;
                                progress.add(1);
                            }
                            Made::Refused(refusal) => {
                                gallery.note_refusal(&person_ref, refusal.reason, by)?;
                                report.refused.push(refuse(refusal));
                                progress.add(1);
                            }
                            Made::Unreadable(e) => {
                                let message = e.to_string();
                                report.refused.push(Refused {
                                    place,
                                    person_ref,
                                    reason: None,
                                    message,
                                    alike: Vec::new(),
                                });
                                progress.add(1);
                            }
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        return write(gallery, &mut batch, by, &mut report, &mut progress);
                    }
                }
                if batch.len() >= BATCH || !batch.is_empty() && oldest.elapsed() >= WAIT {
                    write(gallery, &mut batch, by, &mut report, &mut progress)?;
                }
            }
        })();
        drop(made);
        for worker in workers {
            worker.join().map_err(|p| {
                Error::internal(format!("a worker panicked: {}", supervise::panic_text(&*p)))
            })??;
        }
        written
    })?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn write(
    gallery: &Gallery,
    batch: &mut Vec<(String, PersonRef, Enrolment)>,
    by: &Actor,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<()> {
    let (people, enrolments): (Vec<_>, Vec<_>) = batch.drain(..).map(|(place, r, e)| ((place, r), e)).unzip();
    let count = enrolments.len() as u64;
    for ((place, person_ref), outcome) in people.into_iter().zip(gallery.put_all(&enrolments, by)?) {
        match outcome.map(|o| o.change) {
            Ok(Some(GalleryChange::Replaced)) => report.replaced += 1,
            Ok(Some(_)) => report.enrolled += 1,
            Ok(None) => report.unchanged += 1,
            Err(refusal) => report.refused.push(Refused {
                place,
                person_ref,
                reason: Some(refusal.reason),
                message: refusal.reason.sentence().to_owned(),
                alike: refusal.alike,
            }),
        }
    }
    progress.add(count);
    Ok(())
}

fn make(gallery: &Gallery, photographer: &mut impl Photographer, person: &Person) -> Result<Made> {
    let photos = match &person.photos {
        Photos::Files(files) => match files.iter().map(read).collect::<Result<Vec<_>>>() {
            Ok(photos) => photos,
            Err(e) => return Ok(Made::Unreadable(e)),
        },
        Photos::Text(texts) => match texts.iter().map(gallery::decode).collect() {
            Ok(photos) => photos,
            Err(reason) => return Ok(Made::Refused(Refusal::of(reason))),
        },
    };
    let source: Vec<&[u8]> = photos.iter().map(|p| p.as_slice()).collect();
    if gallery.is_enrolled(&person.terms, &source)? {
        return Ok(Made::Unchanged);
    }
    match gallery.portray(photographer, &photos) {
        Ok(template) => gallery
            .enrolment(person.terms.clone(), template, &source, person.distinct_from.clone())
            .map(|e| Made::Ready(Box::new(e))),
        Err(Denied::Refused(refusal)) => Ok(Made::Refused(refusal)),
        Err(Denied::Failed(e)) => Err(e),
    }
}

/// A photograph's bytes, overwritten when dropped.
pub(super) fn read(file: &PathBuf) -> Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let at = |e: Error| e.context(file.display().to_string());
    let cannot = |e| at(Error::io(Culprit::Request, "cannot be read", e));
    let open = std::fs::File::open(file).map_err(cannot)?;
    let length = open.metadata().map_err(cannot)?.len();
    let most = PHOTO_LIMITS.max_bytes as u64 + 1;
    // One allocation, so that growth leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0) + 1));
    open.take(most).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

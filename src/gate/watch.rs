//! A session with the eyes that look for it: what the session asks for is done here, whether its
//! pictures come from a camera now or from a file.

use std::time::Instant;

use super::eyes::Eyes;
use super::follow::Follow;
use super::session::{Grade, Session, Use, Want};
use crate::base::{Name, Result};
use crate::capture::RgbImage;

/// What was made of one picture: its faces, and which of them is the guest's, how good.
pub type Looked<'a, F> = (&'a RgbImage, &'a [F], Option<(usize, Grade)>);

/// One session and the picture it holds. Everything that was seen of the guest is in here, and
/// goes with it.
pub struct Watch<E: Eyes> {
    /// The session.
    pub session: Session<E::Template>,
    camera: Name,
    held: Option<(RgbImage, E::Face)>,
    /// Width of the guest's face in the last picture, pixels.
    width: f32,
}

impl<E: Eyes> Watch<E> {
    /// Watches `camera` for `session`.
    pub fn new(session: Session<E::Template>, camera: Name) -> Self {
        Self { session, camera, held: None, width: 0.0 }
    }

    /// Lets time pass.
    pub fn tick(&mut self, eyes: &mut E, now: &dyn Fn() -> Instant) {
        let want = self.session.tick(now());
        self.obey(eyes, want, None, now);
    }

    /// Looks at a picture that arrived at `at`; `seen` hears what was made of it. An error is the
    /// eyes': nothing was seen.
    pub fn look(
        &mut self,
        eyes: &mut E,
        picture: RgbImage,
        at: Instant,
        now: &dyn Fn() -> Instant,
        seen: &mut dyn FnMut(Looked<'_, E::Face>),
    ) -> Result<()> {
        let found = eyes.live(&picture, at)?;
        let (tracks, mut faces): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let Some(guest) = self.session.picture(now(), &tracks).filter(|g| *g < faces.len()) else {
            seen((&picture, &faces, None));
            return Ok(());
        };
        self.width = tracks.get(guest).map_or(0.0, |t| t.width);
        let grade = eyes.grade(&picture, &faces[guest]);
        seen((&picture, &faces, Some((guest, grade))));
        let face = faces.swap_remove(guest);
        let want = self.session.grade(at, grade);
        self.obey(eyes, want, Some((picture, face)), now);
        Ok(())
    }

    /// Ends the session; what is left watches behind the guest, by `same_person`.
    pub(super) fn follow(self, same_person: f32) -> Follow<E::Template> {
        let (known, track) = self.session.into_known();
        Follow::new(known, track, self.width, same_person)
    }

    /// Does what the session asks for, with the picture at hand.
    fn obey(
        &mut self,
        eyes: &mut E,
        want: Want,
        at_hand: Option<(RgbImage, E::Face)>,
        now: &dyn Fn() -> Instant,
    ) {
        let (purpose, subject) = match want {
            Want::Nothing => return,
            Want::Hold => {
                self.held = at_hand;
                return;
            }
            Want::Embed(purpose) => (purpose, at_hand),
            Want::EmbedHeld => (Use::Evidence, self.held.take()),
        };
        let template = subject.and_then(|(picture, face)| {
            eyes.embed(&picture, &face)
                .inspect_err(|e| {
                    tracing::warn!(camera = %self.camera, error = %e.chain(), "a face could not be embedded");
                })
                .ok()
        });
        self.session.template(now(), purpose, template);
    }
}

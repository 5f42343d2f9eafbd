//! After a door was opened: does a second person come close behind the first?
//!
//! Pure, as the session is. It knows the person who was let through by the templates that the
//! session had, and looks only at other faces of about that person's size: whoever stands at the
//! far end of the hall is not behind anybody. A face is a stranger's when two good pictures of its
//! track are like none of the known templates; one alone may be the same person turning away.

use super::session::{Likeness, Seen};

/// A face of less than this share of the guest's width is not close behind.
const CLOSE: f32 = 0.5;
/// Pictures that must show a stranger.
const PICTURES: u8 = 2;
/// Tracks looked at in one passage.
const MAX_TRACKS: usize = 32;

#[derive(Debug)]
struct Track {
    id: u64,
    strange: u8,
    /// It is the person who was let through.
    known: bool,
}

/// The watch over one passage.
pub struct Follow<L> {
    known: Vec<L>,
    same_person: f32,
    width: f32,
    tracks: Vec<Track>,
    pictures: u32,
}

impl<L: Likeness> Follow<L> {
    /// Watches behind the person whom `known` shows, whose face was `width` pixels wide in track
    /// `track`. Faces below `same_person` are not the same person's.
    pub fn new(known: Vec<L>, track: Option<u64>, width: f32, same_person: f32) -> Self {
        let tracks = track.into_iter().map(|id| Track { id, strange: 0, known: true }).collect();
        Self { known, same_person, width, tracks, pictures: 0 }
    }

    /// Pictures looked at.
    pub fn pictures(&self) -> u32 {
        self.pictures
    }

    /// The face of this picture whose template is wanted, if there is one: the largest that is
    /// close and nobody known.
    pub fn picture(&mut self, faces: &[Seen]) -> Option<usize> {
        self.pictures = self.pictures.saturating_add(1);
        (0..faces.len())
            .filter(|&i| faces[i].width.is_finite() && faces[i].width >= self.width * CLOSE)
            .filter(|&i| !self.tracks.iter().any(|t| t.id == faces[i].track && t.known))
            .max_by(|&a, &b| faces[a].width.total_cmp(&faces[b].width))
    }

    /// The template that was wanted, of track `track`; true once somebody followed.
    pub fn template(&mut self, track: u64, template: &L) -> bool {
        let known = self.known.iter().any(|k| k.similarity(template) >= self.same_person);
        let at = match self.tracks.iter().position(|t| t.id == track) {
            Some(at) => at,
            None if self.tracks.len() < MAX_TRACKS => {
                self.tracks.push(Track { id: track, strange: 0, known: false });
                self.tracks.len() - 1
            }
            None => return false,
        };
        let seen = &mut self.tracks[at];
        if known {
            seen.known = true;
            return false;
        }
        seen.strange += 1;
        seen.strange >= PICTURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Person(f32);

    impl Likeness for Person {
        fn similarity(&self, other: &Self) -> f32 {
            if (self.0 - other.0).abs() < 0.5 { 0.9 } else { 0.0 }
        }
        fn fuse(_: &[(&Self, f32)]) -> Option<Self> {
            None
        }
    }

    fn seen(track: u64, width: f32) -> Seen {
        Seen { track, width, landmarks: [[0.0; 2]; 5] }
    }

    #[test]
    fn a_second_person_close_behind_is_noticed_after_two_pictures() {
        let mut follow = Follow::new(vec![Person(1.0)], Some(1), 100.0, 0.4);
        assert_eq!(follow.picture(&[seen(1, 100.0)]), None, "the guest");
        assert_eq!(follow.picture(&[seen(1, 100.0), seen(2, 40.0)]), None, "far away");
        assert_eq!(follow.picture(&[seen(1, 100.0), seen(2, 60.0)]), Some(1));
        assert!(!follow.template(2, &Person(7.0)));
        assert_eq!(follow.picture(&[seen(2, 80.0)]), Some(0));
        assert!(follow.template(2, &Person(7.0)));
    }

    #[test]
    fn the_same_person_in_another_track_is_nobody_else() {
        let mut follow = Follow::new(vec![Person(1.0)], Some(1), 100.0, 0.4);
        assert_eq!(follow.picture(&[seen(5, 90.0)]), Some(0));
        assert!(!follow.template(5, &Person(1.1)));
        assert_eq!(follow.picture(&[seen(5, 90.0), seen(6, f32::NAN)]), None);
        // Once strange, then recognised: a turned head.
        assert!(!follow.template(7, &Person(7.0)));
        assert!(!follow.template(7, &Person(1.0)));
        assert_eq!(follow.picture(&[seen(7, 90.0)]), None);
    }
}

//! Which face of this picture is which face of the last one.

use std::time::{Duration, Instant};

use super::{BBox, Face};

/// A face unseen for longer than this is gone; the next one in its place is somebody else.
const GONE_AFTER: Duration = Duration::from_millis(700);
/// Least overlap (intersection over union) of a face with the place where it was expected.
const LEAST_OVERLAP: f32 = 0.25;
/// A face may grow or shrink between two pictures by this factor.
const MOST_GROWTH: f32 = 1.6;
/// A second candidate with more than this share of the best one's overlap makes the choice a
/// guess.
const AMBIGUOUS: f32 = 0.6;
/// More people than a desk has in view.
const MAX_TRACKS: usize = 64;

/// A person in front of the camera, for as long as they stay in view. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

#[derive(Debug)]
struct Track {
    id: TrackId,
    bbox: BBox,
    /// Pixels per second, smoothed.
    velocity: (f32, f32),
    seen: Instant,
}

impl Track {
    /// Where the face should be by now. Movement is trusted for a short while only.
    fn expected(&self, at: Instant) -> BBox {
        let dt = at.saturating_duration_since(self.seen).as_secs_f32().min(0.2);
        BBox { x: self.bbox.x + self.velocity.0 * dt, y: self.bbox.y + self.velocity.1 * dt, ..self.bbox }
    }
}

/// Follows faces from picture to picture by where they are, never by who they are.
///
/// Two people must not become one track, because their pictures would be fused into one template.
/// So where a face could continue more than one track, or a track more than one face, nobody
/// guesses: those tracks end and the faces start new ones.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    ended: Vec<TrackId>,
    last: u64,
}

impl Tracker {
    /// Nobody in view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the faces of the picture taken `at`; gives each face's track and its index in
    /// `faces`, in the order of `faces`. Which tracks ended, [`Tracker::take_ended`] says.
    pub fn update(&mut self, faces: &[Face], at: Instant) -> Vec<(TrackId, usize)> {
        self.end(|t| at.saturating_duration_since(t.seen) > GONE_AFTER);
        let faces = &faces[..faces.len().min(MAX_TRACKS)];
        let overlap: Vec<Vec<f32>> = self
            .tracks
            .iter()
            .map(|t| {
                let expected = t.expected(at);
                faces.iter().map(|f| affinity(expected, f.bbox)).collect()
            })
            .collect();

        let guess = |best: f32, second: f32| second > AMBIGUOUS * best;
        let two_best = |values: &mut dyn Iterator<Item = (usize, f32)>| {
            let (mut best, mut second) = ((usize::MAX, 0.0), 0.0);
            for (i, v) in values {
                if v > best.1 {
                    (best, second) = ((i, v), best.1);
                } else if v > second {
                    second = v;
                }
            }
            (best, second)
        };
        // A pair counts if each is clearly the other's best.
        let mut continues = vec![None; faces.len()];
        let mut matched = vec![false; self.tracks.len()];
        for (t, row) in overlap.iter().enumerate() {
            let ((f, best), second) = two_best(&mut row.iter().copied().enumerate());
            if best <= 0.0 || guess(best, second) {
                continue;
            }
            let ((back, column_best), column_second) =
                two_best(&mut overlap.iter().map(|row| row[f]).enumerate());
            if back == t && !guess(column_best, column_second) {
                continues[f] = Some(t);
                matched[t] = true;
            }
        }
        // A track that a face could have continued but did not, ends: it might come back as
        // somebody else.
        let contested: Vec<TrackId> = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(t, _)| !matched[*t] && overlap[*t].iter().any(|v| *v > 0.0))
            .map(|(_, track)| track.id)
            .collect();

        let mut result = Vec::with_capacity(faces.len());
        for (f, face) in faces.iter().enumerate() {
            let id = match continues[f].and_then(|t| self.tracks.get_mut(t)) {
                Some(track) => {
                    let dt = at.saturating_duration_since(track.seen).as_secs_f32();
                    if dt > 0.0 {
                        let (old, new) = (track.bbox.centre(), face.bbox.centre());
                        let blend = |v: f32, d: f32| 0.5 * v + 0.5 * d / dt;
                        track.velocity =
                            (blend(track.velocity.0, new.x - old.x), blend(track.velocity.1, new.y - old.y));
                    }
                    track.bbox = face.bbox;
                    track.seen = at;
                    track.id
                }
                None => {
                    self.last += 1;
                    let id = TrackId(self.last);
                    self.tracks.push(Track { id, bbox: face.bbox, velocity: (0.0, 0.0), seen: at });
                    id
                }
            };
            result.push((id, f));
        }
        self.end(|t| contested.contains(&t.id));
        if self.tracks.len() > MAX_TRACKS {
            self.tracks.sort_by_key(|t| std::cmp::Reverse(t.seen));
            let spare: Vec<_> = self.tracks.iter().skip(MAX_TRACKS).map(|t| t.id).collect();
            self.end(|t| spare.contains(&t.id));
        }
        result
    }

    /// The tracks that ended since the last call. Whatever was kept for them must be wiped.
    pub fn take_ended(&mut self) -> Vec<TrackId> {
        std::mem::take(&mut self.ended)
    }

    /// Ends every track: between two guests.
    pub fn clear(&mut self) {
        self.end(|_| true);
    }

    fn end(&mut self, over: impl Fn(&Track) -> bool) {
        let ended = &mut self.ended;
        self.tracks.retain(|t| {
            let over = over(t);
            if over {
                ended.push(t.id);
            }
            !over
        });
        // Nobody asks for these: keep the list bounded.
        let spare = ended.len().saturating_sub(4 * MAX_TRACKS);
        ended.drain(..spare);
    }
}

fn affinity(expected: BBox, found: BBox) -> f32 {
    let growth = (found.width / expected.width).max(expected.width / found.width);
    let overlap = expected.iou(found);
    // A size that is not a number fails the comparison.
    if growth <= MOST_GROWTH && overlap >= LEAST_OVERLAP { overlap } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Point;

    fn face(x: f32, y: f32) -> Face {
        let bbox = BBox { x, y, width: 100.0, height: 130.0 };
        Face { bbox, landmarks: [Point::default(); 5], score: 0.9 }
    }

    fn ids(tracker: &mut Tracker, faces: &[Face], at: Instant) -> Vec<u64> {
        tracker.update(faces, at).iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn people_keep_their_tracks_while_they_walk() {
        let (mut tracker, start) = (Tracker::new(), Instant::now());
        for step in 0..40u32 {
            let d = step as f32 * 12.0;
            let at = start + Duration::from_millis(40) * step;
            // The order in which the detector lists them does not matter.
            let pair = [face(d, 50.0), face(1000.0 - d / 4.0, 60.0)];
            if step % 2 == 0 {
                assert_eq!(ids(&mut tracker, &pair, at), [1, 2], "step {step}");
            } else {
                assert_eq!(ids(&mut tracker, &[pair[1], pair[0]], at), [2, 1], "step {step}");
            }
        }
        assert!(tracker.take_ended().is_empty());
    }

    #[test]
    fn two_people_who_cross_are_never_swapped() {
        // While one hides the other, the detector sees the one in front, or something between.
        for front in 0..3 {
            let (mut tracker, start) = (Tracker::new(), Instant::now());
            let mut owner = std::collections::HashMap::new();
            for step in 0..60u32 {
                let d = step as f32 * 8.0;
                let at = start + Duration::from_millis(40) * step;
                let (a, b) = (face(d, 50.0), face(480.0 - d, 52.0));
                let hidden = (a.bbox.x - b.bbox.x).abs() < 60.0;
                let between = face((a.bbox.x + b.bbox.x) / 2.0, 51.0);
                let faces = match (hidden, front) {
                    (false, _) => vec![(a, Some('a')), (b, Some('b'))],
                    (true, 0) => vec![(a, Some('a'))],
                    (true, 1) => vec![(b, Some('b'))],
                    (true, _) => vec![(between, None)],
                };
                let list: Vec<_> = faces.iter().map(|(f, _)| *f).collect();
                for (id, f) in tracker.update(&list, at) {
                    if let Some(person) = faces[f].1 {
                        assert_eq!(*owner.entry(id).or_insert(person), person, "{id:?} changed at {step}");
                    }
                }
            }
            assert!(owner.len() >= 3, "whoever was hidden comes back as somebody new: {owner:?}");
            assert!(!tracker.take_ended().is_empty());
        }
    }

    #[test]
    fn somebody_in_the_same_place_a_second_later_is_somebody_else() {
        let (mut tracker, start) = (Tracker::new(), Instant::now());
        assert_eq!(ids(&mut tracker, &[face(0.0, 0.0)], start), [1]);
        assert_eq!(ids(&mut tracker, &[], start + Duration::from_millis(300)), [0u64; 0]);
        assert_eq!(ids(&mut tracker, &[face(0.0, 0.0)], start + Duration::from_millis(600)), [1]);
        assert_eq!(ids(&mut tracker, &[face(0.0, 0.0)], start + Duration::from_millis(1500)), [2]);
        assert_eq!(tracker.take_ended(), [TrackId(1)]);
        tracker.clear();
        assert_eq!(tracker.take_ended(), [TrackId(2)]);
    }

    #[test]
    fn the_number_of_tracks_is_bounded() {
        let (mut tracker, start) = (Tracker::new(), Instant::now());
        for step in 0..50u32 {
            let faces: Vec<_> = (0..100u32).map(|i| face(((i + step) * 2000 % 77_777) as f32, 0.0)).collect();
            tracker.update(&faces, start + Duration::from_millis(1) * step);
            assert!(tracker.tracks.len() <= MAX_TRACKS);
        }
        assert!(tracker.take_ended().len() <= 4 * MAX_TRACKS);
    }
}

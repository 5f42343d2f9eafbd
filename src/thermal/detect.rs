//! Both detectors behind one contract: a thermal frame becomes hotspots.
//!
//! The learned detector knows people and vehicles as a camera sees them from above; what it proposes it
//! looks at once more, enlarged ([`super::closer`]). The physical one
//! knows nothing but local contrast, and finds what the other was never shown: a warm patch under
//! branches, a half-covered body. What both see is one hotspot of the learned one's; what only the
//! physical one sees is [`ThermalClass::Warm`]. Size and temperature then say what it cannot be.

use super::closer::Closer;
use super::plane::Plane;
use super::{Hotspot, PixelBox, ThermalClass, ThermalDetector, ThermalImage, measure};
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::ModelRef;
use crate::infer::hotspot::{HotspotNet, Peak};
use crate::infer::thermal::{Detection, Label, ThermalNet, Tone};
use crate::infer::{Manifest, Runtime};

/// Two boxes of one label that overlap by more are one object (intersection over union). People who
/// stand together overlap by half now and then.
const SAME: f32 = 0.5;
/// The same once they were looked at more closely: neighbours are told apart better then.
const SAME_SEEN_CLOSER: f32 = 0.6;
/// Two cells of different labels that overlap by more are one object.
const SAME_OF_OTHER_LABEL: f32 = 0.8;
/// The same for boxes around one outline.
const SAME_IF_ONE_OUTLINE: f32 = 0.3;
/// Of two boxes of one label the smaller is a part of the larger's object if more than this share of it lies in that:
/// a body without its legs. Neighbours in a group share some six tenths.
const PART: f32 = 0.75;
/// The cells of one object that overlap its best by more have a say in where its edges are.
const SAY: f32 = 0.6;
/// What scores as much at the first look is worth a second.
const PROPOSED: f32 = 0.15;
/// More cells than this are not looked at, the best first.
const MAX_CELLS: usize = 2_000;
/// More finds than this are not given, the best first.
const MAX_FINDS: usize = 300;
/// A peak of this contrast scores one half.
const HALF_CONTRAST: f32 = 8.0;
/// A shape that does not end where it was looked for scores this share: an edge, a wall.
const OPEN_SHARE: f32 = 0.5;
/// A surrounding's deviation is at least this share of the frame's.
const LEAST_DEVIATION: f32 = 0.05;
/// How long a person is, metres: curled up and half covered, to lying with arms stretched out.
const PERSON_M: [f32; 2] = [0.3, 2.2];
/// How long a warm spot is that anybody would walk to.
const WARM_M: [f32; 2] = [0.2, 8.0];
/// A box is drawn this much wider than its object, pixels.
const SLACK_PX: f32 = 4.0;
/// What a person's warmest part may look like from above, kelvin: wet clothes in a winter's rain, to
/// bare skin in the sun.
const PERSON_K: [f32; 2] = [268.0, 316.0];

/// Metres on the ground that one pixel of the frame covers.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct GroundSample(f32);

impl GroundSample {
    /// Refuses what is not a positive number.
    pub fn try_new(metres: f32) -> Result<Self> {
        if metres.is_finite() && metres > 0.0 {
            return Ok(Self(metres));
        }
        Err(Error::new(
            Kind::Usage,
            Culprit::Request,
            format!("a pixel cannot cover {metres} m of the ground"),
        ))
    }

    /// Metres.
    pub fn metres(self) -> f32 {
        self.0
    }
}

/// Which detectors look, and from what on a find is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorSettings {
    /// Threads of a run.
    pub threads: u16,
    /// Lowest score of the learned detector; `None`: it does not look.
    pub learned: Option<f32>,
    /// Lowest score of the physical detector; `None`: it does not look.
    pub hotspot: Option<f32>,
}

impl Default for DetectorSettings {
    /// Both on one thread, low enough for evidence over several frames to gather.
    fn default() -> Self {
        Self { threads: 1, learned: Some(0.2), hotspot: Some(0.4) }
    }
}

/// A find with the network's own word for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// What was found.
    pub hotspot: Hotspot,
    /// The learned detector's label; `None` of the physical one.
    pub label: Option<Label>,
}

/// What a detector looks at.
#[derive(Clone, Copy)]
struct Scene<'a> {
    image: &'a ThermalImage,
    plane: &'a Plane,
    /// Smallest deviation that a surrounding is taken to have, in the plane's values.
    floor: f32,
}

/// The contract of a detector.
trait Look {
    /// Which models it runs.
    fn models(&self) -> Vec<&ModelRef>;
    /// Everything it sees in a frame, each object once, best first, at most [`MAX_FINDS`].
    fn look(&mut self, scene: Scene<'_>) -> Result<Vec<Sighting>>;
}

struct Learned {
    net: ThermalNet,
    closer: Closer,
    keep: f32,
    cells: Vec<Detection>,
}

struct Physical {
    net: HotspotNet,
    keep: f32,
    peaks: Vec<Peak>,
}

/// The detectors of one camera, for one size of frame.
///
/// ```no_run
/// use vigil::config::ModelsConfig;
/// use vigil::infer::{Manifest, Runtime};
/// use vigil::thermal::{DetectorSettings, Detectors, GroundSample, ThermalImage};
///
/// # fn look(image: ThermalImage) -> vigil::base::Result<()> {
/// let models = ModelsConfig::default();
/// let (runtime, manifest) = (Runtime::load(&models)?, Manifest::load(&models.dir)?);
/// let mut detectors = Detectors::open(&runtime, &manifest, &DetectorSettings::default(), 640, 512)?;
/// for find in detectors.detect(&image, Some(GroundSample::try_new(0.08)?))? {
///     println!("{:?} at {:?}, {:.2}", find.class, find.bbox.centre(), find.score);
/// }
/// # Ok(()) }
/// ```
pub struct Detectors {
    plane: Plane,
    learned: Option<Learned>,
    physical: Option<Physical>,
}

impl std::fmt::Debug for Detectors {
    /// Sizes only: a picture never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detectors").field("input", &self.plane.size()).finish_non_exhaustive()
    }
}

impl Detectors {
    /// Opens the detectors that `settings` names, for frames of `width` x `height`.
    ///
    /// Errors: [`Kind::Unsupported`] for a size that no thermal camera has, and what opening a model
    /// can say.
    pub fn open(
        runtime: &Runtime,
        manifest: &Manifest,
        settings: &DetectorSettings,
        width: u32,
        height: u32,
    ) -> Result<Self> {
        let plane = Plane::new(width, height)?;
        let ((w, h), threads) = (plane.size(), settings.threads);
        let learned = match settings.learned {
            Some(keep) => {
                let net = ThermalNet::open(runtime, manifest, threads, w, h)?;
                let closer = Closer::open(runtime, manifest, threads)?;
                Some(Learned { net, closer, keep, cells: Vec::new() })
            }
            None => None,
        };
        let physical = match settings.hotspot {
            Some(keep) => {
                let net = HotspotNet::open(runtime, manifest, threads, w, h)?;
                Some(Physical { net, keep, peaks: Vec::new() })
            }
            None => None,
        };
        Ok(Self { plane, learned, physical })
    }

    /// The models that look, the learned one first.
    pub fn models(&self) -> impl Iterator<Item = &ModelRef> {
        let learned = self.learned.iter().flat_map(|d| d.models());
        learned.chain(self.physical.iter().flat_map(|d| d.models()))
    }

    /// Looks at a frame of the size that was opened: what is found, best first, one find for each thing. With the
    /// ground's sampling distance known, what is too large or too small for a person is none.
    pub fn detect(&mut self, image: &ThermalImage, ground: Option<GroundSample>) -> Result<Vec<Hotspot>> {
        let seen = distinct(self.sightings(image)?);
        let mut found: Vec<_> = seen.into_iter().filter_map(|s| gate(s.hotspot, ground)).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(found)
    }

    /// All finds, before size and temperature are looked at, with the network's labels; the learned
    /// detector's first, each one's best first.
    pub fn sightings(&mut self, image: &ThermalImage) -> Result<Vec<Sighting>> {
        self.plane.fill(image)?;
        let floor = LEAST_DEVIATION * measure::deviation(&self.plane);
        let scene = Scene { image, plane: &self.plane, floor };
        let mut seen = match &mut self.learned {
            Some(detector) => detector.look(scene)?,
            None => Vec::new(),
        };
        if let Some(detector) = &mut self.physical {
            let also = detector.look(scene)?;
            let new: Vec<_> = also.into_iter().filter(|s| !seen.iter().any(|k| covers(k, s))).collect();
            seen.extend(new);
        }
        Ok(seen)
    }
}

impl Look for Learned {
    fn models(&self) -> Vec<&ModelRef> {
        vec![self.net.model(), self.closer.model()]
    }

    fn look(&mut self, scene: Scene<'_>) -> Result<Vec<Sighting>> {
        let values = scene.plane.values();
        let tone = Tone::of(values, scene.plane.size().0 as usize);
        self.net.show(values, tone);
        self.cells.clear();
        self.net.run(PROPOSED, &mut self.cells)?;
        let mut proposals = outlined(&mut self.cells);
        self.closer.look(scene.plane, tone, self.keep, &mut proposals)?;
        let finds = separate(&mut proposals, SAME_SEEN_CLOSER);
        let sightings = finds.iter().filter_map(|d| {
            let bbox = scene.plane.to_frame(d.bbox)?;
            Some(scene.sighting(bbox, ThermalDetector::Learned, d.score, Some(d.label), None))
        });
        Ok(sightings.collect())
    }
}

impl Look for Physical {
    fn models(&self) -> Vec<&ModelRef> {
        vec![self.net.model()]
    }

    fn look(&mut self, scene: Scene<'_>) -> Result<Vec<Sighting>> {
        self.net.input().copy_from_slice(scene.plane.values());
        self.peaks.clear();
        let least = HALF_CONTRAST * self.keep / (1.0 - self.keep.clamp(0.0, 0.999));
        self.net.run(least, &mut self.peaks)?;
        self.peaks.sort_by(|a, b| b.contrast.total_cmp(&a.contrast));
        let mut seen: Vec<Sighting> = Vec::new();
        for peak in &self.peaks {
            if seen.len() == MAX_FINDS {
                break;
            }
            let Some(shape) = measure::shape(scene.plane, peak.x, peak.y, peak.side) else { continue };
            let Some(bbox) = scene.plane.to_frame(shape.bbox) else { continue };
            let score = peak.contrast / (peak.contrast + HALF_CONTRAST);
            let score = if shape.open { OPEN_SHARE * score } else { score };
            if score < self.keep {
                continue;
            }
            let find = scene.sighting(bbox, ThermalDetector::Hotspot, score, None, Some(peak.contrast));
            // One shape has peaks at several scales.
            if !seen.iter().any(|k| covers(k, &find)) {
                seen.push(find);
            }
        }
        Ok(seen)
    }
}

impl Scene<'_> {
    fn sighting(
        &self,
        bbox: PixelBox,
        detector: ThermalDetector,
        score: f32,
        label: Option<Label>,
        contrast: Option<f32>,
    ) -> Sighting {
        let class = match label {
            Some(Label::Person) => ThermalClass::Person,
            Some(Label::Car | Label::OtherVehicle) => ThermalClass::Vehicle,
            Some(Label::Bicycle) => ThermalClass::Cycle,
            None => ThermalClass::Warm,
        };
        let contrast = contrast.unwrap_or_else(|| measure::contrast(self.plane, &bbox, self.floor));
        let extent = measure::extent(self.plane, &bbox, self.floor);
        let kelvin = measure::warmest(self.image, &bbox);
        Sighting { hotspot: Hotspot { bbox, class, score, detector, contrast, extent, kelvin }, label }
    }
}

/// One detection an object, best first. Its box is the mean of what its cells say, each by its score
/// and its overlap with the best: nearer than the best alone.
fn outlined(cells: &mut Vec<Detection>) -> Vec<Detection> {
    cells.sort_by(|a, b| b.score.total_cmp(&a.score));
    cells.truncate(MAX_CELLS);
    let mut kept = separate(cells, SAME);
    for find in &mut kept {
        let best = as_box(find);
        let (mut sum, mut weight) = ([0.0; 4], 0.0);
        for cell in cells.iter().filter(|c| c.label == find.label) {
            let overlap = as_box(cell).iou(&best);
            if overlap > SAY {
                let say = cell.score * overlap * overlap;
                weight += say;
                sum.iter_mut().zip(cell.bbox).for_each(|(s, v)| *s += say * v);
            }
        }
        if weight > 0.0 {
            find.bbox = sum.map(|s| s / weight);
        }
    }
    kept
}

/// The best of each object's detections, best first (non-maximum suppression); two of one label are of one object
/// if they overlap by more than `same`.
fn separate(cells: &mut [Detection], same: f32) -> Vec<Detection> {
    cells.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for cell in cells.iter() {
        let bbox = as_box(cell);
        let known = kept.iter().any(|k| {
            let limit = if k.label == cell.label { same } else { SAME_OF_OTHER_LABEL };
            as_box(k).iou(&bbox) > limit
        });
        if !known {
            kept.push(*cell);
            if kept.len() == MAX_FINDS {
                break;
            }
        }
    }
    kept
}

/// One find for each warm thing, the best: several boxes around one outline are guesses at parts of it, and a box
/// may come under several names. People who touch have one outline, too, and boxes beside each other. A detector
/// by itself is measured without this: it takes right boxes with the wrong ones.
pub fn distinct(seen: Vec<Sighting>) -> Vec<Sighting> {
    let mut things: Vec<Sighting> = Vec::with_capacity(seen.len());
    for find in seen {
        let known = things.iter().any(|k| {
            let (a, b) = (&k.hotspot.bbox, &find.hotspot.bbox);
            let overlap = a.iou(b);
            overlap > SAME
                || k.label.is_some() && k.label == find.label && a.covers(b) > PART
                || same_outline(k, &find) && overlap > SAME_IF_ONE_OUTLINE
        });
        if !known {
            things.push(find);
        }
    }
    things
}

fn as_box(d: &Detection) -> PixelBox {
    let [x, y, width, height] = d.bbox;
    PixelBox { x, y, width, height }
}

/// Whether a find of the physical detector is one that is known already: its middle lies in it, or
/// the other way round, or both are parts of one warm shape.
fn covers(known: &Sighting, new: &Sighting) -> bool {
    let holds = |b: &PixelBox, [x, y]: [f32; 2]| {
        (b.x - 1.0..=b.x + b.width + 1.0).contains(&x) && (b.y - 1.0..=b.y + b.height + 1.0).contains(&y)
    };
    let (a, b) = (&known.hotspot.bbox, &new.hotspot.bbox);
    holds(a, b.centre()) || holds(b, a.centre()) || same_outline(known, new)
}

/// Whether both have one outline.
fn same_outline(a: &Sighting, b: &Sighting) -> bool {
    a.hotspot.extent.zip(b.hotspot.extent).is_some_and(|(a, b)| a.is(&b))
}

/// What size and temperature leave of a find: a person of the wrong size or temperature is a warm
/// spot of half the score; a warm spot that is none to walk to is nothing.
pub fn gate(mut find: Hotspot, ground: Option<GroundSample>) -> Option<Hotspot> {
    let fits = |[least, most]: [f32; 2]| {
        ground.is_none_or(|ground| {
            let long = find.bbox.width.max(find.bbox.height);
            (long + SLACK_PX) * ground.0 >= least && (long - SLACK_PX) * ground.0 <= most
        })
    };
    let temperate = find.kelvin.is_none_or(|k| (PERSON_K[0]..=PERSON_K[1]).contains(&k));
    match find.class {
        ThermalClass::Person if !fits(PERSON_M) || !temperate => {
            find.class = ThermalClass::Warm;
            find.score *= 0.5;
        }
        ThermalClass::Warm if !temperate => find.score *= 0.5,
        _ => {}
    }
    let kept = find.class != ThermalClass::Warm || fits(WARM_M);
    kept.then_some(find)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(x: f32, y: f32, w: f32, h: f32, label: Label, score: f32) -> Detection {
        Detection { bbox: [x, y, w, h], label, score }
    }

    #[test]
    fn people_in_a_group_stay_several() {
        use Label::*;
        let mut cells = vec![
            cell(0.0, 0.0, 12.0, 20.0, Person, 0.8),
            cell(1.0, 0.0, 12.0, 20.0, Person, 0.7),  // the first again
            cell(6.0, 0.0, 12.0, 20.0, Person, 0.9),  // a neighbour: overlap 1/3
            cell(0.0, 0.0, 12.0, 20.0, Bicycle, 0.3), // the first under another name
            cell(0.0, 4.0, 30.0, 20.0, Bicycle, 0.6), // a bicycle beside them
        ];
        let kept = outlined(&mut cells);
        let seen: Vec<_> = kept.iter().map(|d| (d.label, d.score)).collect();
        assert_eq!(seen, [(Person, 0.9), (Person, 0.8), (Bicycle, 0.6)]);
        // The two cells of one person agree on a place between theirs.
        assert!(kept[1].bbox[0] > 0.0 && kept[1].bbox[0] < 0.5, "{:?}", kept[1].bbox);
    }

    #[test]
    fn one_body_under_several_names_and_its_parts_are_one() {
        use Label::*;
        let seen = |left: f32, top: f32, width: f32, height: f32, label, score| Sighting {
            hotspot: Hotspot {
                bbox: PixelBox { x: left, y: top, width, height },
                score,
                ..find(ThermalClass::Person, 10.0, None)
            },
            label: Some(label),
        };
        let things = distinct(vec![
            seen(0.0, 0.0, 30.0, 20.0, Person, 0.7),
            seen(8.0, 2.0, 16.0, 16.0, Person, 0.6), // the body without its legs
            seen(26.0, 0.0, 30.0, 20.0, Person, 0.5), // somebody beside
            seen(1.0, 2.0, 29.0, 24.0, Bicycle, 0.4), // the first by another name: overlap 0.7
        ]);
        assert_eq!(things.iter().map(|s| s.hotspot.score).collect::<Vec<_>>(), [0.7, 0.5]);
    }

    #[test]
    fn more_finds_than_anybody_needs_are_cut() {
        let mut cells: Vec<_> = (0..9_000)
            .map(|i| {
                cell((i % 100) as f32 * 9.0, (i / 100) as f32 * 9.0, 8.0, 8.0, Label::Car, i as f32 / 9e3)
            })
            .collect();
        let kept = outlined(&mut cells);
        assert_eq!(kept.len(), MAX_FINDS);
        assert!(kept.windows(2).all(|w| w[0].score >= w[1].score));
    }

    fn find(class: ThermalClass, long: f32, kelvin: Option<f32>) -> Hotspot {
        let bbox = PixelBox { x: 10.0, y: 10.0, width: 6.0, height: long };
        Hotspot {
            bbox,
            class,
            score: 0.8,
            detector: ThermalDetector::Learned,
            contrast: 9.0,
            extent: None,
            kelvin,
        }
    }

    #[test]
    fn size_and_temperature_say_what_is_no_person() {
        use ThermalClass::*;
        let ground = |m| Some(GroundSample::try_new(m).unwrap());
        for (class, long, kelvin, ground, wanted) in [
            (Person, 20.0, None, None, Some((Person, 0.8))),
            (Person, 200.0, None, None, Some((Person, 0.8))), // unknown ground: nothing is known of its size
            (Person, 20.0, Some(303.0), ground(0.1), Some((Person, 0.8))),
            (Person, 60.0, None, ground(0.1), Some((Warm, 0.4))), // 6 m
            (Person, 8.0, None, ground(0.02), Some((Warm, 0.4))), // 16 cm
            (Person, 20.0, Some(350.0), ground(0.1), Some((Warm, 0.4))), // an exhaust
            (Warm, 20.0, Some(350.0), ground(0.1), Some((Warm, 0.4))),
            (Warm, 20.0, None, ground(0.1), Some((Warm, 0.8))),
            (Warm, 200.0, None, ground(0.1), None),
            (Vehicle, 200.0, Some(350.0), ground(0.1), Some((Vehicle, 0.8))),
        ] {
            let got = gate(find(class, long, kelvin), ground).map(|f| (f.class, f.score));
            assert_eq!(got, wanted, "{class:?} of {long} px at {kelvin:?}, {ground:?}");
        }
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(GroundSample::try_new(bad).unwrap_err().kind(), Kind::Usage);
        }
    }
}

//! What is told of a candidate, and whether it is worth telling.

use base64::Engine as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::candidate::{Candidate, Told, seconds};
use super::fuse::M2;
use super::machine::{Ground, Mission, Outcome, SearchSetup};
use crate::event::{
    Chip, ClassLikelihoods, DetectionState, Ellipse90, EndReason, Evidence, Movement2d, Position,
    SearchDetection,
};
use crate::geo::ce90;

/// Candidates that ended, kept for the export.
const MAX_ENDED: usize = 1000;
/// Two words about one candidate are this far apart at least, seconds.
const WORD_S: f64 = 1.0;
/// An ellipse that shrank to this is news.
const SHRANK: f64 = 0.8;
/// A likelihood that changed by this much is, too.
const CHANGED: f64 = 0.15;
/// 90 % of a two-dimensional normal distribution lie within so many deviations.
const SIGMA90: f64 = 2.145_966;

pub(super) fn is_news(
    setup: &SearchSetup,
    is_target: bool,
    candidate: &Candidate,
    told: &Told,
    now: Timestamp,
) -> bool {
    let since = seconds(now, told.time);
    if since.abs() < WORD_S || !told.seen_since {
        return false;
    }
    let classes = candidate.beliefs.classes();
    let class = classes.likeliest();
    let radius = radius90(&candidate.covariance());
    let at = candidate.at();
    let moved = (at[0] - told.at[0]).hypot(at[1] - told.at[1]);
    class != told.class
        || (classes.of(class) - told.likelihood).abs() > CHANGED
        || is_target != told.is_target
        || radius < told.ce90_m * SHRANK
        || moved > told.ce90_m / 2.0
        || since >= setup.update.as_secs_f64()
}

fn radius90(covariance: &M2) -> f64 {
    ce90(&[[covariance[0][0], covariance[0][1], 0.0], [covariance[1][0], covariance[1][1], 0.0], [0.0; 3]])
}

fn ellipse90(covariance: &M2) -> Ellipse90 {
    let (a, b, c) = (covariance[0][0], covariance[0][1], covariance[1][1]);
    let (mean, spread) = ((a + c) / 2.0, ((a - c) / 2.0).hypot(b));
    // Of the long axis, from north: atan2 of its east over its north part.
    let azimuth = (0.5 * (2.0 * b).atan2(c - a)).to_degrees().rem_euclid(180.0);
    let axis = |v: f64| tenth(SIGMA90 * v.max(0.0).sqrt());
    Ellipse90 { major_m: axis(mean + spread), minor_m: axis(mean - spread), azimuth_deg: azimuth.round() }
}

fn tenth(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn thousandth(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

/// What is told of a candidate.
pub(super) fn word(
    setup: &SearchSetup,
    mission: &Mission,
    ground: &Ground,
    candidate: &Candidate,
    threshold: f64,
    over: Option<(EndReason, Option<Uuid>)>,
) -> SearchDetection {
    let covariance = candidate.covariance();
    let place = ground.plane.place(candidate.at());
    let exact = candidate.beliefs.classes();
    let likelihoods = rounded(exact);
    let target = ground.target(setup, mission.target, threshold, candidate);
    let movement = candidate.movement().map(|([e, n], sigma)| Movement2d {
        speed_mps: tenth(e.hypot(n)),
        speed_sigma_mps: tenth(sigma),
        course_deg: e.atan2(n).to_degrees().rem_euclid(360.0).round() % 360.0,
    });
    let chip = candidate.chip.as_ref().filter(|_| over.is_none() && setup.chips).map(|(_, png)| Chip {
        media_type: "image/png".into(),
        data: base64::engine::general_purpose::STANDARD.encode(png),
    });
    SearchDetection {
        candidate: candidate.id,
        state: if over.is_some() { DetectionState::End } else { candidate.state() },
        mission: mission.id,
        camera: setup.camera.clone(),
        looked_for: mission.target,
        is_target: target >= threshold,
        class: exact.likeliest(),
        likelihoods,
        position: Position {
            // A centimetre.
            lat: (place.lat().degrees() * 1e7).round() / 1e7,
            lon: (place.lon().degrees() * 1e7).round() / 1e7,
            hae_m: tenth(candidate.hae_m()),
            ce90_m: tenth(radius90(&covariance)),
            le90_m: tenth(1.644_853_6 * candidate.up_variance().max(0.0).sqrt()),
            ellipse90: ellipse90(&covariance),
            method: candidate.facts.method,
            inputs_age_ms: candidate.facts.inputs_age_ms,
        },
        inputs: candidate.facts.inputs.clone(),
        evidence: Evidence {
            something: thousandth(candidate.beliefs.something()),
            target: thousandth(target),
            threshold: thousandth(threshold),
            false_alarms_per_km2: setup.false_alarms_per_km2,
        },
        first_seen: candidate.first_seen,
        last_seen: candidate.last_seen,
        views: candidate.beliefs.views(),
        looks: candidate.looks,
        misses: candidate.misses,
        movement,
        size_m: tenth(candidate.size_m()),
        radiometry: candidate.facts.radiometry,
        warmest_k: candidate.warmest_k.map(tenth),
        polarity: candidate.facts.polarity,
        detectors: candidate.detectors(),
        models: setup.models.clone(),
        end: over.map(|(reason, _)| reason),
        merged_into: over.and_then(|(_, other)| other),
        chip,
    }
}

/// To a thousandth each, the sum still 1.
fn rounded(exact: ClassLikelihoods) -> ClassLikelihoods {
    let [vehicle, animal, warm_object] = [exact.vehicle, exact.animal, exact.warm_object].map(thousandth);
    let person = thousandth((1.0 - vehicle - animal - warm_object).max(0.0));
    ClassLikelihoods { person, vehicle, animal, warm_object }
}

/// Tells of the candidate in place `n`, for the first time or once more.
pub(super) fn say(
    setup: &SearchSetup,
    mission: &mut Mission,
    ground: &mut Ground,
    n: usize,
    (now, threshold): (Timestamp, f64),
    out: &mut Vec<Outcome>,
) {
    let word = word(setup, mission, ground, &ground.candidates[n], threshold, None);
    let candidate = &mut ground.candidates[n];
    match candidate.told.as_ref().map(|t| t.is_target) {
        None => mission.told[usize::from(!word.is_target)] += 1,
        Some(before) if before != word.is_target => {
            let (from, to) = if word.is_target { (1, 0) } else { (0, 1) };
            mission.told[from] = mission.told[from].saturating_sub(1);
            mission.told[to] += 1;
        }
        Some(_) => {}
    }
    candidate.told = Some(Told {
        time: now,
        ce90_m: word.position.ce90_m,
        class: word.class,
        likelihood: word.likelihoods.of(word.class),
        is_target: word.is_target,
        at: candidate.at(),
        seen_since: false,
    });
    let mut kept = word.clone();
    // A picture is not kept on the disk.
    kept.chip = None;
    candidate.last_word = Some(Box::new(kept));
    out.push(Outcome::Detection(Box::new(word)));
}

/// Ends a candidate that was told.
pub(super) fn end(
    setup: &SearchSetup,
    mission: &mut Mission,
    ground: &Ground,
    candidate: Candidate,
    over: (EndReason, Option<Uuid>),
    out: &mut Vec<Outcome>,
) {
    let threshold = ground.threshold(setup, mission.begun);
    let mut last = word(setup, mission, ground, &candidate, threshold, Some(over));
    // What was told as the target stays it: a threshold that has risen since takes nothing back.
    if let Some(told) = &candidate.told {
        last.is_target |= told.is_target && over.0 == EndReason::MissionStopped;
    }
    if mission.ended.len() < MAX_ENDED {
        mission.ended.push(last.clone());
    }
    out.push(Outcome::Detection(Box::new(last)));
}

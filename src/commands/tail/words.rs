//! What a line of `vigil tail` says of an event.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{
    BoxAlarm, Check, CheckStatus, EquipmentRead, EventKind, GalleryChanged, GateDecision, GatePassage,
    IdentifyResult, SearchCoverage, SearchDetection, VerifyResult, WatchSighting,
};

/// Characters of what has no words of its own.
const RAW: usize = 160;

/// An event at a glance.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Glance {
    /// How it came out.
    pub(super) head: String,
    /// How near a comparison was to its threshold; of a search, what was found.
    pub(super) band: String,
    /// Everything else.
    pub(super) notes: Vec<String>,
}

/// Of an event's data. What this version has no words for, or cannot read, is shown as it came.
pub(super) fn of(kind: &str, data: &Value) -> Glance {
    let known = EventKind::ALL.into_iter().find(|k| k.as_str() == kind);
    let glance = known.and_then(|kind| match kind {
        EventKind::VerifyResult => as_(data, verify),
        EventKind::BoxAlarm => as_(data, alarm),
        EventKind::GateDecision => as_(data, decision),
        EventKind::GatePassage => as_(data, passage),
        EventKind::GalleryChanged => as_(data, changed),
        EventKind::IdentifyResult => as_(data, identified),
        EventKind::WatchSighting => as_(data, sighting),
        EventKind::SearchDetection => as_(data, detection),
        EventKind::SearchCoverage => as_(data, coverage),
    });
    glance.unwrap_or_else(|| Glance {
        head: data.get("outcome").and_then(Value::as_str).unwrap_or_default().to_owned(),
        notes: vec![data.to_string().chars().take(RAW).collect()],
        ..Glance::default()
    })
}

fn as_<T: DeserializeOwned>(data: &Value, glance: fn(T) -> Glance) -> Option<Glance> {
    T::deserialize(data).ok().map(glance)
}

fn verify(result: VerifyResult) -> Glance {
    let mut notes = of_checks(&result.checks);
    notes.extend(result.capture.map(|c| format!("camera {}", c.camera)));
    notes.push(format!("{} ms", result.timing.elapsed_ms));
    let band = result.comparison.map(|c| word(&c.band)).unwrap_or_default();
    Glance { head: word(&result.outcome), band, notes }
}

fn decision(decision: GateDecision) -> Glance {
    let mut notes = Vec::new();
    notes.extend(decision.reason.as_ref().map(word));
    notes.extend(decision.person_ref.iter().map(|p| format!("person {p}")));
    notes.push(format!("door {} ({})", decision.door, word(&decision.direction)));
    notes.push(word(&decision.means));
    notes.extend(of_checks(&decision.checks));
    notes.extend(of_equipment(&decision.equipment));
    notes.push(format!("{} ms", decision.timing.elapsed_ms));
    let band = decision.comparison.map(|c| word(&c.band)).unwrap_or_default();
    Glance { head: word(&decision.outcome), band, notes }
}

fn passage(passage: GatePassage) -> Glance {
    let mut notes = vec![format!("door {} ({})", passage.door, word(&passage.direction))];
    notes.extend(passage.person_ref.iter().map(|p| format!("person {p}")));
    notes.extend(of_checks(&passage.checks));
    notes.extend(of_equipment(&passage.equipment));
    let failed = passage.checks.iter().any(|c| c.status == CheckStatus::Fail);
    Glance { head: if failed { "followed" } else { "passed" }.to_owned(), notes, ..Glance::default() }
}

fn alarm(alarm: BoxAlarm) -> Glance {
    let about = alarm.about.map(|a| format!("{a}: ")).unwrap_or_default();
    let notes = vec![format!("{} — {about}{}", word(&alarm.code), alarm.message)];
    Glance { head: word(&alarm.state), notes, ..Glance::default() }
}

fn changed(changed: GalleryChanged) -> Glance {
    let mut notes = Vec::new();
    notes.extend(changed.person_ref.map(|p| format!("person {p}")));
    notes.extend(changed.purpose.map(|p| format!("as {}", word(&p))));
    notes.push(format!("by {}", changed.by));
    notes.push(format!("{} entries now", changed.entries));
    notes.push(format!("audit record {}", changed.audit.seq));
    Glance { head: word(&changed.change), notes, ..Glance::default() }
}

fn identified(result: IdentifyResult) -> Glance {
    let mut notes = Vec::new();
    notes.push(format!("{} candidates", result.candidates));
    notes
        .extend(result.confirmed.as_ref().map(|c| format!("person {} ({})", c.person_ref, word(&c.purpose))));
    notes.extend(result.decided_by.map(|who| format!("decided by {who}")));
    notes.extend(result.decide_by.map(|until| format!("to be decided by {until:.0}")));
    notes.extend(
        result.terms.map(|t| format!("among {}, names a stranger in {:.1e} of searches", t.searched, t.fpir)),
    );
    notes.extend(of_checks(&result.checks));
    notes.extend(result.capture.map(|c| format!("camera {}", c.camera)));
    notes.extend(result.timing.map(|t| format!("{} ms", t.elapsed_ms)));
    let band = result.confirmed.map(|c| word(&c.band)).unwrap_or_default();
    Glance { head: word(&result.outcome), band, notes }
}

fn sighting(seen: WatchSighting) -> Glance {
    let notes = vec![
        format!("person {}", seen.person_ref),
        format!("camera {}", seen.camera),
        format!("travel: {}", word(&seen.travel)),
        format!("from {:.0} to {:.0}", seen.first_seen, seen.last_seen),
        format!("request {}", seen.authority_ref),
        format!("{} wrong a day allowed", seen.false_sightings_per_day),
    ];
    Glance { head: "seen".to_owned(), band: word(&seen.band), notes }
}

fn detection(found: SearchDetection) -> Glance {
    Glance { head: word(&found.state), band: word(&found.class), notes: of_detection(&found) }
}

fn coverage(map: SearchCoverage) -> Glance {
    let mut notes = vec![format!("{:.0} m² looked at", map.seen_m2)];
    if let (Some(area), Some(share)) = (map.area_m2, map.searched_share) {
        notes.push(format!("{:.0} % of {area:.0} m² searched", 100.0 * share));
    }
    // POD of the whole area where the mission has one.
    let of = if map.area_m2.is_some() { "of it" } else { "of that" };
    notes.push(format!("mean POD {of} {:.2}", map.mean_pod));
    Glance { head: if map.last { "last" } else { "" }.to_owned(), notes, ..Glance::default() }
}

/// Where to walk, how sure it is, and what it rests on.
fn of_detection(found: &SearchDetection) -> Vec<String> {
    let p = &found.position;
    let mut notes = vec![match found.is_target {
        true => "looked for".to_owned(),
        false => format!("not sure to be a {}", word(&found.looked_for)),
    }];
    notes.push(format!("{:.6}, {:.6} within {:.1} m nine times in ten", p.lat, p.lon, p.ce90_m));
    let l = &found.likelihoods;
    let likely =
        [("person", l.person), ("vehicle", l.vehicle), ("animal", l.animal), ("warm_object", l.warm_object)];
    let likely = likely.into_iter().filter(|(_, share)| *share >= 0.05);
    notes.push(likely.map(|(what, share)| format!("{what} {share:.2}")).collect::<Vec<_>>().join(", "));
    notes.push(format!("{} views, {} looks", found.views, found.looks));
    notes.extend(found.movement.map(|_| "moves".to_owned()));
    for (label, inputs) in [("assumed", &found.inputs.assumed), ("stale", &found.inputs.stale)] {
        if !inputs.is_empty() {
            notes.push(format!("{label}: {}", inputs.iter().map(word).collect::<Vec<_>>().join(", ")));
        }
    }
    if let Some(end) = &found.end {
        let into = found.merged_into.map(|id| format!(" into {id}")).unwrap_or_default();
        notes.push(format!("{}{into}", word(end)));
    }
    notes.push(format!("camera {}", found.camera));
    notes.push(format!("candidate {}", found.candidate));
    notes
}

/// The checks that failed and those that were not made.
fn of_checks(checks: &[Check]) -> Vec<String> {
    let mut notes = Vec::new();
    for (status, label) in [(CheckStatus::Fail, "failed"), (CheckStatus::NotChecked, "not checked")] {
        let which: Vec<String> = checks
            .iter()
            .filter(|c| c.status == status)
            .map(|c| match &c.reason {
                Some(reason) => format!("{} ({})", word(&c.name), word(reason)),
                None => word(&c.name),
            })
            .collect();
        if !which.is_empty() {
            notes.push(format!("{label}: {}", which.join(", ")));
        }
    }
    notes
}

fn of_equipment(read: &[EquipmentRead]) -> Option<String> {
    let words: Vec<_> = read.iter().map(|e| format!("{} {}", e.equipment, word(&e.movement))).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// A contract word (`not_checked`) of any of the event enums.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(s)) => s,
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_this_version_does_not_know_is_shown_as_it_came() {
        let data = json!({"outcome": "odd", "more": "x".repeat(500)});
        for kind in ["other.kind", "verify.result"] {
            let glance = of(kind, &data);
            assert_eq!((glance.head.as_str(), glance.notes[0].chars().count()), ("odd", RAW), "{kind}");
        }
    }
}

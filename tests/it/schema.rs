//! Integration tests of the event contract: schemas, AsyncAPI, reference pages.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use vigil::auth::jws;
use vigil::base::{Culprit, Error, Kind, Name, TimeQuality, TimeSource};
use vigil::config::CommandName;
use vigil::event::schema::{self, PAYLOADS, Payload};
use vigil::event::topic::Topics;
use vigil::event::{
    Act, Actuation, AlarmCode, AlarmState, AuditMark, Authority, Band, Birth, BirthCamera, BoxAlarm,
    BusHealth, CameraCondition, CameraHealth, CameraKind, CameraState, Candidate, CaptureFacts, Check,
    CheckName, CheckStatus, ChipChain, ChipChainReason, ChipChainStatus, ChipCom, ChipComStatus,
    ChipDataGroup, ChipDataGroupStatus, ChipIrregularity, ChipReport, ChipRevocation, ChipSignature,
    ChipSignatureStatus, ChipValidAt, CommandClaims, Comparison, ConfirmCommand, CotHealth,
    CredentialCommand, Diagnostics, Disclosed, DocumentCheck, DocumentCheckName, DocumentCommand,
    DocumentKind, DocumentReason, DocumentReport, DoorCondition, DoorHealth, DoorState, Draft, Envelope,
    EquipmentRead, EventKind, Examiner, GalleryChange, GalleryChanged, GalleryDone, GalleryPage,
    GalleryReason, GateDecision, GateOutcome, GatePassage, Health, IdentifyAnswer, IdentifyCommand,
    IdentifyOutcome, IdentifyResult, LocksHealth, Means, ModelRef, Movement, OutboxHealth, Outcome,
    PersonRef, PersonalText, PortraitSource, PortraitText, PromptsHealth, Purpose, ReadKind, ReadText,
    ReaderCheck, ReaderReport, ReaderVerdict, Reason, ReferenceFacts, Refusal, Reply, SPEC_VERSION,
    SearchHealth, SearchState, SearchTerms, Sex, State, Timing, Travel, VerifyCommand, VerifyMode,
    VerifyResult, Waiting, WatchCamera, WatchHealth, WatchSighting, Way, WhenIll,
};
use vigil::event::{
    Chip, ClassLikelihoods, CoverageFeature, CoverageGeometry, CoverageMap, CoverageProperties,
    DetectionState, DetectorName, Ellipse90, EndReason, Evidence, FeatureType, MissionView, Movement2d,
    PodClass, PoseInput, PoseInputs, Position, PositionMethod, Radiometry, SearchCoverage, SearchDetection,
    SearchTarget, TargetClass, ThermalPolarity,
};

/// Compares `text` with the file at `path` in the repository. `VIGIL_UPDATE_GOLDEN=1` writes the
/// file instead: read the difference before committing it.
pub(crate) fn golden(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("VIGIL_UPDATE_GOLDEN").is_some_and(|v| v == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    if golden != text {
        let n = golden.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
        panic!(
            "{path} differs from line {} on:\n  golden: {:?}\n  now:    {:?}\nIf this is meant: VIGIL_UPDATE_GOLDEN=1 cargo test --test it, and read the difference",
            n + 1,
            golden.lines().nth(n),
            text.lines().nth(n),
        );
    }
}

fn validator(schema: &Json) -> jsonschema::Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

fn schema_of(name: &str) -> Json {
    Payload::find(name).unwrap().json_schema()
}

#[test]
fn the_schemas_are_those_that_were_published() {
    for payload in &PAYLOADS {
        let path = format!("tests/it/golden/schema/{}.json", payload.name.replace('/', "."));
        golden(&path, &format!("{:#}\n", payload.json_schema()));
    }
    golden("tests/it/golden/schema/asyncapi.json", &format!("{:#}\n", schema::asyncapi()));
    golden("docs/reference/events.md", &schema::markdown());
}

#[test]
fn each_schema_is_json_schema_2020_12_and_knows_no_null() {
    for payload in &PAYLOADS {
        let schema = payload.json_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|e| panic!("{}: {e}", payload.name));
        validator(&schema);
        assert!(!schema.to_string().contains("\"null\""), "{}", payload.name);
    }
}

#[test]
fn there_is_a_payload_for_every_kind_and_topic() {
    let (site, name) = (Name::new("s").unwrap(), Name::new("b").unwrap());
    let topics = Topics::new(&site, &name);
    let camera = Name::new("c").unwrap();
    let mut real = vec![topics.state(), topics.birth(), topics.health(), topics.camera(&camera)];
    real.extend(EventKind::ALL.map(|k| topics.event(k)));
    real.push(topics.reply("x"));
    real.extend([topics.door(&camera), topics.actuate(&camera)]);
    real.extend(CommandName::ALL.map(|c| format!("{}/cmd/{c}", topics.base())));
    // The envelope around any of them.
    real.push(format!("{}/cmd/x", topics.base()));
    let mut documented: Vec<_> = schema::asyncapi()["channels"]
        .as_object()
        .unwrap()
        .values()
        .map(|c| {
            let address = c["address"].as_str().unwrap();
            let filled = [
                ("{site}", "s"),
                ("{box}", "b"),
                ("{camera}", "c"),
                ("{door}", "c"),
                ("{correlation}", "x"),
                ("{command}", "x"),
            ]
            .iter()
            .fold(address.to_owned(), |a, (from, to)| a.replace(from, to));
            assert!(!filled.contains('{'), "{filled}");
            filled
        })
        .collect();
    real.sort();
    documented.sort();
    assert_eq!(real, documented);
    for kind in EventKind::ALL {
        let payload = Payload::find(kind.as_str()).unwrap();
        assert_eq!((payload.kind, payload.retained, payload.qos), (Some(kind), false, 1));
    }
}

/// Every `$ref` of the AsyncAPI document leads somewhere, and every channel, message and schema is
/// used.
#[test]
fn the_asyncapi_document_holds_together() {
    fn references(value: &Json, out: &mut Vec<String>) {
        match value {
            Json::Object(map) => {
                if let Some(Json::String(r)) = map.get("$ref") {
                    out.push(r.clone());
                }
                map.values().for_each(|v| references(v, out));
            }
            Json::Array(items) => items.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }
    let document = schema::asyncapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for part in ["messages", "schemas"] {
        for name in document["components"][part].as_object().unwrap().keys() {
            let reference = format!("#/components/{part}/{name}");
            assert!(found.contains(&reference), "{reference} is not used");
        }
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        assert!(matches!(operation["action"].as_str(), Some("send" | "receive")), "{name}");
        let retained = operation["bindings"]["mqtt"]["retain"].as_bool().unwrap();
        let decides = ["Verify", "Gate", "Actuate"].iter().any(|w| name.contains(w));
        assert!(!(retained && decides), "{name}: a decision is never retained");
    }
}

fn claims() -> CommandClaims {
    CommandClaims {
        aud: "west-lake/desk-1".into(),
        cmd: "gallery/revoke".into(),
        ctr: 7,
        iat: 1_790_000_000,
        exp: None,
        boot: Some(Uuid::from_u128(7)),
        correlation: Some("c-1".into()),
        body: json!({ "person_ref": "a-1" }).as_object().unwrap().clone(),
    }
}

#[test]
fn a_signed_command_is_what_its_schema_says() {
    let claims = claims();
    let signed = jws::sign("hub-1", &jws::generate().unwrap(), &claims).unwrap();
    let schema = schema_of("signed");
    validator(&schema).validate(&serde_json::to_value(&signed).unwrap()).unwrap();
    let mut inner = schema["properties"]["payload"]["contentSchema"].clone();
    inner["$defs"] = schema["$defs"].clone();
    validator(&inner).validate(&serde_json::to_value(&claims).unwrap()).unwrap();
    validator(&schema_of("cmd/gallery/revoke")).validate(&json!(claims.body)).unwrap();
    assert!(
        validator(&inner).validate(&json!({ "aud": "west-lake", "cmd": "x", "ctr": 1, "iat": 1 })).is_err()
    );
    let error = Error::new(Kind::Refused, Culprit::Request, "no").remedy("do");
    let refused = serde_json::to_value(Reply::refused("c-1", &error, Refusal::Replayed)).unwrap();
    validator(&schema_of("reply")).validate(&refused).unwrap();
    assert_eq!(refused["error"]["reason"], "replayed");
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A document report with everything in it.
fn document() -> DocumentReport {
    let check = DocumentCheck::fail(DocumentCheckName::ChipDataGroup, DocumentReason::Altered).about("dg2");
    let reader = Examiner::Reader { name: "Reader 3000".into(), word: Some("GENUINE".into()) };
    DocumentReport {
        status: CheckStatus::Fail,
        kind: Some(DocumentKind::Passport),
        checks: vec![
            check,
            DocumentCheck { by: reader, ..DocumentCheck::pass(DocumentCheckName::Reader).about("uv") },
        ],
        chip: Some(ChipReport {
            signature: ChipSignature {
                status: ChipSignatureStatus::Valid,
                reason: None,
                detail: None,
                algorithm: Some("RSA 2048 SHA-256".into()),
            },
            chain: ChipChain {
                status: ChipChainStatus::UntrustedIssuer,
                reason: Some(ChipChainReason::IssuerUnknown),
                detail: None,
                valid_at: Some(ChipValidAt::SigningTime),
                revocation: ChipRevocation::NotChecked,
            },
            data_groups: vec![ChipDataGroup { number: 2, status: ChipDataGroupStatus::Altered }],
            com: ChipCom { status: ChipComStatus::Agrees, hidden: vec![], unsigned: vec![], detail: None },
            irregularities: vec![ChipIrregularity::TrailingBytes],
        }),
        link: Some("ab".repeat(32)),
        disclosed: Some(Disclosed {
            document_number: Some("C11T002JM".into()),
            birth_date: Some(jiff::civil::date(1964, 8, 12)),
            sex: Some(Sex::Female),
            age: Some(62),
            ..Disclosed::default()
        }),
    }
}

fn result() -> VerifyResult {
    VerifyResult {
        session: Uuid::from_u128(7),
        correlation: Some("walk-in-7".into()),
        mode: VerifyMode::Face,
        outcome: Outcome::Match,
        checks: vec![
            Check::not_checked(CheckName::Document, Reason::NotRequested),
            Check::pass(CheckName::ReferencePortrait),
            Check::fail(CheckName::FaceComparison, Reason::BelowThreshold),
        ],
        comparison: Some(Comparison {
            band: Band::Above,
            fmr: 1e-3,
            population: "all".into(),
            model: ModelRef { name: "sface".into(), sha256: "ab".repeat(32) },
            pictures: 2,
            diagnostics: Some(Diagnostics { score: 0.5, threshold: 0.4 }),
        }),
        capture: Some(CaptureFacts {
            camera: Name::new("desk").unwrap(),
            time_source: TimeSource::Camera,
            last_picture: Some(time("2026-03-01T12:00:00Z")),
            pictures: 2,
            skipped: 1,
        }),
        reference: Some(ReferenceFacts {
            source: PortraitSource::Chip,
            width: 358,
            height: 441,
            inter_ocular_px: Some(90),
        }),
        document: Some(document()),
        timing: Timing { elapsed_ms: 210, deadline_ms: 3000 },
    }
}

fn decision() -> GateDecision {
    let VerifyResult { comparison, capture, timing, .. } = result();
    GateDecision {
        session: Uuid::from_u128(9),
        correlation: Some("r-1".into()),
        door: Name::new("north").unwrap(),
        direction: Way::Out,
        credential: ReadKind::Card,
        means: Means::CredentialAndFace,
        person_ref: Some("t-1".into()),
        outcome: GateOutcome::Denied,
        reason: Some(Reason::PassedBack),
        checks: vec![
            Check::pass(CheckName::Credential),
            Check::fail(CheckName::PassBack, Reason::PassedBack),
        ],
        staff: Some("desk-7".into()),
        comparison,
        capture,
        equipment: vec![EquipmentRead {
            equipment: Name::new("drone-2").unwrap(),
            movement: Movement::TakenOut,
        }],
        unknown_tags: 1,
        timing,
    }
}

/// A detection with everything in it.
pub(crate) fn found(now: Timestamp) -> SearchDetection {
    SearchDetection {
        candidate: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_7f3a),
        state: DetectionState::Update,
        mission: Uuid::from_u128(13),
        camera: Name::new("drone").unwrap(),
        looked_for: SearchTarget::Person,
        is_target: true,
        class: TargetClass::Person,
        likelihoods: ClassLikelihoods { person: 0.9, vehicle: 0.01, animal: 0.06, warm_object: 0.03 },
        position: Position {
            lat: 30.25,
            lon: 120.15,
            hae_m: 21.5,
            ce90_m: 6.2,
            le90_m: 3.3,
            ellipse90: Ellipse90 { major_m: 7.0, minor_m: 4.0, azimuth_deg: 30.0 },
            method: PositionMethod::Flat,
            inputs_age_ms: 40,
        },
        inputs: PoseInputs { assumed: vec![PoseInput::FieldOfView], stale: vec![PoseInput::Height] },
        evidence: Evidence { something: 12.0, target: 9.0, threshold: 8.0, false_alarms_per_km2: 1.0 },
        first_seen: now,
        last_seen: now,
        views: 3,
        looks: 30,
        misses: 4,
        movement: Some(Movement2d { speed_mps: 1.1, speed_sigma_mps: 0.2, course_deg: 45.0 }),
        size_m: 0.9,
        radiometry: Radiometry::Radiometric,
        warmest_k: Some(301.0),
        polarity: Some(ThermalPolarity::WhiteHot),
        detectors: vec![DetectorName::Learned, DetectorName::Hotspot],
        models: vec![ModelRef { name: "thermal".into(), sha256: "ab".repeat(32) }],
        end: Some(EndReason::Merged),
        merged_into: Some(Uuid::from_u128(14)),
        chip: Some(Chip { media_type: "image/png".into(), data: "aGk=".into() }),
    }
}

pub(crate) fn searched(now: Timestamp) -> SearchCoverage {
    let ring = vec![[120.1, 30.2], [120.2, 30.2], [120.2, 30.3], [120.1, 30.2]];
    SearchCoverage {
        mission: Uuid::from_u128(13),
        looked_for: SearchTarget::Person,
        until: now,
        last: true,
        area_m2: Some(9000.0),
        seen_m2: 4500.0,
        searched_share: Some(0.5),
        mean_pod: 0.4,
        cell_m: 3.0,
        unmapped_m2: 0.0,
        map: CoverageMap {
            features: vec![CoverageFeature {
                ty: FeatureType::Feature,
                geometry: CoverageGeometry { coordinates: vec![vec![ring]], ..CoverageGeometry::default() },
                properties: CoverageProperties { class: PodClass::High, area_m2: 4500.0, mean_pod: 0.82 },
            }],
            ..CoverageMap::default()
        },
    }
}

fn identified() -> IdentifyResult {
    IdentifyResult {
        session: Uuid::from_u128(8),
        correlation: Some("lost-papers-3".into()),
        outcome: IdentifyOutcome::Confirmed,
        checks: vec![Check::pass(CheckName::GallerySearch), Check::pass(CheckName::StaffConfirmation)],
        purposes: vec![Purpose::Guest],
        terms: Some(SearchTerms { searched: 900, fpir: 0.01, fmr: 1.1e-5, population: "all".into() }),
        candidates: 1,
        confirmed: Some(Candidate {
            person_ref: PersonRef::new("guest-3").unwrap(),
            entry: Uuid::from_u128(9),
            purpose: Purpose::Guest,
            band: Band::Above,
        }),
        decided_by: Some("reception".into()),
        decide_by: Some(time("2026-03-01T12:02:00Z")),
        capture: result().capture,
        timing: Some(Timing { elapsed_ms: 300, deadline_ms: 3000 }),
    }
}

/// The hub hears of nobody whom no clerk has confirmed: the event has no place for it.
#[test]
fn candidates_are_for_the_desk_alone() {
    let schema = schema_of("identify.result");
    let data = schema.pointer("/$defs/IdentifyResult/properties").unwrap().as_object().unwrap();
    assert_eq!(data["candidates"]["type"], "integer");
    let candidate = schema.pointer("/$defs/Candidate/properties").unwrap().as_object().unwrap();
    assert_eq!(candidate.keys().collect::<Vec<_>>(), ["person_ref", "entry", "purpose", "band"]);
    let answer =
        IdentifyAnswer { result: identified(), candidates: identified().confirmed.into_iter().collect() };
    assert!(serde_json::to_value(answer).unwrap()["candidates"][0]["person_ref"].is_string());
}

/// An event of a kind, as it is decided.
pub(crate) fn draft(kind: EventKind) -> Draft {
    let now = time("2026-03-01T12:00:00.25Z");
    match kind {
        EventKind::VerifyResult => {
            Draft::verify_result(&result(), now, time("2026-03-01T12:00:10Z")).unwrap()
        }
        EventKind::BoxAlarm => {
            let alarm = BoxAlarm {
                code: AlarmCode::CameraLost,
                state: AlarmState::Raised,
                about: Some("desk".into()),
                message: "camera desk: connection refused".into(),
            };
            Draft::box_alarm(&alarm, now).unwrap()
        }
        EventKind::GateDecision => {
            Draft::gate_decision(&decision(), now, time("2026-03-01T12:00:03Z")).unwrap()
        }
        EventKind::GatePassage => {
            let GateDecision { session, door, direction, person_ref, equipment, .. } = decision();
            let passage = GatePassage {
                session: Some(session),
                door,
                direction,
                person_ref,
                checks: vec![Check::fail(CheckName::Tailgating, Reason::FollowedClosely)],
                equipment,
                unknown_tags: 0,
            };
            Draft::gate_passage(&passage, now).unwrap()
        }
        EventKind::GalleryChanged => {
            let change = GalleryChanged {
                change: GalleryChange::Enrolled,
                person_ref: Some(PersonRef::new("tenant-17").unwrap()),
                entry: Some(Uuid::from_u128(9)),
                purpose: Some(Purpose::Tenant),
                by: "hub:hub-1".into(),
                entries: 17,
                audit: AuditMark { seq: 40, sha256: "ab".repeat(32) },
            };
            Draft::gallery_changed(&change, now).unwrap()
        }
        EventKind::IdentifyResult => Draft::identify_result(&identified(), now).unwrap(),
        EventKind::WatchSighting => {
            let sighting = WatchSighting {
                sighting: Uuid::from_u128(11),
                camera: Name::new("hall").unwrap(),
                first_seen: now,
                last_seen: now,
                time_source: TimeSource::Arrival,
                travel: Travel::Left,
                person_ref: PersonRef::new("m-3").unwrap(),
                entry: Uuid::from_u128(12),
                authority_ref: "police/2026-7".to_owned().try_into().unwrap(),
                authority: Authority::new("West Lake police, desk 4").unwrap(),
                band: Band::Near,
                terms: SearchTerms { searched: 2, fpir: 0.00125, fmr: 6.3e-4, population: "all".into() },
                false_sightings_per_day: 1.0,
                pictures: 4,
                model: ModelRef { name: "sface".into(), sha256: "ab".repeat(32) },
            };
            Draft::watch_sighting(&sighting, now).unwrap()
        }
        EventKind::SearchDetection => Draft::search_detection(&found(now), now).unwrap(),
        EventKind::SearchCoverage => Draft::search_coverage(&searched(now), now).unwrap(),
    }
}

fn envelope(kind: EventKind) -> Json {
    let draft = draft(kind);
    serde_json::to_value(Envelope {
        specversion: SPEC_VERSION.into(),
        id: Uuid::from_u128(1),
        source: "/vigil/v1/west-lake/desk-1".into(),
        ty: kind.cloud_event_type(),
        subject: draft.subject,
        time: draft.time,
        datacontenttype: "application/json".into(),
        seq: 1,
        bootid: Uuid::from_u128(2),
        timequality: TimeQuality::Synced,
        replayed: false,
        notafter: draft.not_after,
        data: draft.data,
    })
    .unwrap()
}

/// One sample per payload, made by the types that the daemon sends.
fn sample(name: &str) -> Json {
    let (boot, now) = (Uuid::from_u128(2), time("2026-03-01T12:00:00Z"));
    let camera = Name::new("desk").unwrap();
    match name {
        "verify.result" => envelope(EventKind::VerifyResult),
        "box.alarm" => envelope(EventKind::BoxAlarm),
        "gate.decision" => envelope(EventKind::GateDecision),
        "gate.passage" => envelope(EventKind::GatePassage),
        "door" => serde_json::to_value(DoorState {
            door: Name::new("north").unwrap(),
            state: DoorCondition::Ready,
            since: now,
            reason: Some("the camera is lost".into()),
            when_ill: WhenIll::Locked,
            waiting: vec![Waiting { session: Uuid::from_u128(9), until: now }],
        })
        .unwrap(),
        "door/actuate" => serde_json::to_value(Actuation {
            door: Name::new("north").unwrap(),
            act: Act::Unlock,
            notafter: now,
            event: Some(Uuid::from_u128(1)),
            session: Some(Uuid::from_u128(9)),
        })
        .unwrap(),
        "cmd/credential" => serde_json::to_value(CredentialCommand {
            correlation: Some("r-1".into()),
            door: Name::new("north").unwrap(),
            kind: ReadKind::Fingerprint,
            value: Some(ReadText::new("17")),
            verdict: Some(ReaderVerdict::NoMatch),
            declines_camera: false,
        })
        .unwrap(),
        "cmd/confirm" => serde_json::to_value(ConfirmCommand {
            correlation: Some("r-2".into()),
            session: Uuid::from_u128(9),
            admit: true,
            staff: "desk-7".into(),
        })
        .unwrap(),
        "gallery.changed" => envelope(EventKind::GalleryChanged),
        "identify.result" => envelope(EventKind::IdentifyResult),
        "watch.sighting" => envelope(EventKind::WatchSighting),
        "search.detection" => envelope(EventKind::SearchDetection),
        "search.coverage" => envelope(EventKind::SearchCoverage),
        "cmd/mission/start" => json!({
            "correlation": "m-1",
            "name": "North field",
            "area": { "type": "Polygon", "coordinates": [[[120.1, 30.2], [120.2, 30.2], [120.2, 30.3], [120.1, 30.2]]] },
            "target": "any",
            "start_point": [120.1, 30.2],
            "vegetation": "scrub"
        }),
        "cmd/mission/stop" => json!({ "correlation": "m-2", "mission": Uuid::from_u128(7) }),
        "cmd/identify" => serde_json::to_value(IdentifyCommand {
            correlation: Some("lost-3".into()),
            camera: Some(camera),
            purposes: Some(vec![Purpose::Guest]),
            deadline_ms: Some(4000),
            presentation: Some(false),
        })
        .unwrap(),
        "state" => serde_json::to_value(State::last_will(boot, now)).unwrap(),
        "birth" => serde_json::to_value(Birth {
            software: "0.1.0".into(),
            schema: "vigil/v1".into(),
            bootid: boot,
            time: now,
            timequality: TimeQuality::Holdover,
            first_seq: 1,
            cameras: vec![BirthCamera { name: camera, kind: CameraKind::Rtsp }],
            models: vec![ModelRef { name: "yunet".into(), sha256: "cd".repeat(32) }],
        })
        .unwrap(),
        "health" => serde_json::to_value(Health {
            time: now,
            timequality: TimeQuality::Synced,
            bootid: boot,
            uptime_s: 30,
            cameras: vec![CameraHealth {
                name: camera,
                state: CameraCondition::Live,
                since: Timestamp::UNIX_EPOCH,
                reason: None,
                frame_age_ms: Some(12),
                fps: 24.9,
                time_source: Some(TimeSource::Arrival),
                frames: 740,
                reconnects: 0,
                drops: [("superseded".to_owned(), 3)].into(),
            }],
            outbox: OutboxHealth {
                recorded: 0,
                acknowledged: 0,
                not_ready: None,
                depth: 0,
                oldest_age_s: None,
                bytes: 4096,
                free_disk_bytes: Some(1 << 30),
            },
            bus: BusHealth {
                connected: true,
                since: Timestamp::UNIX_EPOCH,
                reason: None,
                connects: 1,
                in_flight: 0,
                resent: 0,
            },
            doors: vec![DoorHealth {
                name: Name::new("north").unwrap(),
                state: DoorCondition::Ill,
                since: now,
                reason: Some("desk is lost".into()),
                when_ill: WhenIll::Unlocked,
                waiting: vec![Waiting { session: Uuid::from_u128(9), until: now }],
                granted: 2,
                denied: 1,
                troubles: vec!["lock: not connected yet".into()],
            }],
            locks: Some(LocksHealth { said: 2, late: 1, dropped: 0, unknown: 0 }),
            prompts: Some(PromptsHealth { said: 3, dropped: 0, missing: 1 }),
            watch: Some(WatchHealth {
                purpose: Purpose::MissingPerson,
                authority: Authority::new("West Lake police, desk 4").unwrap(),
                missing: 1,
                passages_24h: 120,
                passages_expected: 400,
                cameras: vec![WatchCamera {
                    camera: Name::new("hall").unwrap(),
                    watching: true,
                    reason: Some("the calibration is too small".into()),
                    pictures: 9000,
                    passages: 120,
                    sightings: 1,
                    unrecorded: 0,
                }],
            }),
            identify_waiting: Some(1),
            search: Some(SearchHealth {
                state: SearchState::Blind,
                reason: Some("the drone does not say its height".into()),
                mission: Some(MissionView {
                    mission: Uuid::from_u128(13),
                    name: Some("North field".into()),
                    target: SearchTarget::Person,
                    started: now,
                    stopped: None,
                    area_m2: Some(9000.0),
                    targets: 1,
                    others: 2,
                }),
                telemetry_age_ms: Some(90),
                frames: 900,
                looks: 850,
                repeated: 20,
                unplaced: 30,
                not_kept: Some("no space left".into()),
                cot: vec![CotHealth {
                    url: "udp://239.2.3.1:6969".into(),
                    sent: 12,
                    dropped: 1,
                    trouble: Some("network is unreachable".into()),
                }],
            }),
            rss_bytes: Some(90 << 20),
        })
        .unwrap(),
        "camera" => serde_json::to_value(CameraState {
            camera,
            state: CameraCondition::Stalled,
            since: now,
            reason: Some("no new picture for 2000 ms".into()),
        })
        .unwrap(),
        "cmd/verify" => serde_json::to_value(VerifyCommand {
            correlation: Some("walk-in-7".into()),
            mode: VerifyMode::Face,
            portrait: Some(PortraitText::new("/9j/4AAQ")),
            document: Some(DocumentCommand {
                number: Some(PersonalText::new("C11T002JM")),
                files: [("dg1".to_owned(), PortraitText::new("YQA="))].into(),
                reader: Some(ReaderReport {
                    name: "Reader 3000".into(),
                    checks: vec![ReaderCheck {
                        name: "uv".into(),
                        status: CheckStatus::Pass,
                        word: Some("OK".into()),
                    }],
                }),
                ..DocumentCommand::default()
            }),
            camera: Some(camera),
            deadline_ms: Some(2000),
            presentation: Some(true),
        })
        .unwrap(),
        "cmd/gallery/put" => json!({
            "terms": {
                "person_ref": "tenant-17", "purpose": "tenant", "basis": { "consent": "lease/17" },
                "valid_from": now, "valid_until": now, "hours": ["mon-fri 07:00-19:00"], "language": "zh",
                "credentials": [{ "kind": "card", "value": "04A1B2C3" }],
            },
            "photos": ["/9j/4AAQ"],
            "distinct_from": ["tenant-18"],
        }),
        "cmd/gallery/revoke" => json!({
            "person_ref": "tenant-17", "keep_record": true,
            "credential": { "kind": "card", "value": "04A1B2C3" },
        }),
        "cmd/gallery/list" => json!({ "purpose": "tenant", "after": "tenant-17", "limit": 10 }),
        "signed" => {
            let key = jws::generate().unwrap();
            serde_json::to_value(jws::sign("hub-1", &key, &claims()).unwrap()).unwrap()
        }
        "reply" => {
            let refused =
                Error::new(Kind::TooLarge, Culprit::Request, "the portrait is too large").remedy("send less");
            let mut reply = Reply::unrecorded("walk-in-7", result(), &refused);
            reply.gallery = Some(GalleryDone {
                change: None,
                entry: None,
                refused: Some(GalleryReason::TooDark),
                repeated: false,
            });
            reply.page = Some(GalleryPage { entries: vec![], total: 0, more: false });
            reply.mission = Some(MissionView {
                mission: Uuid::from_u128(13),
                name: Some("North field".into()),
                target: SearchTarget::Person,
                started: now,
                stopped: Some(now),
                area_m2: Some(9000.0),
                targets: 1,
                others: 2,
            });
            serde_json::to_value(reply).unwrap()
        }
        other => panic!("no sample of {other}"),
    }
}

#[test]
fn what_the_daemon_sends_fits_the_schema() {
    for payload in &PAYLOADS {
        let sample = sample(payload.name);
        let validator = validator(&payload.json_schema());
        let faults: Vec<_> = validator.iter_errors(&sample).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}\n{sample:#}", payload.name);
    }
    // A reply carries a whole event.
    let event: Envelope = serde_json::from_value(envelope(EventKind::VerifyResult)).unwrap();
    let reply = serde_json::to_value(Reply::event("walk-in-7", event)).unwrap();
    assert!(validator(&schema_of("reply")).is_valid(&reply));
    for command in [json!({ "mode": "document_only" }), json!({ "portrait": "AAAA" })] {
        assert!(validator(&schema_of("cmd/verify")).is_valid(&command), "{command}");
        serde_json::from_value::<VerifyCommand>(command).unwrap();
    }
}

/// The samples fill every key that the schema has: an optional key that no sample carries would be
/// described and never tested.
#[test]
fn the_samples_leave_no_key_out() {
    for payload in &PAYLOADS {
        let (schema, sample) = (payload.json_schema(), sample(payload.name));
        for key in schema["properties"].as_object().unwrap().keys() {
            let may_lack = payload.name == "reply" && key == "event";
            assert!(sample.get(key).is_some() || may_lack, "{}: {key}", payload.name);
        }
    }
}

/// A change to a sample: what it breaks, and how.
type Spoiler = (&'static str, &'static str, fn(&mut Json));

#[test]
fn what_breaks_the_contract_does_not_fit_the_schema() {
    fn without(v: &mut Json, key: &str) {
        v.as_object_mut().unwrap().remove(key).unwrap();
    }
    let spoilers: [Spoiler; 24] = [
        ("verify.result", "no id", |v| without(v, "id")),
        ("verify.result", "no notafter", |v| without(v, "notafter")),
        ("verify.result", "no replayed", |v| without(v, "replayed")),
        ("verify.result", "no checks", |v| without(&mut v["data"], "checks")),
        ("verify.result", "another kind's type", |v| v["type"] = json!("vigil.v1.box.alarm")),
        ("verify.result", "another kind's data", |v| {
            v["data"] = envelope(EventKind::BoxAlarm)["data"].take()
        }),
        ("verify.result", "another specversion", |v| v["specversion"] = json!("0.3")),
        ("verify.result", "a foreign source", |v| v["source"] = json!("/vigil/v2/a/b")),
        ("verify.result", "seq from zero", |v| v["seq"] = json!(0)),
        ("verify.result", "a negative seq", |v| v["seq"] = json!(-1)),
        ("verify.result", "a local time", |v| v["time"] = json!("yesterday")),
        ("verify.result", "an id that is none", |v| v["id"] = json!("7")),
        ("verify.result", "an unknown outcome", |v| v["data"]["outcome"] = json!("maybe")),
        ("verify.result", "an unknown check status", |v| v["data"]["checks"][0]["status"] = json!("passed")),
        ("verify.result", "a null", |v| v["data"]["comparison"] = Json::Null),
        ("verify.result", "replayed as a word", |v| v["replayed"] = json!("no")),
        ("box.alarm", "no message", |v| without(&mut v["data"], "message")),
        ("state", "a third state", |v| v["state"] = json!("asleep")),
        ("health", "a negative depth", |v| v["outbox"]["depth"] = json!(-1)),
        ("camera", "a name with a slash", |v| v["camera"] = json!("a/b")),
        ("camera", "no since", |v| without(v, "since")),
        ("cmd/verify", "a key nobody reads", |v| v["presentaton"] = json!(true)),
        ("cmd/verify", "a correlation that leaves its topic", |v| v["correlation"] = json!("a/b")),
        ("reply", "no status", |v| without(v, "status")),
    ];
    for (name, what, spoil) in spoilers {
        let mut value = sample(name);
        let validator = validator(&schema_of(name));
        assert!(validator.is_valid(&value));
        spoil(&mut value);
        assert!(!validator.is_valid(&value), "{name} with {what} was accepted");
    }
}

/// Unknown keys of a command are refused by the type as by the schema, and a portrait is not
/// printed.
#[test]
fn the_command_type_and_its_schema_agree() {
    let mut command = sample("cmd/verify");
    let read: VerifyCommand = serde_json::from_value(command.clone()).unwrap();
    assert!(!format!("{read:?}").contains("/9j/"), "{read:?}");
    command["presentaton"] = json!(true);
    assert!(serde_json::from_value::<VerifyCommand>(command).is_err());
}

#[test]
fn the_reference_page_names_every_key() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/events.md"))
            .unwrap();
    fn keys(schema: &Json, out: &mut Vec<String>) {
        if let Json::Object(map) = schema {
            // A property may itself be called so, as in GeoJSON.
            if let Some(Json::Object(properties)) = map.get("properties")
                && map.get("type").is_some_and(Json::is_string)
            {
                out.extend(properties.keys().cloned());
            }
            if let Some(Json::String(value)) = map.get("const") {
                out.push(value.clone());
            }
            map.values().for_each(|v| keys(v, out));
        } else if let Json::Array(items) = schema {
            items.iter().for_each(|v| keys(v, out));
        }
    }
    for payload in &PAYLOADS {
        assert!(page.contains(&format!("## {}\n", payload.name)), "{}", payload.name);
        let mut names = Vec::new();
        keys(&payload.json_schema(), &mut names);
        assert!(names.len() > 1);
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "{}: `{name}` is not on the page", payload.name);
        }
    }
}

#[test]
fn the_command_line_prints_what_the_library_makes() {
    let run = |args: &[&str]| {
        let output =
            assert_cmd::Command::cargo_bin("vigil").unwrap().arg("schema").args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |args: &[&str]| serde_json::from_str::<Json>(&run(args)).unwrap();
    assert_eq!(json(&["--kind", "verify.result"]), schema_of("verify.result"));
    assert_eq!(json(&["--asyncapi"]), schema::asyncapi());
    assert_eq!(json(&["--config"]), *vigil::config::reference::schema());
    assert_eq!(json(&[]).as_object().unwrap().len(), PAYLOADS.len());
    assert_eq!(run(&["--markdown"]), schema::markdown());
    let dir = tempfile::tempdir().unwrap();
    run(&["--out", dir.path().join("new").to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(dir.path().join("new")).unwrap().count(), PAYLOADS.len() + 2);
    let wrong =
        assert_cmd::Command::cargo_bin("vigil").unwrap().args(["schema", "--kind", "x"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}

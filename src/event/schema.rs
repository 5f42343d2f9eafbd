//! The contract as documents: JSON Schema 2020-12 of every payload, an AsyncAPI 3.0 document of
//! the topics, and the reference page. All are made from the types.
//!
//! Consumers ignore keys that they do not know: new ones may appear under `vigil/v1`. A key that
//! disappears or changes its meaning is a new root.

use std::fmt::Write;

use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value as Json, json};

use super::topic::ROOT;
use super::{
    Actuation, Birth, BoxAlarm, CameraState, CommandClaims, ConfirmCommand, CredentialCommand, DoorState,
    Envelope, EventKind, GalleryChanged, GalleryList, GalleryPut, GalleryRevoke, GateDecision, GatePassage,
    Health, IdentifyCommand, IdentifyResult, MissionStart, MissionStop, Reply, SPEC_VERSION, SearchCoverage,
    SearchDetection, SignedCommand, State, VerifyCommand, VerifyResult, WatchSighting,
};
use crate::base::{Culprit, Error, Kind, Result};

/// Who publishes a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The box.
    FromBox,
    /// Whoever commands it.
    ToBox,
}

/// One payload of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Its name for `vigil schema --kind`: an event's kind, or the topic below the box.
    pub name: &'static str,
    /// The topic below `vigil/v1/{site}/{box}/`.
    pub topic: &'static str,
    /// Who publishes it.
    pub direction: Direction,
    /// Whether the broker keeps the last one.
    pub retained: bool,
    /// Quality of service it is published with.
    pub qos: u8,
    /// What it is, one sentence.
    pub summary: &'static str,
    /// The event's kind, if it is an event.
    pub kind: Option<EventKind>,
    /// Name of the type in the documents.
    type_name: &'static str,
    make: fn(&mut SchemaGenerator) -> Schema,
}

/// Every payload.
pub const PAYLOADS: [Payload; 26] = [
    Payload {
        name: "verify.result",
        topic: "event/verify.result",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "A live face was compared with the portrait of a document.",
        kind: Some(EventKind::VerifyResult),
        type_name: "VerifyResultEvent",
        make: |g| event(g, EventKind::VerifyResult),
    },
    Payload {
        name: "box.alarm",
        topic: "event/box.alarm",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "Something about the box itself needs a person.",
        kind: Some(EventKind::BoxAlarm),
        type_name: "BoxAlarmEvent",
        make: |g| event(g, EventKind::BoxAlarm),
    },
    Payload {
        name: "gate.decision",
        topic: "event/gate.decision",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "A door may open, or may not.",
        kind: Some(EventKind::GateDecision),
        type_name: "GateDecisionEvent",
        make: |g| event(g, EventKind::GateDecision),
    },
    Payload {
        name: "gate.passage",
        topic: "event/gate.passage",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "What happened at a door after it was opened, or without anybody asking.",
        kind: Some(EventKind::GatePassage),
        type_name: "GatePassageEvent",
        make: |g| event(g, EventKind::GatePassage),
    },
    Payload {
        name: "gallery.changed",
        topic: "event/gallery.changed",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "Who is in the gallery changed.",
        kind: Some(EventKind::GalleryChanged),
        type_name: "GalleryChangedEvent",
        make: |g| event(g, EventKind::GalleryChanged),
    },
    Payload {
        name: "identify.result",
        topic: "event/identify.result",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "A guest without papers was looked up in the gallery, or a clerk decided about it.",
        kind: Some(EventKind::IdentifyResult),
        type_name: "IdentifyResultEvent",
        make: |g| event(g, EventKind::IdentifyResult),
    },
    Payload {
        name: "watch.sighting",
        topic: "event/watch.sighting",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "Somebody who passed a watched camera is like a missing person.",
        kind: Some(EventKind::WatchSighting),
        type_name: "WatchSightingEvent",
        make: |g| event(g, EventKind::WatchSighting),
    },
    Payload {
        name: "search.detection",
        topic: "event/search.detection",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "Something warm lies or walks on the ground.",
        kind: Some(EventKind::SearchDetection),
        type_name: "SearchDetectionEvent",
        make: |g| event(g, EventKind::SearchDetection),
    },
    Payload {
        name: "search.coverage",
        topic: "event/search.coverage",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "Which ground was looked at, and how well.",
        kind: Some(EventKind::SearchCoverage),
        type_name: "SearchCoverageEvent",
        make: |g| event(g, EventKind::SearchCoverage),
    },
    Payload {
        name: "state",
        topic: "state",
        direction: Direction::FromBox,
        retained: true,
        qos: 1,
        summary: "Whether the box is connected; its last will.",
        kind: None,
        type_name: "State",
        make: State::json_schema,
    },
    Payload {
        name: "birth",
        topic: "birth",
        direction: Direction::FromBox,
        retained: true,
        qos: 1,
        summary: "What the box is: software, cameras, models, first sequence number.",
        kind: None,
        type_name: "Birth",
        make: Birth::json_schema,
    },
    Payload {
        name: "health",
        topic: "health",
        direction: Direction::FromBox,
        retained: true,
        qos: 0,
        summary: "How the box is, every 30 s.",
        kind: None,
        type_name: "Health",
        make: Health::json_schema,
    },
    Payload {
        name: "camera",
        topic: "camera/{camera}",
        direction: Direction::FromBox,
        retained: true,
        qos: 1,
        summary: "How one camera is, on every change.",
        kind: None,
        type_name: "CameraState",
        make: CameraState::json_schema,
    },
    Payload {
        name: "door",
        topic: "door/{door}",
        direction: Direction::FromBox,
        retained: true,
        qos: 1,
        summary: "How one door is, on every change.",
        kind: None,
        type_name: "DoorState",
        make: DoorState::json_schema,
    },
    Payload {
        name: "door/actuate",
        topic: "door/{door}/actuate",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "What the lock of a door is told.",
        kind: None,
        type_name: "Actuation",
        make: Actuation::json_schema,
    },
    Payload {
        name: "cmd/verify",
        topic: "cmd/verify",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Compare the guest in front of a camera with a portrait.",
        kind: None,
        type_name: "VerifyCommand",
        make: VerifyCommand::json_schema,
    },
    Payload {
        name: "cmd/credential",
        topic: "cmd/credential",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Something was read at a door.",
        kind: None,
        type_name: "CredentialCommand",
        make: CredentialCommand::json_schema,
    },
    Payload {
        name: "cmd/confirm",
        topic: "cmd/confirm",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Staff decide about a person who declined the camera.",
        kind: None,
        type_name: "ConfirmCommand",
        make: ConfirmCommand::json_schema,
    },
    Payload {
        name: "cmd/identify",
        topic: "cmd/identify",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Look up the guest in front of a camera, who has no papers.",
        kind: None,
        type_name: "IdentifyCommand",
        make: IdentifyCommand::json_schema,
    },
    Payload {
        name: "cmd/gallery/put",
        topic: "cmd/gallery/put",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Enrol a person; the `body` of a signed command.",
        kind: None,
        type_name: "GalleryPut",
        make: GalleryPut::json_schema,
    },
    Payload {
        name: "cmd/gallery/revoke",
        topic: "cmd/gallery/revoke",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "End a person's entry or one credential of it; the `body` of a signed command.",
        kind: None,
        type_name: "GalleryRevoke",
        make: GalleryRevoke::json_schema,
    },
    Payload {
        name: "cmd/gallery/list",
        topic: "cmd/gallery/list",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "List who is enrolled; the `body` of a signed command.",
        kind: None,
        type_name: "GalleryList",
        make: GalleryList::json_schema,
    },
    Payload {
        name: "cmd/mission/start",
        topic: "cmd/mission/start",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "Begin a search from the air; the `body` of a signed command.",
        kind: None,
        type_name: "MissionStart",
        make: MissionStart::json_schema,
    },
    Payload {
        name: "cmd/mission/stop",
        topic: "cmd/mission/stop",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "End it; the `body` of a signed command.",
        kind: None,
        type_name: "MissionStop",
        make: MissionStop::json_schema,
    },
    Payload {
        name: "signed",
        topic: "cmd/{command}",
        direction: Direction::ToBox,
        retained: false,
        qos: 1,
        summary: "The envelope around any command that must be signed: all but those of `hub.open`.",
        kind: None,
        type_name: "SignedCommand",
        make: signed,
    },
    Payload {
        name: "reply",
        topic: "reply/{correlation}",
        direction: Direction::FromBox,
        retained: false,
        qos: 1,
        summary: "How a command went.",
        kind: None,
        type_name: "Reply",
        make: Reply::json_schema,
    },
];

impl Payload {
    /// The payload of that name.
    pub fn find(name: &str) -> Result<&'static Self> {
        PAYLOADS.iter().find(|p| p.name == name).ok_or_else(|| {
            let known: Vec<_> = PAYLOADS.iter().map(|p| p.name).collect();
            Error::new(Kind::Usage, Culprit::Request, format!("{name:?} is not a payload of the contract"))
                .remedy(format!("known: {}", known.join(", ")))
        })
    }

    /// A command may leave out what has a default; what the box says is complete.
    fn generator(&self, settings: SchemaSettings) -> SchemaGenerator {
        let contract = match self.direction {
            Direction::FromBox => Contract::Serialize,
            Direction::ToBox => Contract::Deserialize,
        };
        settings.with(|s| s.contract = contract).into_generator()
    }

    /// JSON Schema 2020-12, complete in itself.
    pub fn json_schema(&self) -> Json {
        let mut generator = self.generator(SchemaSettings::draft2020_12());
        let mut schema = (self.make)(&mut generator).to_value();
        let mut definitions = Json::Object(generator.take_definitions(true));
        tidy(&mut schema);
        tidy(&mut definitions);
        let mut out = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": format!("urn:vigil:v1:{}", self.name.replace('/', ":")),
            "title": self.type_name,
        });
        if let (Some(out), Json::Object(schema), Json::Object(definitions)) =
            (out.as_object_mut(), schema, definitions)
        {
            out.extend(schema.into_iter().filter(|(key, _)| key != "title"));
            if !definitions.is_empty() {
                out.insert("$defs".into(), Json::Object(definitions));
            }
        }
        out
    }
}

/// The envelope, narrowed to one kind: its `type`, its `data`, and whether it has `notafter`.
fn event(generator: &mut SchemaGenerator, kind: EventKind) -> Schema {
    let data = match kind {
        EventKind::VerifyResult => generator.subschema_for::<VerifyResult>(),
        EventKind::BoxAlarm => generator.subschema_for::<BoxAlarm>(),
        EventKind::GateDecision => generator.subschema_for::<GateDecision>(),
        EventKind::GatePassage => generator.subschema_for::<GatePassage>(),
        EventKind::GalleryChanged => generator.subschema_for::<GalleryChanged>(),
        EventKind::IdentifyResult => generator.subschema_for::<IdentifyResult>(),
        EventKind::WatchSighting => generator.subschema_for::<WatchSighting>(),
        EventKind::SearchDetection => generator.subschema_for::<SearchDetection>(),
        EventKind::SearchCoverage => generator.subschema_for::<SearchCoverage>(),
    };
    let mut envelope = Envelope::json_schema(generator);
    let actuates = matches!(kind, EventKind::VerifyResult | EventKind::GateDecision);
    if let Some(required) = envelope.get_mut("required").and_then(Json::as_array_mut)
        && actuates
    {
        required.push("notafter".into());
    }
    if let Some(properties) = envelope.get_mut("properties").and_then(Json::as_object_mut) {
        if !actuates {
            properties.remove("notafter");
        }
        // A pseudonym is in the data alone.
        if matches!(kind, EventKind::GalleryChanged | EventKind::IdentifyResult) {
            properties.remove("subject");
        }
        let constants = [
            ("specversion", json!(SPEC_VERSION)),
            ("type", json!(kind.cloud_event_type())),
            ("datacontenttype", json!("application/json")),
        ];
        for (name, value) in constants {
            properties[name]["const"] = value;
        }
        properties["source"]["pattern"] = json!(format!("^/{ROOT}/[a-z0-9-]{{1,32}}/[a-z0-9-]{{1,32}}$"));
        properties["seq"]["minimum"] = json!(1);
        let description = properties["data"]["description"].take();
        properties["data"] = data.to_value();
        properties["data"]["description"] = description;
    }
    envelope
}

/// The envelope, with what its payload holds (JSON Schema 2020-12, Validation, section 8).
fn signed(generator: &mut SchemaGenerator) -> Schema {
    let claims = generator.subschema_for::<CommandClaims>();
    let mut schema = SignedCommand::json_schema(generator);
    if let Some(payload) = schema.get_mut("properties").and_then(|p| p.get_mut("payload")) {
        payload["contentEncoding"] = json!("base64url");
        payload["contentMediaType"] = json!("application/jwt");
        payload["contentSchema"] = claims.to_value();
    }
    schema
}

/// Nothing here is ever null: an absent value is an absent key.
fn tidy(value: &mut Json) {
    match value {
        Json::Object(map) => {
            if let Some(Json::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".into(), one);
                }
            }
            if let Some(Json::Array(several)) = map.get_mut("anyOf") {
                several.retain(|s| s["type"] != "null");
                if let [Json::Object(one)] = several.as_slice() {
                    let one = one.clone();
                    map.remove("anyOf");
                    for (key, value) in one {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            if map.get("default").is_some_and(Json::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(tidy);
        }
        Json::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The AsyncAPI 3.0 document, from the box's side: it sends events and receives commands.
pub fn asyncapi() -> Json {
    let mut schemas = Map::new();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for payload in &PAYLOADS {
        // AsyncAPI's own schema dialect is a superset of JSON Schema draft 7.
        let mut generator = payload.generator(SchemaSettings::draft07().with(|s| {
            s.definitions_path = "/components/schemas".into();
            s.meta_schema = None;
        }));
        let mut schema = (payload.make)(&mut generator);
        for transform in generator.transforms_mut() {
            transform.transform(&mut schema);
        }
        schemas.insert(payload.type_name.into(), schema.to_value());
        let id = identifier(payload.name);
        channels.insert(id.clone(), channel(payload));
        operations.insert(operation_name(payload), operation(payload));
        messages.insert(payload.type_name.into(), message(payload));
        for (name, definition) in generator.take_definitions(true) {
            schemas.entry(name).or_insert(definition);
        }
    }
    let mut schemas = Json::Object(schemas);
    // Draft 7 ignores what stands beside a reference, so schemars wraps it: that is kept.
    tidy(&mut schemas);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vigil",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a Vigil box says over MQTT and what it is told. Events are CloudEvents 1.0 in the structured JSON mode; they are published at least once, and a consumer removes duplicates by `id`. Consumers ignore keys they do not know. A breaking change is a new root instead of `vigil/v1`.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" }
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas }
    })
}

/// `cmd/verify` → `cmdVerify`: AsyncAPI identifiers have no dots and slashes.
fn identifier(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        } else {
            upper = true;
        }
    }
    out
}

fn operation_name(payload: &Payload) -> String {
    let id = identifier(payload.name);
    let mut chars = id.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    let verb = if payload.direction == Direction::FromBox { "send" } else { "receive" };
    format!("{verb}{first}{}", chars.as_str())
}

fn channel(payload: &Payload) -> Json {
    let mut parameters = json!({
        "site": { "description": "The site, `[a-z0-9-]{1,32}`." },
        "box": { "description": "The box within the site, `[a-z0-9-]{1,32}`." }
    });
    if payload.topic.contains("{camera}") {
        parameters["camera"] = json!({ "description": "The camera, `[a-z0-9-]{1,32}`." });
    }
    if payload.topic.contains("{door}") {
        parameters["door"] = json!({ "description": "The door, `[a-z0-9-]{1,32}`." });
    }
    if payload.topic.contains("{command}") {
        parameters["command"] = json!({ "description": "The command, `gallery/put`." });
    }
    if payload.topic.contains("{correlation}") {
        parameters["correlation"] =
            json!({ "description": "What the requester called the request, `[A-Za-z0-9_-]{1,64}`." });
    }
    let name = payload.type_name;
    json!({
        "address": format!("{ROOT}/{{site}}/{{box}}/{}", payload.topic),
        "description": payload.summary,
        "parameters": parameters,
        "messages": { name: { "$ref": format!("#/components/messages/{name}") } }
    })
}

fn operation(payload: &Payload) -> Json {
    let id = identifier(payload.name);
    let mut operation = json!({
        "action": if payload.direction == Direction::FromBox { "send" } else { "receive" },
        "summary": payload.summary,
        "channel": { "$ref": format!("#/channels/{id}") },
        "messages": [{ "$ref": format!("#/channels/{id}/messages/{}", payload.type_name) }],
        "bindings": { "mqtt": { "qos": payload.qos, "retain": payload.retained, "bindingVersion": "0.2.0" } }
    });
    if payload.direction == Direction::ToBox {
        operation["reply"] = json!({
            "channel": { "$ref": "#/channels/reply" },
            "messages": [{ "$ref": "#/channels/reply/messages/Reply" }]
        });
    }
    operation
}

fn message(payload: &Payload) -> Json {
    let content = if payload.kind.is_some() { "application/cloudevents+json" } else { "application/json" };
    let mut message = json!({
        "name": payload.type_name,
        "title": payload.name,
        "summary": payload.summary,
        "contentType": content,
        "payload": { "$ref": format!("#/components/schemas/{}", payload.type_name) }
    });
    if payload.direction == Direction::ToBox || payload.name == "reply" {
        message["correlationId"] = json!({
            "description": "Joins a reply to its command. With MQTT 5 also the correlation data property.",
            "location": "$message.payload#/correlation"
        });
    }
    message
}

/// The reference page, `docs/reference/events.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Topics, events and commands\n\n\
         <!-- Made by `vigil schema --markdown`; a test compares. -->\n\n\
         All topics lie below `vigil/v1/{site}/{box}/`. `vigil schema --kind NAME` prints the JSON Schema\n\
         of a payload, `vigil schema --asyncapi` the whole contract as an AsyncAPI 3.0 document.\n\n\
         An event is published at least once: remove duplicates by `id`. A gap in `seq` within one\n\
         `bootid` is a loss. After `notafter` an event actuates nothing, replayed or not, and no event is\n\
         ever retained. Ignore keys you do not know. A key that is absent has no value; nothing is null.\n\n\
         | name | topic | published by | QoS | retained | what |\n|---|---|---|---|---|---|\n",
    );
    for p in &PAYLOADS {
        let by = if p.direction == Direction::FromBox { "box" } else { "requester" };
        let retained = if p.retained { "yes" } else { "**no**" };
        let _ = writeln!(
            out,
            "| [{}](#{}) | `{}` | {by} | {} | {retained} | {} |",
            p.name,
            anchor(p.name),
            p.topic,
            p.qos,
            p.summary
        );
    }
    let mut types = Map::new();
    for p in &PAYLOADS {
        let schema = p.json_schema();
        let _ = writeln!(out, "\n## {}\n\nTopic `{}`. {}\n", p.name, p.topic, p.summary);
        fields(&mut out, &schema);
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            types.entry(name.clone()).or_insert_with(|| definition.clone());
        }
    }
    out.push_str("\n# Types\n");
    types.sort_keys();
    for (name, schema) in &types {
        let _ = writeln!(out, "\n## Type {name}\n\n{}\n", text(schema));
        if schema["properties"].is_object() {
            fields(&mut out, schema);
        } else if let Some(values) = schema["oneOf"].as_array() {
            out.push_str("| value | meaning |\n|---|---|\n");
            for value in values {
                // A variant that carries something is an object of that one key.
                let one = value["properties"].as_object().and_then(|p| p.iter().next());
                let _ = match (value["const"].as_str(), one) {
                    (Some(name), _) => writeln!(out, "| `{name}` | {} |", text(value)),
                    (None, Some((key, inner))) => {
                        writeln!(out, "| `{key}`: {} | {} |", value_kind(inner), text(value))
                    }
                    (None, None) => writeln!(out, "| {} | {} |", value_kind(value), text(value)),
                };
            }
        } else {
            let _ = writeln!(out, "{}.", value_kind(schema));
        }
    }
    out
}

fn fields(out: &mut String, schema: &Json) {
    out.push_str("| key | value | always | meaning |\n|---|---|---|---|\n");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let always = schema["required"].as_array().is_some_and(|r| r.iter().any(|k| k == key));
        let always = if always { "yes" } else { "" };
        let _ = writeln!(out, "| `{key}` | {} | {always} | {} |", value_kind(property), text(property));
    }
}

fn value_kind(schema: &Json) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#type-{})", anchor(name));
    }
    if let Some(constant) = schema["const"].as_str() {
        return format!("`{constant}`");
    }
    let format = schema["format"].as_str().unwrap_or_default();
    match schema["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", value_kind(&schema["items"])),
        "object" => format!("name → {}", value_kind(&schema["additionalProperties"])),
        "string" if format == "uuid" => "UUID".to_owned(),
        "string" if format == "date-time" => "time, RFC 3339".to_owned(),
        "string" => match schema["pattern"].as_str() {
            Some(pattern) => format!("text, `{pattern}`"),
            None => "text".to_owned(),
        },
        "integer" => "whole number".to_owned(),
        "number" => "number".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        _ => "JSON".to_owned(),
    }
}

fn text(schema: &Json) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn anchor(heading: &str) -> String {
    heading.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>().to_lowercase()
}

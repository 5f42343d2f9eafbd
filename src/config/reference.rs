//! The configuration described from its own types: one definition gives the checks, the JSON
//! Schema and the reference page.

use std::fmt::Write;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::Config;
use super::load::{choices, not_null, range_text, wanted_type};

/// JSON Schema 2020-12 of the configuration, every part written out where it is used.
pub fn schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.inline_subschemas = true;
        });
        let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
        schema["title"] = "vigil.toml".into();
        tidy(&mut schema);
        schema
    });
    &SCHEMA
}

/// Writes 32-bit numbers as a person would: 0.7 and not 0.699999988079071.
fn tidy(value: &mut Json) {
    match value {
        Json::Object(map) => {
            let float = map.get("format").and_then(Json::as_str) == Some("float");
            for (key, value) in map.iter_mut() {
                match value.as_f64() {
                    Some(n) if float && key == "default" => {
                        *value = (n as f32).to_string().parse::<f64>().map_or(Json::Null, Json::from);
                    }
                    _ => tidy(value),
                }
            }
            // Defaults of whole tables repeat the defaults of their keys.
            if map.get("default").is_some_and(|d| d.is_object() || d.is_array() || d.is_null()) {
                map.remove("default");
            }
        }
        Json::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The reference page, `docs/reference/config.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# vigil.toml\n\n\
         <!-- Made by `vigil schema --config --markdown`; a test compares. -->\n\n\
         Every key of the configuration. A key without a default must be there. Unknown keys, values\n\
         out of range and rules between keys are reported by `vigil check`, all of them at once, each\n\
         with its line; `vigil run` refuses to start on any of them (exit code 78). Relative paths\n\
         start at the file's own directory; `${CREDENTIALS_DIRECTORY}` at the start of a path is\n\
         systemd's directory of credentials. A file that holds a password must not be readable by\n\
         others.\n",
    );
    section(&mut out, "", schema());
    out
}

fn section(out: &mut String, path: &str, schema: &Json) {
    let schema = not_null(schema);
    let required = schema.get("required").and_then(Json::as_array);
    let empty = serde_json::Map::new();
    let keys = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
    let is_table = |s: &Json| wanted_type(not_null(s)) == "object";
    let tables_of = |s: &Json| s.get("items").is_some_and(is_table);
    let (tables, plain): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, s)| is_table(s) || tables_of(s));
    if !plain.is_empty() {
        out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    }
    for (key, schema) in plain {
        let required = required.is_some_and(|r| r.iter().any(|k| k == key));
        let default = match schema.get("default") {
            Some(value) => format!("`{}`", value.to_string().replace('|', "\\|")),
            None if required => "**required**".to_owned(),
            None => "none".to_owned(),
        };
        let kind = match (choices(not_null(schema)), wanted_type(not_null(schema))) {
            (Some(choices), _) => choices.iter().map(|c| format!("`\"{c}\"`")).collect::<Vec<_>>().join(", "),
            (None, "boolean") => "`true`, `false`".to_owned(),
            (None, "integer") => format!("whole number{}", range_text(not_null(schema))),
            (None, "number") => format!("number{}", range_text(not_null(schema))),
            (None, "array") => "list".to_owned(),
            (None, _) => match not_null(schema)["pattern"].as_str() {
                Some(pattern) => format!("text, `{pattern}`"),
                None => "text".to_owned(),
            },
        };
        let _ = writeln!(out, "| `{key}` | {kind} | {default} | {} |", description(schema));
    }
    for (key, schema) in tables {
        let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let several = schema.get("items");
        let heading = if several.is_some() { format!("[[{place}]]") } else { format!("[{place}]") };
        let may_be_absent = !required.is_some_and(|r| r.iter().any(|k| k == key));
        let most = schema.get("maxItems").map(|n| format!(" At most {n}.")).unwrap_or_default();
        let needed = if may_be_absent { "" } else { " Required." };
        let _ = writeln!(out, "\n## {heading}\n\n{}{most}{needed}", description(schema));
        section(out, &place, several.unwrap_or(schema));
    }
}

fn description(schema: &Json) -> String {
    let text = schema.get("description").or_else(|| not_null(schema).get("description"));
    let text = text.and_then(Json::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

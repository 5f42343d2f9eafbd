//! Integration tests of the configuration: what a file may say, and how a wrong one is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vigil::base::Kind;
use vigil::config::{self, Config, FalseMatchRate, Millis, Secret, SourceUrl};

use crate::schema::golden;

const MINIMAL: &str = "[box]\nsite = \"s\"\nname = \"b\"\n[mqtt]\nurl = \"mqtt://hub\"\n";

fn examples() -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn problems(text: &str) -> Vec<String> {
    match config::load_str(text, "v.toml") {
        Ok(_) => Vec::new(),
        Err(problems) => problems.list().iter().map(ToString::to_string).collect(),
    }
}

/// The one problem of [`MINIMAL`] with `more` behind it.
fn problem_of(more: &str) -> String {
    let mut found = problems(&format!("{MINIMAL}{more}"));
    assert_eq!(found.len(), 1, "{more}\n{found:#?}");
    found.remove(0)
}

#[test]
fn every_example_loads_and_there_is_one_per_kind_of_box() {
    let examples = examples();
    assert!(examples.len() >= 3);
    for (path, _) in &examples {
        Config::load(path).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A key that is commented out in an example must still be a key: the examples are what people
/// edit. Comment lines of the form `# key = value` are put in force one by one.
#[test]
fn what_the_examples_comment_out_exists() {
    let mut tried = 0;
    for (path, text) in examples() {
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let Some(rest) = line.strip_prefix("# ") else { continue };
            let is_key = rest
                .split_once(" = ")
                .is_some_and(|(k, _)| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            if !is_key {
                continue;
            }
            tried += 1;
            let key = rest.split(' ').next().unwrap();
            let edited: Vec<_> =
                lines.iter().enumerate().map(|(m, line)| if m == n { rest } else { line }).collect();
            if let Err(found) = config::load_str(&edited.join("\n"), "example.toml") {
                for p in found.list() {
                    // It may stand twice now, or belong with its neighbours; it must not be unknown.
                    assert!(!p.message.contains("unknown"), "{}: `{key}`: {p}", path.display());
                }
            }
        }
    }
    assert!(tried >= 10, "only {tried} commented keys found: the test looks past them");
}

#[test]
fn all_problems_are_reported_each_with_line_key_and_remedy() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config-wrong.toml"),
    )
    .unwrap();
    let found = config::load_str(&text, "vigil.toml").unwrap_err();
    golden("tests/it/golden/config-wrong.txt", &format!("{found}\n"));
    // The golden file cannot say that a line is right; the wrong file can: it marks each.
    for (n, line) in text.lines().enumerate() {
        let marked = line.contains("# wrong");
        let reported = found.list().iter().any(|p| p.line == n + 1);
        assert_eq!(marked, reported, "line {}: {line}", n + 1);
    }
    let error: vigil::base::Error = found.into();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Config, 78));
}

#[test]
fn the_defaults_are_those_the_reference_page_prints() {
    let config = config::load_str(MINIMAL, "v.toml").unwrap();
    assert_eq!(config.verify.deadline_ms, Millis(3000));
    assert_eq!(config.verify.fmr, FalseMatchRate::try_new(1e-3).unwrap());
    golden("docs/reference/config.md", &config::reference::markdown());
}

#[test]
fn every_number_has_a_range_and_every_key_a_description() {
    fn walk(schema: &serde_json::Value, path: &str, seen: &mut usize) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{path}.{key}");
            assert!(value["description"].as_str().is_some_and(|d| d.len() > 5), "{place}: no description");
            if value["type"] == "integer" || value["type"] == "number" {
                *seen += 1;
                assert!(value["minimum"].is_number() && value["maximum"].is_number(), "{place}: no range");
            }
            walk(value, &place, seen);
            walk(&value["items"], &place, seen);
        }
    }
    let mut numbers = 0;
    walk(config::reference::schema(), "", &mut numbers);
    assert!(numbers > 25, "{numbers} numbers found: the test looks past them");
}

/// The defaults lie within their own ranges.
#[test]
fn the_schema_accepts_its_defaults() {
    let schema = jsonschema::validator_for(config::reference::schema()).unwrap();
    let config = config::load_str(MINIMAL, "v.toml").unwrap();
    let mut value = serde_json::to_value(&config).unwrap();
    let faults: Vec<_> = schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    value["inference"]["detect_size"] = 641.into();
    assert!(!schema.is_valid(&value));
}

#[test]
fn rules_between_keys() {
    for (more, says) in [
        ("password = \"a\"\n", "mqtt.password: a password without a username"),
        ("username = \"u\"\npassword = \"a\"\npassword_file = \"b\"\n", "both set"),
        ("[mqtt.tls]\nca_file = \"ca.pem\"\n", "mqtt.tls.ca_file: mqtt.url is not encrypted"),
        ("keep_alive_s = 4\n", "mqtt.keep_alive_s: 4 is out of range; write a number from 5 to 3600"),
        ("client_id = \"a b\"\n", "mqtt.client_id"),
        ("client_id = \"\"\n", "mqtt.client_id"),
        ("retry_min_ms = 20000\n", "mqtt.retry_min_ms: retry_min_ms is above retry_max_ms"),
        ("max_command_bytes = 5000000\n", "mqtt.max_command_bytes: a portrait of"),
        ("[broker]\nlisten = \"0.0.0.0:1883\"\n", "broker.listen: 0.0.0.0:1883 can be reached"),
        ("[broker]\nlisten = \"127.0.0.1:1884\"\n", "nothing is published here"),
        ("[broker]\nlisten = \"127.0.0.1:1883\"\nusername = \"u\"\npassword = \"p\"\n", "broker.username"),
        ("[desk]\nlisten = \"192.0.2.1:8640\"\n", "desk.listen: 192.0.2.1:8640 can be reached"),
        ("[broker]\nlisten = \"127.0.0.1:1883\"\n[desk]\nlisten = \"127.0.0.1:1883\"\n", "desk.listen"),
        ("[verify]\ncamera = \"a\"\n", "verify.camera: no camera is called \"a\"; add a [[camera]]"),
        ("[verify]\nfirst_look = 7\n", "verify.first_look: first_look is above last_look"),
        ("[verify]\nlast_look = 1\n", "verify.last_look: first_look is above last_look"),
        ("[verify]\nmax_deadline_ms = 200\n", "verify.max_deadline_ms: deadline_ms is above"),
        ("[verify]\ndominance = 1.5\n", "verify.dominance: 1.5 is out of range"),
        ("[verify]\ndominance = inf\n", "verify.dominance: this is not a finite number"),
        ("[verify]\nfmr = 0.2\n", "verify.fmr: 0.2 is out of range; write a number from 0.0000001 to 0.1"),
        ("[verify.quality]\nmin_brightness = 230\n", "min_brightness is above max_brightness"),
        ("[inference]\ndetect_size = 650\n", "a multiple of 32"),
        ("[inference]\ndetect_size = 128\n", "inference.detect_size: 128 is out of range"),
        (
            "[[camera]]\nname = \"a\"\nurl = \"test:\"\nrepeat = true\n",
            "camera[0].repeat: a test: camera does not use",
        ),
        ("[[camera]]\nname = \"a\"\nurl = \"rtsp://h\"\nlatency_ms = 2000\n", "camera[0].latency_ms"),
        ("[[camera]]\nname = \"a\"\nurl = \"rtsp://u:p@h/\"\n", "contains a password"),
        ("[[camera]]\nname = \"A\"\nurl = \"test:\"\n", "camera[0].name: \"A\" is not a name"),
    ] {
        let found = problem_of(more);
        assert!(found.contains(says), "{more}\n{found}");
    }
}

#[test]
fn doors_are_checked_against_the_rest() {
    const DOOR: &str =
        "\n[[camera]]\nname = \"a\"\nurl = \"test:\"\n[[door]]\nname = \"north\"\ncamera = \"a\"\n";
    let door = |more: &str| problem_of(&format!("{DOOR}{more}"));
    for (more, says) in [
        ("[[door]]\nname = \"north\"\ncamera = \"a\"", "door[0] is also called"),
        ("[[door]]\nname = \"b\"\ncamera = \"c\"", "no camera is called \"c\""),
        ("forgive_min = 5", "nothing to forgive"),
        ("[door.actuator]", "does nothing"),
        ("[door.actuator]\nmqtt = true\ntoken = \"x\"", "only the HTTP hook"),
        ("[door.actuator]\nurl = \"https://a/\"", "does not begin with http://"),
        ("[[door.reader]]\ndevice = \"/dev/input/a\"\nkind = \"card\"\ndeclines_camera = true", "only a PIN"),
        (
            "fallback = \"none\"\n[[door.reader]]\ndevice = \"/a\"\nkind = \"pin\"\ndeclines_camera = true",
            "no fallback",
        ),
        (
            "[[door.reader]]\ndevice = \"/a\"\nkind = \"card\"\n[[door.reader]]\ndevice = \"/a\"\nkind = \"tag\"",
            "is the same device",
        ),
        (
            "[[equipment]]\nname = \"x\"\ntag = \"1\"\n[[equipment]]\nname = \"y\"\ntag = \"1\"",
            "has the same tag",
        ),
        ("[locks]\nurl = \"mqtt://a\"", "no door's actuator says anything there"),
        ("prompts = [\"fr\"]", "is not a choice here"),
        ("when_ill = \"open\"", "is not a choice here"),
        ("direction = \"into\"", "is not a choice here"),
    ] {
        let found = door(more);
        assert!(found.contains(says), "{more}: {found}");
    }
}

#[test]
fn a_client_certificate_needs_its_key() {
    let text = MINIMAL.replace("mqtt://", "mqtts://");
    for (there, missing) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        let found = problems(&format!("{text}[mqtt.tls]\n{there} = \"x.pem\"\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("v.toml:7: mqtt.tls.{there}: {there} without {missing}")));
    }
}

#[test]
fn no_secret_is_repeated_in_a_message() {
    for more in [
        "username = \"u\"\npassword = [\"hunter2\"]\n",
        "passwort = \"hunter2\"\n",
        "password = \"hunter2\"\npassword_file = \"hunter2\"\n",
        "[[camera]]\nname = \"a\"\nurl = \"rtsp://u:hunter2@h/\"\n",
        "[[camera]]\nname = \"a\"\nurl = \"rtsp://u:hunter2/x@h/\"\n",
        "[[camera]]\nname = \"a\"\nurl = \"test:\"\npassword = \"hunter2\"\n",
        "password = \"hunter2\n",
    ] {
        let found = problems(&format!("{MINIMAL}{more}"));
        assert!(!found.is_empty(), "{more}");
        assert!(!found.join("\n").contains("hunter2"), "{found:?}");
    }
    let found = problems(&MINIMAL.replace("mqtt://hub", "mqtt://u:hunter2@hub"));
    assert!(!found.is_empty() && !found.join("\n").contains("hunter2"), "{found:?}");
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    assert!(problem_of("fmr = 0.001\n").ends_with("mqtt.fmr: unknown key; `fmr` belongs in [verify]"));
}

#[test]
fn relative_paths_start_at_the_files_directory() {
    let text = format!(
        "{MINIMAL}username = \"u\"\npassword_file = \"pw\"\n[models]\ndir = \"../m\"\nruntime = \"/abs.so\"\n\
         [[camera]]\nname = \"a\"\nurl = \"file:clip.mp4\"\n"
    );
    let config = config::load_str(&text, "/etc/vigil/vigil.toml").unwrap();
    assert_eq!(config.mqtt.password_file.as_deref(), Some(Path::new("/etc/vigil/pw")));
    assert_eq!(config.models.dir, Path::new("/etc/vigil/../m"));
    assert_eq!(config.models.runtime.as_deref(), Some(Path::new("/abs.so")));
    assert_eq!(config.cameras[0].url, SourceUrl::File("/etc/vigil/clip.mp4".into()));
    assert_eq!(config.identity.state_dir, Path::new("/var/lib/vigil"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_configuration_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vigil.toml");
    let error = Config::load(&path).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("vigil.toml"), "{error}");

    std::fs::write(&path, b"[box]\nsite = \"\xff\"\n").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("vigil.toml:2: the file is not UTF-8"));

    std::fs::write(&path, vec![b'#'; config::MAX_FILE_BYTES + 10]).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("larger than"));
    // A device that never ends is read no further than the limit.
    assert_eq!(Config::load("/dev/zero").unwrap_err().exit_code(), 78);
}

#[test]
fn a_flood_of_problems_ends() {
    let text: String = (0..20_000).map(|n| format!("key{n} = {n}\n")).collect();
    assert_eq!(problems(&text).len(), config::MAX_PROBLEMS);
    let cameras = "[[camera]]\nname = \"X\"\nurl = \"x\"\n".repeat(10_000);
    let found = problems(&format!("{MINIMAL}{cameras}"));
    assert!(found.iter().any(|p| p.contains("10000 of them, but 16 is the most")), "{found:?}");
}

#[test]
fn a_secret_file_is_read_strictly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let read = |content: &[u8], mode: u32| {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Secret::resolve(None, Some(&path)).map(|s| s.unwrap().expose().to_owned())
    };
    assert_eq!(read(b"hunter2\n", 0o600).unwrap(), "hunter2");
    assert_eq!(read(b"hunter2\r\n", 0o640).unwrap(), "hunter2");
    assert_eq!(read(b" two words \n\n", 0o600).unwrap(), " two words \n");
    for (content, mode, says) in [
        (&b"hunter2"[..], 0o604, "open to everybody"),
        (b"\n", 0o600, "empty"),
        (b"hunter2\xff", 0o600, "not UTF-8"),
        (&[b'x'; Secret::MAX_BYTES + 1], 0o600, "too large"),
    ] {
        let error = read(content, mode).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("password"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let inline = Secret::new("inline");
    assert_eq!(Secret::resolve(Some(&inline), None).unwrap().unwrap().expose(), "inline");
    assert!(Secret::resolve(None, None).unwrap().is_none());
    let missing = Secret::resolve(None, Some(&dir.path().join("none"))).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(Secret::resolve(None, Some(dir.path())).unwrap_err().to_string().contains("not a file"));
}

fn holds(text: &str) {
    let Err(found) = config::load_str(text, "v.toml") else { return };
    let lines = text.matches('\n').count() + 1;
    assert!(!found.list().is_empty() && found.list().len() <= config::MAX_PROBLEMS);
    for p in found.list() {
        assert!((1..=lines).contains(&p.line), "{p}");
        let line = p.to_string();
        assert!(line.starts_with(&format!("v.toml:{}: ", p.line)), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        holds(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_mutated_example_is_answered(
        which in 0usize..3,
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..5, any::<u8>()), 1..6),
    ) {
        let mut bytes = examples().swap_remove(which).1.into_bytes();
        for (at, how, byte) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                3 => { bytes.truncate(at.max(1)); }
                // A whole line is lost, as an editor does.
                _ => {
                    let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
                    bytes.drain(at..end);
                }
            }
            if bytes.is_empty() { break }
        }
        holds(&String::from_utf8_lossy(&bytes));
    }

    /// Well-formed TOML with values of every type at keys that exist.
    #[test]
    fn any_value_at_any_key_is_answered(
        lines in proptest::collection::vec((0usize..18, 0usize..14), 1..12),
    ) {
        let keys = ["box", "box.site", "camera", "camera.name", "verify.fmr", "verify.camera", "verify.quality",
            "verify.quality.min_score", "mqtt", "mqtt.url", "mqtt.version", "mqtt.tls.ca_file", "mqtt.window",
            "broker.listen", "desk.listen", "inference.detect_size", "\"a b\".\"\\n\"", "models.dir"];
        let values = ["1", "-1", "1.5", "nan", "true", "\"x\"", "\"\\u0000\"", "[]", "[1, \"x\"]", "[{}]",
            "{ name = 1 }", "1979-05-27", "99999999999999999999", "\"127.0.0.1:80\""];
        let text: String = lines.iter().map(|(k, v)| format!("{} = {}\n", keys[*k], values[*v])).collect();
        holds(&text);
    }
}

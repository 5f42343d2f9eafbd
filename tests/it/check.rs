//! Integration tests of `vigil check`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::support::mosquitto::{Mosquitto, Setup};
use crate::support::rtsp::free_port;
use crate::support::while_it_runs;

/// A directory with a configuration in it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// `more` follows a configuration with a state directory that exists; `{dir}` in it is the
    /// directory.
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[box]\nsite = \"s\"\nname = \"b\"\nstate_dir = \"state\"\n{}",
            more.replace("{dir}", dir.path().to_str().unwrap())
        );
        std::fs::create_dir(dir.path().join("state")).unwrap();
        std::fs::write(dir.path().join("vigil.toml"), text).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("vigil.toml")
    }

    /// Exit code, standard output, standard error.
    fn check(&self, args: &[&str]) -> (i32, String, String) {
        check(&self.path(), args)
    }

    fn findings(&self, args: &[&str]) -> (i32, Vec<Json>) {
        let (code, out, err) = self.check(&[&["--json"], args].concat());
        let report: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}\n{out}\n{err}"));
        (code, report["findings"].as_array().unwrap().clone())
    }
}

fn check(config: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = assert_cmd::Command::cargo_bin("vigil").unwrap();
    let output = command
        .env_remove("CREDENTIALS_DIRECTORY")
        .arg("check")
        .arg("--config")
        .arg(config)
        .args(args)
        .output();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn problem_of<'f>(findings: &'f [Json], key: &str) -> &'f Json {
    findings
        .iter()
        .map(|f| &f["problem"])
        .find(|p| p["key"] == key)
        .unwrap_or_else(|| panic!("{key}: {findings:#?}"))
}

#[test]
fn a_wrong_file_ends_with_78_and_every_problem() {
    let wrong = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config-wrong.toml");
    let (code, out, err) = check(&wrong, &["--live"]);
    assert_eq!(code, 78);
    assert_eq!(out.lines().count(), 22, "{out}");
    assert!(out.lines().all(|l| l.starts_with("FAIL ") && l.contains("config-wrong.toml:")), "{out}");
    assert!(err.contains("22 problems in"), "{err}");
    let (code, _, err) = check(Path::new("/no/such/file.toml"), &[]);
    assert_eq!(code, 78);
    assert!(err.starts_with("vigil: cannot read the configuration /no/such/file.toml"), "{err}");
}

#[test]
fn all_pieces_are_looked_at_and_each_failure_names_its_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "[[camera]]\nname = \"a\"\nurl = \"file:gone.mp4\"\n\
         [[camera]]\nname = \"b\"\nurl = \"rtsp://127.0.0.1:1/x\"\nusername = \"u\"\npassword_file = \"open\"\n\
         [models]\ndir = \"nowhere\"\n\
         [mqtt]\nurl = \"mqtts://127.0.0.1\"\nusername = \"u\"\npassword_file = \"${{CREDENTIALS_DIRECTORY}}/mqtt\"\n\
         [mqtt.tls]\nca_file = \"vigil.toml\"\ncert_file = \"none.pem\"\nkey_file = \"vigil.toml\"\n\
         [desk]\nlisten = \"{}\"\n",
        taken.local_addr().unwrap()
    ));
    std::fs::write(site.dir.path().join("open"), "hunter2").unwrap();
    std::fs::set_permissions(site.dir.path().join("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, findings) = site.findings(&[]);
    assert_eq!(code, 78);
    for (key, line, says) in [
        ("camera[0].url", 7, "gone.mp4 cannot be opened"),
        ("camera[1].password_file", 12, "open to everybody"),
        ("models.dir", 14, "manifest"),
        ("mqtt.tls.ca_file", 20, "no readable PEM certificate"),
        ("mqtt.tls.cert_file", 21, "No such file"),
        ("mqtt.tls.key_file", 22, "no readable PEM private key"),
        ("desk.listen", 24, "cannot be listened on"),
    ] {
        let problem = problem_of(&findings, key);
        assert_eq!(problem["line"], line, "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(says), "{problem}");
        assert!(problem["remedy"].is_string(), "{problem}");
    }
    let credential =
        findings.iter().find(|f| f["what"].as_str().unwrap().starts_with("mqtt.password_file")).unwrap();
    assert_eq!(credential["status"], "not_checked");
    assert!(findings.iter().any(|f| f["what"] == "state directory" && f["status"] == "pass"));
    assert_eq!(
        std::fs::read_dir(site.dir.path().join("state")).unwrap().count(),
        0,
        "the check left something"
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_found() {
    let site = Site::new("[mqtt]\nurl = \"mqtt://127.0.0.1\"\n");
    let text = std::fs::read_to_string(site.path()).unwrap();
    // Root may write anywhere but here.
    std::fs::write(site.path(), text.replace("\"state\"", "\"/proc/self/vigil\"")).unwrap();
    let (code, findings) = site.findings(&[]);
    assert_eq!(code, 78);
    assert_eq!(problem_of(&findings, "box.state_dir")["line"], 4);
}

#[test]
fn a_camera_that_shows_a_picture_is_seen_and_one_that_is_away_is_not() {
    let site = Site::new(
        "[[camera]]\nname = \"a\"\nurl = \"test:\"\nconnect_within_ms = 60000\n\
         [[camera]]\nname = \"b\"\nurl = \"rtsp://127.0.0.1:1/x\"\nconnect_within_ms = 3000\n\
         [desk]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n",
    );
    // Pictures are counted for a few seconds: on a machine that stands still there are none.
    let findings = while_it_runs(|| {
        let (_, findings) = site.findings(&["--live"]);
        let seen = of(&findings, "camera a live");
        assert_eq!(seen["status"], "pass", "{seen}");
        let detail = seen["detail"].as_str().unwrap();
        assert!(
            detail.contains("first picture after") && detail.ends_with("a second, times of arrival"),
            "{seen}"
        );
        findings
    });
    let away = findings.iter().find(|f| f["what"] == "camera b live").unwrap();
    assert_eq!(away["status"], "fail");
    assert_eq!(away["problem"]["line"], 11, "{away}");
}

/// The unit calls subcommands and options that exist.
#[test]
fn the_unit_calls_what_exists() {
    let unit =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/vigil.service")).unwrap();
    let mut calls = 0;
    for line in unit.lines().filter(|l| l.starts_with("Exec")) {
        let args: Vec<_> = line.split_once("=/usr/bin/vigil ").unwrap().1.split(' ').collect();
        let help =
            assert_cmd::Command::cargo_bin("vigil").unwrap().args([args[0], "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.starts_with(char::is_uppercase) && help.contains("Usage: vigil"), "{line}");
        for option in args.iter().filter(|a| args[0] == "check" && a.starts_with("--")) {
            assert!(help.contains(option), "{line}");
        }
        calls += 1;
    }
    assert_eq!(calls, 2);
}

fn of<'f>(findings: &'f [Json], what: &str) -> &'f Json {
    findings.iter().find(|f| f["what"] == what).unwrap_or_else(|| panic!("{what}: {findings:#?}"))
}

#[test]
fn the_broker_has_to_acknowledge() {
    let open = Mosquitto::open();
    let site = Site::new(&format!("[mqtt]\nurl = \"{}\"\n", open.url()));
    let (_, findings) = site.findings(&["--live"]);
    let broker = of(&findings, "broker live");
    assert_eq!(broker["status"], "pass", "{broker}");
    assert!(broker["detail"].as_str().unwrap().contains("acknowledged after"), "{broker}");

    let closed = Mosquitto::with(Setup {
        lines: &["allow_anonymous false"],
        users: &[("desk-1", "right")],
        ..Setup::default()
    });
    for (password, status) in [("right", "pass"), ("wrong", "fail")] {
        let site = Site::new(&format!(
            "[mqtt]\nurl = \"{}\"\nusername = \"desk-1\"\npassword = \"{password}\"\n",
            closed.url()
        ));
        let (_, findings) = site.findings(&["--live"]);
        let broker = of(&findings, "broker live");
        assert_eq!(broker["status"], status, "{broker}");
        assert!(!broker.to_string().contains(password) || password == "right", "{broker}");
    }
}

/// A broker that is away is the live world's fault and not the file's: its line is named all the
/// same.
#[test]
fn a_broker_that_is_away_is_found() {
    let site = Site::new(&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", free_port()));
    let (_, findings) = site.findings(&["--live"]);
    let broker = of(&findings, "broker live");
    assert_eq!(broker["status"], "fail", "{broker}");
    assert_eq!(broker["problem"]["line"], 6, "{broker}");
}

#[test]
fn a_box_that_stands_alone_checks_its_own_broker() {
    let port = free_port();
    let site = Site::new(&format!(
        "[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n[broker]\nlisten = \"127.0.0.1:{port}\"\n"
    ));
    let (_, findings) = site.findings(&["--live"]);
    let broker = of(&findings, "broker live");
    assert_eq!(broker["status"], "pass", "{broker}");
    assert!(broker["detail"].as_str().unwrap().contains("started for the check"), "{broker}");
}

/// The repository's own models, which `make test` sets up.
fn models() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    assert!(dir.join("fetched/libonnxruntime.so").exists(), "the models are missing: run models/setup.sh");
    dir
}

#[test]
fn the_models_are_compared_loaded_and_run() {
    let site = Site::new(&format!(
        "[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n[models]\ndir = \"{}\"\n[desk]\nlisten = \"127.0.0.1:0\"\n",
        free_port(),
        models().display()
    ));
    let (code, findings) = site.findings(&[]);
    assert_eq!(code, 0, "{findings:#?}");
    // Everything is right but the world.
    assert_eq!(site.check(&["--live"]).0, 69);
    for what in ["ONNX Runtime", "models run", "calibration"] {
        assert_eq!(of(&findings, what)["status"], "pass", "{}", of(&findings, what));
    }
    let compared = findings.iter().filter(|f| f["what"].as_str().unwrap().starts_with("model ")).count();
    assert_eq!(compared, 5);
}

#[test]
fn a_changed_model_and_a_missing_runtime_are_found() {
    let site = Site::new("[mqtt]\nurl = \"mqtt://h\"\n[models]\ndir = \"m\"\nruntime = \"m/no.so\"\n");
    let dir = site.dir.path().join("m");
    std::fs::create_dir_all(dir.join("fetched")).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/manifest.toml");
    std::fs::copy(manifest, dir.join("manifest.toml")).unwrap();
    std::fs::write(dir.join("fetched/face_detection_yunet_2023mar.onnx"), b"not the model").unwrap();
    let (code, findings) = site.findings(&[]);
    assert_eq!(code, 78);
    let failed = |says: &str, key: &str, line: u64| {
        let found = findings.iter().any(|f| {
            let p = &f["problem"];
            p["message"].as_str().is_some_and(|m| m.contains(says)) && p["key"] == key && p["line"] == line
        });
        assert!(found, "{says}: {findings:#?}");
    };
    failed("SHA-256", "models.dir", 8);
    failed("cannot read the model", "models.dir", 8);
    failed("no.so", "models.runtime", 9);
    assert_eq!(of(&findings, "models run")["status"], "not_checked");
}

#[test]
fn a_rate_that_no_data_supports_is_refused() {
    let site = Site::new(&format!(
        "[mqtt]\nurl = \"mqtt://h\"\n[verify]\nfmr = 0.0000002\n[models]\ndir = \"{}\"\n",
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models").display()
    ));
    let (code, findings) = site.findings(&[]);
    assert_eq!(code, 78);
    assert_eq!(problem_of(&findings, "verify.fmr")["line"], 8);
}

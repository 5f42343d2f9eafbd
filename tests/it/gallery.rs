//! Integration tests of the gallery: the command line with real photographs, and a process that is
//! killed while it enrols.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use vigil::base::SystemClock;
use vigil::config::{GalleryConfig, Purpose};
use vigil::event::{EntryTerms, ModelRef, PersonRef};
use vigil::face::{Calibration, Template};
use vigil::gallery::{Actor, Gallery, MasterKey, Setup};
use vigil::infer::{CalibrationPoint, CalibrationRow};

/// Names the directory in which a child of this test enrols.
const CHILD: &str = "VIGIL_TEST_ENROL_IN";
const PEOPLE: u64 = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn photo(name: &str) -> PathBuf {
    let path = root().join(".cache/photos").join(name);
    assert!(path.exists(), "the photographs are not there: run models/setup.sh");
    path
}

/// A box with a gallery in a directory of its own.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[box]\nsite = \"s\"\nname = \"b\"\nstate_dir = \"state\"\n[mqtt]\nurl = \"mqtt://hub\"\n[models]\ndir = {:?}\n[gallery]\nkey_file = \"gallery.key\"\ntimezone = \"Asia/Shanghai\"\n{more}",
            root().join("models")
        );
        std::fs::write(dir.path().join("vigil.toml"), text).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("gallery").args(args);
        if args[0] != "bundle" {
            command.arg("--config").arg(self.path("vigil.toml")).args(["--by", "operator:test"]);
        }
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn fails(&self, args: &[&str]) -> (i32, String) {
        let out = self.run(args);
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    }

    fn enrol(&self, person: &str, photos: &[&str], more: &[&str]) -> Output {
        let photos: Vec<_> = photos.iter().map(|p| photo(p).display().to_string()).collect();
        let mut args = vec!["enrol", "--person", person, "--purpose", "guest", "--basis", "consent:c/1"];
        args.extend(["--valid-until", "2099-01-01"]);
        let until = Timestamp::now().strftime("%Y").to_string().parse::<i32>().unwrap() + 2;
        let until = format!("{until}-06-30");
        *args.last_mut().unwrap() = &until;
        args.extend(more);
        args.extend(photos.iter().map(String::as_str));
        self.run(&args)
    }
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn people_are_enrolled_listed_and_erased_from_the_command_line() {
    let site = Site::new("");
    assert!(site.ok(&["key", "init"]).contains("keep a copy"));
    assert!(site.fails(&["key", "init"]).1.contains("a file of that name is there"));
    let out = site.enrol("obama", &["obama.jpg", "obama2.jpg"], &["--card", "04:A1:B2"]);
    assert!(out.status.success(), "{}", text(&out));
    // The same again, another reference for the same face, and another person.
    assert!(
        text(&site.enrol("obama", &["obama.jpg", "obama2.jpg"], &["--card", "04:A1:B2"]))
            .contains("1 as before")
    );
    let twin = site.enrol("somebody", &["obama3.jpg"], &[]);
    assert_eq!(twin.status.code(), Some(1));
    assert!(text(&twin).contains("enrolled under another reference: obama"), "{}", text(&twin));
    let mixed = site.enrol("mixed", &["obama.jpg", "biden.jpg"], &[]);
    assert!(text(&mixed).contains("do not show one person"), "{}", text(&mixed));
    let taken = site.enrol("biden", &["biden.jpg"], &["--card", "04a1b2"]);
    assert!(text(&taken).contains("belongs to somebody else"), "{}", text(&taken));
    assert!(site.enrol("biden", &["biden.jpg"], &[]).status.success());
    std::fs::write(site.path("no.jpg"), "no picture").unwrap();
    let broken = site.path("no.jpg").display().to_string();
    let out = site.run(&[
        "enrol",
        "--person",
        "x",
        "--purpose",
        "guest",
        "--basis",
        "consent:c",
        "--valid-until",
        "2027-06-30",
        &broken,
    ]);
    assert!(text(&out).contains("cannot be read"), "{}", text(&out));

    let list = site.ok(&["list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(!list.contains("04A1B2"));
    let stats: serde_json::Value = serde_json::from_str(&site.ok(&["stats", "--json"])).unwrap();
    assert_eq!(stats["gallery"]["entries"], 2);
    assert!(site.ok(&["show", "obama"]).contains("made"));
    assert!(site.ok(&["erase", "obama"]).contains("obama erased"));
    assert_eq!(site.fails(&["show", "obama"]).0, 66);
    assert_eq!(site.fails(&["erase", "obama"]).0, 66);
    let about = site.ok(&["audit", "--person", "obama"]);
    let actions: Vec<_> = about
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["enrol", "list", "erase"], "{about}");
    assert!(site.ok(&["audit", "--verify"]).starts_with("the chain holds"));
    let export = site.path("log.jsonl");
    site.ok(&["audit", "--export", export.to_str().unwrap()]);
    let exported = std::fs::read_to_string(export).unwrap();
    assert!(exported.lines().last().unwrap().contains("export") && !exported.contains("obama"));
    // The state directory holds the person who is left and nobody else, and no photograph.
    let clear: Vec<_> = std::fs::read_dir(site.path("state"))
        .unwrap()
        .map(|f| std::fs::read(f.unwrap().path()).unwrap())
        .filter(|b| {
            [b"obama".as_slice(), b"biden", b"\xff\xd8\xff"]
                .iter()
                .any(|w| b.windows(w.len()).any(|x| x == *w))
        })
        .collect();
    assert!(clear.is_empty());
}

#[test]
fn a_key_is_rotated_and_what_was_cut_off_is_finished() {
    let site = Site::new("");
    site.ok(&["key", "init"]);
    assert!(site.enrol("biden", &["biden.jpg"], &[]).status.success());
    let before = std::fs::read(site.path("gallery.key")).unwrap();
    assert!(site.ok(&["rotate"]).contains("1 entries are sealed"));
    let after = std::fs::read(site.path("gallery.key")).unwrap();
    assert_ne!(before, after);
    assert!(!site.path("gallery.key.next").exists());
    assert!(site.ok(&["list"]).contains("biden"));
    // Killed between the transaction and the move: the new key is still beside the old one.
    std::fs::rename(site.path("gallery.key"), site.path("gallery.key.next")).unwrap();
    std::fs::write(site.path("gallery.key"), &before).unwrap();
    Command::new("chmod").arg("400").arg(site.path("gallery.key")).status().unwrap();
    let out = site.run(&["list"]);
    assert!(text(&out).contains("biden") && text(&out).contains("vigil gallery rotate"), "{}", text(&out));
    site.ok(&["rotate"]);
    assert_eq!(std::fs::read(site.path("gallery.key")).unwrap(), after);
    // The wrong key alone is told in one line.
    std::fs::remove_file(site.path("gallery.key")).unwrap();
    std::fs::write(site.path("gallery.key"), &before).unwrap();
    Command::new("chmod").arg("400").arg(site.path("gallery.key")).status().unwrap();
    let (code, says) = site.fails(&["list"]);
    assert!(code == 78 && says.contains("is sealed with key") && says.lines().count() == 1, "{says}");
    Command::new("chmod").arg("444").arg(site.path("gallery.key")).status().unwrap();
    assert!(site.fails(&["list"]).1.contains("may be used by others"));
}

#[test]
fn a_bundle_carries_people_to_one_box_alone() {
    let (site, other) = (Site::new(""), Site::new(""));
    site.ok(&["key", "init"]);
    other.ok(&["key", "init"]);
    let shown: serde_json::Value = serde_json::from_str(&site.ok(&["key", "show", "--json"])).unwrap();
    let table = format!(
        "person_ref,photo,valid_until\nbiden,{},{}-01-01\n",
        photo("biden.jpg").display(),
        Timestamp::now().strftime("%Y").to_string().parse::<i32>().unwrap() + 2
    );
    std::fs::write(site.path("people.csv"), table).unwrap();
    let (csv, out) = (site.path("people.csv").display().to_string(), site.path("b").display().to_string());
    let key = shown["bundle_key"].as_str().unwrap();
    let made = site.ok(&[
        "bundle",
        "--to",
        key,
        "--table",
        &csv,
        "--purpose",
        "guest",
        "--basis",
        "consent:c",
        "--out",
        &out,
    ]);
    assert!(made.starts_with("1 people"), "{made}");
    assert!(site.ok(&["enrol", "--bundle", &out]).contains("1 enrolled"));
    assert!(site.ok(&["enrol", "--bundle", &out]).contains("1 as before"));
    let (code, says) = other.fails(&["enrol", "--bundle", &out]);
    assert!(code == 65 && says.contains("for another box"), "{says}");
    let whole = std::fs::read(site.path("b")).unwrap();
    std::fs::write(site.path("b"), &whole[..whole.len() - 1]).unwrap();
    assert!(site.fails(&["enrol", "--bundle", &out]).1.contains("cut off"));
}

#[test]
fn without_the_section_nobody_is_recognised() {
    let site = Site::new("");
    let config = std::fs::read_to_string(site.path("vigil.toml")).unwrap();
    std::fs::write(site.path("vigil.toml"), config.split("[gallery]").next().unwrap()).unwrap();
    let (code, says) = site.fails(&["list"]);
    assert!(code == 78 && says.contains("has no [gallery]"), "{says}");
}

fn open(dir: &Path) -> Gallery {
    let key = dir.join("key");
    if !key.exists() {
        MasterKey::generate().unwrap().write_new(&key).unwrap();
    }
    let model = ModelRef { name: "m".into(), sha256: "0".repeat(64) };
    let row = CalibrationRow {
        population: "p".into(),
        impostor_pairs: 16_000_000,
        points: [(1e-3, 0.4), (1e-5, 0.55)].map(|(fmr, score)| CalibrationPoint { fmr, score }).into(),
        impostor_median: None,
    };
    let setup = Setup {
        state_dir: dir.to_owned(),
        config: GalleryConfig { purposes: Purpose::ALL.into(), ..GalleryConfig::default() },
        calibration: Calibration::new(model.clone(), vec![row]).unwrap(),
        model,
        clock: Arc::new(SystemClock::default()),
    };
    Gallery::open(setup, MasterKey::load(&key).unwrap()).unwrap()
}

fn face(n: u64) -> Template {
    // Even directions by a small generator of its own: two of them are never alike.
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut values = std::array::from_fn(|_| {
        (0..8)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 24) as f32 - 0.5
            })
            .sum()
    });
    Template::from_raw(&mut values).unwrap()
}

/// Runs only as a child of the test below.
#[test]
fn enrolling_child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let gallery = open(Path::new(&dir));
    let by = Actor::new("operator:child").unwrap();
    let until: Timestamp = "2035-01-01T00:00:00Z".parse().unwrap();
    let all: Vec<u64> = (0..PEOPLE).collect();
    for batch in all.chunks(8) {
        let mut new = Vec::new();
        for n in batch {
            let terms = EntryTerms {
                person_ref: PersonRef::new(format!("p-{n}")).unwrap(),
                purpose: Purpose::Guest,
                basis: "consent:c".parse().unwrap(),
                valid_from: None,
                valid_until: until,
                hours: None,
                language: None,
                credentials: Vec::new(),
            };
            let source = n.to_be_bytes();
            if !gallery.is_enrolled(&terms, &[&source]).unwrap() {
                new.push(gallery.enrolment(terms, face(*n + 1), &[&source], Vec::new()).unwrap());
            }
        }
        for done in gallery.put_all(&new, &by).unwrap() {
            done.unwrap();
        }
    }
}

#[test]
fn killed_while_it_enrols_and_started_again_nobody_is_lost_and_nobody_twice() {
    let child = |dir: &Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gallery::enrolling_child", "--test-threads=1"])
            .env(CHILD, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut kills, mut tries) = (0, 0);
    let (dir, gallery) = loop {
        let dir = tempfile::tempdir().unwrap();
        let gallery = open(dir.path());
        for wanted in [PEOPLE / 8, PEOPLE / 2] {
            let mut running = child(dir.path());
            while u64::from(gallery.stats().entries) < wanted && running.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
                gallery.refresh().unwrap();
            }
            kills += usize::from(running.try_wait().unwrap().is_none());
            running.kill().unwrap();
            running.wait().unwrap();
        }
        // On a busy machine it may be done before it is seen to have begun.
        if kills > 0 {
            break (dir, gallery);
        }
        tries += 1;
        assert!(tries < 10, "it was done before it could be killed");
    };
    let there = open(dir.path()).stats().entries;
    assert!(child(dir.path()).wait().unwrap().success());
    drop(gallery);
    let gallery = open(dir.path());
    assert_eq!(
        (u64::from(gallery.stats().entries), gallery.stats().damaged),
        (PEOPLE, 0),
        "{there} were there"
    );
    let (mut enrolled, mut others) = (0, 0);
    let verdict = gallery
        .audit_log(|body| {
            enrolled += u64::from(body.contains("\"action\":\"enrol\""));
            others +=
                u64::from(body.contains("\"action\":\"replace\"") || body.contains("\"action\":\"refuse\""));
            Ok(())
        })
        .unwrap();
    assert_eq!((enrolled, others, verdict.broken), (PEOPLE, 0, None));
}

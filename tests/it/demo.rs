//! The demonstration's stage: what it shows, and that it serves pictures as a camera does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vigil::commands::demo::stage::{Camera, FPS, Likeness, Person, Pose, Reel, Set, cast};

const PATIENCE: Duration = Duration::from_secs(120);

/// A head of one colour before another, so that the tests need no photograph.
fn paper_person() -> Person {
    let photo = image::RgbImage::from_fn(300, 400, |x, y| {
        let inside = (x as f32 - 150.0).hypot(y as f32 - 150.0) < 110.0 || y > 270;
        image::Rgb(if inside { [220, 40, 200] } else { [0, 255, 0] })
    });
    Person::cut(&photo, &Likeness::from_eyes((105.0, 140.0), (195.0, 140.0)))
}

/// How many pixels have the paper person's colour.
fn seen(rgb: &[u8]) -> usize {
    rgb.chunks_exact(3).filter(|p| p[0] > 180 && p[1] < 90 && p[2] > 150).count()
}

#[test]
fn the_same_seed_gives_the_same_pictures_and_no_two_of_them_are_alike() {
    let (a, b) = (Set::new(320, 180, 7), Set::new(320, 180, 7));
    let person = paper_person();
    let who = Some((&person, Pose::STILL));
    assert_eq!(a.picture(3, who), b.picture(3, who));
    assert_ne!(a.picture(3, who), a.picture(4, who), "noise and exposure move on");
    assert_ne!(a.picture(3, None), Set::new(320, 180, 8).picture(3, None));
    let away = Pose { x: -2_000.0, ..Pose::STILL };
    assert_eq!(seen(a.picture(0, None).data()), 0);
    assert_eq!(seen(a.picture(0, Some((&person, away))).data()), 0);
    assert!(seen(a.picture(0, who).data()) > 2_000);
}

/// Reads pictures from the camera as a client does.
struct Viewer(TcpStream, Vec<u8>);

impl Viewer {
    fn new(url: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /camera.mjpg HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut this = Self(stream, Vec::new());
        let head = this.until(b"\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("multipart/x-mixed-replace; boundary=vigil")
        );
        this
    }

    fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.1.windows(end.len()).position(|w| w == end) {
                let text = self.1.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            self.more();
        }
    }

    fn more(&mut self) {
        let mut buffer = [0; 65_536];
        let n = self.0.read(&mut buffer).unwrap();
        assert!(n > 0, "the camera hung up");
        self.1.extend_from_slice(&buffer[..n]);
    }

    fn picture(&mut self) -> image::RgbImage {
        let head = self.until(b"\r\n\r\n");
        let length: usize =
            head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).expect("a length").parse().unwrap();
        while self.1.len() < length + 2 {
            self.more();
        }
        let jpeg: Vec<u8> = self.1.drain(..length + 2).collect();
        image::load_from_memory(&jpeg[..length]).unwrap().to_rgb8()
    }

    fn until_seen(&mut self, what: &str, done: impl Fn(usize) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(seen(self.picture().as_raw())) {
            assert!(Instant::now() < end, "waited in vain for {what}");
        }
    }
}

#[test]
fn people_come_and_go_before_every_viewer() {
    let set = Set::new(320, 180, 7);
    let camera = Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    let mut viewers = [Viewer::new(&camera.url()), Viewer::new(&camera.url())];
    for viewer in &mut viewers {
        let picture = viewer.picture();
        assert_eq!((picture.dimensions(), seen(picture.as_raw())), ((320, 180), 0));
    }
    camera.show(Reel::visit(&set, &paper_person()).unwrap());
    assert!(camera.settled(PATIENCE));
    for viewer in &mut viewers {
        viewer.until_seen("the person", |n| n > 2_000);
    }
    camera.show(Reel::empty(&set).unwrap());
    assert!(camera.settled(PATIENCE));
    for viewer in &mut viewers {
        viewer.until_seen("the empty scene", |n| n == 0);
    }
    assert_eq!(camera.clients(), 2);
}

#[test]
fn pictures_come_in_real_time_and_a_frozen_camera_gives_none() {
    let set = Set::new(160, 90, 7);
    let camera = Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    // From before the first one on: what a busy machine reads late has been sent in time.
    let started = Instant::now();
    let mut viewer = Viewer::new(&camera.url());
    for _ in 0..=FPS {
        viewer.picture();
    }
    // Never faster than real time; a busy machine may be slower.
    assert!(started.elapsed() > Duration::from_millis(800), "{:?}", started.elapsed());

    camera.freeze(true);
    viewer.0.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut buffer = [0; 65_536];
    // Silent at last, whatever was still under way.
    let end = Instant::now() + PATIENCE;
    while viewer.0.read(&mut buffer).is_ok_and(|n| n > 0) {
        assert!(Instant::now() < end, "it is not frozen");
    }
    camera.freeze(false);
    viewer.0.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(viewer.0.read(&mut buffer).unwrap() > 0, "it goes on over the same connection");
}

/// For a person who works on the stage: `VIGIL_FRAMES=/tmp/frames cargo test --test it look_at_the_stage
/// -- --ignored` writes pictures of everybody in `.cache/photos`.
#[test]
#[ignore = "writes pictures of the stage, to look at"]
fn look_at_the_stage() {
    let to = PathBuf::from(std::env::var("VIGIL_FRAMES").expect("VIGIL_FRAMES names a directory"));
    std::fs::create_dir_all(&to).unwrap();
    let photos = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/photos");
    let set = Set::new(1280, 720, 7);
    let save = |name: &str, bytes: &vigil::capture::RgbImage| {
        image::save_buffer(
            to.join(name),
            bytes.data(),
            bytes.width(),
            bytes.height(),
            image::ColorType::Rgb8,
        )
        .unwrap();
    };
    save("empty.png", &set.picture(0, None));
    for (file, likeness) in [
        ("obama.jpg", cast::OBAMA),
        ("obama3.jpg", cast::OBAMA_IN_2010),
        ("biden.jpg", cast::BIDEN),
        ("obama2.jpg", Likeness::from_eyes((250.0, 369.0), (372.0, 379.0))),
    ] {
        let started = Instant::now();
        let person = Person::open(&photos.join(file), &likeness).unwrap();
        println!("{file}: cut in {:?}", started.elapsed());
        let started = Instant::now();
        let reel = Reel::visit(&set, &person).unwrap();
        let frames = reel.frames();
        println!("{file}: {} pictures in {:?}", frames.len(), started.elapsed());
        for n in [0, 5, 10, 14, 30, 45] {
            std::fs::write(to.join(format!("{file}-{n:02}.jpg")), frames[n]).unwrap();
        }
    }
}

#[test]
fn without_photographs_it_says_which_and_how_to_get_them() {
    let nowhere = tempfile::tempdir().unwrap();
    let out = assert_cmd::Command::cargo_bin("vigil")
        .unwrap()
        .args(["demo", "--photos"])
        .arg(nowhere.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(66));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        said.contains("obama.jpg") && said.contains("make setup") && said.trim().lines().count() == 1,
        "{said}"
    );
}

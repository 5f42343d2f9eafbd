//! An HTTP camera that sends JPEGs one after another.

#![allow(clippy::unwrap_used, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the camera answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Pictures of this width and height, 20 a second, so many of them or without end.
    Pictures { width: u32, height: u32, count: Option<u32> },
    /// This one, 20 times a second.
    Still(Arc<Vec<u8>>),
    /// Ten pictures, then nothing; the connection stays.
    Freeze,
    /// A status line's number and words, and nothing else.
    Status(&'static str),
    /// The headers of a stream and of a picture, then bytes without a boundary, as fast as they are taken.
    Flood,
}

/// A camera at `http://127.0.0.1:{port}/video`. Stops when dropped.
pub struct MjpegServer {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MjpegServer {
    /// `authorization` is the whole header line a client must send.
    pub fn start(answer: Answer, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, stop) = (answer.clone(), stopping.clone());
                std::thread::spawn(move || serve(stream, &answer, authorization, &stop));
            }
        });
        Self { port, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/video", self.port)
    }
}

impl Drop for MjpegServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn jpeg(width: u32, height: u32, n: u32) -> Vec<u8> {
    let picture =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x + n * 8) as u8, y as u8, 128]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn serve(mut stream: TcpStream, answer: &Answer, authorization: Option<&str>, stop: &AtomicBool) {
    let mut request = Vec::new();
    let mut byte = [0u8; 1];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 8192 {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request);
    if authorization.is_some_and(|wanted| !request.lines().any(|line| line == wanted)) {
        let _ = stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    }
    if let Answer::Status(status) = answer {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        return;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\
                Connection: close\r\n\r\n";
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    match answer {
        Answer::Flood => {
            let _ = stream.write_all(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n");
            let junk = vec![b'x'; 1 << 16];
            while !stop.load(Ordering::SeqCst) && stream.write_all(&junk).is_ok() {}
        }
        Answer::Freeze => {
            let pictures: Vec<_> = (0..8).map(|n| jpeg(64, 64, n)).collect();
            send(&mut stream, &pictures, 10, stop);
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Answer::Still(picture) => {
            send(&mut stream, std::slice::from_ref(&**picture), u32::MAX, stop);
        }
        Answer::Pictures { width, height, count } => {
            let pictures: Vec<_> = (0..8).map(|n| jpeg(*width, *height, n)).collect();
            if send(&mut stream, &pictures, count.unwrap_or(u32::MAX), stop) {
                let _ = stream.write_all(b"--frame--\r\n");
            }
        }
        Answer::Status(_) => {}
    }
}

/// True if all of them were sent.
fn send(stream: &mut TcpStream, pictures: &[Vec<u8>], count: u32, stop: &AtomicBool) -> bool {
    for n in 0..count {
        let picture = &pictures[n as usize % pictures.len()];
        let length = picture.len();
        let part = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
        let sent = stream
            .write_all(part.as_bytes())
            .and_then(|()| stream.write_all(picture))
            .and_then(|()| stream.write_all(b"\r\n"));
        if sent.is_err() || stop.load(Ordering::SeqCst) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

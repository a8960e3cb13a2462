//! A server on the tiny detector, and a client that says what it likes: also what no library would send.
use serde_json::Value;
use serve::{OpenModel, OpenedModel, Server, Settings};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testkit::tiny::{self, SIDE_PX};
use testkit::tiny_folder::TinyFolder;
use yolo::CompiledDetector;

/// A server that ends when it is dropped.
pub(crate) struct Served {
    pub(crate) folder: TinyFolder,
    pub(crate) address: SocketAddr,
    hub: std::sync::Arc<serve::Hub>,
    thread: Option<JoinHandle<bool>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {text}", self.status))
    }

    /// The sentence of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("a refusal").to_owned()
    }
}

/// The tiny detector from its file.
pub(crate) fn open() -> Box<OpenModel> {
    Box::new(|path: &Path| {
        let graph = onnx::load(path, &onnx::LoadOptions::default())?;
        Ok(OpenedModel {
            graph,
            family: None,
            options: runtime::PlanOptions::default(),
            bundle: None,
        })
    })
}

impl Served {
    /// With no source.
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// With other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings, &TinyFolder)) -> Self {
        let folder = TinyFolder::new(0, 3);
        let mut settings = Settings::new(folder.path("tiny.onnx"));
        settings.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.sessions = Some(2);
        change(&mut settings, &folder);
        let server = Server::start(settings, open(), Box::new(std::io::sink())).expect("started");
        let (address, hub) = (server.http_address(), std::sync::Arc::clone(server.hub()));
        Self { folder, address, hub, thread: Some(thread::spawn(move || server.wait())) }
    }

    /// With the images of the folder as source `front`.
    pub(crate) fn with_source() -> Self {
        Self::with(|settings, folder| {
            let location = folder.arg("images/val");
            settings.add_sources(&[location]).expect("a source");
            settings.sources[0].name = "front".to_owned();
            settings.sources[0].fps = Some(20.0);
        })
    }

    pub(crate) fn get(&self, path: &str) -> Told {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, headers: &[&str], body: &[u8]) -> Told {
        post(self.address, path, headers, body)
    }

    /// Sends bytes, and reads until the server closes the connection.
    pub(crate) fn send(&self, bytes: &[u8]) -> Told {
        send(self.address, bytes)
    }

    /// Asks until the answer has this status.
    pub(crate) fn until(&self, path: &str, status: u16) -> Told {
        let begun = Instant::now();
        loop {
            let told = self.get(path);
            if told.status == status {
                return told;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{path}: {} {}",
                told.status,
                String::from_utf8_lossy(&told.body)
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.hub.stop();
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        assert!(thread::panicking() || ended == Some(true), "the server failed");
    }
}

pub(crate) fn post(address: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Told {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    headers.iter().for_each(|header| request += &format!("{header}\r\n"));
    send(address, &[request.as_bytes(), b"\r\n", body].concat())
}

fn send(address: SocketAddr, bytes: &[u8]) -> Told {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a limit");
    // A server that refuses a body need not read it: then writing fails and the answer is there all the same.
    let _ = stream.write_all(bytes);
    read(&mut stream)
}

/// Reads an answer to the end of its body, or of the connection.
pub(crate) fn read(stream: &mut TcpStream) -> Told {
    let mut bytes = Vec::new();
    let mut part = [0; 65536];
    loop {
        if let Some(told) = whole(&bytes) {
            return told;
        }
        match stream.read(&mut part) {
            Ok(0) => panic!("the connection ended in {:?}", String::from_utf8_lossy(&bytes)),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
}

/// The answer in some bytes, once it is whole. All answers but streams tell their length.
fn whole(bytes: &[u8]) -> Option<Told> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    let body = bytes[end + 4..].to_vec();
    (body.len() >= length).then_some(Told { status, headers, body })
}

/// A scene as PNG.
pub(crate) fn png(seed: u64) -> Vec<u8> {
    let side = SIDE_PX as u32;
    let image =
        image::RgbImage::from_raw(side, side, tiny::scene(seed).rgb).expect("three bytes a pixel");
    encoded(&image, image::ImageFormat::Png)
}

/// An image in a file's form.
pub(crate) fn encoded(image: &image::RgbImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encoded");
    bytes.into_inner()
}

/// What the detector finds in the scene without a server: label and score, the most confident first.
pub(crate) fn expected(seed: u64) -> Vec<(String, f32)> {
    let side = SIDE_PX as u32;
    let image =
        image::RgbImage::from_raw(side, side, tiny::scene(seed).rgb).expect("three bytes a pixel");
    let detector = CompiledDetector::open(tiny::detector(), None, &runtime::PlanOptions::default());
    let mut session = detector.expect("compiled").session(1).expect("memory");
    let thresholds = session.head().family.thresholds;
    let found = session.detect(&[image], thresholds).expect("detected");
    found.iter().map(|d| (tiny::NAMES[d.class].to_owned(), d.score)).collect()
}

/// A form of fields, and the header that tells its boundary.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in fields {
        body.extend_from_slice(b"--limit\r\n");
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{name}.bin\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    ("Content-Type: multipart/form-data; boundary=limit".to_owned(), body)
}

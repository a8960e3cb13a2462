//! A server that answers as it is told, also as no server should.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How an answer's body ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// As it should.
    Whole,
    /// After so many bytes of those declared the connection is closed.
    Cut(usize),
    /// After so many bytes nothing comes any more.
    Stall(usize),
    /// Never: the bytes come again and again, in chunks of undeclared length.
    Never,
    /// No answer at all.
    Silence,
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    end: End,
    declared: Option<u64>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (headers, body) = (Vec::new(), body.into());
        Self { status, headers, body, end: End::Whole, declared: None }
    }

    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push(format!("{name}: {}", value.to_string()));
        self
    }

    pub(super) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Declares a length that is none.
    pub(super) fn declare(mut self, bytes: u64) -> Self {
        self.declared = Some(bytes);
        self
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                // What the client hangs up on is the client's affair.
                thread::spawn(move || drop(serve(stream, &*answer, &log)));
            }
        });
        Self { address, asked }
    }

    /// Everything that was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a log").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&Asked) -> Reply,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = Asked { method, path, headers, body };
    log.lock().expect("a log").push(asked.clone());
    write(&mut stream, &answer(&asked), asked.method == "HEAD")
}

fn write(stream: &mut TcpStream, reply: &Reply, head: bool) -> std::io::Result<()> {
    let Reply { status, headers, body, end, declared } = reply;
    if matches!(end, End::Silence) {
        thread::sleep(Duration::from_secs(5));
        return Ok(());
    }
    let mut text = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if matches!(end, End::Never) {
        text += "Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(text.as_bytes())?;
        loop {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes())?;
            stream.write_all(body)?;
            stream.write_all(b"\r\n")?;
        }
    }
    text += &format!("Content-Length: {}\r\n\r\n", declared.unwrap_or(body.len() as u64));
    stream.write_all(text.as_bytes())?;
    if head {
        return Ok(());
    }
    match end {
        End::Cut(bytes) => stream.write_all(&body[..*bytes]),
        End::Stall(bytes) => {
            stream.write_all(&body[..*bytes])?;
            thread::sleep(Duration::from_secs(5));
            Ok(())
        }
        _ => stream.write_all(body),
    }
}

//! A registry that is started for a test, and a wire to it that can be cut.
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How a registry is set up.
#[derive(Default)]
pub(crate) struct Setup {
    /// Lines of its `.htpasswd` file.
    pub(crate) passwords: Option<String>,
    /// Its certificate and key.
    pub(crate) tls: Option<Tls>,
}

pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Debian's registry, until it is dropped.
pub(crate) struct Started {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// Whether the program is there; where it is not, the test says so.
pub(crate) fn absent(what: &str) -> bool {
    let found = Command::new("docker-registry").arg("--version").output().is_ok();
    if !found {
        println!("skipped: {what} (no docker-registry)");
    }
    !found
}

impl Started {
    pub(crate) fn new(folder: &Path, setup: &Setup) -> Self {
        // Another process may take the port in between; then there is another one.
        for _ in 0..5 {
            if let Some(started) = Self::attempt(folder, setup) {
                return started;
            }
        }
        panic!("the registry does not start");
    }

    fn attempt(folder: &Path, setup: &Setup) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            folder.join("storage").display()
        );
        if let Some(Tls { certificate, key }) = &setup.tls {
            let (certificate, key) = (certificate.display(), key.display());
            config += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        if let Some(passwords) = &setup.passwords {
            let path = folder.join("htpasswd");
            fs::write(&path, passwords).expect("a file");
            let path = path.display();
            config += &format!("auth:\n  htpasswd:\n    realm: boards\n    path: {path}\n");
        }
        let path = folder.join("config.yml");
        fs::write(&path, config).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a registry");
        let mut started = Self { child, address };
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect(address).is_ok() {
                return Some(started);
            }
            if started.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A wire to a registry.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    /// Bytes that went to the registry.
    sent: Arc<AtomicU64>,
    /// After so many bytes to the registry, and as many from it, the connection is cut, once.
    cut_after: Arc<AtomicU64>,
}

impl Wire {
    pub(crate) fn to(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let sent = Arc::new(AtomicU64::new(0));
        let cut_after = Arc::new(AtomicU64::new(u64::MAX));
        let (count, cut) = (Arc::clone(&sent), Arc::clone(&cut_after));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(registry) else { return };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a copy");
                let (back, forth) = ((copy(&server), copy(&client)), (client, server));
                let (count, cut) = (Arc::clone(&count), Arc::clone(&cut));
                let unlimited = Arc::clone(&cut);
                thread::spawn(move || carry(forth.0, forth.1, &count, &cut));
                thread::spawn(move || carry(back.0, back.1, &AtomicU64::new(0), &unlimited));
            }
        });
        Self { address, sent, cut_after }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Cuts the connection once so many further bytes went one way.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.sent.store(0, Ordering::SeqCst);
        self.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Whether the connection was cut since.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut_after.load(Ordering::SeqCst) == u64::MAX
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, cut_after: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        let carried = count.fetch_add(got as u64, Ordering::SeqCst) + got as u64;
        if carried > cut_after.load(Ordering::SeqCst) {
            cut_after.store(u64::MAX, Ordering::SeqCst);
            break;
        }
        if to.write_all(&buffer[..got]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

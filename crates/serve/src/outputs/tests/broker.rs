//! A real broker on a free port, and somebody who listens to it.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Where Debian and others have it.
const PLACES: [&str; 4] = [
    "/usr/sbin/mosquitto",
    "/usr/bin/mosquitto",
    "/usr/local/sbin/mosquitto",
    "/opt/homebrew/sbin/mosquitto",
];

/// Who may connect, where the broker asks.
pub(super) const USER: [&str; 2] = ["camera", "s3cret"];

/// Whom a broker lets in.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Door {
    Open,
    /// [`USER`] alone.
    Password,
    /// Whoever speaks TLS.
    Tls,
}

/// A broker, ended when it is dropped.
pub(super) struct Broker {
    program: PathBuf,
    folder: tempfile::TempDir,
    pub(super) port: u16,
    door: Door,
    process: Option<Child>,
}

impl Broker {
    /// A broker that keeps nothing over a restart; none, and a word about it, on machines without mosquitto.
    pub(super) fn start(door: Door) -> Option<Self> {
        let found = PLACES.into_iter().map(PathBuf::from).find(|path| path.exists());
        let has = |program| tool(program).is_some();
        let program =
            found.filter(|_| has("mosquitto_sub") && (door != Door::Tls || has("openssl")));
        let Some(program) = program else {
            println!(
                "skipped: mosquitto and its clients, or openssl, are not installed (Debian: mosquitto mosquitto-clients openssl)"
            );
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self { program, folder, port, door, process: None };
        broker.run();
        Some(broker)
    }

    /// Starts it, again.
    pub(super) fn run(&mut self) {
        let file = |name: &str| self.folder.path().join(name);
        let mut config = format!("listener {} 127.0.0.1\npersistence false\n", self.port);
        // It may run as another user, who is let in here.
        config += "user root\n";
        config += &match self.door {
            Door::Open => "allow_anonymous true\n".to_owned(),
            Door::Password => {
                let passwords = file("passwords");
                let mut command = Command::new("mosquitto_passwd");
                command.args(["-c", "-b"]).arg(&passwords).args(USER).stderr(Stdio::null());
                assert!(command.status().expect("mosquitto_passwd").success());
                format!("allow_anonymous false\npassword_file {}\n", passwords.display())
            }
            Door::Tls => {
                self.certify();
                let [certificate, key] = [file("cert.pem"), file("cert.key")];
                let [certificate, key] = [certificate.display(), key.display()];
                format!("allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n")
            }
        };
        std::fs::write(file("config"), config).unwrap();
        let process = Command::new(&self.program)
            .arg("-c")
            .arg(file("config"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        super::until("the broker listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Makes an authority, and by it a certificate for this machine.
    fn certify(&self) {
        let run = |line: &str| {
            let mut command = Command::new("openssl");
            command.args(line.split(' ')).current_dir(self.folder.path());
            let made = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(made.unwrap().success(), "{line}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
        run(&format!("req {key} -keyout cert.key -out cert.csr -subj /CN=broker"));
        std::fs::write(self.folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        run(
            "x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
        );
    }

    /// The certificate of its authority.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Ends it at once, as a cut of the current does.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// What `[mqtt]` must say.
    pub(super) fn settings(&self) -> String {
        format!("[mqtt]\nhost = '127.0.0.1'\nport = {}\nstats_interval_s = 1.0\n", self.port)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        match self.door {
            Door::Open => {}
            Door::Password => {
                command.args(["-u", USER[0], "-P", USER[1]]);
            }
            Door::Tls => {
                command.arg("--cafile").arg(self.authority());
            }
        }
        command
    }

    /// Says something to all.
    pub(super) fn publish(&self, topic: &str, payload: &str, retained: bool) {
        let mut command = self.command("mosquitto_pub");
        command.args(["-t", topic, "-m", payload]);
        if retained {
            command.arg("-r");
        }
        assert!(command.status().unwrap().success());
    }

    /// Somebody who hears everything from now on, and what the broker keeps.
    pub(super) fn listen(&self) -> Listener {
        let mut command = self.command("mosquitto_sub");
        command.args(["-t", "#", "-F", "%r %t\t%p"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let latest = Arc::new(Mutex::new(BTreeMap::new()));
        let (told, events) = channel();
        let kept = Arc::clone(&latest);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (topic, payload) = line[2..].split_once('\t').unwrap();
                kept.lock().unwrap().insert(topic.to_owned(), payload.to_owned());
                let _ = told.send([topic.to_owned(), payload.to_owned()]);
            }
        });
        Listener { process, latest, events }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Somebody who hears everything.
pub(super) struct Listener {
    process: Child,
    latest: Arc<Mutex<BTreeMap<String, String>>>,
    events: Receiver<[String; 2]>,
}

impl Listener {
    /// What was said last under a topic.
    pub(super) fn latest(&self, topic: &str) -> Option<String> {
        self.latest.lock().unwrap().get(topic).cloned()
    }

    /// Waits until this was said last under a topic.
    pub(super) fn expect(&self, topic: &str, payload: &str) {
        super::until(&format!("{topic} is {payload}"), || {
            self.latest(topic).as_deref() == Some(payload)
        });
    }

    /// Waits for the next message of a topic.
    pub(super) fn next(&self, topic: &str) -> String {
        loop {
            let [of, payload] = self.events.recv_timeout(super::PATIENCE).expect("a message");
            if of == topic {
                return payload;
            }
        }
    }

    /// All messages of a topic so far, that were not asked for yet.
    pub(super) fn so_far(&self, topic: &str) -> Vec<String> {
        // What is under way arrives meanwhile.
        thread::sleep(Duration::from_millis(300));
        self.events.try_iter().filter(|[of, _]| of == topic).map(|[_, payload]| payload).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| Path::exists(file))
}

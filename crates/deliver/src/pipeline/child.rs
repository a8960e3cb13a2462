//! Other programs, and this one again: a stage that crashes takes nothing else down, and all end when they are told to.
use crate::DeliverError;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The environment variable by which a program of ours is told to end when its standard input does: then whoever started it is
/// gone, however it ended.
pub const END_WITH_STDIN: &str = "YOLOSLIM_END_WITH_STDIN";

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a program may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(30);
/// Lines of what a program says that an error repeats.
const REPEATED: usize = 12;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    /// How it ended, in words.
    pub(super) how: String,
    /// What it printed.
    pub(super) printed: String,
    /// The last lines that it said beside.
    pub(super) told: String,
}

/// What runs programs.
pub(super) struct Runner<'a> {
    /// Whether everything is to end.
    pub(super) stop: &'a AtomicBool,
    /// Who hears each line that a program says beside its result.
    pub(super) tell: &'a (dyn Fn(&str) + Sync),
}

impl Runner<'_> {
    /// Runs a program to its end, or to its limit of time; `name` is what errors call it.
    ///
    /// # Errors
    /// `Interrupted` when everything is to end; `Start`; `Slow` at the limit.
    pub(super) fn run(
        &self,
        name: &str,
        command: &mut Command,
        limit: Option<Duration>,
    ) -> Result<Ended, DeliverError> {
        self.check()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| DeliverError::Start { name: name.to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        // It is open until this function ends.
        let stdin = child.stdin.take();
        let printed = collect(child.stdout.take());
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let status = thread::scope(|scope| {
            let stderr = child.stderr.take();
            scope.spawn(|| self.listen(stderr, &last));
            self.wait(name, &mut child, stdin, limit)
        });
        let status = status?;
        let printed = printed.join().unwrap_or_default();
        let told = last.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        Ok(Ended { code: status.code(), how: status.to_string(), printed, told })
    }

    /// # Errors
    /// `Interrupted` when everything is to end.
    pub(super) fn check(&self) -> Result<(), DeliverError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(DeliverError::Interrupted);
        }
        Ok(())
    }

    fn listen(&self, stderr: Option<impl Read>, last: &Mutex<VecDeque<String>>) {
        for line in stderr.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')) {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            (self.tell)(&line);
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.push_back(line);
            if last.len() > REPEATED {
                last.pop_front();
            }
        }
    }

    fn wait(
        &self,
        name: &str,
        child: &mut Child,
        stdin: Option<ChildStdin>,
        limit: Option<Duration>,
    ) -> Result<ExitStatus, DeliverError> {
        let begun = Instant::now();
        let failed = |source| DeliverError::Start { name: name.to_owned(), source };
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                // Ctrl-C on a terminal reaches both: the one that was started may be the first to end.
                if status.code() == Some(3) {
                    thread::sleep(10 * LOOK);
                }
                self.check()?;
                return Ok(status);
            }
            if self.check().is_err() {
                drop(stdin);
                end(child);
                return Err(DeliverError::Interrupted);
            }
            if let Some(limit) = limit.filter(|limit| begun.elapsed() > *limit) {
                drop(stdin);
                end(child);
                return Err(DeliverError::Slow { name: name.to_owned(), seconds: limit.as_secs() });
            }
            thread::sleep(LOOK);
        }
    }
}

/// Asks a program to end, and ends it where it does not.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads all that a program prints while it runs.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was printed before reading failed is worth as much.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

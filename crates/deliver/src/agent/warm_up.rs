//! A bundle proved on this machine, by a program of its own: whatever it does to that program, the agent lives.
use super::pulse::Pulse;
use super::settings::WarmUpSettings;
use crate::DeliverError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of what the program says that are kept: its last.
const KEPT_BYTES: usize = 1000;
/// Longest wait between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the program on a bundle's folder; well is exit code 0.
///
/// # Errors
/// `WarmUp` for any other end, and where it takes too long; `Program` where it cannot be started; `Stopped`.
pub(crate) fn warm_up(
    settings: &WarmUpSettings,
    bundle: &Path,
    pulse: &Pulse,
) -> Result<(), DeliverError> {
    let failed = |why: String| DeliverError::Program { program: settings.program.clone(), why };
    let pipe = |e: io::Error| failed(format!("no pipe: {e}"));
    let (said, words) = io::pipe().map_err(pipe)?;
    let mut command = Command::new(&settings.program);
    command
        .args(settings.arguments_for(bundle))
        .stdin(Stdio::null())
        .stdout(words.try_clone().map_err(pipe)?)
        .stderr(words)
        // A group of its own: what it started ends with it.
        .process_group(0);
    let child = spawn(&mut command).map_err(|e| failed(e.to_string()))?;
    // With the command goes this side's end of the pipe, so that reading ends when the program does.
    drop(command);
    let mut running = Running::new(child, said);
    let end = Instant::now() + settings.timeout;
    let mut look = Duration::from_millis(1);
    loop {
        let ended = running.child.try_wait().map_err(|e| failed(e.to_string()))?;
        if let Some(status) = ended {
            let said = running.finish();
            let why =
                if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
            return if status.success() { Ok(()) } else { Err(DeliverError::WarmUp { why }) };
        }
        if Instant::now() >= end {
            let why = format!("no answer within {} s", settings.timeout.as_secs_f64());
            return Err(DeliverError::WarmUp { why });
        }
        pulse.wait(look)?;
        look = LOOK.min(look * 2);
    }
}

/// A script that was written a moment ago is busy for as long as another child of this process still has it open.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..20 {
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => thread::sleep(LOOK),
            spawned => return spawned,
        }
    }
    command.spawn()
}

/// A program that ends with this value.
struct Running {
    child: Child,
    /// Reads what it says, so that it never waits for somebody to do so.
    reader: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    fn new(child: Child, said: PipeReader) -> Self {
        Self { child, reader: Some(thread::spawn(move || last_bytes(said))) }
    }

    /// Ends what it started and left, and gives what it said last.
    fn finish(&mut self) -> String {
        self.end();
        let said = self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    fn end(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            // Where all have ended there is nobody left to tell.
            let _ = Pid::from_raw(group).map(|group| kill_process_group(group, Signal::KILL));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

fn last_bytes(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut part) {
        kept.extend_from_slice(&part[..read]);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout_s: f64) -> Result<(), DeliverError> {
        let settings = WarmUpSettings {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into(), "{bundle}".into()],
            timeout: Duration::from_secs_f64(timeout_s),
        };
        warm_up(&settings, Path::new("/state/a"), &Pulse::default())
    }

    #[test]
    fn program_is_judged_by_its_exit_code_and_quoted() {
        assert!(run("test \"$1\" = /state/a", 60.0).is_ok());
        let error =
            run("echo boxes; echo differ >&2; exit 1", 60.0).expect_err("refused").to_string();
        assert!(error.contains("boxes\ndiffer") && error.contains('1'), "{error}");
        let error = run("kill -9 $$", 60.0).expect_err("refused");
        assert!(matches!(error, DeliverError::WarmUp { .. }), "{error}");
    }

    #[test]
    fn program_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let script = format!("sleep 3600 & echo $! > {}; wait", pid.display());
        let error = run(&script, 0.5).expect_err("refused").to_string();
        assert!(error.contains("no answer"), "{error}");
        let pid = std::fs::read_to_string(&pid).expect("it ran");
        let stat = Path::new("/proc").join(pid.trim()).join("stat");
        // Ended, or waiting to be reaped by whoever inherits it.
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z"));
        while !gone() {
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn program_that_talks_much_is_not_held_up() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo 'many words of no use' >&2; i=$((i+1)); done; echo end >&2; exit 2";
        let error = run(script, 60.0).expect_err("refused").to_string();
        assert!(error.ends_with("end") && error.len() < 1200, "{error}");
    }

    #[test]
    fn program_that_is_not_there_is_no_fault_of_the_bundle() {
        let settings = WarmUpSettings {
            program: "/no/such/program".into(),
            arguments: vec![],
            timeout: Duration::from_secs(1),
        };
        let error = warm_up(&settings, Path::new("/b"), &Pulse::default()).expect_err("refused");
        assert!(matches!(error, DeliverError::Program { .. }), "{error}");
    }
}

//! A source: a decoder that is kept running, and its frames on their way into the slot.
mod doubt;
mod ffmpeg;
mod folder;
mod pace;
mod y4m;

use crate::ServeError;
use crate::frame::{Frame, Picture};
use crate::hub::Hub;
use crate::location::Kind;
use crate::message::{DownReason, SourceState};
use crate::settings::SourceSettings;
use crate::status::SourceStatus;
use doubt::{Doubt, Doubts};
use ffmpeg::{Input, Messages, Said, assumed};
use pace::Pace;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use y4m::Header;
use yolo::{YuvColours, YuvMatrix, YuvRange};

/// The wait before a decoder is started anew; it doubles each time it ends soon again.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait: a camera that comes back after hours is seen within so long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A decoder that ran for so long did run: what ends it then is a new trouble.
const RAN: Duration = Duration::from_secs(10);

/// After the decoder complained, frames are no pictures for so long: damage stays until the next key frame.
const DAMAGED_FOR: Duration = Duration::from_secs(1);

/// How often a source is looked after.
const TICK: Duration = Duration::from_millis(100);

/// A source at work.
pub(crate) struct Source {
    hub: Arc<Hub>,
    index: usize,
    settings: SourceSettings,
    ffmpeg: PathBuf,
    run: Mutex<Run>,
}

/// What is known of the decoder that runs now.
#[derive(Debug, Default)]
struct Run {
    child: Option<Child>,
    /// When its last frame came, or when it was started.
    last: Option<Instant>,
    /// Frames that it has sent.
    frames: u64,
    /// When it last complained about the stream.
    damaged: Option<Instant>,
    /// What it said last that went wrong.
    error: Option<String>,
    /// Why it was ended by us.
    ended: Option<(DownReason, String)>,
    /// Its frames have another size from now on: it is started anew without a wait.
    other_size: bool,
}

impl Source {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        index: usize,
        settings: &SourceSettings,
        ffmpeg: PathBuf,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            index,
            settings: settings.clone(),
            ffmpeg,
            run: Mutex::default(),
        }
    }

    fn status(&self) -> &SourceStatus {
        &self.hub.sources[self.index]
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the source running until everything ends, or a file that does not begin again is at its end.
    pub(crate) fn keep_running(self: &Arc<Self>) {
        let mut wait = FIRST_WAIT;
        // A camera that shows what it showed before it was connected to anew is still frozen.
        let mut doubts = Doubts::new(self.settings.frozen_after_s);
        while !self.hub.is_stopping() {
            let started = Instant::now();
            self.hub.set_state(self.index, SourceState::Starting);
            let ended = match self.settings.location.kind() {
                Kind::Folder => self.read_folder(&mut doubts),
                _ => self.decode(&mut doubts),
            };
            let (child, run) = {
                let mut run = self.run();
                (run.child.take(), std::mem::take(&mut *run))
            };
            self.status().set_decoder(None);
            end(child);
            if self.hub.is_stopping() {
                return;
            }
            match ended {
                Ok(()) if self.is_finished(&run) => {
                    self.finish();
                    return self.hub.set_state(self.index, SourceState::Ended);
                }
                // What was cut off by us is no trouble of the stream's.
                _ if run.other_size => {}
                ended => {
                    let (reason, detail) = self.reason(run, ended.err());
                    self.hub.set_state(self.index, SourceState::Down { reason, detail });
                    if started.elapsed() > RAN {
                        wait = FIRST_WAIT;
                    }
                    self.pause(wait);
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
            }
            self.status().counts.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets the last frame of a file be looked at.
    fn finish(&self) {
        while self.hub.dispatch.is_at_work(self.index) && !self.hub.is_stopping() {
            thread::sleep(TICK);
        }
    }

    /// An image that cannot be read is told and left out.
    fn reject(&self, why: String) {
        self.status().counts.rejected.fetch_add(1, Ordering::Relaxed);
        self.run().error = Some(why);
    }

    /// Whether a file was read to its end, and is not to begin again.
    fn is_finished(&self, run: &Run) -> bool {
        let is_file = matches!(self.settings.location.kind(), Kind::File | Kind::Folder);
        let untroubled = run.ended.is_none() && !run.other_size && run.frames > 0;
        is_file && !self.settings.looped && untroubled
    }

    /// Why no frames come any more.
    fn reason(&self, run: Run, error: Option<ServeError>) -> (DownReason, String) {
        let (reason, detail) = run.ended.unwrap_or_else(|| {
            let said = run.error.or(error.map(|e| e.whole()));
            (DownReason::Decoder, said.unwrap_or_else(|| "the stream ended".to_owned()))
        });
        (reason, self.settings.location.redact(&detail))
    }

    /// Waits, but not longer than until everything ends.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.hub.is_stopping() {
            thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Starts a decoder and passes its frames on, until it ends.
    fn decode(self: &Arc<Self>, doubts: &mut Doubts) -> Result<(), ServeError> {
        let input = Input {
            location: &self.settings.location,
            looped: self.settings.looped,
            decoder_args: &self.settings.decoder_args,
        };
        let mut child = input.decode(&self.ffmpeg)?;
        self.status().set_decoder(Some(child.id()));
        let (frames, messages) = (child.stdout.take(), child.stderr.take());
        *self.run() = Run { child: Some(child), last: Some(Instant::now()), ..Run::default() };
        let (told, colours) = mpsc::channel();
        let (Some(mut frames), Some(messages)) = (frames, messages) else { return Ok(()) };
        let reader = {
            let source = Arc::clone(self);
            thread::spawn(move || source.listen(messages, &told))
        };
        let sent = self.pass_on(&mut frames, &colours, doubts);
        // The decoder ends when nobody reads it, and its last words tell why.
        drop(frames);
        if sent.is_err() {
            self.kill();
        }
        let _ = reader.join();
        sent
    }

    /// Passes frames on as they come.
    fn pass_on(
        &self,
        stream: &mut impl std::io::Read,
        colours: &mpsc::Receiver<(Option<YuvMatrix>, Option<YuvRange>)>,
        doubts: &mut Doubts,
    ) -> Result<(), ServeError> {
        let Some(header) = Header::read(stream)? else { return Ok(()) };
        // It says so before it sends the first frame, by another pipe.
        let (matrix, range) = colours.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let colours = assumed(matrix, header.range.or(range), header.size_px[1]);
        self.status().set_stream(header.size_px, describe(colours, matrix), header.fps);
        // A camera's own word on its rate is not to be trusted; files are played at theirs.
        let is_file = self.settings.location.kind() == Kind::File;
        let mut pace = Pace::new(header.fps.filter(|_| is_file));
        loop {
            let mut bytes = self.hub.dispatch.memory(self.index);
            if !header.read_frame(stream, &mut bytes)? {
                return Ok(());
            }
            let picture = Picture::Yuv { bytes, size_px: header.size_px, colours };
            self.offer(picture, doubts, &mut pace);
        }
    }

    /// Puts a picture into the slot, if it is one.
    fn offer(&self, picture: Picture, doubts: &mut Doubts, pace: &mut Pace) {
        let now = Instant::now();
        let bytes = picture.size_px().iter().product::<usize>() * 3 / 2;
        let number = self.status().received(bytes, now);
        let damaged = {
            let mut run = self.run();
            run.last = Some(now);
            run.frames += 1;
            run.damaged.is_some_and(|at| now.duration_since(at) < DAMAGED_FOR)
        };
        let late_ms = pace.late_ms(now);
        let doubt = doubts.look(&picture, now);
        let (reason, detail) = match doubt {
            Some(Doubt::Green) => (DownReason::Green, "frames that were never decoded".to_owned()),
            Some(Doubt::Frozen(since)) => {
                (DownReason::Frozen, format!("equal frames for {:.0} s", since.as_secs_f64()))
            }
            None if damaged => {
                let said = self.run().error.clone().unwrap_or_default();
                (DownReason::Damaged, self.settings.location.redact(&said))
            }
            None => {
                self.hub.set_state(self.index, SourceState::Live);
                let arrived_at = SystemTime::now();
                let frame = Frame { picture, number, arrived: now, arrived_at, late_ms };
                if self.hub.dispatch.put(self.index, frame) {
                    self.status().dropped(now);
                }
                return;
            }
        };
        self.status().counts.rejected.fetch_add(1, Ordering::Relaxed);
        self.hub.set_state(self.index, SourceState::Down { reason, detail });
    }

    /// Reads what the decoder says until it ends.
    fn listen(
        &self,
        messages: ChildStderr,
        told: &mpsc::Sender<(Option<YuvMatrix>, Option<YuvRange>)>,
    ) {
        let mut reader = BufReader::new(messages);
        let mut known = Messages::default();
        let mut line = Vec::new();
        // What it says may be no UTF-8.
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let said = known.line(String::from_utf8_lossy(&line).trim_end());
            line.clear();
            match said {
                Some(Said::Colours { matrix, range }) => {
                    // Who waited for it may have given up.
                    let _ = told.send((matrix, range));
                }
                Some(Said::OtherSize) => {
                    self.run().other_size = true;
                    self.kill();
                }
                Some(Said::Damage(text)) => {
                    let mut run = self.run();
                    run.damaged = Some(Instant::now());
                    run.error = Some(text);
                }
                Some(Said::Error(text)) => self.run().error = Some(text),
                None => {}
            }
        }
    }

    /// Ends a decoder that sends nothing any more, or the same for too long. Called every now and then, by another thread.
    pub(crate) fn look_after(&self) {
        let stale_after = Duration::from_secs_f64(self.settings.stale_after_s);
        let mut run = self.run();
        if run.child.is_none() || run.ended.is_some() {
            return;
        }
        let silent = run.last.map_or(Duration::ZERO, |last| last.elapsed());
        let trouble = if silent >= stale_after {
            Some((DownReason::Stale, format!("no frame for {:.0} s", silent.as_secs_f64())))
        } else {
            // A camera that hangs often comes back when it is connected to anew.
            match self.status().state() {
                SourceState::Down {
                    reason: reason @ (DownReason::Frozen | DownReason::Green),
                    detail,
                } => Some((reason, detail)),
                _ => None,
            }
        };
        let Some((reason, detail)) = trouble else { return };
        run.ended = Some((reason, detail.clone()));
        drop(run);
        self.hub.set_state(self.index, SourceState::Down { reason, detail });
        self.kill();
    }

    /// Ends the decoder.
    pub(crate) fn kill(&self) {
        if let Some(child) = &mut self.run().child {
            kill(child);
        }
    }
}

/// Waits for a decoder that ended or is ended now, so that no process is left.
fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        kill(&mut child);
        let _ = child.wait();
    }
}

/// Kills a decoder, and what it has started itself: a pipe ends when the last process that holds it does.
fn kill(child: &mut Child) {
    // Either may have ended by itself.
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

fn describe(colours: YuvColours, said: Option<YuvMatrix>) -> String {
    let matrix = match colours.matrix {
        YuvMatrix::Bt601 => "BT.601",
        YuvMatrix::Bt709 => "BT.709",
    };
    let range = match colours.range {
        YuvRange::Limited => "limited",
        YuvRange::Full => "full",
    };
    let assumed = if said.is_none() { ", matrix assumed" } else { "" };
    format!("{matrix} {range}{assumed}")
}

//! JSON lines: one for each object that comes, changes or goes, each change of a source or of the model, and, where asked for, each
//! frame with objects.
use super::OutputCounts;
use super::record::{event, tagged};
use crate::message::Message;
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::sync::atomic::Ordering;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Writes lines until everything ends, or nobody reads them any more.
pub(crate) fn write(
    mut messages: Receiver<Message>,
    mut out: Box<dyn Write + Send>,
    frames: bool,
    counts: &OutputCounts,
) {
    let lose = |lost| counts.lines_dropped.fetch_add(lost, Ordering::Relaxed);
    // Whether a part of a line may have been written: what comes next must not be taken for its rest.
    let mut torn = false;
    loop {
        let line = match messages.blocking_recv() {
            Ok(Message::Ended) => return,
            Ok(message) => line(&message, frames),
            // What was lost is said where it is missed.
            Err(RecvError::Lagged(lost)) => {
                lose(lost);
                Some(json!({ "kind": "lost", "messages": lost }).to_string())
            }
            Err(RecvError::Closed) => return,
        };
        let Some(line) = line else { continue };
        // One write a line, so that others who append to the file do not come between.
        let text = if torn { format!("\n{line}\n") } else { format!("{line}\n") };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => torn = false,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            // A full disk may have room again: what comes then is written.
            Err(_) => {
                lose(1);
                torn = true;
            }
        }
    }
}

fn line(message: &Message, frames: bool) -> Option<String> {
    match message {
        Message::Frame(result) if frames && !result.objects.is_empty() => {
            tagged("frame", &**result)
        }
        message => event(message),
    }
}

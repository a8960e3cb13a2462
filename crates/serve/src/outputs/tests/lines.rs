use super::{believe, hub, settings};
use crate::outputs::{OutputCounts, lines};
use serde_json::Value;
use std::io::{Error, ErrorKind, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;

/// A disk that is full at its second write, after half of it.
struct FullOnce {
    written: Arc<Mutex<Vec<u8>>>,
    writes: usize,
}

impl Write for FullOnce {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writes += 1;
        if self.writes == 3 {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let some = if self.writes == 2 { &bytes[..bytes.len() / 2] } else { bytes };
        self.written.lock().unwrap().extend(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn write_to_a_disk_that_was_full_loses_one_line_and_counts_it() {
    let settings = settings("");
    let hub = hub(&settings);
    let (messages, counts) = (hub.subscribe(), OutputCounts::default());
    believe(&hub, 0, &["red", "blue", "red"], 100.0);
    // The thread ends with the last sender.
    drop(hub);
    let written = Arc::default();
    let out = FullOnce { written: Arc::clone(&written), writes: 0 };
    thread::scope(|scope| {
        scope.spawn(|| lines::write(messages, Box::new(out), false, &counts));
    });
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
    let whole: Vec<&Value> = lines.iter().flatten().collect();
    assert_eq!((lines.len(), whole.len()), (3, 2), "{text}");
    assert_eq!(counts.lines_dropped.load(Ordering::Relaxed), 1);
    for line in whole {
        assert_eq!((&line["kind"], &line["type"]), (&"object".into(), &"new".into()), "{line}");
        assert_eq!(line["after"]["camera"], "front");
    }
    assert!(text.starts_with(r#"{"kind":"object","#) && text.contains(r#""score":0.9,"#), "{text}");
}

#[test]
fn write_after_more_messages_than_are_kept_says_how_many_are_missing() {
    let settings = settings("");
    let hub = hub(&settings);
    let (messages, counts) = (hub.subscribe(), OutputCounts::default());
    (0..2000).for_each(|i| believe(&hub, 0, &["red"; 4], 1000.0 * f64::from(i)));
    drop(hub);
    let written = Arc::default();
    let out = FullOnce { written: Arc::clone(&written), writes: 10 };
    thread::scope(|scope| {
        scope.spawn(|| lines::write(messages, Box::new(out), false, &counts));
    });
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["kind"], "lost");
    assert_eq!(first["messages"], counts.lines_dropped.load(Ordering::Relaxed));
    assert!(first["messages"].as_u64().unwrap() > 0);
}

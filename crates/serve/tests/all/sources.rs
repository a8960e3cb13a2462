//! Sources that behave as cameras do, and as they should not. The decoder is a shell script, so that each kind of trouble comes when
//! it is wanted; a test with the real one is in `ffmpeg.rs`.

use crate::common::{Decoder, Watched, settings};
use serve::{DownReason, Message, SourceState};
use std::time::Duration;

/// Frames of noise in luma and no colour, 50 a second.
const LIVE: &str =
    "head -c 1024 /dev/urandom; head -c 512 /dev/zero | tr '\\0' '\\200'; sleep 0.02";

/// The same frame over and over.
const FROZEN: &str = "head -c 1536 /dev/zero | tr '\\0' '\\200'; sleep 0.02";

/// Frames that were never decoded.
const GREEN: &str = "head -c 1536 /dev/zero; sleep 0.02";

fn down(message: &Message) -> Option<DownReason> {
    match message {
        Message::Source(event) => match event.state {
            SourceState::Down { reason, .. } => Some(reason),
            _ => None,
        },
        _ => None,
    }
}

fn state(message: &Message) -> Option<&'static str> {
    match message {
        Message::Source(event) => Some(event.state.name()),
        _ => None,
    }
}

#[test]
fn source_of_a_file_that_ends_is_live_then_ended_and_every_frame_is_counted() {
    let decoder = Decoder::frames(30, LIVE, "");
    let mut settings = settings(&[&decoder]);
    settings.sources[0].looped = false;
    let mut watched = Watched::start(settings);
    watched.until(|message| state(message) == Some("live"));
    watched.until(|message| state(message) == Some("ended"));
    let report = watched.server.hub().sources[0].report();
    assert_eq!(report.received, 30);
    assert_eq!(report.detected + report.dropped, 30);
    assert_eq!((report.rejected, report.restarts), (0, 0));
    assert_eq!(report.size_px, Some([32, 32]));
    watched.end();
}

#[test]
fn source_that_shows_no_live_pictures_is_down_and_none_is_detected_on() {
    for (frames, expected) in [(FROZEN, DownReason::Frozen), (GREEN, DownReason::Green)] {
        let decoder = Decoder::frames(10_000, frames, "");
        let mut settings = settings(&[&decoder]);
        settings.sources[0].frozen_after_s = 0.5;
        let mut watched = Watched::start(settings);
        watched.until(|message| down(message) == Some(expected));
        let hub = watched.server.hub();
        let detected = hub.sources[0].report().detected;
        // Neither before it is connected to anew, nor after.
        std::thread::sleep(Duration::from_millis(2500));
        let report = hub.sources[0].report();
        assert!(report.detected <= detected + 1, "{report:?}");
        assert!(report.rejected > 0 && report.restarts > 0, "{report:?}");
        watched.end();
    }
}

#[test]
fn source_that_stalls_is_down_and_started_anew_while_another_goes_on() {
    let stalls = Decoder::frames(5, LIVE, "sleep 1000");
    let live = Decoder::frames(100_000, LIVE, "");
    let mut settings = settings(&[&stalls, &live]);
    settings.sources[0].stale_after_s = 0.6;
    let mut watched = Watched::start(settings);
    watched.until(|message| down(message) == Some(DownReason::Stale));
    let before = watched.server.hub().sources[1].report().received;
    // It is tried again after a second, and works until it stalls again.
    watched.until(|message| down(message) == Some(DownReason::Stale));
    let hub = watched.server.hub();
    assert!(hub.sources[0].report().restarts >= 1);
    let other = hub.sources[1].report();
    assert_eq!(other.state, SourceState::Live);
    assert!(other.received > before + 20 && other.restarts == 0, "{other:?}");
    watched.end();
}

#[test]
fn source_whose_decoder_complains_is_down_until_it_is_whole_again() {
    let damage =
        "echo '[h264 @ 0x1] [info] concealing 900 DC, 900 AC, 900 MV errors in P frame' >&2";
    // Ten good frames, a complaint, then good ones again.
    let script = format!("if [ $n = 10 ]; then {damage}; fi; {LIVE}");
    let mut watched = Watched::start(settings(&[&Decoder::frames(10_000, &script, "")]));
    watched.until(|message| state(message) == Some("live"));
    watched.until(|message| down(message) == Some(DownReason::Damaged));
    watched.until(|message| state(message) == Some("live"));
    let report = watched.server.hub().sources[0].report();
    assert!(report.rejected > 0 && report.restarts == 0, "{report:?}");
    watched.end();
}

#[test]
fn source_whose_frames_change_their_size_is_read_anew_at_once() {
    let graph = |size: &str| {
        format!("echo '[graph 0 input from stream 0:0 @ 0x1] [verbose] {size} pixfmt:yuv420p' >&2")
    };
    let (first, second) = (graph("w:32 h:32"), graph("w:64 h:64"));
    let script =
        format!("if [ $n = 1 ]; then {first}; fi; if [ $n = 20 ]; then {second}; fi; {LIVE}");
    let mut watched = Watched::start(settings(&[&Decoder::frames(10_000, &script, "")]));
    watched.until(|message| state(message) == Some("live"));
    watched.until(|message| {
        // It is no trouble: the source is not told to be down.
        assert_eq!(down(message), None);
        state(message) == Some("starting")
    });
    watched.until(|message| state(message) == Some("live"));
    watched.end();
}

#[test]
fn source_whose_decoder_quotes_its_password_does_not_pass_it_on() {
    // As a decoder does that cannot connect: it repeats what it was told, here from its standard input.
    let decoder = Decoder::script("read a; read b; echo \"[error] $b: 401 Unauthorized\" >&2");
    let mut settings = settings(&[&decoder]);
    let place = "rtsp://me:s%40cret@127.0.0.1:1/h264?token=abcdef";
    settings.sources[0].location = serve::Location::parse(place).unwrap();
    let mut watched = Watched::start(settings);
    let mut said = String::new();
    watched.until(|message| {
        said += &format!("{message:?}");
        down(message) == Some(DownReason::Decoder)
    });
    said += &serde_json::to_string(&watched.server.hub().sources[0].report()).unwrap();
    assert!(said.contains("401 Unauthorized"), "{said}");
    for secret in ["s%40cret", "s@cret", "abcdef"] {
        assert!(!said.contains(secret), "{said}");
    }
    watched.end();
}

#[test]
fn source_without_a_decoder_on_the_machine_says_how_to_get_one() {
    let decoder = Decoder::frames(1, LIVE, "");
    let mut settings = settings(&[&decoder]);
    settings.ffmpeg = "/no/such/ffmpeg".into();
    let mut watched = Watched::start(settings);
    let mut said = String::new();
    watched.until(|message| {
        said += &format!("{message:?}");
        down(message) == Some(DownReason::Decoder)
    });
    assert!(said.contains("/no/such/ffmpeg") && said.contains("apt-get install ffmpeg"), "{said}");
    watched.end();
}

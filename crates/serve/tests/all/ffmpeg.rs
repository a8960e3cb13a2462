//! Sources decoded by the real ffmpeg, of videos that it makes. Skipped where it is absent.

use crate::common::Watched;
use serve::{DownReason, HttpSettings, Message, Settings, SourceState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::tiny_folder::TinyFolder;

/// A folder for videos; none without ffmpeg.
fn folder() -> Option<TinyFolder> {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("skipped: sources decoded by ffmpeg (no ffmpeg)");
        return None;
    }
    Some(TinyFolder::new(0, 0))
}

fn ffmpeg(arguments: &str, out: &Path) -> PathBuf {
    let words = arguments.split(' ').filter(|word| !word.is_empty());
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "fatal", "-nostdin", "-y"]).args(words).arg(out);
    assert!(command.status().unwrap().success(), "{arguments}");
    out.to_path_buf()
}

/// A moving picture, 25 frames a second.
fn video(folder: &TinyFolder, name: &str, size: &str, seconds: u32, options: &str) -> PathBuf {
    let made = format!(
        "-f lavfi -i testsrc2=size={size}:rate=25:duration={seconds} -c:v libx264 -g 25 -bf 0 -pix_fmt yuv420p {options}"
    );
    ffmpeg(&made, &folder.path(name))
}

fn settings(folder: &TinyFolder, video: &Path) -> Settings {
    let mut settings = Settings::new(folder.path("tiny.onnx"));
    settings.add_sources(&[video.to_str().unwrap().to_owned()]).unwrap();
    settings.http = HttpSettings { listen: ([127, 0, 0, 1], 0).into(), ..HttpSettings::default() };
    settings.sources[0].looped = false;
    settings.sessions = Some(1);
    settings
}

fn is(message: &Message, name: &str) -> bool {
    matches!(message, Message::Source(event) if event.state.name() == name)
}

#[test]
fn ffmpeg_sends_every_frame_of_a_video_once_in_the_colours_it_tells() {
    let Some(folder) = folder() else { return };
    let tags = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv";
    let mut settings = settings(&folder, &video(&folder, "a.mp4", "160x120", 2, tags));
    settings.sources[0].frozen_after_s = 1.0;
    let mut watched = Watched::start(settings);
    watched.until(|message| is(message, "ended"));
    let report = watched.server.hub().sources[0].report();
    assert_eq!((report.received, report.rejected, report.restarts), (50, 0, 0), "{report:?}");
    assert_eq!(report.detected + report.dropped, 50);
    assert_eq!((report.size_px, report.source_fps), (Some([160, 120]), Some(25.0)));
    assert_eq!(report.colours.as_deref(), Some("BT.709 limited"));
    watched.end();
}

#[test]
fn ffmpeg_of_a_stream_that_changes_its_size_is_started_anew() {
    let Some(folder) = folder() else { return };
    let stream = "-f h264";
    let first = std::fs::read(video(&folder, "a.h264", "160x120", 2, stream)).unwrap();
    let second = std::fs::read(video(&folder, "b.h264", "320x240", 8, stream)).unwrap();
    folder.put("both.h264", &[first, second].concat());
    let mut watched = Watched::start(settings(&folder, &folder.path("both.h264")));
    watched.until(|message| is(message, "live"));
    // Never told as down: it is read anew, which for a file is from its beginning.
    watched.until(|message| {
        assert!(!is(message, "down"), "{message:?}");
        is(message, "starting")
    });
    let report = watched.server.hub().sources[0].report();
    assert_eq!((report.size_px, report.rejected), (Some([160, 120]), 0), "{report:?}");
    watched.end();
}

#[test]
fn ffmpeg_of_a_damaged_stream_tells_of_it_and_ends_no_server() {
    let Some(folder) = folder() else { return };
    let good = video(&folder, "good.mp4", "320x240", 6, "");
    let noise = format!("-i {} -c copy -bsf:v noise=amount=200*not(key)", good.display());
    let bad = ffmpeg(&noise, &folder.path("bad.mp4"));
    let mut watched = Watched::start(settings(&folder, &bad));
    watched.until(|message| match message {
        Message::Source(event) => {
            matches!(event.state, SourceState::Down { reason: DownReason::Damaged, .. })
        }
        _ => false,
    });
    assert!(watched.server.hub().sources[0].report().rejected > 0);
    watched.end();
}

#[test]
fn ffmpeg_of_a_file_that_is_no_video_tells_its_own_reason() {
    let Some(folder) = folder() else { return };
    folder.put("no.mp4", b"this is no video");
    let mut watched = Watched::start(settings(&folder, &folder.path("no.mp4")));
    let mut said = String::new();
    watched.until(|message| {
        said += &format!("{message:?}");
        is(message, "down")
    });
    assert!(said.contains("Invalid data found"), "{said}");
    watched.end();
}

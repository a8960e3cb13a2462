//! How the `ffmpeg` program is started for a location, and what it says on its way.
use crate::location::Kind;
use crate::{Location, ServeError};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use yolo::{YuvColours, YuvMatrix, YuvRange};

/// The first of the standard high-definition heights: from here on a stream that names no matrix is taken as BT.709.
const HIGH_DEFINITION_PX: usize = 720;

/// What a decoder is started for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// Where the pictures come from.
    pub(crate) location: &'a Location,
    /// Whether a file begins again at its end.
    pub(crate) looped: bool,
    /// Arguments before the input, such as those of hardware decoding.
    pub(crate) decoder_args: &'a [String],
}

impl Input<'_> {
    /// Starts the decoder: frames come from its standard output, messages from its standard error.
    ///
    /// # Errors
    /// `Decoder` where the program cannot be started.
    pub(crate) fn decode(&self, program: &Path) -> Result<Child, ServeError> {
        let failed = |source| ServeError::Decoder { program: program.to_path_buf(), source };
        let mut command = Command::new(program);
        command.args(self.arguments()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own it is ended by us alone, and not by an interrupt that is meant for us.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let playlist = self.playlist();
        command.stdin(if playlist.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(failed)?;
        if let (Some(text), Some(mut stdin)) = (playlist, child.stdin.take())
            && let Err(error) = stdin.write_all(text.as_bytes())
        {
            // It ended before it had read its input. What it says on its way tells why.
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                return Err(failed(error));
            }
        }
        Ok(child)
    }

    /// A list of one entry, for a location with a secret: arguments stand in the process list, what comes by a pipe does not.
    fn playlist(&self) -> Option<String> {
        if !self.location.has_secret() {
            return None;
        }
        let url = self.location.secret().replace('\'', "%27");
        let mut list = format!("ffconcat version 1.0\nfile '{url}'\n");
        for (name, value) in self.network_options() {
            list += &format!("option {name} {value}\n");
        }
        Some(list)
    }

    /// Options of the connection.
    fn network_options(&self) -> &'static [(&'static str, &'static str)] {
        match self.location.kind() {
            // UDP loses packets, and with them pieces of pictures.
            Kind::Rtsp => &[("rtsp_transport", "tcp"), ("timeout", "10000000")],
            Kind::Http => &[("rw_timeout", "10000000")],
            Kind::V4l2 | Kind::File | Kind::Folder => &[],
        }
    }

    fn arguments(&self) -> Vec<String> {
        // `verbose` is where it is told that frames change their size. One thread: more of them decode no more frames a core,
        // and hold each frame back for longer.
        let mut arguments = words("-hide_banner -nostats -loglevel level+verbose -threads 1");
        match self.location.kind() {
            Kind::V4l2 => arguments.extend(words("-f v4l2")),
            Kind::File if self.looped => arguments.extend(words("-stream_loop -1")),
            _ => {}
        }
        if self.location.kind() == Kind::File {
            // At its own rate, as a camera would send it.
            arguments.extend(words("-re"));
        }
        arguments.extend(self.decoder_args.iter().cloned());
        if self.location.has_secret() {
            arguments.extend(words("-f concat -safe 0 -protocol_whitelist"));
            arguments.extend(words("pipe,tcp,tls,udp,rtp,rtsp,rtsps,http,https,crypto -i pipe:0"));
        } else {
            for (name, value) in self.network_options() {
                arguments.extend([format!("-{name}"), (*value).to_owned()]);
            }
            arguments.extend(["-i".to_owned(), self.location.secret()]);
        }
        // Each frame once, as it comes: repeated ones would hide a frozen camera.
        arguments.extend(words("-map 0:v:0 -an -sn -dn -fps_mode drop -pix_fmt yuv420p"));
        arguments.extend(words("-f yuv4mpegpipe pipe:1"));
        arguments
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// What a line of the decoder's messages means to us.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// How the frames that it sends are coloured, as far as it knows.
    Colours { matrix: Option<YuvMatrix>, range: Option<YuvRange> },
    /// The stream's frames have another size from now on, to which it scales them.
    OtherSize,
    /// The stream is damaged here: what is decoded next may be no picture.
    Damage(String),
    /// Something went wrong.
    Error(String),
}

/// Reads lines of the decoder's messages one after another.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Whether the lines describe what is sent, and no longer what is read.
    in_output: bool,
    /// Width and height of what is read, as `w:1920 h:1080`.
    size: Option<String>,
}

/// Parts of messages about damage inside of the stream.
const DAMAGE: &[&str] = &[
    "error while decoding MB",
    "concealing",
    "corrupt decoded frame",
    "Invalid NAL unit size",
    "non-existing PPS",
    "no frame!",
    "Missing reference picture",
    "decode_slice_header error",
    "Could not find ref with POC",
    "overread",
    "Invalid data found when processing input",
];

impl Messages {
    /// What a line means, if it means anything to us.
    pub(crate) fn line(&mut self, line: &str) -> Option<Said> {
        if line.contains("Output #0") {
            self.in_output = true;
        }
        if self.in_output && line.contains(" Stream #0:0") && line.contains("Video:") {
            return Some(colours(line));
        }
        // Told once at the start, and again whenever what is read changes.
        if line.contains("[graph 0 input from stream") && line.contains(" w:") {
            let of_size = |word: &&str| word.starts_with("w:") || word.starts_with("h:");
            let size: Vec<&str> = line.split(' ').filter(of_size).collect();
            let before = self.size.replace(size.join(" "));
            return (before.is_some() && before != self.size).then_some(Said::OtherSize);
        }
        let is_bad = line.contains("[error]") || line.contains("[fatal]");
        if DAMAGE.iter().any(|part| line.contains(part)) {
            return Some(Said::Damage(line.to_owned()));
        }
        is_bad.then(|| Said::Error(line.to_owned()))
    }
}

/// The colours in a line such as `Stream #0:0: Video: wrapped_avframe, yuv420p(tv, bt709, progressive), 1920x1080`.
fn colours(line: &str) -> Said {
    let format = line.split_once("yuv420p(").and_then(|(_, rest)| rest.split_once(')'));
    let words = format.map_or("", |(words, _)| words);
    let mut said = (None, None);
    // A matrix is named first; `bt470bg/bt709/…` names matrix, primaries and transfer where they differ.
    for word in words.split([',', '/']).map(str::trim) {
        let matrix = match word {
            "smpte170m" | "bt470bg" | "fcc" => Some(YuvMatrix::Bt601),
            "bt709" => Some(YuvMatrix::Bt709),
            _ => None,
        };
        said.0 = said.0.or(matrix);
        said.1 = said.1.or(match word {
            "tv" => Some(YuvRange::Limited),
            "pc" => Some(YuvRange::Full),
            _ => None,
        });
    }
    Said::Colours { matrix: said.0, range: said.1 }
}

/// How frames are converted: as the stream says, and where it does not, as its size makes likely.
pub(crate) fn assumed(
    matrix: Option<YuvMatrix>,
    range: Option<YuvRange>,
    height_px: usize,
) -> YuvColours {
    let usual = if height_px < HIGH_DEFINITION_PX { YuvMatrix::Bt601 } else { YuvMatrix::Bt709 };
    YuvColours { matrix: matrix.unwrap_or(usual), range: range.unwrap_or(YuvRange::Limited) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(location: &Location) -> Input<'_> {
        Input { location, looped: true, decoder_args: &[] }
    }

    #[test]
    fn arguments_of_a_location_with_a_secret_do_not_hold_it() {
        for url in ["rtsp://me:s3cret@cam/1", "https://cam/mjpeg?key=s3cret"] {
            let location = Location::parse(url).unwrap();
            let input = input(&location);
            assert!(!input.arguments().iter().any(|word| word.contains("s3cret")));
            assert!(input.playlist().unwrap().contains("s3cret"));
        }
        let open = Location::parse("rtsp://cam/1").unwrap();
        assert!(input(&open).arguments().contains(&"rtsp://cam/1".to_owned()));
        assert_eq!(input(&open).playlist(), None);
    }

    #[test]
    fn messages_tell_colours_sizes_and_damage() {
        let mut messages = Messages::default();
        let graph =
            |size| format!("[graph 0 input from stream 0:0 @ 0x5] [verbose] {size} pixfmt:yuv420p");
        let in_line = "[info]   Stream #0:0: Video: h264, yuv420p(pc, bt709), 1920x1080";
        assert_eq!(messages.line(in_line), None);
        assert_eq!(messages.line(&graph("w:1920 h:1080")), None);
        assert_eq!(messages.line("[info] Output #0, yuv4mpegpipe, to 'pipe:1':"), None);
        let cases = [
            (
                "yuv420p(tv, smpte170m, progressive)",
                Some(YuvMatrix::Bt601),
                Some(YuvRange::Limited),
            ),
            (
                "yuv420p(pc, bt470bg/bt709/iec61966-2-1)",
                Some(YuvMatrix::Bt601),
                Some(YuvRange::Full),
            ),
            ("yuv420p(bt709)", Some(YuvMatrix::Bt709), None),
            ("yuv420p", None, None),
        ];
        for (format, matrix, range) in cases {
            let line = format!("[info]   Stream #0:0: Video: wrapped_avframe, {format}, 1920x1080");
            assert_eq!(messages.line(&line), Some(Said::Colours { matrix, range }), "{format}");
        }
        assert_eq!(messages.line(&graph("w:1920 h:1080")), None);
        assert_eq!(messages.line(&graph("w:1280 h:720")), Some(Said::OtherSize));
        let damage = "[h264 @ 0x1] [info] concealing 1780 DC, 1780 AC, 1780 MV errors in B frame";
        assert!(matches!(messages.line(damage), Some(Said::Damage(_))));
        let error = "[rtsp @ 0x1] [error] method DESCRIBE failed: 401 Unauthorized";
        assert!(matches!(messages.line(error), Some(Said::Error(_))));
    }

    #[test]
    fn assumed_colours_are_the_streams_or_those_of_its_size() {
        assert_eq!(assumed(None, None, 480).matrix, YuvMatrix::Bt601);
        assert_eq!(assumed(None, None, 1080).matrix, YuvMatrix::Bt709);
        let said = assumed(Some(YuvMatrix::Bt601), Some(YuvRange::Full), 1080);
        assert_eq!((said.matrix, said.range), (YuvMatrix::Bt601, YuvRange::Full));
    }
}

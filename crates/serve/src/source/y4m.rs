//! YUV4MPEG2, the stream that ffmpeg sends frames in. Source: the format as mjpegtools' `yuv4mpeg(5)` describes it.
use crate::ServeError;
use std::io::{ErrorKind, Read};
use yolo::YuvRange;

/// No frame of a camera is larger; a larger one is damage of the stream, not a picture.
const MAX_SIDE_PX: usize = 16384;

/// The longest header; ffmpeg's has some 70 bytes.
const MAX_HEADER_BYTES: usize = 1024;

/// What the head of a stream says of its frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    /// Width and height.
    pub(crate) size_px: [usize; 2],
    /// Frames a second, where it is known.
    pub(crate) fps: Option<f64>,
    /// The range of samples, where it is told.
    pub(crate) range: Option<YuvRange>,
}

impl Header {
    /// Bytes of a frame: Y, and U and V with half the samples along each axis, rounded up.
    pub(crate) fn frame_bytes(&self) -> usize {
        let [width, height] = self.size_px;
        width * height + 2 * width.div_ceil(2) * height.div_ceil(2)
    }

    /// Reads the line that a stream begins with; none where the stream ends before it.
    ///
    /// # Errors
    /// `Stream` for a line that is no such header, or of frames that are not 8-bit 4:2:0.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Self>, ServeError> {
        match read_line(stream)? {
            Some(line) => Self::parse(&line).map(Some),
            None => Ok(None),
        }
    }

    fn parse(line: &str) -> Result<Self, ServeError> {
        let refuse = |why: String| ServeError::Stream { why };
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(refuse(format!("it begins with {line:?}, not with YUV4MPEG2")));
        }
        let mut header = Self { size_px: [0, 0], fps: None, range: None };
        for word in words.filter(|word| !word.is_empty()) {
            let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match (tag, value) {
                ("W", _) => header.size_px[0] = side(value)?,
                ("H", _) => header.size_px[1] = side(value)?,
                ("F", _) => header.fps = rate(value),
                ("C", "420" | "420jpeg" | "420mpeg2" | "420paldv") => {}
                ("C", other) => return Err(refuse(format!("its frames are {other}, not 4:2:0"))),
                ("X", "COLORRANGE=FULL") => header.range = Some(YuvRange::Full),
                ("X", "COLORRANGE=LIMITED") => header.range = Some(YuvRange::Limited),
                // Interlacing, aspect ratio and comments say nothing about samples.
                _ => {}
            }
        }
        if header.size_px.contains(&0) {
            return Err(refuse(format!("{line:?} names no width or height")));
        }
        Ok(header)
    }

    /// Reads the next frame into a buffer of [`Header::frame_bytes`]; false where the stream ends before it.
    ///
    /// # Errors
    /// `Stream` where something else than a frame follows, or the stream ends inside of one.
    pub(crate) fn read_frame(
        &self,
        stream: &mut impl Read,
        frame: &mut Vec<u8>,
    ) -> Result<bool, ServeError> {
        match read_line(stream)? {
            None => return Ok(false),
            Some(line) if line == "FRAME" || line.starts_with("FRAME ") => {}
            Some(line) => {
                return Err(ServeError::Stream { why: format!("{line:?} stands before a frame") });
            }
        }
        frame.resize(self.frame_bytes(), 0);
        stream
            .read_exact(frame)
            .map_err(|e| ServeError::Stream { why: format!("it ended inside of a frame: {e}") })?;
        Ok(true)
    }
}

fn side(value: &str) -> Result<usize, ServeError> {
    let side = value.parse().ok().filter(|side| (1..=MAX_SIDE_PX).contains(side));
    side.ok_or_else(|| ServeError::Stream { why: format!("a side of {value} pixels") })
}

fn rate(value: &str) -> Option<f64> {
    let (count, seconds) = value.split_once(':')?;
    let rate = count.parse::<f64>().ok()? / seconds.parse::<f64>().ok()?;
    (rate > 0.0 && rate.is_finite()).then_some(rate)
}

/// A line without its end, byte by byte: what follows it is a frame, which no buffer may swallow. None at the stream's end.
fn read_line(stream: &mut impl Read) -> Result<Option<String>, ServeError> {
    let mut line = Vec::with_capacity(80);
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => {
                return Err(ServeError::Stream { why: "it ended inside of a line".to_owned() });
            }
            Ok(_) if byte[0] == b'\n' => return Ok(Some(String::from_utf8_lossy(&line).into())),
            Ok(_) if line.len() == MAX_HEADER_BYTES => {
                return Err(ServeError::Stream { why: "a line without end".to_owned() });
            }
            Ok(_) => line.push(byte[0]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(ServeError::Stream { why: e.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str, rest: &[u8]) -> Vec<u8> {
        [text.as_bytes(), rest].concat()
    }

    #[test]
    fn frames_of_a_stream_with_odd_sides_are_read_to_its_end() {
        let head = "YUV4MPEG2 W3 H3 F25:1 Ip A0:0 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL\n";
        let frame = [b"FRAME\n".as_slice(), &[7; 9 + 2 * 4]].concat();
        let bytes = stream(head, &[frame.as_slice(), &frame].concat());
        let mut stream = bytes.as_slice();
        let header = Header::read(&mut stream).unwrap().unwrap();
        assert_eq!((header.size_px, header.fps), ([3, 3], Some(25.0)));
        assert_eq!(header.range, Some(YuvRange::Full));
        let mut buffer = Vec::new();
        assert!(header.read_frame(&mut stream, &mut buffer).unwrap());
        assert!(header.read_frame(&mut stream, &mut buffer).unwrap());
        assert_eq!(buffer, [7; 17]);
        assert!(!header.read_frame(&mut stream, &mut buffer).unwrap());
    }

    #[test]
    fn streams_that_are_damaged_are_errors() {
        let heads = [
            "MPEG W2 H2\n",
            "YUV4MPEG2 W2\n",
            "YUV4MPEG2 W0 H2\n",
            "YUV4MPEG2 W2 H99999999999\n",
            "YUV4MPEG2 W2 H2 C444\n",
            "YUV4MPEG2 W2 H2",
            "YUV4MPEG2 é W2\n",
        ];
        for head in heads {
            assert!(Header::read(&mut head.as_bytes()).is_err(), "{head:?}");
        }
        let header = Header::read(&mut "YUV4MPEG2 W2 H2\n".as_bytes()).unwrap().unwrap();
        for rest in ["FRAME\n12345", "FRAMES\n123456", "12345678"] {
            assert!(header.read_frame(&mut rest.as_bytes(), &mut Vec::new()).is_err(), "{rest:?}");
        }
        assert_eq!(Header::read(&mut [].as_slice()).unwrap(), None);
    }
}

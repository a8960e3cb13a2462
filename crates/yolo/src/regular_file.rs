//! Input files, read without waiting for ever and without taking more memory than stated.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::YoloError;
use ir::git_lfs;

/// What some editors put before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Opens a file that has an end: reading a pipe or a device could last for ever.
///
/// # Errors
/// `Read` if it cannot be opened, or is something else than a regular file.
pub(crate) fn open(path: &Path) -> Result<File, YoloError> {
    // Asked before opening: to open a pipe is to wait for its writer.
    let opened = fs::metadata(path).and_then(|found| {
        if found.is_file() {
            File::open(path)
        } else if found.is_dir() {
            Err(io::ErrorKind::IsADirectory.into())
        } else {
            Err(io::Error::other("not a regular file: pipes and devices are not read"))
        }
    });
    opened.map_err(|source| failed(path, source))
}

/// A text file to be read bit by bit, behind the mark that some editors put at its beginning.
///
/// # Errors
/// As [`open`]; `Read` for a Git LFS pointer.
pub(crate) fn open_text(path: &Path) -> Result<BufReader<File>, YoloError> {
    let mut reader = BufReader::new(open(path)?);
    let start = reader.fill_buf().map_err(|source| failed(path, source))?;
    if git_lfs::is_pointer(start) {
        return Err(failed(path, io::Error::other(git_lfs::POINTER)));
    }
    let mark = if start.starts_with(MARK) { MARK.len() } else { 0 };
    reader.consume(mark);
    Ok(reader)
}

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; `Read` if it is longer, or a Git LFS pointer.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, YoloError> {
    let refuse = |reason: String| failed(path, io::Error::other(reason));
    let mut bytes = Vec::new();
    let file = open(path)?;
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| failed(path, source))?;
    if bytes.len() as u64 > most {
        return Err(refuse(format!(
            "the file is longer than {most} bytes, the most that is read of its kind"
        )));
    }
    if git_lfs::is_pointer(&bytes) {
        return Err(refuse(git_lfs::POINTER.to_owned()));
    }
    Ok(bytes)
}

/// The content of a text file, without the mark that some editors put at its beginning. Bytes that are not UTF-8, as
/// in a comment in another encoding, become U+FFFD.
///
/// # Errors
/// As [`read`]; `Read` if the text is in UTF-16.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, YoloError> {
    let bytes = read(path, most)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let reason = "the text is in UTF-16: save it as UTF-8";
        return Err(failed(path, io::Error::other(reason)));
    }
    let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn failed(path: &Path, cause: io::Error) -> YoloError {
    YoloError::Read { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_of_what_has_no_end_or_is_no_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("long"), [b'x'; 9]).expect("writable");
        fs::write(path("pointer"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
            .expect("writable");
        fs::write(path("wide"), b"\xff\xfen\0").expect("writable");
        let told = |name: &str| read_text(&path(name), 64).unwrap_err().to_string();
        assert!(read(&path("long"), 8).unwrap_err().to_string().contains("longer than 8 bytes"));
        assert!(told("pointer").contains("git lfs pull"), "{}", told("pointer"));
        assert!(told("wide").contains("UTF-16"), "{}", told("wide"));
        assert!(told(".").contains("directory"), "{}", told("."));
        if cfg!(unix) {
            let told = read(Path::new("/dev/zero"), 8).unwrap_err().to_string();
            assert!(told.contains("not a regular file"), "{told}");
        }
    }

    #[test]
    fn read_text_in_another_encoding_keeps_what_is_ascii() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("text");
        fs::write(&path, b"\xef\xbb\xbf# \xca\xfd\nval: a").expect("writable");
        let text = read_text(&path, 64).expect("text");
        assert!(text.starts_with('#') && text.ends_with("\nval: a"), "{text}");
    }
}

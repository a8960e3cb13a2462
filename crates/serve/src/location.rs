//! Where a source's pictures come from, and how that is told without its password.
use crate::ServeError;
use crate::settings::expand;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// What an ffmpeg program must be told of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A camera or a restream by RTSP.
    Rtsp,
    /// Motion JPEG, HLS or a file by HTTP.
    Http,
    /// A video file.
    File,
    /// A folder of images.
    Folder,
    /// A Video4Linux device.
    V4l2,
}

/// Where a source's pictures come from. `Display` and `Debug` hide what is secret in a URL; only
/// the decoder is told it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Location {
    /// What a URL's scheme says that it leads to.
    scheme: Option<Kind>,
    place: Place,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Url(Url),
    Path(PathBuf),
}

/// Schemes of URLs, and what they lead to.
const SCHEMES: &[(&str, Kind)] = &[
    ("rtsp", Kind::Rtsp),
    ("rtsps", Kind::Rtsp),
    ("http", Kind::Http),
    ("https", Kind::Http),
    ("v4l2", Kind::V4l2),
    ("file", Kind::File),
];

impl Location {
    /// A URL, a device (`/dev/video0`, `v4l2:///dev/video0`), a video file or a folder of images. `${NAME}` in it is the
    /// environment's variable of that name.
    ///
    /// # Errors
    /// `Location` for a URL that cannot be read or whose scheme is not known, `NoVariable` for a variable that is not set.
    pub fn parse(text: &str) -> Result<Self, ServeError> {
        let text = &expand(text)?;
        if !text.contains("://") {
            return Ok(Self { scheme: None, place: Place::Path(PathBuf::from(text)) });
        }
        // The text itself may hold a password, so that it is never told.
        let refuse = |why: String| ServeError::Location { why };
        let url = Url::parse(text).map_err(|e| refuse(e.to_string()))?;
        let known = SCHEMES.iter().find(|(scheme, _)| *scheme == url.scheme());
        let names: Vec<&str> = SCHEMES.iter().map(|(scheme, _)| *scheme).collect();
        let (_, kind) = known.ok_or_else(|| {
            refuse(format!("{}:// is none of {}", url.scheme(), names.join(", ")))
        })?;
        match kind {
            Kind::Rtsp | Kind::Http if url.host_str().is_none_or(str::is_empty) => {
                Err(refuse("it names no host".to_owned()))
            }
            Kind::Rtsp | Kind::Http => Ok(Self { scheme: Some(*kind), place: Place::Url(url) }),
            _ => Ok(Self { scheme: Some(*kind), place: Place::Path(PathBuf::from(url.path())) }),
        }
    }

    /// What it leads to, by its scheme or by what lies at its path.
    pub fn kind(&self) -> Kind {
        match (self.scheme, &self.place) {
            (Some(Kind::Rtsp | Kind::Http | Kind::V4l2), _) | (_, Place::Url(_)) => {
                self.scheme.unwrap_or(Kind::Http)
            }
            (_, Place::Path(path)) if path.starts_with("/dev") => Kind::V4l2,
            (_, Place::Path(path)) if path.is_dir() => Kind::Folder,
            (_, Place::Path(_)) => Kind::File,
        }
    }

    /// Takes a relative path as relative to a folder.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        if let Place::Path(path) = &mut self.place {
            *path = folder.join(&path);
        }
    }

    /// Refuses a path where nothing lies. A device may be plugged in later: its absence is a state, not a mistake.
    ///
    /// # Errors
    /// `NoSuchFile`.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        match &self.place {
            Place::Path(path) if self.kind() != Kind::V4l2 && !path.exists() => {
                Err(ServeError::NoSuchFile { path: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The path of a file, a folder or a device.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            Place::Url(_) => None,
        }
    }

    /// Whether it holds a password, or what may be one: a query often carries a token.
    pub fn has_secret(&self) -> bool {
        match &self.place {
            Place::Url(url) => url.password().is_some() || url.query().is_some(),
            Place::Path(_) => false,
        }
    }

    /// The location in full. It goes to the decoder, and nowhere else.
    pub(crate) fn secret(&self) -> String {
        match &self.place {
            Place::Url(url) => url.to_string(),
            Place::Path(path) => path.display().to_string(),
        }
    }

    /// A text in which this location may have been quoted by another program, without its secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        let Place::Url(url) = &self.place else { return text.to_owned() };
        let mut text = text.replace(url.as_str(), &self.to_string());
        let secrets = [url.password(), url.query()];
        for secret in secrets.into_iter().flatten().filter(|s| !s.is_empty()) {
            text = text.replace(secret, HIDDEN);
            let decoded = decoded(secret);
            text = text.replace(&decoded, HIDDEN);
        }
        text
    }
}

const HIDDEN: &str = "***";

/// A text without percent signs: programs quote what they were told in either form.
fn decoded(text: &str) -> String {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    // Text without `=` is a key with an empty value.
    pairs.map(|(key, value)| format!("{key}{value}")).collect()
}

impl TryFrom<String> for Location {
    type Error = ServeError;

    fn try_from(text: String) -> Result<Self, ServeError> {
        Self::parse(&text)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Url(url) => {
                let mut shown = url.clone();
                if shown.password().is_some() {
                    // Only URLs that cannot have a password refuse one, and this has one.
                    let _ = shown.set_password(Some(HIDDEN));
                }
                if shown.query().is_some() {
                    shown.set_query(Some(HIDDEN));
                }
                write!(f, "{shown}")
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_with_a_password_never_shows_it() {
        let location = Location::parse("rtsp://me:s%40cret@cam:554/h264?token=abc").unwrap();
        for text in [location.to_string(), format!("{location:?}")] {
            assert!(!text.contains("s%40cret") && !text.contains("abc"), "{text}");
            assert!(text.contains("cam:554/h264"), "{text}");
        }
        assert!(location.secret().contains("s%40cret") && location.has_secret());
        for said in ["rtsp://me:s%40cret@cam:554/h264?token=abc: 401", "bad s@cret or abc"] {
            let told = location.redact(said);
            assert!(!told.contains("s@cret") && !told.contains("s%40cret"), "{told}");
        }
    }

    #[test]
    fn location_of_a_bad_url_is_refused_without_telling_it() {
        for text in ["rtsp://u:hidden@:99999/x", "gopher://u:hidden@h/", "rtsp://"] {
            let told = Location::parse(text).unwrap_err().to_string();
            assert!(!told.contains("hidden"), "{told}");
        }
    }

    #[test]
    fn location_of_a_path_is_a_file_a_folder_or_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.mp4");
        std::fs::write(&file, b"x").unwrap();
        let location = |path: &Path| Location::parse(path.to_str().unwrap()).unwrap();
        assert_eq!(location(dir.path()).kind(), Kind::Folder);
        assert_eq!(location(&file).kind(), Kind::File);
        assert_eq!(location(Path::new("/dev/video7")).kind(), Kind::V4l2);
        assert!(location(Path::new("/dev/video7")).check().is_ok());
        let missing = location(&dir.path().join("b")).check();
        assert!(matches!(missing, Err(ServeError::NoSuchFile { .. })));
    }
}

//! How a place for bundles is typed.
use super::Store;
use super::access::Access;
use super::layout::Layout;
use super::registry::Registry;
use crate::{DeliverError, Digest, NoDigest};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The tag that is meant where none is typed, as everywhere with registries.
const DEFAULT_TAG: &str = "latest";

/// A place for bundles: `oci:PATH[:TAG]`, or `HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]`; a folder may have a digest too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    place: Place,
    tag: Option<String>,
    digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// An OCI layout folder.
    Folder(PathBuf),
    /// A repository of a registry.
    Registry { host: String, repository: String },
}

/// What names a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A tag, which may name another one tomorrow.
    Tag(String),
    /// Its digest.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Location {
    /// A layout folder, whatever characters its path has.
    pub fn folder(path: &Path) -> Self {
        Self { place: Place::Folder(path.to_path_buf()), tag: None, digest: None }
    }

    /// The tag that was typed.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that was typed.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same place, with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { place: self.place.clone(), tag: Some(tag.to_owned()), digest: None }
    }

    /// What is meant: the digest; without one the tag; without both `latest`.
    pub fn reference(&self) -> Reference {
        match &self.digest {
            Some(digest) => Reference::Digest(*digest),
            None => Reference::Tag(self.tag().unwrap_or(DEFAULT_TAG).to_owned()),
        }
    }

    /// The place, ready for use. Nothing is asked yet.
    ///
    /// # Errors
    /// For a registry `Certificates`, `Read`, and `Location` for a repository that can be none.
    pub fn open(&self, access: &Access) -> Result<Box<dyn Store>, DeliverError> {
        match &self.place {
            Place::Folder(path) => Ok(Box::new(Layout::new(path))),
            Place::Registry { host, repository } => {
                if let Some(from) = &access.mount_from {
                    let why = |why| DeliverError::Location { text: from.clone(), why };
                    check_repository(from).map_err(why)?;
                }
                Ok(Box::new(Registry::new(host, repository, access)?))
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(path) => write!(f, "oci:{}", path.display())?,
            Place::Registry { host, repository } => write!(f, "{host}/{repository}")?,
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Location {
    type Err = DeliverError;

    fn from_str(text: &str) -> Result<Self, DeliverError> {
        parse(text).map_err(|why| DeliverError::Location { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Location, String> {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) if digest.starts_with("sha256:") => {
            (rest, Some(digest.parse().map_err(|e: NoDigest| e.to_string())?))
        }
        _ => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if is_tag(tag) && name != "oci" => (name, Some(tag.to_owned())),
        _ => (rest, None),
    };
    if let Some(path) = name.strip_prefix("oci:") {
        if path.is_empty() {
            return Err("it has no path".to_owned());
        }
        return Ok(Location { place: Place::Folder(PathBuf::from(path)), tag, digest });
    }
    if text.contains("://") {
        return Err("it begins with a scheme".to_owned());
    }
    let (host, repository) = name.split_once('/').ok_or("it has no repository")?;
    if !is_host(host) {
        return Err(format!("`{host}` is no host: one has a `.` or a port, or is localhost"));
    }
    check_repository(repository)?;
    let place = Place::Registry { host: host.to_owned(), repository: repository.to_owned() };
    Ok(Location { place, tag, digest })
}

/// By the distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn is_tag(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = text.bytes().next().is_some_and(|b| !matches!(b, b'.' | b'-'));
    first && text.len() <= 128 && text.bytes().all(known)
}

/// As docker tells a host from the first part of a repository.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port_known = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if let Some(address) = address {
        return port_known && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let name_known = !name.is_empty() && name.bytes().all(known);
    name_known && port_known && (port.is_some() || name.contains('.') || name == "localhost")
}

/// By the distribution specification: parts of lower-case letters and digits, separated inside by `.`, `_`, `__` or `-`s.
pub(super) fn check_repository(text: &str) -> Result<(), String> {
    let separated = |part: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separators = part.split(letter).filter(|s| !s.is_empty());
        let known = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
        part.starts_with(letter) && part.ends_with(letter) && separators.into_iter().all(known)
    };
    if text.len() > 255 || !text.split('/').all(separated) {
        return Err(format!(
            "`{text}` is no repository: parts of lower-case letters, digits, `.`, `_` and `-`, joined by `/`, are"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Location {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn location_in_every_form_is_read_and_written_alike() {
        let digest = Digest::of(b"");
        let texts = [
            "oci:store",
            "oci:/var/lib/models:champion",
            "localhost:5000/boards:1.0",
            "[::1]:5000/boards",
            "registry.example.com/factory/line-3/boards",
        ];
        for text in texts {
            assert_eq!(read(text).to_string(), text);
            let named = format!("{text}@{digest}");
            assert_eq!(read(&named).to_string(), named);
            assert_eq!(read(&named).reference(), Reference::Digest(digest));
        }
        assert_eq!(read("localhost:5000/boards").tag(), None);
        assert_eq!(read("localhost:5000/boards").reference().to_string(), "latest");
        assert_eq!(read("oci:a:b:c").with_tag("d").to_string(), "oci:a:b:d");
    }

    #[test]
    fn location_that_is_none_is_refused_with_the_reason() {
        let cases = [
            ("boards", "no repository"),
            ("factory/boards", "is no host"),
            ("https://registry.example.com/boards", "scheme"),
            ("localhost:5000/Boards", "is no repository"),
            ("localhost:5000/a//b", "is no repository"),
            ("localhost:5000/../b", "is no repository"),
            ("localhost:5000/a?b=c", "is no repository"),
            ("localhost:99999/a", "is no host"),
            ("a b.c/d", "is no host"),
            ("localhost/a@sha256:00", "is no digest"),
            ("oci:", "no path"),
        ];
        for (text, why) in cases {
            let error = text.parse::<Location>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

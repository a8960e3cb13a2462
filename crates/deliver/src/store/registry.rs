//! A repository of a registry: OCI distribution specification 1.1.
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>
mod auth;
mod body;
mod client;
mod hops;
mod retry;
mod tls;
mod transport;
mod upload;

use super::{Access, Blob, MANIFEST_LIMIT_BYTES, Store, StoredManifest};
use crate::{DeliverError, Digest};
use body::Reading;
use client::{Client, Follow};
use hops::same_origin;
use oci_spec::image::MediaType;
use retry::{Attempts, Failure};
use serde::Deserialize;
use std::io::Write;
use std::path::Path;
use transport::Ask;
use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE, LINK, RANGE};
use ureq::http::{HeaderMap, Method, StatusCode};
use url::Url;

/// The header in which registries name digests.
const DIGEST_HEADER: &str = "docker-content-digest";
/// Pages of tags that are read at most: a registry that never ends is left.
const MOST_PAGES: usize = 1000;
/// Bytes after which a download counts as going on, however often it broke off before.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A repository of a registry.
pub(super) struct Registry {
    client: Client,
    host: String,
    repository: String,
    mount_from: Option<String>,
}

impl Registry {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Certificates`, `Read`, `Location`.
    pub(super) fn new(host: &str, repository: &str, access: &Access) -> Result<Self, DeliverError> {
        Ok(Self {
            client: Client::new(host, access)?,
            host: host.to_owned(),
            repository: repository.to_owned(),
            mount_from: access.mount_from.clone(),
        })
    }

    /// The address of something of the repository.
    fn url(&self, rest: &str) -> Url {
        let mut url = self.client.origin().clone();
        url.set_path(&format!("/v2/{}/{rest}", self.repository));
        url
    }

    fn get_manifest(
        &self,
        reference: &str,
        wanted: Option<&Digest>,
    ) -> Result<Option<StoredManifest>, DeliverError> {
        let mut attempts = Attempts::new(self.client.patience());
        loop {
            match self.try_manifest(reference, wanted) {
                Ok(found) => return Ok(found),
                Err(failure) => attempts.again(failure)?,
            }
        }
    }

    fn try_manifest(
        &self,
        reference: &str,
        wanted: Option<&Digest>,
    ) -> Result<Option<StoredManifest>, Failure> {
        let what = format!("{}, manifest {reference}", self.name());
        let ask = Ask::get(self.url(&format!("manifests/{reference}")), &what)
            .header("accept", &accepted());
        let mut answer = self.client.fetch(ask, Follow::SameOrigin)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let headers = answer.headers().clone();
        let mut reading = Reading::new(&mut answer, &what, self.client.patience());
        let bytes = reading.at_most(MANIFEST_LIMIT_BYTES)?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = wanted.filter(|wanted| **wanted != digest) {
            let (store, expected) = (self.name(), *expected);
            let error = DeliverError::ManifestDigest { store, expected, found: digest };
            return Err(Failure::last(error));
        }
        compare_said(&headers, digest, &what)?;
        let media_type = text(&headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        // Parameters of a media type say nothing here.
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Some(StoredManifest { digest, media_type, bytes }))
    }

    /// Reads what is left of a blob, once; `at` says how far it came.
    fn try_blob(&self, blob: &Blob, at: &mut u64, to: &mut dyn Write) -> Result<(), Failure> {
        let what = format!("{}, blob {}", self.name(), blob.digest);
        let mut ask = Ask::get(self.url(&format!("blobs/{}", blob.digest)), &what);
        if *at > 0 {
            ask = ask.header(RANGE.as_str(), &format!("bytes={at}-"));
        }
        let mut answer = self.client.fetch(ask, Follow::Anywhere)?;
        let status = answer.status();
        // What a registry does not skip is skipped here.
        let mut skip = match status {
            StatusCode::OK => *at,
            StatusCode::PARTIAL_CONTENT => {
                let range = text(answer.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
                if !range.starts_with(&format!("bytes {at}-")) {
                    let said =
                        format!("it sends `{range}` where bytes from {at} on were asked for");
                    return Err(Failure::last(DeliverError::Answer {
                        what,
                        status: status.as_u16(),
                        said,
                    }));
                }
                0
            }
            StatusCode::NOT_FOUND => {
                let missing = format!("blob {}", blob.digest);
                return Err(Failure::last(DeliverError::Missing {
                    store: self.name(),
                    what: missing,
                }));
            }
            _ => return Err(self.client.unexpected(&mut answer, &what)),
        };
        let rest = blob.size_bytes - *at;
        let mut reading = Reading::new(&mut answer, &what, self.client.patience());
        reading.exactly(skip + rest, &mut |bytes| {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= skipped as u64;
            to.write_all(&bytes[skipped..])?;
            *at += (bytes.len() - skipped) as u64;
            Ok(())
        })
    }

    /// A page of tags, and the address of the next.
    fn tags_page(&self, url: Url) -> Result<Option<Page>, Failure> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let what = format!("{}, tags", self.name());
        let mut answer = self.client.fetch(Ask::get(url.clone(), &what), Follow::SameOrigin)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let status = answer.status().as_u16();
        let link = text(answer.headers(), LINK.as_str()).map(str::to_owned);
        let mut reading = Reading::new(&mut answer, &what, self.client.patience());
        let bytes = reading.at_most(MANIFEST_LIMIT_BYTES)?;
        let list = serde_json::from_slice::<List>(&bytes).map_err(|e| {
            Failure::last(DeliverError::Answer { what, status, said: e.to_string() })
        })?;
        let next = link.as_deref().and_then(next_link).and_then(|next| url.join(next).ok());
        if let Some(next) = next.as_ref().filter(|next| !same_origin(next, &url)) {
            let why = "it is another host's".to_owned();
            let (from, to) = (url.to_string(), next.to_string());
            return Err(Failure::last(DeliverError::Redirect { from, to, why }));
        }
        Ok(Some(Page { tags: list.tags.unwrap_or_default(), next }))
    }

    fn put_manifest(&self, reference: &str, manifest: &StoredManifest) -> Result<(), DeliverError> {
        let what = format!("{}, manifest {reference}", self.name());
        let mut attempts = Attempts::new(self.client.patience());
        loop {
            let url = self.url(&format!("manifests/{reference}"));
            let ask = Ask::new(Method::PUT, url, &what)
                .header(CONTENT_TYPE.as_str(), &manifest.media_type)
                .body(&manifest.bytes);
            let answer = self
                .client
                .ask(ask)
                .and_then(|answer| self.client.expect(answer, &[StatusCode::CREATED], &what));
            match answer.and_then(|a| compare_said(a.headers(), manifest.digest, &what)) {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.again(failure)?,
            }
        }
    }
}

/// A page of tags.
struct Page {
    tags: Vec<String>,
    next: Option<Url>,
}

/// What manifests may be; others would be converted, or refused by name.
fn accepted() -> String {
    format!("{}, {}", MediaType::ImageManifest, MediaType::ImageIndex)
}

/// A header as text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The digest that a registry names, if it is one of those that are used here.
fn said(headers: &HeaderMap) -> Option<Digest> {
    text(headers, DIGEST_HEADER).and_then(|text| text.parse().ok())
}

fn compare_said(headers: &HeaderMap, found: Digest, what: &str) -> Result<(), Failure> {
    match said(headers) {
        Some(said) if said != found => {
            Err(Failure::last(DeliverError::Lie { what: what.to_owned(), said, found }))
        }
        _ => Ok(()),
    }
}

/// The address in `<address>; rel="next"` (RFC 8288).
fn next_link(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = |p: &str| matches!(p.trim(), "rel=\"next\"" | "rel=next");
    parameters.split(';').any(next).then_some(address)
}

impl Store for Registry {
    fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, DeliverError> {
        let what = format!("{}, manifest {tag}", self.name());
        let url = self.url(&format!("manifests/{tag}"));
        let mut attempts = Attempts::new(self.client.patience());
        let headers = loop {
            let ask = Ask::new(Method::HEAD, url.clone(), &what).header("accept", &accepted());
            match self.client.fetch(ask, Follow::SameOrigin) {
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer) => break answer.headers().clone(),
                Err(failure) => attempts.again(failure)?,
            }
        };
        match said(&headers) {
            Some(digest) => Ok(Some(digest)),
            // The header is optional.
            None => Ok(self.manifest_of_tag(tag)?.map(|manifest| manifest.digest)),
        }
    }

    fn manifest_of_tag(&self, tag: &str) -> Result<Option<StoredManifest>, DeliverError> {
        self.get_manifest(tag, None)
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<StoredManifest>, DeliverError> {
        self.get_manifest(&digest.to_string(), Some(digest))
    }

    fn read_blob(&self, blob: &Blob, from: u64, to: &mut dyn Write) -> Result<(), DeliverError> {
        let mut attempts = Attempts::new(self.client.patience());
        let (mut at, mut before) = (from.min(blob.size_bytes), from);
        while at < blob.size_bytes {
            if let Err(failure) = self.try_blob(blob, &mut at, to) {
                if at >= before.saturating_add(PROGRESS_BYTES) {
                    (before, attempts) = (at, Attempts::new(self.client.patience()));
                }
                attempts.again(failure)?;
            }
        }
        Ok(())
    }

    fn push_blob(&self, blob: &Blob, file: &Path) -> Result<(), DeliverError> {
        upload::push(self, blob, file)
    }

    fn push_manifest(&self, tag: &str, manifest: &StoredManifest) -> Result<(), DeliverError> {
        self.put_manifest(tag, manifest)
    }

    fn push_untagged(&self, manifest: &StoredManifest) -> Result<(), DeliverError> {
        self.put_manifest(&manifest.digest.to_string(), manifest)
    }

    fn tags(&self) -> Result<Vec<String>, DeliverError> {
        let mut url = self.url("tags/list");
        url.set_query(Some("n=500"));
        let mut tags = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut attempts = Attempts::new(self.client.patience());
            let page = loop {
                match self.tags_page(url.clone()) {
                    Ok(page) => break page,
                    Err(failure) => attempts.again(failure)?,
                }
            };
            let Some(page) = page else { break };
            tags.extend(page.tags);
            match page.next {
                Some(next) => url = next,
                None => {
                    tags.sort();
                    return Ok(tags);
                }
            }
        }
        if tags.is_empty() {
            return Ok(tags);
        }
        Err(DeliverError::Oversized {
            what: format!("{}, tags", self.name()),
            limit: MOST_PAGES as u64,
            found: MOST_PAGES as u64 + 1,
        })
    }
}

#[cfg(test)]
mod tests;

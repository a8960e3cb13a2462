//! Sending blobs: not what is there already, from where it was left, a chunk at a time.
use super::client::location;
use super::hops::{refused_hop, same_origin};
use super::retry::{Attempts, Failure};
use super::transport::Ask;
use super::{Registry, text};
use crate::DeliverError;
use crate::store::{Blob, Store};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use ureq::Body;
use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use ureq::http::{HeaderMap, Method, Response, StatusCode};
use url::Url;

/// Bytes of a request: so many are sent again at most.
const CHUNK_BYTES: u64 = 8 << 20;
const MOST_CHUNK_BYTES: u64 = 256 << 20;
const CHUNK_MIN_HEADER: &str = "oci-chunk-min-length";

/// Sends a file, unless it is there.
pub(super) fn push(registry: &Registry, blob: &Blob, file: &Path) -> Result<(), DeliverError> {
    let what = format!("{}, blob {}", registry.name(), blob.digest);
    let mut push = Push { registry, blob, file, what: &what, session: None };
    let mut attempts = Attempts::new(registry.client.patience());
    if attempt(&mut attempts, || push.exists())? {
        return Ok(());
    }
    let mut farthest = 0;
    loop {
        match push.go_on() {
            Ok(()) => return Ok(()),
            Err(failure) => {
                // An upload that is begun anew and always breaks at the same place gets nowhere.
                if push.offset() > farthest {
                    farthest = push.offset();
                    attempts = Attempts::new(registry.client.patience());
                }
                attempts.again(failure)?;
                // What failed may have been the answer alone.
                if attempt(&mut attempts, || push.exists())? {
                    return Ok(());
                }
                push.ask_where()?;
            }
        }
    }
}

fn attempt<T>(
    attempts: &mut Attempts,
    mut ask: impl FnMut() -> Result<T, Failure>,
) -> Result<T, DeliverError> {
    loop {
        match ask() {
            Ok(found) => return Ok(found),
            Err(failure) => attempts.again(failure)?,
        }
    }
}

/// A blob on its way.
struct Push<'a> {
    registry: &'a Registry,
    blob: &'a Blob,
    file: &'a Path,
    what: &'a str,
    session: Option<Session>,
}

/// An upload that the registry knows of.
struct Session {
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
    chunk_bytes: u64,
}

impl Push<'_> {
    fn offset(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.offset)
    }

    fn exists(&self) -> Result<bool, Failure> {
        let url = self.registry.url(&format!("blobs/{}", self.blob.digest));
        let mut answer = self.registry.client.ask(Ask::new(Method::HEAD, url, self.what))?;
        match answer.status() {
            // Storage behind a registry may be where one is sent on to.
            status if status.is_success() || status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.registry.client.unexpected(&mut answer, self.what)),
        }
    }

    /// Sends what is left.
    fn go_on(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            self.session = self.begin()?;
        }
        // None where the registry had the blob in another repository.
        while let Some(Session { url, offset, chunk_bytes }) = &self.session {
            let left = self.blob.size_bytes - offset;
            // What fits into one request goes with the one that ends the upload.
            if left <= *chunk_bytes {
                let chunk = self.chunk(*offset, left)?;
                return self.finish(url, &chunk);
            }
            let chunk = self.chunk(*offset, *chunk_bytes)?;
            let range = format!("{offset}-{}", offset + chunk_bytes - 1);
            let ask = Ask::new(Method::PATCH, url.clone(), self.what)
                .header(CONTENT_TYPE.as_str(), "application/octet-stream")
                .header(CONTENT_RANGE.as_str(), &range)
                .body(&chunk);
            let answer = self.registry.client.ask(ask)?;
            let answer = self.kept(answer, StatusCode::ACCEPTED)?;
            let sent = offset + chunk_bytes;
            let session = self.session_of(url, answer.headers(), Some(sent))?;
            self.session = Some(session);
        }
        Ok(())
    }

    /// Begins an upload; none where there is nothing to be sent.
    fn begin(&self) -> Result<Option<Session>, Failure> {
        let mut url = self.registry.url("blobs/uploads/");
        if let Some(from) = &self.registry.mount_from {
            let mut query = url.query_pairs_mut();
            query.append_pair("mount", &self.blob.digest.to_string());
            query.append_pair("from", from);
        }
        let ask = Ask::new(Method::POST, url.clone(), self.what).body(&[]);
        let answer = self.registry.client.ask(ask)?;
        let expected = [StatusCode::CREATED, StatusCode::ACCEPTED];
        let answer = self.registry.client.expect(answer, &expected, self.what)?;
        if answer.status() == StatusCode::CREATED {
            return Ok(None);
        }
        self.session_of(&url, answer.headers(), None).map(Some)
    }

    /// What an answer says of the upload.
    fn session_of(
        &self,
        asked: &Url,
        headers: &HeaderMap,
        sent: Option<u64>,
    ) -> Result<Session, Failure> {
        let url = location(asked, headers).unwrap_or_else(|| asked.clone());
        if !same_origin(&url, asked) {
            let why = "what is sent goes to the registry itself".to_owned();
            return Err(refused_hop(asked, &url, why));
        }
        let smallest = text(headers, CHUNK_MIN_HEADER).and_then(|text| text.parse().ok());
        let smallest: u64 = smallest.unwrap_or_default();
        let chunk_bytes = CHUNK_BYTES.max(smallest.min(MOST_CHUNK_BYTES));
        let offset = received(headers).or(sent).unwrap_or_default();
        if offset > self.blob.size_bytes {
            let said = format!("it has {offset} bytes of {}", self.blob.size_bytes);
            return Err(self.wrong(StatusCode::ACCEPTED, said));
        }
        Ok(Session { url, offset, chunk_bytes })
    }

    /// Asks how far an upload came that was broken off; where the registry has forgotten it, it is begun anew.
    fn ask_where(&mut self) -> Result<(), DeliverError> {
        let Some(Session { url, .. }) = &self.session else { return Ok(()) };
        let mut attempts = Attempts::new(self.registry.client.patience());
        let answer =
            attempt(&mut attempts, || self.registry.client.ask(Ask::get(url.clone(), self.what)))?;
        let session = match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK => {
                Some(self.session_of(url, answer.headers(), None).map_err(|f| f.error)?)
            }
            _ => None,
        };
        self.session = session;
        Ok(())
    }

    fn chunk(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, Failure> {
        let failed = |e| Failure::last(DeliverError::read(self.file, e));
        let mut file = File::open(self.file).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut chunk = Vec::new();
        file.take(bytes).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.len() as u64 != bytes {
            let what = self.file.display().to_string();
            let found = offset + chunk.len() as u64;
            let expected = self.blob.size_bytes;
            return Err(Failure::last(DeliverError::Size { what, expected, found }));
        }
        Ok(chunk)
    }

    fn finish(&self, url: &Url, rest: &[u8]) -> Result<(), Failure> {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        let ask = Ask::new(Method::PUT, url, self.what)
            .header(CONTENT_TYPE.as_str(), "application/octet-stream")
            .body(rest);
        let answer = self.registry.client.ask(ask)?;
        let answer = self.kept(answer, StatusCode::CREATED)?;
        super::compare_said(answer.headers(), self.blob.digest, self.what)
    }

    /// Keeps the expected answer. That the upload is not known, or stands elsewhere, is passing: it is asked for, or begun anew.
    fn kept(
        &self,
        answer: Response<Body>,
        expected: StatusCode,
    ) -> Result<Response<Body>, Failure> {
        let lost = matches!(
            answer.status(),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::RANGE_NOT_SATISFIABLE
        );
        let kept = self.registry.client.expect(answer, &[expected], self.what);
        kept.map_err(|failure| Failure { passing: failure.passing || lost, ..failure })
    }

    fn wrong(&self, status: StatusCode, said: String) -> Failure {
        let (what, status) = (self.what.to_owned(), status.as_u16());
        Failure::last(DeliverError::Answer { what, status, said })
    }
}

/// Bytes that a registry has of an upload: `Range: 0-N` names the last one, and `0-0` none or one, which is then sent again.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, RANGE.as_str())?;
    let last = range.trim_start_matches("bytes=").strip_prefix("0-")?.parse::<u64>().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

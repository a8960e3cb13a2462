//! Bodies of answers, read with suspicion: not more than was promised, not slower than anyone waits.
use super::super::Patience;
use super::retry::Failure;
use crate::DeliverError;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::Response;

/// Bytes a second below which nobody is waited for: one byte a minute is no stall, and never ends either.
const SLOWEST_BYTES_PER_S: u64 = 1024;
const CHUNK_BYTES: usize = 64 << 10;

/// An answer's body, on its way.
pub(super) struct Reading<'a> {
    answer: &'a mut Response<Body>,
    what: &'a str,
    patience: Patience,
    started: Instant,
    read: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(answer: &'a mut Response<Body>, what: &'a str, patience: Patience) -> Self {
        Self { answer, what, patience, started: Instant::now(), read: 0 }
    }

    /// The whole body, which nobody promised the size of.
    pub(super) fn at_most(&mut self, limit: u64) -> Result<Vec<u8>, Failure> {
        let too_large = |found| {
            let what = self.what.to_owned();
            Failure::last(DeliverError::Oversized { what, limit, found })
        };
        let declared = self.answer.body().content_length();
        if let Some(found) = declared.filter(|found| *found > limit) {
            return Err(too_large(found));
        }
        let mut bytes = Vec::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let room = usize::try_from(limit + 1 - bytes.len() as u64).unwrap_or(CHUNK_BYTES);
            let got = self.some(&mut buffer[..room.min(CHUNK_BYTES)], declared.unwrap_or(limit))?;
            if got == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..got]);
            if bytes.len() as u64 > limit {
                let what = self.what.to_owned();
                let found = bytes.len() as u64;
                return Err(Failure::last(DeliverError::Oversized { what, limit, found }));
            }
        }
    }

    /// The whole body, which has a promised size.
    pub(super) fn exactly(
        &mut self,
        promised: u64,
        on_bytes: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let what = || self.what.to_owned();
        if let Some(found) = self.answer.body().content_length().filter(|n| *n != promised) {
            let error = DeliverError::Size { what: what(), expected: promised, found };
            return Err(Failure::last(error));
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        while self.read < promised {
            let left = usize::try_from(promised - self.read).unwrap_or(CHUNK_BYTES);
            let got = self.some(&mut buffer[..left.min(CHUNK_BYTES)], promised)?;
            if got == 0 {
                return Err(self.truncated(promised, "the connection was closed"));
            }
            on_bytes(&buffer[..got]).map_err(|source| {
                let path = std::path::PathBuf::from(self.what);
                Failure::last(DeliverError::Write { path, source })
            })?;
        }
        if self.some(&mut buffer[..1], promised)? > 0 {
            return Err(Failure::last(DeliverError::Endless { what: what(), promised }));
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8], promised: u64) -> Result<usize, Failure> {
        let stalled = |read| DeliverError::Stalled { what: self.what.to_owned(), read };
        let allowed = Duration::from_secs(self.read / SLOWEST_BYTES_PER_S);
        if self.started.elapsed() > allowed.saturating_add(self.patience.stall) {
            return Err(Failure::passing(stalled(self.read)));
        }
        match self.answer.body_mut().as_reader().read(buffer) {
            Ok(got) => {
                self.read += got as u64;
                Ok(got)
            }
            Err(e) if is_timeout(&e) => Err(Failure::passing(stalled(self.read))),
            Err(e) => Err(self.truncated(promised, &e.to_string())),
        }
    }

    fn truncated(&self, promised: u64, why: &str) -> Failure {
        let (what, why) = (self.what.to_owned(), why.to_owned());
        Failure::passing(DeliverError::Truncated { what, promised, read: self.read, why })
    }
}

/// The client's own timeouts come wrapped.
fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    error.kind() == io::ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
}

//! Requests and answers, with one server at a time.
use super::super::{Access, Patience};
use super::body::Reading;
use super::retry::Failure;
use super::{text, tls};
use crate::DeliverError;
use serde::Deserialize;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use ureq::http::header::{AUTHORIZATION, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};
use url::Url;

/// Bytes of a complaint that are read.
const COMPLAINT_BYTES: u64 = 16 << 10;

/// A question.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    body: Option<&'a [u8]>,
    pub(super) what: &'a str,
}

impl<'a> Ask<'a> {
    /// `what` is how messages name what is asked for.
    pub(super) fn new(method: Method, url: Url, what: &'a str) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, what }
    }

    pub(super) fn get(url: Url, what: &'a str) -> Self {
        Self::new(Method::GET, url, what)
    }

    /// Names and values are ours: what can be no header is left out.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) fn body(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self
    }
}

/// Connections.
pub(super) struct Transport {
    plain: Agent,
    /// Made when it is needed first: a registry of this machine may send on to one with TLS.
    secure: OnceLock<Agent>,
    ca_file: Option<PathBuf>,
    patience: Patience,
}

impl Transport {
    /// What is needed for the registry at `origin` is there when it is asked.
    pub(super) fn new(origin: &Url, access: &Access) -> Result<Self, DeliverError> {
        let transport = Self {
            plain: agent(&access.patience, None),
            secure: OnceLock::new(),
            ca_file: access.ca_file.clone(),
            patience: access.patience,
        };
        transport.agent(origin)?;
        Ok(transport)
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    fn agent(&self, url: &Url) -> Result<&Agent, DeliverError> {
        if url.scheme() != "https" {
            return Ok(&self.plain);
        }
        if let Some(agent) = self.secure.get() {
            return Ok(agent);
        }
        let made = agent(&self.patience, Some(tls::config(self.ca_file.as_deref())?));
        Ok(self.secure.get_or_init(|| made))
    }

    /// Asks once, and gives whatever answer comes.
    pub(super) fn send(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.url.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.extend(ask.headers.clone());
            let value = authorization.and_then(|text| HeaderValue::from_str(text).ok());
            if let Some(mut value) = value {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
        let agent = self.agent(&ask.url).map_err(Failure::last)?;
        let host = ask.url.authority();
        let failed = |error| failure(error, host, ask.what);
        let bad = |e: ureq::http::Error| failed(ureq::Error::Http(e));
        match ask.body {
            Some(body) => agent.run(request.body(body).map_err(bad)?),
            None => agent.run(request.body(()).map_err(bad)?),
        }
        .map_err(failed)
    }
}

fn agent(patience: &Patience, tls: Option<TlsConfig>) -> Agent {
    let mut config = Agent::config_builder()
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_per_read(Some(patience.stall))
        .timeout_per_write(Some(patience.stall))
        // A registry may prove what was sent before it answers.
        .timeout_recv_response(Some(patience.stall.saturating_mul(2)))
        .user_agent(concat!("yoloslim/", env!("CARGO_PKG_VERSION")))
        // Where one is sent on to is decided here, one hop after another.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false);
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().into()
}

/// What an answer means that is none of those expected: 408, 429 and 5xx pass, everything else is final.
pub(super) fn unexpected(answer: &mut Response<Body>, what: &str, tried: &str) -> Failure {
    let status = answer.status();
    let wait = text(answer.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
    let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    let (what, said) = (what.to_owned(), complaint(answer));
    let error = match status.as_u16() {
        status @ (401 | 403) => {
            DeliverError::Denied { what, status, said, tried: tried.to_owned() }
        }
        status => DeliverError::Answer { what, status, said },
    };
    Failure { error, passing, wait: wait.map(Duration::from_secs) }
}

/// What a registry complains of: the first of its errors, or what the status is called.
pub(super) fn complaint(answer: &mut Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Complaints {
        errors: Vec<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        code: String,
        #[serde(default)]
        message: String,
    }
    let reason = answer.status().canonical_reason().unwrap_or_default().to_owned();
    // Nobody waits long for a complaint.
    let patience = Patience { stall: Duration::from_secs(2), ..Patience::default() };
    let bytes = Reading::new(answer, "", patience).at_most(COMPLAINT_BYTES).unwrap_or_default();
    let complaints = serde_json::from_slice::<Complaints>(&bytes).map(|c| c.errors);
    match complaints.unwrap_or_default().into_iter().next() {
        Some(Complaint { code, message }) => {
            let text = format!("{reason} ({code}: {message})");
            text.chars().filter(|c| !c.is_control()).take(300).collect()
        }
        None => reason,
    }
}

/// What can be done about a certificate that is not trusted. Rustls keeps the reason of some of its errors as text alone.
fn advice(distrust: &str) -> &'static str {
    if distrust.contains("CaUsedAsEndEntity") {
        "; the server shows the certificate of an authority, as `openssl req -x509` makes it: make it with `-addext basicConstraints=critical,CA:FALSE`, or let the authority sign one for the server"
    } else if distrust.contains("UnknownIssuer") {
        "; --ca-file, or ca_file in the settings, names the certificate of who issued it"
    } else {
        ""
    }
}

/// What it means that no answer came.
fn failure(error: ureq::Error, host: &str, what: &str) -> Failure {
    let unreachable = |why: String| DeliverError::Unreachable { host: host.to_owned(), why };
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Failure::passing(unreachable("no connection in time".to_owned()))
        }
        ureq::Error::Timeout(_) => {
            Failure::passing(DeliverError::Stalled { what: what.to_owned(), read: 0 })
        }
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
            Failure::passing(DeliverError::Stalled { what: what.to_owned(), read: 0 })
        }
        // Certificates that are not trusted come like this, too.
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            let advice = advice(&e.to_string());
            Failure::last(unreachable(format!("{e}{advice}")))
        }
        ureq::Error::Io(e) => Failure::passing(unreachable(e.to_string())),
        error @ (ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_)) => Failure::passing(unreachable(error.to_string())),
        error => Failure::last(unreachable(error.to_string())),
    }
}

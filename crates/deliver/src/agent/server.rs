//! What `serve` on the same device is told, and what it answers.
use super::settings::ServeSettings;
use crate::{DeliverError, Digest};
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, RequestExt as _};

/// How long `serve` may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to open another model.
const CHANGE: Duration = Duration::from_secs(120);
/// Bytes of an answer that are read.
const LONGEST_BYTES: u64 = 1 << 20;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It does not answer.
    Down,
    /// It answers, and does not do its work.
    Unready,
    /// It does its work.
    Ready,
}

/// What is seen of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) level: Level,
    /// SHA-256 of the model file that it uses.
    pub(crate) model: Option<String>,
    /// How long it has been running.
    pub(crate) uptime_s: f64,
    /// Why it is not ready.
    pub(crate) why: String,
}

impl Seen {
    /// Whether it uses a model.
    pub(crate) fn runs(&self, model: &Digest) -> bool {
        self.model.as_deref() == Some(&*model.hex())
    }
}

/// What came of telling a server to use another bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It uses it.
    Done,
    /// It will not.
    Refused(String),
    /// It could not be told.
    Unheard(String),
}

/// A server on this device.
pub(crate) struct Server {
    agent: Agent,
    settings: ServeSettings,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.settings.url)
    }
}

#[derive(Deserialize)]
struct Status {
    uptime_s: f64,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    digest: String,
}

impl Server {
    /// Nothing is asked yet.
    pub(crate) fn new(settings: &ServeSettings) -> Self {
        let mut config = Agent::config_builder()
            .user_agent(concat!("yoloslim/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // Nobody else stands between.
            .proxy(None)
            .max_idle_connections(1);
        if settings.url.starts_with("https://") {
            let trusted = rustls_native_certs::load_native_certs().certs;
            let trusted = trusted.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::Specific(Arc::new(trusted)))
                .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
            config = config.tls_config(tls.build());
        }
        Self { agent: config.build().into(), settings: settings.clone() }
    }

    /// How it is.
    pub(crate) fn look(&self) -> Seen {
        let nothing = |why: DeliverError| Seen {
            level: Level::Down,
            model: None,
            uptime_s: 0.0,
            why: why.to_string(),
        };
        let status = match self.get("/v1/status").and_then(|answer| self.read_status(&answer)) {
            Ok(status) => status,
            Err(why) => return nothing(why),
        };
        let ready = match self.get("/readyz") {
            Ok(ready) => ready,
            Err(why) => return nothing(why),
        };
        let level = if ready.status == 200 { Level::Ready } else { Level::Unready };
        let why = if ready.status == 200 { String::new() } else { ready.reason() };
        Seen { level, model: Some(status.model.digest), uptime_s: status.uptime_s, why }
    }

    /// Tells it to use a bundle.
    pub(crate) fn change(&self, bundle: &Path) -> Told {
        let path = "/v1/model";
        let body = serde_json::json!({ "path": bundle }).to_string();
        let mut request = ureq::http::Request::post(format!("{}{path}", self.settings.url))
            .header("Content-Type", "application/json");
        if let Some(token) = &self.settings.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        let request = request.body(body);
        let request = request.map_err(|e| self.failed(path, e.to_string()));
        match request.and_then(|request| self.send(path, request, CHANGE)) {
            Err(why) => Told::Unheard(why.to_string()),
            Ok(answer) if answer.status == 200 => Told::Done,
            // So it answers where the model is at fault. All else is nobody's fault or that of the settings: another call is
            // changing the model, the token is wrong, it is at its end.
            Ok(answer) if answer.status == 422 => Told::Refused(answer.reason()),
            Ok(answer) => Told::Unheard(answer.reason()),
        }
    }

    fn read_status(&self, answer: &Answer) -> Result<Status, DeliverError> {
        let path = "/v1/status";
        if answer.status != 200 {
            return Err(self.failed(path, answer.reason()));
        }
        serde_json::from_str(&answer.body).map_err(|e| self.failed(path, e.to_string()))
    }

    fn get(&self, path: &str) -> Result<Answer, DeliverError> {
        let request =
            ureq::http::Request::get(format!("{}{path}", self.settings.url)).body(String::new());
        let request = request.map_err(|e| self.failed(path, e.to_string()))?;
        self.send(path, request, ANSWER)
    }

    fn send(
        &self,
        path: &str,
        request: ureq::http::Request<String>,
        timeout: Duration,
    ) -> Result<Answer, DeliverError> {
        let failed = |e: ureq::Error| self.failed(path, e.to_string());
        let configured = request.with_agent(&self.agent).configure();
        let sent = configured.timeout_global(Some(timeout)).run();
        let mut answer = sent.map_err(failed)?;
        let body = answer.body_mut().with_config().limit(LONGEST_BYTES).read_to_string();
        Ok(Answer { status: answer.status().as_u16(), body: body.map_err(failed)? })
    }

    fn failed(&self, path: &str, why: String) -> DeliverError {
        DeliverError::Serve { url: format!("{}{path}", self.settings.url), why }
    }
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// What it says is wrong: `{"error": …}`, as `serve` refuses.
    fn reason(&self) -> String {
        let body: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        let said = body.as_ref().and_then(|body| body.get("error")?.as_str());
        let said = said.unwrap_or(&self.body).chars().take(300).collect::<String>();
        format!("it answered {}: {}", self.status, said.trim())
    }
}

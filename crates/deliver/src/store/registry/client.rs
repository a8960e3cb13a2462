//! Who asks a registry: with which credentials, and where one lets oneself be sent on to.
use super::super::{Access, Patience};
use super::auth::Login;
use super::hops::{check_hop, is_loopback, refused_hop, same_origin};
use super::retry::Failure;
use super::text;
use super::transport::{Ask, Transport, complaint, unexpected};
use crate::DeliverError;
use ureq::Body;
use ureq::http::header::{LOCATION, WWW_AUTHENTICATE};
use ureq::http::{HeaderMap, Response, StatusCode};
use url::Url;

/// How often one is sent on before it is a circle.
const MOST_HOPS: usize = 5;
/// Where Docker Hub has its registry.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";

/// Who asks one registry.
pub(super) struct Client {
    origin: Url,
    transport: Transport,
    login: Login,
}

/// Where to one lets oneself be sent on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Within the registry.
    SameOrigin,
    /// To where blobs are really kept; without credentials.
    Anywhere,
}

impl Client {
    pub(super) fn new(host: &str, access: &Access) -> Result<Self, DeliverError> {
        let server = if host == DOCKER_HUB { DOCKER_HUB_REGISTRY } else { host };
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{server}/"))
                .map_err(|e| DeliverError::Location { text: host.to_owned(), why: e.to_string() })
        };
        let secure_origin = parse("https")?;
        let here = is_loopback(&secure_origin) && access.ca_file.is_none();
        let plain = access.plain_http || here;
        let origin = if plain { parse("http")? } else { secure_origin };
        let transport = Transport::new(&origin, access)?;
        Ok(Self { origin, transport, login: Login::new(host, access) })
    }

    pub(super) fn origin(&self) -> &Url {
        &self.origin
    }

    pub(super) fn patience(&self) -> Patience {
        self.transport.patience()
    }

    /// Asks once, and follows where one is sent on to; 404 is an answer, other 4xx and 5xx are failures.
    pub(super) fn fetch(&self, ask: Ask<'_>, follow: Follow) -> Result<Response<Body>, Failure> {
        let mut ask = ask;
        for _ in 0..=MOST_HOPS {
            let mut answer = self.ask(ask.clone())?;
            let status = answer.status();
            if status.is_success() || status == StatusCode::NOT_FOUND {
                return Ok(answer);
            }
            if !status.is_redirection() {
                return Err(self.unexpected(&mut answer, ask.what));
            }
            let Some(to) = location(&ask.url, answer.headers()) else {
                return Err(self.unexpected(&mut answer, ask.what));
            };
            let checked = check_hop(&ask.url, &to).and_then(|()| {
                if follow == Follow::SameOrigin && !same_origin(&to, &self.origin) {
                    return Err("it is another host's".to_owned());
                }
                Ok(())
            });
            checked.map_err(|why| refused_hop(&ask.url, &to, why))?;
            ask.url = to;
        }
        Err(refused_hop(&self.origin, &ask.url, format!("it is the {MOST_HOPS}th in a row")))
    }

    /// Asks once, and again with credentials where they are asked for. Gives whatever answer comes.
    pub(super) fn ask(&self, ask: Ask<'_>) -> Result<Response<Body>, Failure> {
        // Credentials are this registry's: no other host gets them.
        let own = same_origin(&ask.url, &self.origin);
        let sent = self.login.header().filter(|_| own);
        let mut answer = self.transport.send(&ask, sent.as_deref())?;
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(answer);
        }
        let challenges: Vec<_> = answer.headers().get_all(WWW_AUTHENTICATE).iter().collect();
        let challenges: Vec<_> = challenges.iter().filter_map(|v| v.to_str().ok()).collect();
        let challenges = challenges.join(", ");
        if !self.login.answer(&self.transport, &self.origin, &challenges, sent.as_deref())? {
            return Err(self.denied(&mut answer, ask.what));
        }
        let sent = self.login.header();
        let mut answer = self.transport.send(&ask, sent.as_deref())?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // A token that was just given, and is not good, will not get better.
            self.login.forget();
            return Err(self.denied(&mut answer, ask.what));
        }
        Ok(answer)
    }

    fn denied(&self, answer: &mut Response<Body>, what: &str) -> Failure {
        Failure::last(DeliverError::Denied {
            what: what.to_owned(),
            status: answer.status().as_u16(),
            said: complaint(answer),
            tried: self.login.tried(),
        })
    }

    /// Keeps an answer that has one of the expected statuses.
    pub(super) fn expect(
        &self,
        mut answer: Response<Body>,
        expected: &[StatusCode],
        what: &str,
    ) -> Result<Response<Body>, Failure> {
        if expected.contains(&answer.status()) {
            return Ok(answer);
        }
        Err(self.unexpected(&mut answer, what))
    }

    /// What an answer means that is none of those expected.
    pub(super) fn unexpected(&self, answer: &mut Response<Body>, what: &str) -> Failure {
        unexpected(answer, what, &self.login.tried())
    }
}

/// The address in a `Location` header, which may be relative to the one that was asked.
pub(super) fn location(asked: &Url, headers: &HeaderMap) -> Option<Url> {
    text(headers, LOCATION.as_str()).and_then(|to| asked.join(to).ok())
}

//! Who asks: nobody, a name with a password, or who holds a token that a registry's own service gives for them.
//! <https://distribution.github.io/distribution/spec/auth/token/>
use super::super::{Access, Credentials};
use super::body::Reading;
use super::hops::{check_hop, is_loopback, refused_hop, same_origin};
use super::retry::Failure;
use super::transport::{Ask, Transport, unexpected};
use crate::DeliverError;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use ureq::http::StatusCode;
use url::Url;

const USER_VARIABLE: &str = "YOLOSLIM_REGISTRY_USER";
const PASSWORD_VARIABLE: &str = "YOLOSLIM_REGISTRY_PASSWORD";
/// Bytes that the answer with a token may have.
const TOKEN_LIMIT_BYTES: u64 = 256 << 10;

/// Who asks one registry.
pub(super) struct Login {
    credentials: Option<Credentials>,
    /// Where they are from, or why there are none.
    tried: String,
    /// Another repository that must be read, for its blobs to be mounted.
    mount_from: Option<String>,
    /// What the registry took last.
    header: Mutex<Option<String>>,
}

/// How a registry wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    /// By a token that this address gives.
    Bearer(BTreeMap<String, String>),
}

impl Login {
    pub(super) fn new(host: &str, access: &Access) -> Self {
        let (credentials, tried) = match known(host, access) {
            Ok(Some(Known { credentials, from })) => {
                let tried = format!("asked as {}, of {from}", credentials.user);
                (Some(credentials), tried)
            }
            Ok(None) => {
                let tried = format!(
                    "nobody is known for {host}: set {USER_VARIABLE} and {PASSWORD_VARIABLE}, or log in with docker"
                );
                (None, tried)
            }
            Err(why) => (None, why),
        };
        let (mount_from, header) = (access.mount_from.clone(), Mutex::new(None));
        Self { credentials, tried, mount_from, header }
    }

    /// What was taken last, to be sent along at once.
    pub(super) fn header(&self) -> Option<String> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget(&self) {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// With which credentials it was asked, for messages.
    pub(super) fn tried(&self) -> String {
        self.tried.clone()
    }

    /// Finds out what a registry wants to be sent; says whether that is anything else than what was `sent`.
    pub(super) fn answer(
        &self,
        transport: &Transport,
        origin: &Url,
        challenges: &str,
        sent: Option<&str>,
    ) -> Result<bool, Failure> {
        let challenges = parse_challenges(challenges);
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(parameters) => Some(parameters),
            Challenge::Basic => None,
        });
        let header = match (bearer, &self.credentials) {
            (Some(parameters), _) => {
                format!("Bearer {}", self.token(transport, origin, parameters)?)
            }
            (None, Some(credentials)) if challenges.contains(&Challenge::Basic) => {
                basic(credentials)
            }
            _ => return Ok(false),
        };
        if sent == Some(header.as_str()) {
            return Ok(false);
        }
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(true)
    }

    fn token(
        &self,
        transport: &Transport,
        origin: &Url,
        parameters: &BTreeMap<String, String>,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let what = "the token";
        let wrong = |status: StatusCode, said: &str| {
            Failure::last(DeliverError::Answer {
                what: what.to_owned(),
                status: status.as_u16(),
                said: said.to_owned(),
            })
        };
        let realm = parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
        let mut url = realm
            .ok_or_else(|| wrong(StatusCode::UNAUTHORIZED, "no address is named that gives one"))?;
        check_realm(origin, &url).map_err(|why| refused_hop(origin, &url, why))?;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = parameters.get("service") {
                query.append_pair("service", service);
            }
            if let Some(scope) = parameters.get("scope") {
                query.append_pair("scope", scope);
                if let Some(repository) = &self.mount_from {
                    query.append_pair("scope", &format!("repository:{repository}:pull"));
                }
            }
        }
        let authorization = self.credentials.as_ref().map(basic);
        let mut answer = transport.send(&Ask::get(url, what), authorization.as_deref())?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(unexpected(&mut answer, what, &self.tried));
        }
        let mut reading = Reading::new(&mut answer, what, transport.patience());
        let bytes = reading.at_most(TOKEN_LIMIT_BYTES)?;
        let given: Given =
            serde_json::from_slice(&bytes).map_err(|e| wrong(status, &e.to_string()))?;
        let token = given.token.or(given.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| wrong(status, "there is none in the answer"))?;
        // What is no header would be left out of the request.
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong(status, "it has characters that no token has"));
        }
        Ok(token)
    }
}

/// Whether a name and a password may be sent where a registry says that tokens are given.
fn check_realm(registry: &Url, realm: &Url) -> Result<(), String> {
    check_hop(registry, realm)?;
    let same_host = registry.host() == realm.host();
    if realm.scheme() == "http" && !is_loopback(realm) && !same_host {
        return Err("passwords would go there without TLS".to_owned());
    }
    if realm.scheme() == "http" && !same_origin(registry, realm) && !is_loopback(registry) {
        return Err("passwords would go there without TLS".to_owned());
    }
    Ok(())
}

fn basic(credentials: &Credentials) -> String {
    let Credentials { user, password } = credentials;
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// `Scheme name="value",name=value, Scheme …` (RFC 9110, 11.6.1).
fn parse_challenges(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
        let (scheme, after) = rest.split_at(end);
        rest = after.trim_start();
        let mut parameters = BTreeMap::new();
        while let Some((parameter, after)) = parse_parameter(rest) {
            parameters.insert(parameter.name, parameter.value);
            rest = after;
        }
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => found.push(Challenge::Bearer(parameters)),
            _ => {}
        }
        // Something is always taken away, so that this ends.
        rest = rest.trim_start_matches([' ', ',', '=', '"']);
    }
    found
}

struct Parameter {
    name: String,
    value: String,
}

fn parse_parameter(text: &str) -> Option<(Parameter, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let (name, after) = text.split_once('=')?;
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(token) {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let Some(quoted) = after.strip_prefix('"') else {
        let end = after.find([',', ' ']).unwrap_or(after.len());
        let (value, after) = after.split_at(end);
        return Some((Parameter { name, value: value.to_owned() }, after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Parameter { name, value }, &quoted[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    None
}

/// Credentials, and where they are from.
struct Known {
    credentials: Credentials,
    from: String,
}

/// Who is known for a registry; on an error why nobody is.
fn known(host: &str, access: &Access) -> Result<Option<Known>, String> {
    if let Some(credentials) = &access.user {
        let from = "the arguments".to_owned();
        return Ok(Some(Known { credentials: credentials.clone(), from }));
    }
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(user), Some(password)) = (variable(USER_VARIABLE), variable(PASSWORD_VARIABLE)) {
        let from = USER_VARIABLE.to_owned();
        return Ok(Some(Known { credentials: Credentials { user, password }, from }));
    }
    let Some(path) = docker_config() else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let from = path.display().to_string();
    let found = of_docker(&text, host).map_err(|why| format!("{from}: {why}"))?;
    Ok(found.map(|credentials| Known { credentials, from }))
}

fn docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    folder.or_else(home).map(|folder| folder.join("config.json"))
}

/// Who is known for a registry by docker's `config.json`; on an error why nobody is.
fn of_docker(text: &str, host: &str) -> Result<Option<Credentials>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
        #[serde(default)]
        creds_store: String,
        #[serde(default)]
        cred_helpers: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        auth: String,
        #[serde(default)]
        identitytoken: String,
    }
    let config: Config = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let host = if host == "docker.io" { "index.docker.io" } else { host };
    let of_host = |key: &str| {
        let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
        key.split('/').next() == Some(host)
    };
    let entry = config.auths.iter().find(|(key, _)| of_host(key)).map(|(_, entry)| entry);
    match entry {
        Some(entry) if !entry.auth.is_empty() => {
            let decoded = BASE64_STANDARD.decode(entry.auth.trim()).ok();
            let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) = decoded.ok_or(format!("its entry for {host} is damaged"))?;
            let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
            Ok(Some(Credentials { user, password }))
        }
        Some(entry) if !entry.identitytoken.is_empty() => {
            Err(format!("its entry for {host} is an identity token, which is not supported"))
        }
        _ if config.cred_helpers.contains_key(host) || !config.creds_store.is_empty() => {
            Err(format!(
                "a helper keeps the password of {host}, and helpers are not asked: set {USER_VARIABLE} and {PASSWORD_VARIABLE}"
            ))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_understood() {
        let text = r#"Basic realm="a, b", Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push",error=invalid_token"#;
        let found = parse_challenges(text);
        let [Challenge::Basic, Challenge::Bearer(parameters)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(parameters["realm"], "https://auth.example.com/token");
        assert_eq!(parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(parameters["error"], "invalid_token");
        for odd in ["", ",", "=", "Bearer", "Bearer realm=\"", "\"\"\"", "Digest a=b", "Bearer ="] {
            parse_challenges(odd);
        }
    }

    #[test]
    fn passwords_go_to_realms_with_tls_or_on_this_machine_only() {
        let check = |registry: &str, realm: &str| {
            let url = |text| Url::parse(text).expect("a URL");
            check_realm(&url(registry), &url(realm)).is_ok()
        };
        assert!(check("https://a.example.com", "https://auth.example.org/token"));
        assert!(check("http://127.0.0.1:5000", "http://127.0.0.1:6000/token"));
        assert!(check("http://a.example.com:5000", "http://a.example.com:5000/token"));
        assert!(!check("https://a.example.com", "http://a.example.com/token"));
        assert!(!check("http://127.0.0.1:5000", "http://auth.example.org/token"));
        assert!(!check("https://a.example.com", "https://127.0.0.1/token"));
    }

    #[test]
    fn docker_knows_who_asks_by_host() {
        let text = r#"{"auths":{
            "registry.example.com:5000":{"auth":"dXNlcjpwYXNz"},
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "broken.example.com":{"auth":"!"},
            "azure.example.com":{"identitytoken":"x"}},
            "credHelpers":{"gcr.example.com":"gcloud"}}"#;
        let user = |host| of_docker(text, host).map(|found| found.map(|c| c.user));
        assert_eq!(user("registry.example.com:5000"), Ok(Some("user".to_owned())));
        assert_eq!(user("docker.io"), Ok(Some("hub".to_owned())));
        assert_eq!(user("registry.example.com"), Ok(None));
        for (host, why) in [
            ("broken.example.com", "damaged"),
            ("azure.example.com", "identity"),
            ("gcr.example.com", "helper"),
        ] {
            assert!(user(host).is_err_and(|e| e.contains(why)), "{host}");
        }
    }
}

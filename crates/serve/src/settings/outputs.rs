//! Settings of those who are told what the server tells.
use crate::ServeError;
use crate::settings::Secret;
use serde::Deserialize;
use std::path::PathBuf;
use url::Url;

/// A broker that is told of everything, in the topics that Frigate made the convention.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Its name or address.
    pub host: String,
    /// Its port; 1883 by default, 8883 with TLS.
    pub port: Option<u16>,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: bool,
    /// A file of certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are to the broker.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The client's name, one of its own for each server.
    #[serde(default = "yoloslim")]
    pub client_id: String,
    /// What all topics begin with, another one for each server.
    #[serde(default = "yoloslim")]
    pub prefix: String,
    /// How often `<prefix>/stats` is published.
    #[serde(default = "minute")]
    pub stats_interval_s: f64,
    /// The prefix of Home Assistant's discovery; empty for none.
    #[serde(default = "homeassistant")]
    pub discovery_prefix: String,
}

fn yoloslim() -> String {
    "yoloslim".to_owned()
}

fn homeassistant() -> String {
    "homeassistant".to_owned()
}

fn minute() -> f64 {
    60.0
}

/// A URL that events are posted to as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where to; it may hold a token.
    pub url: Secret,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// How long one attempt may take.
    #[serde(default = "ten")]
    pub timeout_s: f64,
}

fn ten() -> f64 {
    10.0
}

impl MqttSettings {
    /// Refuses what no broker takes.
    ///
    /// # Errors
    /// `Setting`, `Value`.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        within("mqtt.stats_interval_s", self.stats_interval_s)?;
        let refuse = |name, why: &str| Err(ServeError::Setting { name, why: why.to_owned() });
        let wild = |text: &str| text.contains(['+', '#', '\0']) || text.starts_with('$');
        if self.host.is_empty() {
            return refuse("mqtt.host", "it names no host");
        }
        if self.prefix.trim_matches('/').is_empty() || wild(&self.prefix) {
            return refuse("mqtt.prefix", "a topic without +, # and a $ in front");
        }
        if wild(&self.discovery_prefix) {
            return refuse("mqtt.discovery_prefix", "a topic without +, # and a $ in front");
        }
        if self.password.is_some() && self.user.is_none() {
            return refuse("mqtt.password", "MQTT knows no password without a user");
        }
        if self.ca_file.is_some() && !self.tls {
            return refuse("mqtt.ca_file", "it is for TLS: set tls = true");
        }
        Ok(())
    }
}

impl WebhookSettings {
    /// Refuses what nothing can be posted to.
    ///
    /// # Errors
    /// `Setting`, without what is secret, `Value`.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        within("webhook.timeout_s", self.timeout_s)?;
        let refuse = |name, why: String| Err(ServeError::Setting { name, why });
        match Url::parse(self.url.reveal()) {
            Err(error) => return refuse("webhook.url", error.to_string()),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                return refuse(
                    "webhook.url",
                    format!("{}:// is neither http nor https", url.scheme()),
                );
            }
            Ok(_) => {}
        }
        let sendable = |token: &Secret| token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.as_ref().is_none_or(sendable) {
            return refuse(
                "webhook.token",
                "only letters, digits and signs of ASCII can be sent".to_owned(),
            );
        }
        Ok(())
    }
}

/// Refuses times that are of no use.
fn within(name: &str, value: f64) -> Result<(), ServeError> {
    if (0.1..=86_400.0).contains(&value) {
        return Ok(());
    }
    Err(ServeError::Value { name: name.to_owned(), value, range: "0.1 to 86400" })
}

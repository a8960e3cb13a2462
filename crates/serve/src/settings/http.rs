//! Settings of the HTTP server.
use super::Secret;
use crate::ServeError;
use serde::Deserialize;
use std::net::SocketAddr;

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Where it listens. Only this machine reaches a loopback address.
    pub listen: SocketAddr,
    /// What calls that change something must bear; without a token there are none.
    pub token: Option<Secret>,
    /// The largest body of a request. An image of 640x640 as numbers in JSON takes up to 25 MB.
    pub max_body_bytes: usize,
    /// The most pixels of a posted image, as its header claims them; by default those of 8K.
    pub max_image_pixels: u64,
    /// Connections at once; more wait.
    pub max_connections: usize,
    /// How long a request may take.
    pub timeout_s: f64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8484)),
            token: None,
            max_body_bytes: 32 << 20,
            max_image_pixels: 7680 * 4320,
            max_connections: 256,
            timeout_s: 30.0,
        }
    }
}

impl HttpSettings {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), ServeError> {
        let refuse = |name: &str, value: f64, range: &'static str| {
            Err(ServeError::Value { name: format!("http.{name}"), value, range })
        };
        if !(self.timeout_s > 0.0 && self.timeout_s <= 86_400.0) {
            return refuse("timeout_s", self.timeout_s, "above 0, at most 86400");
        }
        if !(1..=1 << 30).contains(&self.max_body_bytes) {
            return refuse("max_body_bytes", self.max_body_bytes as f64, "1 to 1073741824");
        }
        if self.max_image_pixels == 0 {
            return refuse("max_image_pixels", 0.0, "at least 1");
        }
        if !(1..=1 << 16).contains(&self.max_connections) {
            return refuse("max_connections", self.max_connections as f64, "1 to 65536");
        }
        // A token that is empty would let everybody in who sends an empty one.
        if self.token.as_ref().is_some_and(|token| token.reveal().trim().is_empty()) {
            return refuse("token's length", 0.0, "at least 1");
        }
        Ok(())
    }
}

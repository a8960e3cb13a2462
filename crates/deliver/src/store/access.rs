//! What is needed to get into a registry.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A name and a password, for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password, or an access token that stands for one.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// How long a registry is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes, in either direction.
    pub stall: Duration,
    /// How often a request is tried that fails for a passing reason.
    pub attempts: u32,
    /// The longest wait before the second attempt; each further one is twice as long.
    pub first_wait: Duration,
    /// No wait is longer, whatever the registry asks for.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            attempts: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// What is needed to get into a registry; a folder needs none of it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who asks; by default the one of `YOLOSLIM_REGISTRY_USER` and `YOLOSLIM_REGISTRY_PASSWORD`, or the one of docker's
    /// `config.json`, or nobody.
    pub user: Option<Credentials>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether HTTP without TLS is used; for hosts on this machine it always is, unless there is a `ca_file`.
    pub plain_http: bool,
    /// Another repository of the same registry, whose blobs need not be sent again.
    pub mount_from: Option<String>,
    /// How long the registry is waited for.
    pub patience: Patience,
}

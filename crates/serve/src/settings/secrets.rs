//! Texts that are used and never shown.
use crate::ServeError;
use serde::Deserialize;
use std::fmt;

/// A text that is used and never shown. `${NAME}` in it is the environment's variable of that name.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Secret {
    type Error = ServeError;

    fn try_from(text: String) -> Result<Self, ServeError> {
        expand(&text).map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A text with each `${NAME}` replaced by the environment's variable of that name.
///
/// # Errors
/// `NoVariable` for a name that is not set, or a `${` that is never closed.
pub(crate) fn expand(text: &str) -> Result<String, ServeError> {
    let mut parts = text.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let unclosed = || ServeError::NoVariable { name: "a name without }".to_owned() };
        let (name, rest) = part.split_once('}').ok_or_else(unclosed)?;
        let value = std::env::var(name);
        let value = value.map_err(|_| ServeError::NoVariable { name: name.to_owned() })?;
        out.push_str(&value);
        out.push_str(rest);
    }
    Ok(out)
}

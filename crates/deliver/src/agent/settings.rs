//! What `agent.toml` says.
use crate::status::check_device;
use crate::store::{Access, Credentials, Location, Reference};
use crate::{DeliverError, PublicKeys};
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the arguments of the program that proves a bundle, what its folder's path takes the place of.
const BUNDLE: &str = "{bundle}";

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// By which name the device is known.
    pub device: String,
    /// The repository that is watched.
    pub source: Location,
    /// The tag in it that is followed.
    pub alias: String,
    /// What is needed to get in.
    pub access: Access,
    /// The public key that is trusted, or a folder of such.
    pub keys: PathBuf,
    /// The agent's folder.
    pub state: PathBuf,
    /// For which target the device needs a model.
    pub target: String,
    /// Time between two looks at the alias.
    pub poll: Duration,
    /// How long a new bundle must hold.
    pub probation: Duration,
    /// The secret key that reports are signed with; without it none are sent.
    pub device_key: Option<PathBuf>,
    /// The file that metrics are written to.
    pub metrics_file: Option<PathBuf>,
    /// The server that uses the model.
    pub serve: Option<ServeSettings>,
    /// The program that proves a bundle on this machine.
    pub warm_up: WarmUpSettings,
}

/// The server that uses the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// Where it answers.
    pub url: String,
    /// The token that it asks for.
    pub token: Option<Secret>,
}

/// The program that proves a bundle on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUpSettings {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; `{bundle}` is the bundle's folder.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl WarmUpSettings {
    /// The arguments for a bundle.
    pub(crate) fn arguments_for(&self, bundle: &Path) -> Vec<std::ffi::OsString> {
        let own = |argument: &String| {
            if argument == BUNDLE { bundle.as_os_str().to_owned() } else { argument.into() }
        };
        self.arguments.iter().map(own).collect()
    }
}

/// A text that is used and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn for_tests(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The file as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    device: Option<String>,
    source: String,
    keys: PathBuf,
    state: PathBuf,
    #[serde(default = "builtin")]
    target: String,
    #[serde(default = "minute")]
    poll_s: f64,
    #[serde(default = "two_minutes")]
    probation_s: f64,
    latency_budget_ms: Option<f64>,
    device_key: Option<PathBuf>,
    metrics_file: Option<PathBuf>,
    serve: Option<ServeFile>,
    #[serde(default)]
    registry: RegistryFile,
    #[serde(default)]
    warm_up: WarmUpFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServeFile {
    url: String,
    token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistryFile {
    user: Option<String>,
    password: Option<String>,
    ca_file: Option<PathBuf>,
    plain_http: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WarmUpFile {
    command: Option<Vec<String>>,
    timeout_s: Option<f64>,
}

fn builtin() -> String {
    "builtin".to_owned()
}

fn minute() -> f64 {
    60.0
}

fn two_minutes() -> f64 {
    120.0
}

impl AgentSettings {
    /// Reads `agent.toml`. Relative paths in it are relative to its folder; `${NAME}` in a token or a password is the environment's.
    /// `program` proves bundles where the file names no other.
    ///
    /// # Errors
    /// `Read`; `Settings` for a file that is none, or asks for what cannot be.
    pub fn read(path: &Path, program: &Path) -> Result<Self, DeliverError> {
        let text = fs::read_to_string(path).map_err(|e| DeliverError::read(path, e))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let settings = parse(&text, folder, program);
        let settings =
            settings.map_err(|why| DeliverError::Settings { path: path.to_path_buf(), why })?;
        // What cannot work is told before the first bundle comes.
        PublicKeys::read(&settings.keys)?;
        Ok(settings)
    }
}

fn parse(text: &str, folder: &Path, program: &Path) -> Result<AgentSettings, String> {
    let file: File = toml::from_str(text).map_err(|e| told(&e, text))?;
    let Source { location, alias } = source(&file.source, folder)?;
    let device = file.device.unwrap_or_else(hostname);
    check_device(&device)?;
    let warm_up = warm_up(file.warm_up, file.latency_budget_ms, &file.target, program)?;
    let serve = file.serve.map(serve).transpose()?;
    Ok(AgentSettings {
        device,
        source: location,
        alias,
        access: access(file.registry, folder)?,
        keys: folder.join(file.keys),
        state: folder.join(file.state),
        target: file.target,
        poll: seconds("poll_s", file.poll_s, 0.05)?,
        probation: seconds("probation_s", file.probation_s, 0.0)?,
        device_key: file.device_key.map(|key| folder.join(key)),
        metrics_file: file.metrics_file.map(|metrics| folder.join(metrics)),
        serve,
        warm_up,
    })
}

/// The message of a TOML error quotes its line, which may hold a password: only its place and reason are told.
fn told(error: &toml::de::Error, text: &str) -> String {
    let line =
        |span: std::ops::Range<usize>| 1 + text[..span.start.min(text.len())].matches('\n').count();
    let line = error.span().map_or(0, line);
    format!("line {line}: {}", error.message())
}

struct Source {
    location: Location,
    alias: String,
}

fn source(text: &str, folder: &Path) -> Result<Source, String> {
    let wrong = |e: DeliverError| format!("source: {e}");
    // A folder is named relative to the settings, as all paths are.
    let text = match text.strip_prefix("oci:") {
        Some(path) => format!("oci:{}", folder.join(path).display()),
        None => text.to_owned(),
    };
    let location: Location = text.parse().map_err(wrong)?;
    let Reference::Tag(alias) = location.reference() else {
        return Err(format!("source: `{text}` names one manifest: an agent follows a tag"));
    };
    Ok(Source { location, alias })
}

fn serve(file: ServeFile) -> Result<ServeSettings, String> {
    let url = file.url.trim_end_matches('/').to_owned();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("serve.url: it must begin with http:// or https://".to_owned());
    }
    let token = file.token.map(|token| secret("serve.token", &token)).transpose()?;
    Ok(ServeSettings { url, token })
}

fn access(file: RegistryFile, folder: &Path) -> Result<Access, String> {
    let user = match (file.user, file.password) {
        (Some(user), Some(password)) => {
            let password = secret("registry.password", &password)?.0;
            Some(Credentials { user, password })
        }
        (None, None) => None,
        _ => return Err("registry: a user and a password belong together".to_owned()),
    };
    let ca_file = file.ca_file.map(|path| folder.join(path));
    Ok(Access { user, ca_file, plain_http: file.plain_http, ..Access::default() })
}

fn warm_up(
    file: WarmUpFile,
    latency_budget_ms: Option<f64>,
    target: &str,
    program: &Path,
) -> Result<WarmUpSettings, String> {
    let timeout = seconds("warm_up.timeout_s", file.timeout_s.unwrap_or(300.0), 0.0)?;
    if let Some(command) = file.command {
        let (program, arguments) =
            command.split_first().ok_or("warm_up.command: it names no program")?;
        return Ok(WarmUpSettings {
            program: PathBuf::from(program),
            arguments: arguments.to_vec(),
            timeout,
        });
    }
    let mut arguments = vec!["verify".to_owned(), BUNDLE.to_owned(), "--run".to_owned()];
    if target != builtin() {
        return Err(format!(
            "warm_up.command: by default bundles are proved on yoloslim's own engine; for `{target}` name the program that does it"
        ));
    }
    if let Some(budget_ms) = latency_budget_ms {
        if !(budget_ms.is_finite() && budget_ms > 0.0) {
            return Err(format!("latency_budget_ms: {budget_ms} is no time"));
        }
        arguments.extend(["--latency-ms".to_owned(), budget_ms.to_string()]);
    }
    Ok(WarmUpSettings { program: program.to_path_buf(), arguments, timeout })
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn seconds(name: &str, value: f64, least: f64) -> Result<Duration, String> {
    let most = 30.0 * 86_400.0;
    if !(least..=most).contains(&value) {
        return Err(format!("{name}: {value} is not between {least} and {most} seconds"));
    }
    Ok(Duration::from_secs_f64(value))
}

/// A text with each `${NAME}` replaced by the environment's variable of that name.
fn secret(name: &str, text: &str) -> Result<Secret, String> {
    let mut parts = text.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) =
            part.split_once('}').ok_or_else(|| format!("{name}: a `${{` is never closed"))?;
        let value = std::env::var(variable);
        out +=
            &value.map_err(|_| format!("{name}: ${{{variable}}} is not set in the environment"))?;
        out += rest;
    }
    // It becomes a header.
    if out.chars().any(char::is_control) {
        return Err(format!("{name}: it holds characters that no header may have"));
    }
    Ok(Secret(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str =
        "source = \"localhost:5000/boards:candidate\"\nkeys = \"keys\"\nstate = \"s\"\n";

    fn parsed(text: &str) -> Result<AgentSettings, String> {
        parse(text, Path::new("/etc/yoloslim"), Path::new("/usr/bin/yoloslim"))
    }

    #[test]
    fn settings_with_the_least_have_sensible_defaults() {
        let settings = parsed(LEAST).expect("read");
        assert_eq!(settings.alias, "candidate");
        assert_eq!(settings.keys, Path::new("/etc/yoloslim/keys"));
        assert_eq!(settings.poll, Duration::from_secs(60));
        assert_eq!(settings.warm_up.program, Path::new("/usr/bin/yoloslim"));
        assert_eq!(settings.warm_up.arguments_for(Path::new("/s/a")), ["verify", "/s/a", "--run"]);
    }

    #[test]
    fn settings_with_all_tables_are_read_and_show_no_secret() {
        let text = format!(
            "device = \"cam-17\"\nlatency_budget_ms = 40\n{LEAST}\
             [serve]\nurl = \"http://127.0.0.1:8484/\"\ntoken = \"hush\"\n\
             [registry]\nuser = \"agent\"\npassword = \"hush\"\nca_file = \"ca.pem\"\n"
        );
        let settings = parsed(&text).expect("read");
        assert_eq!(settings.serve.as_ref().map(|s| &*s.url), Some("http://127.0.0.1:8484"));
        assert_eq!(settings.access.ca_file.as_deref(), Some(Path::new("/etc/yoloslim/ca.pem")));
        assert_eq!(settings.warm_up.arguments.last().map(String::as_str), Some("40"));
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_the_reason() {
        let digest = crate::Digest::of(b"");
        let cases = [
            ("sauce = 1\n", LEAST, "sauce"),
            ("device = \"a b\"\n", LEAST, "cannot name a device"),
            ("poll_s = 0\n", LEAST, "poll_s"),
            ("poll_s = nan\n", LEAST, "poll_s"),
            ("probation_s = -1\n", LEAST, "probation_s"),
            ("latency_budget_ms = 0\n", LEAST, "latency_budget_ms"),
            ("", &LEAST.replace("localhost:5000/boards:candidate", "boards"), "source"),
            ("", &LEAST.replace(":candidate", &format!("@{digest}")), "follows a tag"),
            ("", &format!("{LEAST}[serve]\nurl = \"localhost\"\n"), "serve.url"),
            (
                "",
                &format!("{LEAST}[serve]\nurl = \"http://h\"\ntoken = \"${{NO_SUCH}}\"\n"),
                "NO_SUCH",
            ),
            ("", &format!("{LEAST}[registry]\nuser = \"u\"\n"), "belong together"),
            ("", &format!("{LEAST}[warm_up]\ncommand = []\n"), "no program"),
            ("target = \"npu\"\n", LEAST, "warm_up.command"),
        ];
        for (before, text, part) in cases {
            let why = parsed(&format!("{before}{text}")).expect_err(part);
            assert!(why.contains(part), "{why}");
        }
    }
}

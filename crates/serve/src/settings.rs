//! What `serve.toml` says. Every field has a default but the model and the sources' places.
mod http;
mod outputs;
mod secrets;
mod source;

use crate::ServeError;
pub use http::HttpSettings;
pub use outputs::{MqttSettings, WebhookSettings};
pub use secrets::Secret;
pub(crate) use secrets::expand;
use serde::Deserialize;
pub use source::{RegionSettings, SourceSettings};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Settings of the whole server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The detector: an ONNX file, or a bundle.
    pub model: PathBuf,
    /// Public keys: a file, or a folder of `*.pub`. With them only bundles are served that one of the keys signed.
    pub keys: Option<PathBuf>,
    /// What the detector must find in its golden frames before it is used: what `detect --json` wrote of them.
    pub golden: Option<PathBuf>,
    /// Sessions that detect at once, one thread each; one a core by default.
    pub sessions: Option<usize>,
    /// The program that decodes.
    #[serde(default = "ffmpeg")]
    pub ffmpeg: PathBuf,
    /// The sources, at least one.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceSettings>,
    /// The HTTP server.
    #[serde(default)]
    pub http: HttpSettings,
    /// JSON lines.
    #[serde(default)]
    pub events: EventsSettings,
    /// A broker that is told of everything.
    pub mqtt: Option<MqttSettings>,
    /// A URL that events are posted to.
    pub webhook: Option<WebhookSettings>,
    /// What is done about heat and memory.
    #[serde(default)]
    pub watchdog: WatchdogSettings,
}

fn ffmpeg() -> PathBuf {
    PathBuf::from("ffmpeg")
}

/// JSON lines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsSettings {
    /// The file that lines are appended to; `-` is the standard output.
    pub path: Option<PathBuf>,
    /// Whether each frame with objects is a line too.
    pub frames: bool,
}

/// What is done about heat and memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogSettings {
    /// From this temperature on all rates are lowered; by default 5 degrees below where the machine says that it throttles,
    /// 85 where it does not say.
    pub hot_c: Option<f64>,
    /// Whether rates are lowered at all; reported it is in any case.
    pub lower_rate: bool,
    /// The process ends with an error above this resident memory, so that its supervisor starts it anew.
    pub max_memory_mb: Option<u64>,
}

impl Default for WatchdogSettings {
    fn default() -> Self {
        Self { hot_c: None, lower_rate: true, max_memory_mb: None }
    }
}

impl Settings {
    /// Settings with a model, all else by default.
    pub fn new(model: PathBuf) -> Self {
        Self {
            model,
            keys: None,
            golden: None,
            sessions: None,
            ffmpeg: ffmpeg(),
            sources: Vec::new(),
            http: HttpSettings::default(),
            events: EventsSettings::default(),
            mqtt: None,
            webhook: None,
            watchdog: WatchdogSettings::default(),
        }
    }

    /// Adds sources by their places alone, named `camera1`, `camera2` …; files begin again at their end.
    ///
    /// # Errors
    /// As [`Location::parse`](crate::Location::parse) and [`Settings::check`].
    pub fn add_sources(&mut self, places: &[String]) -> Result<(), ServeError> {
        for place in places {
            let source = SourceSettings::short(place, self.sources.len())?;
            self.sources.push(source);
        }
        self.check()
    }

    /// Reads `serve.toml`. Relative paths in it are relative to its folder; `${NAME}` in a secret or a URL is the environment's.
    ///
    /// # Errors
    /// `Read` for a file that cannot be read, `Settings` for one that is no such TOML, what [`Settings::check`] refuses.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ServeError::Read { path: path.to_path_buf(), source })?;
        let settings = Self::parse(&text, path.parent().unwrap_or(Path::new("")));
        settings.map_err(|e| ServeError::InFile { path: path.to_path_buf(), source: Box::new(e) })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, ServeError> {
        // The message of a TOML error quotes its line, which may hold a password: only its place and reason are told.
        let told = |e: toml::de::Error| ServeError::Settings {
            line: e
                .span()
                .map_or(0, |span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
            why: e.message().to_owned(),
        };
        let mut settings: Self = toml::from_str(text).map_err(told)?;
        settings.model = folder.join(&settings.model);
        settings.golden = settings.golden.map(|golden| folder.join(golden));
        settings.keys = settings.keys.map(|keys| folder.join(keys));
        settings.events.path =
            settings.events.path.map(|p| if p == Path::new("-") { p } else { folder.join(p) });
        if let Some(file) = settings.mqtt.as_mut().and_then(|mqtt| mqtt.ca_file.as_mut()) {
            *file = folder.join(&file);
        }
        for source in &mut settings.sources {
            source.location.resolve(folder);
        }
        settings.check()?;
        Ok(settings)
    }

    /// How many sessions detect at once.
    pub fn session_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.sessions.unwrap_or_else(cores)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// `SameName`, `Name`, `NoSuchFile`, `Region`, `Value` for a number out of its range, `Setting` for a topic or a URL that cannot
    /// be used.
    pub fn check(&self) -> Result<(), ServeError> {
        let mut names = BTreeSet::new();
        for source in &self.sources {
            source.check()?;
            if !names.insert(&source.name) {
                return Err(ServeError::SameName { name: source.name.clone() });
            }
        }
        self.http.check()?;
        self.mqtt.as_ref().map_or(Ok(()), MqttSettings::check)?;
        self.webhook.as_ref().map_or(Ok(()), WebhookSettings::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, ServeError> {
        Settings::parse(text, Path::new("/etc/yoloslim"))
    }

    #[test]
    fn settings_with_all_tables_are_read() {
        let settings = parse(
            r#"
            model = "model.onnx"
            [[source]]
            name = "front"
            url = "rtsp://u:p@cam/1"
            fps = 5.0
            region = { left = 0.1, top = 0.0, right = 1.0, bottom = 0.5 }
            classes = ["person"]
            [mqtt]
            host = "broker"
            [webhook]
            url = "https://example.org/hook?key=1"
            "#,
        )
        .unwrap();
        assert_eq!(settings.model, Path::new("/etc/yoloslim/model.onnx"));
        assert_eq!(settings.sources[0].classes, ["person"]);
        assert!(settings.http.listen.ip().is_loopback());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("u:p") && !shown.contains("key=1"), "{shown}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_the_reason() {
        let source = "model = 'm'\n[[source]]\nname = 'a'\nurl = 'rtsp://h/1'\n";
        let cases = [
            ("model = 'm'\nsauce = 1", "sauce"),
            (&format!("{source}fps = -1.0"), "fps"),
            (&format!("{source}[[source]]\nname = 'a'\nurl = 'rtsp://h/2'"), "two sources"),
            (
                &format!("{source}region = {{ left = 0.5, top = 0.0, right = 0.2, bottom = 1.0 }}"),
                "region",
            ),
            ("model = 'm'\n[[source]]\nname = 'a/b'\nurl = 'rtsp://h/1'", "a/b"),
            (
                "model = 'm'\n[[source]]\nname = 'a'\nurl = 'rtsp://u:${NO_SUCH_PASSWORD}@h/1'",
                "NO_SUCH_PASSWORD",
            ),
            ("model = 'm'\n[mqtt]\nhost = 'h'\nprefix = 'a/#'", "mqtt.prefix"),
            ("model = 'm'\n[mqtt]\nhost = 'h'\npassword = 'p'", "mqtt.password"),
            ("model = 'm'\n[mqtt]\nhost = 'h'\nstats_interval_s = 1e300", "stats_interval_s"),
            ("model = 'm'\n[webhook]\nurl = 'ftp://key@h/'", "webhook.url"),
            ("model = 'm'\n[webhook]\nurl = 'http://h/'\ntoken = \"a\\nb\"", "webhook.token"),
        ];
        for (text, part) in cases {
            let told = parse(text).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }
}

//! What `pipeline.toml` says.
use super::gate::GateSettings;
use crate::bundle::check_name;
use crate::package::Form;
use crate::store::{Access, Location};
use crate::{DeliverError, Passphrase};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Where in a file it is said that a path is one of the repository.
const IN_REPOSITORY: &str = "repository:";

/// Settings of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The detector's name.
    pub name: String,
    /// The folder in which the pipeline keeps what it has made.
    #[serde(default = "work")]
    pub work: PathBuf,
    /// Threads; all cores by default.
    pub threads: Option<u16>,
    /// Where the model comes from.
    pub source: SourceSettings,
    /// Images and labels.
    pub data: DataSettings,
    /// How it is compressed.
    #[serde(default)]
    pub recipe: RecipeSettings,
    /// What the result must be like.
    #[serde(default)]
    pub gate: GateSettings,
    /// Who signs.
    pub sign: SignSettings,
    /// Where it goes.
    pub push: PushSettings,
}

fn work() -> PathBuf {
    PathBuf::from("work")
}

/// Where the model comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// A git repository: a path or a URL (https, ssh, file).
    pub repository: String,
    /// A branch, a tag or a commit.
    #[serde(rename = "ref", default = "head")]
    pub reference: String,
    /// The model, in the repository.
    pub path: PathBuf,
    /// Further files that the model consists of, as external data of an ONNX file.
    #[serde(default)]
    pub with: Vec<PathBuf>,
    /// How often `watch` asks for new commits, in seconds.
    #[serde(default = "poll_s")]
    pub poll_s: f64,
    /// How long git may take, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
}

fn head() -> String {
    "HEAD".to_owned()
}

fn poll_s() -> f64 {
    60.0
}

fn timeout_s() -> u64 {
    900
}

/// Images and labels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// An Ultralytics data.yaml or a COCO instances JSON; `repository:PATH` is one of the repository.
    pub path: Place,
}

/// How the model is compressed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeSettings {
    /// The recipe.toml of another run, whose settings are taken.
    pub file: Option<Place>,
    /// Options of `compress`, instead of a recipe.
    pub options: Vec<String>,
    /// Further targets, besides that of the recipe, for which the model is quantized.
    pub targets: Vec<String>,
    /// How many golden frames go with the bundle.
    pub golden: u16,
}

impl Default for RecipeSettings {
    fn default() -> Self {
        Self { file: None, options: vec![], targets: vec![], golden: 4 }
    }
}

/// Who signs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignSettings {
    /// The secret key's file.
    pub key: PathBuf,
    /// The environment variable that holds its passphrase.
    pub passphrase_env: Option<String>,
    /// The version that the bundle gets; seconds since 1970 by default. Devices take none that is lower than their own.
    pub version: Option<u64>,
}

/// Where bundles go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushSettings {
    /// The place, without a tag: `HOST[:PORT]/REPOSITORY`, or `oci:PATH`.
    pub to: String,
    /// The tag that names the newest bundle.
    #[serde(default = "alias")]
    pub alias: String,
    /// What it is stored as.
    #[serde(default, rename = "as")]
    pub form: FormName,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP without TLS.
    #[serde(default)]
    pub plain_http: bool,
}

fn alias() -> String {
    "candidate".to_owned()
}

/// What a bundle is stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FormName {
    /// An artifact by the ModelPack specification.
    #[default]
    ModelPack,
    /// An image of files.
    Image,
}

/// A path on this machine or in the repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Place {
    /// On this machine.
    Here(PathBuf),
    /// In the repository, below its root.
    Repository(PathBuf),
}

impl From<String> for Place {
    fn from(text: String) -> Self {
        match text.strip_prefix(IN_REPOSITORY) {
            Some(path) => Self::Repository(PathBuf::from(path)),
            None => Self::Here(PathBuf::from(text)),
        }
    }
}

impl Place {
    /// The path, given where the repository is checked out.
    pub(crate) fn path(&self, checkout: &Path) -> PathBuf {
        match self {
            Self::Here(path) => path.clone(),
            Self::Repository(path) => checkout.join(path),
        }
    }

    fn resolve(&mut self, folder: &Path) {
        if let Self::Here(path) = self {
            *path = folder.join(&path);
        }
    }

    fn in_repository(&self) -> Option<&Path> {
        match self {
            Self::Here(_) => None,
            Self::Repository(path) => Some(path),
        }
    }
}

impl Settings {
    /// Reads `pipeline.toml`. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// `Read`; `Settings` for a file that is no such TOML or says what cannot be.
    pub fn read(path: &Path) -> Result<Self, DeliverError> {
        let text = std::fs::read_to_string(path).map_err(|e| DeliverError::read(path, e))?;
        let path = std::path::absolute(path).map_err(|e| DeliverError::read(path, e))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
            .map_err(|why| DeliverError::Settings { path, why })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let told = |e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            format!("line {}: {}", 1 + text[..start].matches('\n').count(), e.message())
        };
        let mut settings: Self = toml::from_str(text).map_err(told)?;
        settings.resolve(folder);
        settings.check()?;
        Ok(settings)
    }

    /// Makes relative paths those of the file's folder.
    fn resolve(&mut self, folder: &Path) {
        self.work = folder.join(&self.work);
        self.sign.key = folder.join(&self.sign.key);
        self.data.path.resolve(folder);
        if let Some(file) = &mut self.recipe.file {
            file.resolve(folder);
        }
        if let Some(file) = &mut self.push.ca_file {
            *file = folder.join(&file);
        }
        if let Some(path) = self.push.to.strip_prefix("oci:") {
            self.push.to = format!("oci:{}", folder.join(path).display());
        }
        // A path, not a URL nor git's `host:path`. Git takes no shallow copy of one, and git-lfs nothing at all: of a URL both do.
        if !self.source.repository.contains(':') && !self.source.repository.is_empty() {
            let local = folder.join(&self.source.repository);
            let url = Url::from_file_path(&local);
            self.source.repository = url.map_or(local.display().to_string(), String::from);
        }
    }

    fn check(&self) -> Result<(), String> {
        if check_name(&self.name).is_err() || self.name.contains('/') {
            return Err(format!("name: `{}` is no name of a detector", self.name));
        }
        let source = &self.source;
        let letters = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let is_ref = source.reference.chars().all(letters) && !source.reference.contains("..");
        // What begins with `-` would be an option of git.
        if !is_ref || source.reference.is_empty() || source.reference.starts_with('-') {
            return Err(format!("source.ref: `{}` is no branch, tag or commit", source.reference));
        }
        check_protocol(&source.repository)?;
        let data = self.data.path.in_repository();
        let recipe = self.recipe.file.as_ref().and_then(Place::in_repository);
        let paths = std::iter::once(&source.path).chain(&source.with).map(PathBuf::as_path);
        for path in paths.chain(data).chain(recipe) {
            let is_normal = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !is_normal || path.as_os_str().is_empty() {
                return Err(format!("`{}` is no path below a repository", path.display()));
            }
        }
        if !(0.05..=86_400.0).contains(&source.poll_s) {
            return Err(format!("source.poll_s: {} is not from 0.05 to 86400", source.poll_s));
        }
        if self.recipe.file.is_some() && !self.recipe.options.is_empty() {
            return Err("recipe: either a file or options".to_owned());
        }
        if self.recipe.golden == 0 {
            return Err(
                "recipe.golden: at least 1: without golden frames no device proves its engine"
                    .to_owned(),
            );
        }
        self.location()?;
        self.gate.check()
    }

    /// The place that bundles go to, with the alias as its tag.
    pub(crate) fn location(&self) -> Result<Location, String> {
        let to = &self.push.to;
        let location: Location = to.parse().map_err(|e| format!("push.to: {e}"))?;
        if location.tag().is_some() || location.digest().is_some() {
            return Err(format!("push.to: {to} has a tag: name it with push.alias"));
        }
        let named = location.with_tag(&self.push.alias);
        let again: Location = named.to_string().parse().map_err(|e| format!("push.alias: {e}"))?;
        if again.tag() != Some(&self.push.alias) {
            return Err(format!("push.alias: `{}` is no tag", self.push.alias));
        }
        Ok(named)
    }

    /// What is needed to get in.
    pub(crate) fn access(&self) -> Access {
        let PushSettings { ca_file, plain_http, .. } = &self.push;
        Access { ca_file: ca_file.clone(), plain_http: *plain_http, ..Access::default() }
    }

    /// The form that bundles are stored in.
    pub(crate) fn form(&self) -> Form {
        match self.push.form {
            FormName::ModelPack => Form::ModelPack,
            FormName::Image => Form::Image,
        }
    }

    /// The key's passphrase.
    pub(crate) fn passphrase(&self) -> Result<Passphrase, DeliverError> {
        let Some(name) = &self.sign.passphrase_env else {
            return Ok(Passphrase::None);
        };
        let found = std::env::var(name).map_err(|_| DeliverError::Key {
            path: self.sign.key.clone(),
            why: format!("the environment has no {name}, which is to hold its passphrase"),
        })?;
        Ok(Passphrase::Given(found))
    }

    /// How long `watch` waits between two looks.
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_secs_f64(self.source.poll_s)
    }

    /// Files of the repository that are needed, and folders of which everything is.
    pub(crate) fn wanted(&self) -> Vec<PathBuf> {
        let mut wanted = vec![self.source.path.clone()];
        wanted.extend(self.source.with.iter().cloned());
        wanted.extend(self.recipe.file.iter().filter_map(Place::in_repository).map(PathBuf::from));
        // Images and labels lie somewhere beside their description.
        if let Some(data) = self.data.path.in_repository() {
            wanted.push(data.parent().unwrap_or(Path::new("")).to_path_buf());
        }
        wanted
    }
}

/// Only those that encrypt or stay on this machine; git's `ext::` would run commands.
fn check_protocol(repository: &str) -> Result<(), String> {
    let scheme = repository.split_once("://").map(|(scheme, _)| scheme);
    let known = scheme.is_none_or(|scheme| ["https", "ssh", "file"].contains(&scheme));
    if !known || repository.contains("::") || repository.starts_with('-') || repository.is_empty() {
        return Err(format!(
            "source.repository: `{repository}` is neither a path nor a URL of https, ssh or file"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
name = "boards"
[source]
repository = "https://git.example.org/boards.git"
path = "best.onnx"
[data]
path = "data.yaml"
[sign]
key = "release.key"
[push]
to = "registry.example.org/boards"
"#;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("/etc/line"))
    }

    #[test]
    fn settings_with_little_said_have_defaults_and_paths_of_their_folder() {
        let settings = parse(LEAST).expect("enough");
        assert_eq!(settings.source.reference, "HEAD");
        assert_eq!(settings.data.path, Place::Here(PathBuf::from("/etc/line/data.yaml")));
        assert_eq!(settings.location().expect("a place").tag(), Some("candidate"));
        let local = LEAST
            .replace("https://git.example.org/boards.git", "../boards")
            .replace("registry.example.org/boards", "oci:store")
            .replace("\"data.yaml\"", "\"repository:data/data.yaml\"");
        let settings = parse(&local).expect("enough");
        assert_eq!(settings.source.repository, "file:///etc/line/../boards");
        assert_eq!(settings.push.to, "oci:/etc/line/store");
        assert_eq!(settings.wanted(), [Path::new("best.onnx"), Path::new("data")]);
    }

    #[test]
    fn settings_that_say_what_cannot_be_are_refused_by_key() {
        for (from, to, word) in [
            (
                "https://git.example.org/boards.git",
                "http://git.example.org/boards",
                "source.repository",
            ),
            ("https://git.example.org/boards.git", "ext::sh -c id", "source.repository"),
            ("https://git.example.org/boards.git", "-oProxyCommand=id:x", "source.repository"),
            ("path = \"best.onnx\"", "path = \"best.onnx\"\nref = \"-x\"", "source.ref"),
            ("path = \"best.onnx\"", "path = \"best.onnx\"\nref = \"a:b\"", "source.ref"),
            ("best.onnx", "../best.onnx", "no path below"),
            ("best.onnx", "/best.onnx", "no path below"),
            ("\"data.yaml\"", "\"repository:../data.yaml\"", "no path below"),
            ("registry.example.org/boards", "registry.example.org/boards:v1", "push.to"),
            (
                "registry.example.org/boards\"",
                "registry.example.org/boards\"\nalias = \"a/b\"",
                "push",
            ),
            ("name = \"boards\"", "name = \"a b\"", "name"),
            ("[sign]", "[recipe]\ngolden = 0\n[sign]", "golden"),
            ("[sign]", "[gate.metrics.latency_ms]\nmost = 1\n[sign]", "latency_ms"),
            ("[sign]", "[sing]", "line"),
        ] {
            assert!(LEAST.contains(from), "{from}");
            let refused = parse(&LEAST.replacen(from, to, 1)).expect_err(to);
            assert!(refused.contains(word), "{to}: {refused}");
        }
    }
}

//! What can go wrong before and while cameras are served.
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// What can go wrong. No variant tells a password or a token.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A URL that leads nowhere.
    #[error("a source's URL cannot be used: {why}")]
    Location {
        /// Why, without the URL.
        why: String,
    },
    /// Nothing lies at a path.
    #[error("no file or folder {}", path.display())]
    NoSuchFile {
        /// The path.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is wrong in a settings file.
    #[error("{}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ServeError>,
    },
    /// Text that is no TOML, or no settings.
    #[error("line {line}: {why}")]
    Settings {
        /// Line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// A variable of the environment that a secret needs.
    #[error("${{{name}}} is not set in the environment")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// A name that cannot stand in topics and paths.
    #[error("{name:?} cannot name a source: names hold {allowed}, at most 64 of them")]
    Name {
        /// The name.
        name: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Two sources of one name.
    #[error("two sources are named {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// A number out of its range.
    #[error("{name} is {value}; it must be {range}")]
    Value {
        /// The field.
        name: String,
        /// Its value.
        value: f64,
        /// Its range.
        range: &'static str,
    },
    /// A text that cannot be what it is set to.
    #[error("{name}: {why}")]
    Setting {
        /// The field.
        name: &'static str,
        /// Why, without what is secret.
        why: String,
    },
    /// A region without area, or outside the picture.
    #[error("{name}: region: left < right and top < bottom must lie in 0 to 1")]
    Region {
        /// The source.
        name: String,
    },
    /// The decoder cannot be started.
    #[error("cannot run {} (Debian: apt-get install ffmpeg)", program.display())]
    Decoder {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the decoder sends is no YUV4MPEG2.
    #[error("the decoder's stream: {why}")]
    Stream {
        /// What is wrong.
        why: String,
    },
    /// A class that the model does not know.
    #[error("{source_name}: the model has no class {class:?}; it has {known}")]
    Class {
        /// The source that asks for it.
        source_name: String,
        /// The class.
        class: String,
        /// Those that there are.
        known: String,
    },
    /// A folder without an image that can be read.
    #[error("{}: no image that can be read", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A source that sent nothing while it was measured.
    #[error("{name} sent no frame: {state}")]
    NoFrames {
        /// The source.
        name: String,
        /// Its state.
        state: String,
    },
    /// The model cannot be opened.
    #[error("{}", path.display())]
    Model {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A model of several images a scene.
    #[error("the model reads {images} images of a scene at once; cameras are served one by one")]
    Scene {
        /// How many.
        images: usize,
    },
    /// An image cannot be read, or the model does not run.
    #[error(transparent)]
    Yolo(#[from] yolo::YoloError),
    /// The model does not detect what it must.
    #[error("golden frames: {why}")]
    Golden {
        /// What is missing.
        why: String,
    },
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread or a runtime that cannot be started.
    #[error("cannot start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ServeError {
    /// The error and what is behind it, in one line.
    pub fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        text
    }
}

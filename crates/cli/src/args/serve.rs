//! What `serve` takes.
use super::parse_share;
use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `serve`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// The detector: an ONNX file, best one that `compress` or `quantize` wrote, or a bundle. Not needed where the settings name
    /// it.
    #[arg(required_unless_present = "config")]
    pub(crate) model: Option<PathBuf>,
    /// Settings of sources and outputs (serve.toml).
    #[arg(long, value_name = "TOML")]
    pub(crate) config: Option<PathBuf>,
    /// Public keys, a file or a folder of *.pub: only bundles that one of them signed are served, now and later.
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// A camera's URL (rtsp, http), a video file, a folder of images, or a device (/dev/video0). Several are served at once.
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) source: Vec<String>,
    /// Where HTTP is listened for; only this machine reaches the default, 127.0.0.1:8484.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// File that events are appended to as JSON lines; by default, where no settings are given, they are printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Also tell of each frame with objects.
    #[arg(long)]
    pub(crate) frames: bool,
    /// Lowest confidence of a detection of the sources named here; by default that of the family's own tools.
    #[arg(long, value_parser = parse_share::<f32>)]
    pub(crate) conf: Option<f32>,
}

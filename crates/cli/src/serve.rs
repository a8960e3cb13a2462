//! `serve`: cameras in, events out, until it is told to end.
use crate::args::{CommonArgs, EngineName, ServeArgs};
use crate::engine;
use anyhow::{Context, Result, bail};
use deliver::PublicKeys;
use deliver::bundle::Bundle;
use serve::{OpenModel, OpenedModel, ServedBundle, Server, Settings};
use std::path::{Path, PathBuf};
use yoloslim::Model;

/// Runs the verb.
pub(crate) fn run(args: &ServeArgs, common: &CommonArgs) -> Result<()> {
    if common.engine != EngineName::Builtin {
        bail!("`serve` runs models on its own engine: leave out --engine");
    }
    let settings = settings(args, common)?;
    let keys = settings.keys.as_deref().map(PublicKeys::read).transpose()?;
    let (sources, model) = (settings.sources.len(), settings.model.display().to_string());
    let server = Server::start(settings, opener(common, keys)?, Box::new(std::io::stdout()))?;
    let hub = std::sync::Arc::clone(server.hub());
    crate::on_interrupt_stop(move || hub.stop());
    let address = server.http_address();
    note!("serving {sources} sources with {model} at http://{address}/; Ctrl-C ends");
    if !server.wait() {
        bail!("a part of the server failed: start it anew (systemd does)");
    }
    Ok(())
}

/// What the settings file says, and what the arguments say instead or besides.
fn settings(args: &ServeArgs, common: &CommonArgs) -> Result<Settings> {
    let mut settings = match &args.config {
        Some(config) => {
            let mut settings = Settings::read(config)?;
            settings.add_sources(&args.source)?;
            if let Some(model) = &args.model {
                settings.model.clone_from(model);
            }
            settings
        }
        None => {
            // Clap asks for one of the two.
            let model = args.model.clone().context("no model")?;
            let mut settings = Settings::new(model);
            settings.add_sources(&args.source)?;
            settings.events.path = Some(PathBuf::from("-"));
            settings
        }
    };
    for source in settings.sources.iter_mut().rev().take(args.source.len()) {
        source.conf = args.conf;
    }
    if let Some(listen) = args.listen {
        settings.http.listen = listen;
    }
    if let Some(events) = &args.events {
        settings.events.path = Some(events.clone());
    }
    if let Some(keys) = &args.keys {
        settings.keys = Some(keys.clone());
    }
    settings.events.frames |= args.frames;
    settings.sessions = common.threads.map(usize::from).or(settings.sessions);
    Ok(settings)
}

/// How a model file or a bundle becomes a detector on the instruction set that was asked for. With keys only bundles do.
pub(crate) fn opener(common: &CommonArgs, keys: Option<PublicKeys>) -> Result<Box<OpenModel>> {
    let options = engine::options(common)?;
    Ok(Box::new(move |path: &Path| {
        let bundle = served_bundle(path, keys.as_ref())?;
        let file = bundle.as_ref().map_or(path, |bundle| &bundle.model);
        let Model { graph, reading, .. } = Model::open(file)?;
        Ok(OpenedModel { graph, family: reading.family, options, bundle })
    }))
}

/// A bundle, proved and where there are keys verified; none for a model that comes as a file.
fn served_bundle(path: &Path, keys: Option<&PublicKeys>) -> Result<Option<ServedBundle>> {
    if !Bundle::is_bundle(path) {
        if keys.is_some() {
            bail!("no bundle: only signed bundles are served, since the settings name keys");
        }
        return Ok(None);
    }
    // A link to a bundle may lead to another one later; what was proved is what is served.
    let path = path.canonicalize()?;
    let bundle = Bundle::open(&path)?;
    let version = keys.map(|keys| bundle.verify(keys)).transpose()?.map(|signed| signed.version);
    Ok(Some(ServedBundle {
        version,
        model: bundle.builtin_model()?,
        golden: bundle.golden(),
        digest: bundle.digest.to_string(),
        name: bundle.manifest.name,
    }))
}

//! `serve`: cameras in, events out, until it is told to end.
use crate::args::{CommonArgs, EngineName, ServeArgs};
use crate::engine;
use anyhow::{Context, Result, bail};
use serve::{OpenModel, OpenedModel, Server, Settings};
use std::path::{Path, PathBuf};
use yoloslim::Model;

/// Runs the verb.
pub(crate) fn run(args: &ServeArgs, common: &CommonArgs) -> Result<()> {
    if common.engine != EngineName::Builtin {
        bail!("`serve` runs models on its own engine: leave out --engine");
    }
    let settings = settings(args, common)?;
    let (sources, model) = (settings.sources.len(), settings.model.display().to_string());
    let server = Server::start(settings, opener(common)?, Box::new(std::io::stdout()))?;
    let hub = std::sync::Arc::clone(server.hub());
    crate::on_interrupt_stop(move || hub.stop());
    note!("serving {sources} sources with {model}; Ctrl-C ends");
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
    settings.events.frames |= args.frames;
    settings.sessions = common.threads.map(usize::from).or(settings.sessions);
    Ok(settings)
}

/// How a model file becomes a detector on the instruction set that was asked for.
pub(crate) fn opener(common: &CommonArgs) -> Result<Box<OpenModel>> {
    let options = engine::options(common)?;
    Ok(Box::new(move |path: &Path| {
        let Model { graph, reading, .. } = Model::open(path)?;
        Ok(OpenedModel { graph, family: reading.family, options })
    }))
}

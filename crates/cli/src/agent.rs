//! `agent`: a device brought to what its alias names, and what it says of itself.
use crate::Verdict;
use crate::args::{AgentArgs, AgentRunArgs, AgentStatusArgs, AgentTask, CommonArgs};
use crate::format::megabytes;
use crate::output;
use anyhow::{Context, Result, bail};
use deliver::agent::{Agent, AgentSettings, LastReport, Outcome, Pulse, last_report};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs the verb.
pub(crate) fn run(args: &AgentArgs, common: &CommonArgs) -> Result<Verdict> {
    match &args.task {
        AgentTask::Run(args) => watch(args, common),
        AgentTask::Status(args) => status(args, common),
    }
}

fn settings(path: &Path) -> Result<AgentSettings> {
    let program = std::env::current_exe().context("this program's own path")?;
    Ok(AgentSettings::read(path, &program)?)
}

fn watch(args: &AgentRunArgs, common: &CommonArgs) -> Result<Verdict> {
    if !args.once && common.json.is_some() {
        bail!(
            "--json has a result to write only with --once; `agent status --json` tells of an agent at work"
        );
    }
    let settings = settings(&args.config)?;
    let folder = settings.state.clone();
    let pulse = Arc::new(Pulse::default());
    let tell = Box::new(|text: &str| note!("{text}"));
    let mut agent = Agent::open(settings, Arc::clone(&pulse), tell)?;
    if !args.once {
        crate::on_interrupt_stop(move || pulse.stop());
        agent.run();
        return Ok(Verdict::Done);
    }
    let outcome = agent.converge()?;
    // Written by an agent that ends with it.
    let LastReport { status, .. } = last_report(&folder)?;
    output::write_json(common.json.as_deref(), &Record { status: &status, at_work: false })?;
    Ok(match outcome {
        Outcome::UpToDate | Outcome::Installed => Verdict::Done,
        Outcome::Failed(failed) => {
            note!("not taken: {}", failed.why);
            Verdict::GateFailed
        }
    })
}

/// What `agent status --json` writes.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    status: &'a deliver::status::Status,
    /// Whether an agent is at work now.
    at_work: bool,
}

fn status(args: &AgentStatusArgs, common: &CommonArgs) -> Result<Verdict> {
    let is_folder = args.place.is_dir();
    let folder = if is_folder { PathBuf::from(&args.place) } else { settings(&args.place)?.state };
    let LastReport { status, at_work } = last_report(&folder)?;
    let mut table = output::table(&["what", "how it is"]);
    let yes_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let running = status.running.as_ref();
    let digest = |digest: deliver::Digest| digest.to_string();
    let rows = [
        ("device", Some(status.device.clone())),
        ("alias", Some(status.alias.clone())),
        ("in use", running.map(|running| format!("{} version {}", running.name, running.version))),
        ("bundle", running.map(|running| digest(running.bundle))),
        ("manifest", running.and_then(|running| running.manifest).map(digest)),
        ("alias names", status.wanted.map(digest)),
        ("healthy", Some(yes_no(status.healthy))),
        ("in probation", Some(yes_no(status.probation))),
        ("not taken", status.failed.as_ref().map(|f| format!("{}: {}", f.manifest, f.why))),
        ("rollbacks", Some(status.rollbacks.to_string())),
        ("last error", status.error.clone()),
        ("free", status.free_bytes.map(megabytes)),
        ("agent at work", Some(yes_no(at_work))),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            table.add_row([name.to_owned(), value]);
        }
    }
    say!("{table}");
    output::write_json(common.json.as_deref(), &Record { status: &status, at_work })?;
    Ok(Verdict::Done)
}

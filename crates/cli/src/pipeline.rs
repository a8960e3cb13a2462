//! `pipeline`: from a commit to a bundle under an alias, once or at each new commit.
use crate::Verdict;
use crate::args::{CommonArgs, EngineName, PipelineArgs, PipelineVerb};
use crate::output::write_json;
use anyhow::{Context, Result, bail};
use deliver::DeliverError;
use deliver::pipeline::{
    self, Outcome, Pipeline, Settings, StageState, annotations, junit, summary,
};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Runs the verb.
pub(crate) fn run(args: &PipelineArgs, common: &CommonArgs) -> Result<Verdict> {
    if common.engine != EngineName::Builtin {
        bail!("`pipeline` compresses on its own engine: leave out --engine");
    }
    let (PipelineVerb::Run(of) | PipelineVerb::Watch(of)) = &args.verb;
    let mut settings = Settings::read(&of.config)?;
    settings.threads = common.threads.or(settings.threads);
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let pipeline = Arc::new(Pipeline::new(settings, program)?);
    let stopped = Arc::clone(&pipeline);
    crate::on_interrupt_stop(move || stopped.stop());
    let tell = |line: &str| note!("{line}");
    let show = |outcome: &Outcome| show(outcome, of.junit.as_deref(), common);
    match &args.verb {
        PipelineVerb::Run(_) => {
            let outcome = pipeline.run(&tell);
            show(&outcome)?;
            verdict(outcome)
        }
        PipelineVerb::Watch(_) => {
            let mut done = |outcome: &Outcome| {
                // A file that cannot be written is no reason to look after no commit any more.
                if let Err(error) = show(outcome) {
                    note!("error: {}", crate::message(&error));
                }
            };
            match pipeline.watch(&tell, &mut done) {
                Err(DeliverError::Interrupted) => Ok(interrupted()),
                Err(error) => Err(error.into()),
                Ok(()) => Ok(Verdict::Done),
            }
        }
    }
}

fn interrupted() -> Verdict {
    note!("interrupted");
    Verdict::Interrupted
}

fn verdict(outcome: Outcome) -> Result<Verdict> {
    match (outcome.error, outcome.verdict) {
        (Some(DeliverError::Interrupted), _) => Ok(interrupted()),
        (Some(error), _) => Err(error.into()),
        (None, Some(pipeline::Verdict::GateFailed)) => Ok(Verdict::GateFailed),
        (None, _) => Ok(Verdict::Done),
    }
}

/// Prints what a run came to, and tells CI systems in their own ways.
fn show(outcome: &Outcome, junit_file: Option<&Path>, common: &CommonArgs) -> Result<()> {
    for stage in &outcome.stages {
        let state = match stage.state {
            StageState::Done => "done",
            StageState::Unchanged => "unchanged",
            StageState::Failed => "failed",
        };
        say!("{}: {state}: {}", stage.stage, stage.detail);
    }
    for why in &outcome.failures {
        say!("gate: {why}");
    }
    if !outcome.failures.is_empty() {
        for loss in outcome.lost.iter().take(12) {
            say!("lost: {} was {:.4} and is {:.4}", loss.metric, loss.before, loss.after);
        }
        for loss in &outcome.lost_images {
            let image = loss.image.display();
            say!(
                "lost: {image}: {} objects were found, now {}",
                loss.found_before,
                loss.found_after
            );
        }
        if let Some(report) = &outcome.report {
            say!("{}", report.display());
        }
    }
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        annotations(outcome).iter().for_each(|line| say!("{line}"));
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(summary(outcome).as_bytes()));
        written.with_context(|| format!("cannot write {}", Path::new(&path).display()))?;
    }
    if let Some(path) = junit_file {
        let text = junit(outcome)?;
        yolo::write_file(path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    write_json(common.json.as_deref(), outcome)
}

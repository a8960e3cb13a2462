//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]
// They panic where nobody reads: `say!` and `note!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

/// As `println!`, for results.
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}

/// As `eprintln!`, for notes and warnings beside the result.
macro_rules! note {
    ($($text:tt)*) => { crate::output::note(format_args!($($text)*)) };
}

mod agent;
mod args;
mod bench;
mod bench_cameras;
mod beside;
mod bundle;
mod calibset;
mod compare;
mod compress;
mod data;
mod demo;
mod detect;
mod engine;
mod explain;
mod export;
mod files;
mod format;
mod frigate;
mod groups;
mod inspect;
mod memory;
mod model;
mod onnx_runtime;
mod output;
mod pipeline;
mod plan_listing;
mod progress;
mod promote;
mod prune;
mod pull;
mod push;
mod quantize;
mod ranges;
mod report;
mod sensitivity;
mod serve;
mod signing;
mod streams;
mod subject;
mod timing;
mod train;
mod tune;
mod val;
mod vendor_parts;

use anyhow::Result;
use args::{Args, CommonArgs, Verb};
use clap::Parser;
use std::process::ExitCode;
use std::sync::OnceLock;

/// What a verb comes to when nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// What was asked for was looked at and refused: a result that keeps too little of the accuracy, a bundle that does not hold.
    GateFailed,
    /// It was told to end, and did so where nothing is half done.
    Interrupted,
}

fn main() -> ExitCode {
    let Args { verb, mut common } = Args::parse();
    let verdict = ready(&verb, &mut common).and_then(|()| run(&verb, &common));
    match verdict {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::GateFailed) => ExitCode::from(1),
        Ok(Verdict::Interrupted) => ExitCode::from(3),
        Err(error) => {
            note!("error: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

/// What can be refused before anything is read.
fn ready(verb: &Verb, common: &mut CommonArgs) -> Result<()> {
    on_interrupt()?;
    end_with_stdin();
    common.files = verb.files(common)?;
    output::check_writable(common.json.as_deref())
}

fn run(verb: &Verb, common: &CommonArgs) -> Result<Verdict> {
    match verb {
        Verb::Inspect(verb) => inspect::run(verb, common),
        Verb::Val(verb) => val::run(verb, common),
        Verb::Detect(verb) => detect::run(verb, common),
        Verb::Export(verb) => export::run(verb, common),
        Verb::Prune(verb) => prune::run(verb, common),
        Verb::Quantize(verb) => quantize::run(verb, common),
        Verb::Calibset(verb) => calibset::run(verb, common),
        Verb::Compare(verb) => compare::run(verb, common),
        Verb::Train(verb) => train::run(verb, common),
        Verb::Tune(verb) => tune::run(verb, common),
        Verb::Report(verb) => report::run(verb, common),
        Verb::Bench(verb) => bench::run(verb, common),
        Verb::Serve(verb) => serve::run(verb, common),
        Verb::Keygen(verb) => signing::keygen(verb, common),
        Verb::Sign(verb) => signing::sign(verb, common),
        Verb::Verify(verb) => return signing::verify(verb, common),
        Verb::Push(verb) => push::run(verb, common),
        Verb::Pull(verb) => pull::run(verb, common),
        Verb::Bundle(verb) => return bundle::run(verb, common),
        Verb::Pipeline(verb) => return pipeline::run(verb, common),
        Verb::Agent(verb) => return agent::run(verb, common),
        Verb::Promote(verb) => return promote::run(verb, common),
        Verb::Compress(verb) => return compress::run(verb, common),
        Verb::Demo(verb) => return demo::run(verb, common),
    }
    .map(|()| Verdict::Done)
}

/// Ctrl-C ends with exit code 3, between two files: nothing is half-written, and no temporary file is left.
fn on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if let Some(stop) = STOP.get() {
            return stop();
        }
        interrupted();
    })?;
    Ok(())
}

fn interrupted() -> ! {
    let _whole = yolo::between_files();
    note!("interrupted");
    std::process::exit(3);
}

/// A verb that another process of ours started ends when that one does, however it ended: nothing is at work that nobody waits for.
fn end_with_stdin() {
    if std::env::var_os(deliver::pipeline::END_WITH_STDIN).is_some() {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            interrupted();
        });
    }
}

/// What an interrupt does instead, for a verb that ends by being interrupted.
static STOP: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// From now on an interrupt is no failure: it does this, and the verb ends by itself.
pub(crate) fn on_interrupt_stop(stop: impl Fn() + Send + Sync + 'static) {
    // One verb runs, and asks for it once.
    let _ = STOP.set(Box::new(stop));
}

/// The error behind what was tried; a file that both name is named once, and a cause that is told already is not told again.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let parts = error.chain().map(ToString::to_string);
    parts.fold(String::new(), |text, cause| {
        if cause.starts_with(&text) {
            cause
        } else if text.ends_with(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]
// They panic where nobody reads: `say!` and `note!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

/// As `println!`, for results.
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}

/// As `eprintln!`, for what is told beside the result.
macro_rules! note {
    ($($text:tt)*) => { crate::output::note(format_args!($($text)*)) };
}

mod args;
mod bench;
mod compare;
mod compress_verb;
mod data;
mod detect;
mod engine;
mod export;
mod files;
mod groups;
mod inspect;
mod memory;
mod model;
mod onnx_runtime;
mod output;
mod plan_listing;
mod progress;
mod prune;
mod quantize;
mod report;
mod sensitivity;
mod streams;
mod val;

use anyhow::Result;
use args::{Args, CommonArgs, Verb};
use clap::Parser;
use files::Files;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Args { verb, mut common } = Args::parse();
    let done = ready(&verb, &mut common).and_then(|()| run(&verb, &common));
    match done {
        Ok(code) => code,
        Err(error) => {
            note!("error: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

/// What can be refused before anything is read.
fn ready(verb: &Verb, common: &mut CommonArgs) -> Result<()> {
    on_interrupt()?;
    common.files = Files::of(verb, common)?;
    output::check_writable(common.json.as_deref())
}

fn run(verb: &Verb, common: &CommonArgs) -> Result<ExitCode> {
    match verb {
        Verb::Inspect(verb) => inspect::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Val(verb) => val::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Detect(verb) => detect::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Export(verb) => export::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Prune(verb) => prune::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Quantize(verb) => quantize::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Compare(verb) => compare::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Report(verb) => report::run(verb, common).map(|()| ExitCode::SUCCESS),
        Verb::Compress(verb) => compress_verb::run(verb, common),
        Verb::Bench(verb) => bench::run(verb, common).map(|()| ExitCode::SUCCESS),
    }
}

/// Ctrl-C ends with exit code 3, between two files: nothing is half-written, and no temporary file is left.
fn on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        let _whole = yolo::between_files();
        note!("interrupted");
        std::process::exit(3);
    })?;
    Ok(())
}

/// The error and its causes; a cause that the text before it already tells is not told twice, nor what a cause begins with.
fn message(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.contains(&cause) {
            true => text,
            false if cause.starts_with(&text) => cause,
            false => format!("{text}: {cause}"),
        })
}

//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]

/// As `println!`, for results.
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}

mod args;
mod bench;
mod compare;
mod compress_verb;
mod detect;
mod engine;
mod export;
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
use args::{Args, Verb};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let common = &args.common;
    let ready = on_interrupt().and_then(|()| output::check_writable(common.json.as_deref()));
    let done = ready.and_then(|()| match &args.verb {
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
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

/// Ctrl-C ends at once with exit code 3: every file is written under a temporary name and renamed, so nothing is half-written.
fn on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        eprintln!("interrupted");
        std::process::exit(3);
    })?;
    Ok(())
}

/// The error and its causes; a cause that the text before it already tells is not told twice.
fn message(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.contains(&cause) {
            true => text,
            false if text.is_empty() => cause,
            false => format!("{text}: {cause}"),
        })
}

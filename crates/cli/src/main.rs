//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod compress_verb;
mod detect;
mod engine;
mod inspect;
mod model;
mod output;
mod progress;
mod prune;
mod quantize;
mod val;

use args::{Args, Verb};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.verb {
        Verb::Inspect(verb) => inspect::run(verb).map(|()| ExitCode::SUCCESS),
        Verb::Val(verb) => val::run(verb).map(|()| ExitCode::SUCCESS),
        Verb::Detect(verb) => detect::run(verb).map(|()| ExitCode::SUCCESS),
        Verb::Prune(verb) => prune::run(verb).map(|()| ExitCode::SUCCESS),
        Verb::Quantize(verb) => quantize::run(verb).map(|()| ExitCode::SUCCESS),
        Verb::Compress(verb) => compress_verb::run(verb),
        Verb::Bench(verb) => bench::run(verb).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::from(2)
        }
    }
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

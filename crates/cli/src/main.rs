//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod detect;
mod engine;
mod inspect;
mod model;
mod output;
mod progress;
mod val;

use args::{Args, Verb};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.verb {
        Verb::Inspect(verb) => inspect::run(verb),
        Verb::Val(verb) => val::run(verb),
        Verb::Detect(verb) => detect::run(verb),
        Verb::Bench(verb) => bench::run(verb),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

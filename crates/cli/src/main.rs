//! The command line of yoloslim: arguments, rendering, exit codes. The only room that prints.
#![forbid(unsafe_code)]

mod args;
mod inspect;
mod model;

use args::{Args, Verb};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.verb {
        Verb::Inspect(verb) => inspect::run(verb),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

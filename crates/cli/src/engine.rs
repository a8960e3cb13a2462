//! The engine as the user asked for it.
use crate::args::EngineArgs;
use anyhow::{Result, bail};
use kernels::Isa;
use runtime::PlanOptions;
use std::num::NonZeroUsize;

/// How many threads to use.
pub(crate) fn threads(args: &EngineArgs) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    args.threads.map_or(cores, usize::from)
}

/// The plan's options; an instruction set that this CPU lacks is an error.
pub(crate) fn options(args: &EngineArgs) -> Result<PlanOptions> {
    let available = Isa::available();
    let isa = args.isa.unwrap_or_else(Isa::best);
    if !available.contains(&isa) {
        let names: Vec<String> = available.iter().map(ToString::to_string).collect();
        bail!(
            "this CPU does not execute {isa}: expected one of {}",
            names.join(", ")
        );
    }
    Ok(PlanOptions { isa })
}

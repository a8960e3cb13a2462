//! Time and energy of one inference, single image, warm, of one model or of several in turns.

use std::path::Path;
use std::sync::Arc;

use ir::Graph;
use runtime::{Plan, Session};
use serde::{Deserialize, Serialize};

use crate::ObserveError;
use crate::energy::EnergyMeter;
use machine::Watch;
use warmth::warm_up;

mod machine;
mod rounds;
mod warmth;

pub use machine::Machine;
use rounds::Round;

/// Rounds into which the runs of a model are divided, where it has as many: with ten, the second lowest and the second highest
/// bound their median with 97.9 %.
const ROUNDS: u32 = 10;
/// Most rounds that are timed for one that is wanted.
const MOST_ROUNDS: u32 = 3;

/// How often to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Runs before measuring, at least; more follow until times fall no longer.
    pub warmup: u32,
    /// Runs that are timed, at least one.
    pub timed: u32,
}

/// Time of one inference over several runs, in rounds. In each round the models that are compared run in turn.
///
/// # Units
/// Milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    /// Fastest run.
    pub min: f64,
    /// The median of the rounds' medians.
    pub median: f64,
    /// Lower end of its 95 % interval, which assumes no distribution of times, only that rounds do not depend on one another;
    /// `None` for fewer than six rounds.
    #[serde(default)]
    pub median_low: Option<f64>,
    /// Upper end.
    #[serde(default)]
    pub median_high: Option<f64>,
    /// Nine in ten are faster.
    pub p90: f64,
    /// Ninety-nine in a hundred are faster.
    pub p99: f64,
    /// Runs that were timed and count.
    pub runs: u32,
    /// Rounds that count.
    #[serde(default)]
    pub rounds: u32,
    /// Runs before, until times fell no longer.
    pub warmup_runs: u32,
}

/// Time and energy of one inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The time.
    pub latency: Latency,
    /// Joules of one inference, of all that the processor does meanwhile; `None` where its counters cannot be read or
    /// do not move.
    pub energy_j: Option<f64>,
}

/// Several models, timed in turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Each of them, in their order.
    pub measured: Vec<Measured>,
    /// What the machine was, and did meanwhile.
    pub machine: Machine,
}

/// A model with the plan that is timed.
pub struct PlannedModel<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its plan.
    pub plan: Arc<Plan>,
}

/// One run of a model.
pub type Run<'a, E> = Box<dyn FnMut() -> Result<(), E> + 'a>;

impl PlannedModel<'_> {
    /// A session that is run on noise.
    fn run(&self, threads: usize) -> Result<Run<'static, ObserveError>, ObserveError> {
        let mut session = Session::new(&self.plan, threads)?;
        let elements = self.graph.inputs().iter().map(|&v| Ok(self.graph.ty(v)?.elements()));
        let inputs: Vec<Vec<f32>> =
            elements.map(|n| n.map(noise)).collect::<Result<_, ir::IrError>>()?;
        Ok(Box::new(move || {
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            session.infer(&inputs)?;
            Ok(())
        }))
    }
}

impl Compared {
    /// Measures plans warm, from row-major f32 input to the last output, as [`Compared::of_runs`].
    ///
    /// # Errors
    /// `Graph` when an input's shape is not known, `Runtime` when a plan complains.
    pub fn of_plans(
        models: &[PlannedModel<'_>],
        threads: usize,
        runs: Runs,
    ) -> Result<Self, ObserveError> {
        let runs_of = |model: &PlannedModel<'_>| model.run(threads);
        let mut models = models.iter().map(runs_of).collect::<Result<Vec<_>, _>>()?;
        Self::of_runs(&mut models, threads, runs)
    }

    /// Measures runs of several models, each after as many that do not count as it takes until they are no longer getting
    /// faster.
    ///
    /// They run in turns, a few times each, so that what changes on the machine changes for all alike. Before and after each
    /// round it is timed how fast the machine is; rounds in which it was slower, or in which threads had to wait for a CPU, are
    /// timed anew, and if there is no end of them, all count.
    ///
    /// # Errors
    /// What a run returns.
    pub fn of_runs<E>(models: &mut [Run<'_, E>], threads: usize, runs: Runs) -> Result<Self, E> {
        let warmup = models.iter_mut().map(|run| warm_up(runs.warmup, run));
        let warmup = warmup.collect::<Result<Vec<u32>, E>>()?;
        let wanted = runs.timed.clamp(1, ROUNDS);
        let turn = runs.timed.max(1).div_ceil(wanted);
        let mut watch = Watch::new(Path::new("/"), threads);
        let mut meter = EnergyMeter::open(Path::new("/sys"));
        let mut rounds: Vec<Round> = Vec::new();
        while watch.quiet_rounds() < wanted && (rounds.len() as u32) < MOST_ROUNDS * wanted {
            watch.round_begins();
            rounds.push(Round::run(models, turn, &mut meter)?);
            watch.round_ends();
        }
        let machine = watch.machine(wanted);
        let counted: Vec<&Round> =
            rounds.iter().zip(watch.counted(wanted)).filter(|(_, c)| *c).map(|(r, _)| r).collect();
        let measured = warmup.iter().enumerate();
        let measured = measured.map(|(i, &warmup)| rounds::measured(&counted, i, warmup));
        Ok(Self { measured: measured.collect(), machine })
    }
}

/// Whether our engine runs at least 99 % of what is quantized in the graph on integers. Where it runs less, it evaluates
/// INT8 in float, and its time says nothing about the model.
pub fn runs_in_integers(graph: &Graph, plan: &Plan) -> bool {
    let steps = plan.steps();
    let integer: u64 = steps.iter().filter(|s| s.is_integer).map(|s| s.macs).sum();
    integer as f64 >= 0.99 * quant::quantized_macs_share(graph) * graph.macs() as f64
}

/// Numbers in 0..1 that look like pixels to the kernels: no zeros, no denormals.
pub fn noise(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32).collect()
}

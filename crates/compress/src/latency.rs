//! Time and energy of one inference, single image, warm.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ir::Graph;
use runtime::{Plan, Session};
use serde::{Deserialize, Serialize};

use crate::{CompressError, EnergyMeter};

/// Time of one inference over several runs.
///
/// # Units
/// Milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    /// Fastest run.
    pub min: f64,
    /// Half of the runs are faster.
    pub median: f64,
    /// Nine in ten are faster.
    pub p90: f64,
    /// Ninety-nine in a hundred are faster.
    pub p99: f64,
}

impl Latency {
    /// Times `runs` runs (at least one) after `warmup` that do not count, from row-major f32 input to the last output;
    /// with the energy of one, as [`Latency::of_runs`].
    ///
    /// # Errors
    /// `Graph` when an input's shape is not known, `Runtime` when the plan complains.
    pub fn measure(
        graph: &Graph,
        plan: &Arc<Plan>,
        threads: usize,
        (warmup, runs): (u32, u32),
    ) -> Result<(Self, Option<f64>), CompressError> {
        let mut session = Session::new(plan, threads)?;
        let elements = graph.inputs().iter().map(|&v| Ok(graph.ty(v)?.elements()));
        let inputs: Vec<Vec<f32>> = elements
            .map(|n| n.map(noise))
            .collect::<Result<_, ir::IrError>>()?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut run = || session.run(&inputs).map(|_| ());
        for _ in 0..warmup {
            run()?;
        }
        Ok(Self::of_runs(runs, run)?)
    }

    /// Times `runs` calls (at least one) of `run`; with the energy of one in joules, of all that the processor does
    /// meanwhile, where its counters can be read.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn of_runs<E>(
        runs: u32,
        mut run: impl FnMut() -> Result<(), E>,
    ) -> Result<(Self, Option<f64>), E> {
        let runs = runs.max(1);
        let mut ms = Vec::with_capacity(runs as usize);
        let meter = EnergyMeter::open(Path::new("/sys"));
        let before = meter.as_ref().and_then(EnergyMeter::read);
        for _ in 0..runs {
            let start = Instant::now();
            run()?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let after = meter.as_ref().and_then(EnergyMeter::read);
        let energy_j = meter
            .zip(before.zip(after))
            .map(|(meter, (before, after))| meter.joules(&before, &after) / f64::from(runs));
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
        let latency = Self {
            min: ms[0],
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        };
        Ok((latency, energy_j))
    }
}

/// Numbers in 0..1 that look like pixels to the kernels: no zeros, no denormals.
pub fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
        .collect()
}

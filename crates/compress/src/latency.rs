//! Time and energy of one inference, single image, warm.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ir::Graph;
use runtime::{Plan, Session};
use serde::{Deserialize, Serialize};

use crate::CompressError;
use crate::energy::EnergyMeter;

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
    /// meanwhile, where its counters can be read and move.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn of_runs<E>(
        runs: u32,
        run: impl FnMut() -> Result<(), E>,
    ) -> Result<(Self, Option<f64>), E> {
        metered(runs, run, EnergyMeter::open(Path::new("/sys")))
    }
}

/// Energy is read after every run: over many, a counter may start anew more than once.
fn metered<E>(
    runs: u32,
    mut run: impl FnMut() -> Result<(), E>,
    mut meter: Option<EnergyMeter>,
) -> Result<(Latency, Option<f64>), E> {
    let runs = runs.max(1);
    let mut ms = Vec::with_capacity(runs as usize);
    let mut spent_j = Some(0.0);
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
        let joules = meter.as_mut().and_then(EnergyMeter::joules);
        spent_j = spent_j.zip(joules).map(|(sum, joules)| sum + joules);
    }
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
    let latency = Latency {
        min: ms[0],
        median: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
    };
    let energy_j = spent_j.map(|sum| sum / f64::from(runs));
    Ok((latency, energy_j.filter(|j| *j > 0.0)))
}

/// Numbers in 0..1 that look like pixels to the kernels: no zeros, no denormals.
pub fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;

    #[test]
    fn metered_runs_give_the_energy_of_one_or_none() {
        let sys = tempfile::tempdir().expect("writable");
        let zone = sys.path().join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).expect("writable");
        let count = |uj: u64| fs::write(zone.join("energy_uj"), uj.to_string()).expect("writable");
        fs::write(zone.join("name"), "package-0").expect("writable");
        fs::write(zone.join("max_energy_range_uj"), "1000000").expect("writable");
        count(0);
        let energy_of = |step_uj: u64| {
            let mut now = 0;
            let run = || {
                now = (now + step_uj) % 1_000_000;
                count(now);
                Ok::<_, Infallible>(())
            };
            let meter = EnergyMeter::open(sys.path());
            metered(10, run, meter).expect("runs").1
        };
        let energy_j = energy_of(250_000).expect("counters");
        assert!((energy_j - 0.25).abs() < 1e-9, "two wraps: {energy_j}");
        count(0);
        assert_eq!(energy_of(0), None, "a counter that stands still");
        let nothing = || Ok::<_, Infallible>(());
        assert_eq!(metered(3, nothing, None).expect("runs").1, None);
    }
}

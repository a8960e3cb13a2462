//! Time and energy of one inference, single image, warm.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ir::Graph;
use runtime::{Plan, Session};
use serde::{Deserialize, Serialize};

use crate::ObserveError;
use crate::energy::EnergyMeter;

/// How often to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Runs before measuring, at least; more follow until times fall no longer.
    pub warmup: u32,
    /// Runs that are timed, at least one.
    pub timed: u32,
}

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
    /// Runs that were timed.
    pub runs: u32,
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

impl Measured {
    /// Measures a plan warm, from row-major f32 input to the last output, as [`Measured::of_runs`].
    ///
    /// # Errors
    /// `Graph` when an input's shape is not known, `Runtime` when the plan complains.
    pub fn of_plan(
        graph: &Graph,
        plan: &Arc<Plan>,
        threads: usize,
        runs: Runs,
    ) -> Result<Self, ObserveError> {
        let mut session = Session::new(plan, threads)?;
        let elements = graph.inputs().iter().map(|&v| Ok(graph.ty(v)?.elements()));
        let inputs: Vec<Vec<f32>> =
            elements.map(|n| n.map(noise)).collect::<Result<_, ir::IrError>>()?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        Ok(Self::of_runs(runs, || session.run(&inputs).map(|_| ()))?)
    }

    /// Measures calls of `run`, after as many that do not count as it takes until they are no longer getting faster.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn of_runs<E>(runs: Runs, mut run: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        let warmup_runs = warm_up(runs.warmup, &mut run)?;
        let meter = EnergyMeter::open(Path::new("/sys"));
        let mut measured = metered(runs.timed, run, meter)?;
        measured.latency.warmup_runs = warmup_runs;
        Ok(measured)
    }
}

/// Whether our engine runs at least 99 % of what is quantized in the graph on integers. Where it runs less, it evaluates
/// INT8 in float, and its time says nothing about the model.
pub fn runs_in_integers(graph: &Graph, plan: &Plan) -> bool {
    let steps = plan.steps();
    let integer: u64 = steps.iter().filter(|s| s.is_integer).map(|s| s.macs).sum();
    integer as f64 >= 0.99 * quant::quantized_macs_share(graph) * graph.macs() as f64
}

/// Runs until the times are steady, at least so often; gives how often it was.
fn warm_up<E>(least: u32, run: &mut impl FnMut() -> Result<(), E>) -> Result<u32, E> {
    let (mut warmth, mut runs) = (Warmth::default(), 0);
    while runs < least || !warmth.is_enough() {
        let start = Instant::now();
        run()?;
        warmth.add(start.elapsed().as_secs_f64() * 1e3);
        runs += 1;
    }
    Ok(runs)
}

/// How times develop while caches, branch predictors and clocks come up: compared are medians of stretches of runs.
#[derive(Debug, Default)]
struct Warmth {
    total_ms: f64,
    stretch: Vec<f64>,
    /// Lowest median of the stretches so far.
    best_ms: Option<f64>,
    /// Stretches since the median last fell.
    flat: u32,
}

impl Warmth {
    /// A stretch has at least so many runs and takes at least so long.
    const STRETCH: (usize, f64) = (5, 50.0);
    /// A median that is lower by more than this share has fallen.
    const FALL: f64 = 0.02;
    /// Stretches without a fall after which times are steady.
    const FLAT: u32 = 3;
    /// Warming up ends after so long even where times still fall.
    const LONGEST_MS: f64 = 3000.0;

    fn add(&mut self, ms: f64) {
        self.total_ms += ms;
        self.stretch.push(ms);
        let (least, long) = Self::STRETCH;
        if self.stretch.len() < least || self.stretch.iter().sum::<f64>() < long {
            return;
        }
        self.stretch.sort_by(f64::total_cmp);
        let median = self.stretch[self.stretch.len() / 2];
        let fell = self.best_ms.is_none_or(|best| median < best * (1.0 - Self::FALL));
        self.flat = if fell { 0 } else { self.flat + 1 };
        self.best_ms = Some(self.best_ms.map_or(median, |best| best.min(median)));
        self.stretch.clear();
    }

    fn is_enough(&self) -> bool {
        self.flat >= Self::FLAT || self.total_ms >= Self::LONGEST_MS
    }
}

/// Energy is read after every run: over many, a counter may start anew more than once.
fn metered<E>(
    runs: u32,
    mut run: impl FnMut() -> Result<(), E>,
    mut meter: Option<EnergyMeter>,
) -> Result<Measured, E> {
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
    let quantile = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
    let latency = Latency {
        min: ms[0],
        median: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        runs,
        warmup_runs: 0,
    };
    let energy_j = spent_j.map(|sum| sum / f64::from(runs));
    Ok(Measured { latency, energy_j: energy_j.filter(|j| *j > 0.0) })
}

/// Numbers in 0..1 that look like pixels to the kernels: no zeros, no denormals.
pub fn noise(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;

    /// Runs until it is warm, when run `i` takes `ms(i)`.
    fn runs_until_warm(ms: impl Fn(u32) -> f64) -> u32 {
        let mut warmth = Warmth::default();
        let warm = |i: &u32| {
            warmth.add(ms(*i));
            warmth.is_enough()
        };
        (0..100_000).find(warm).expect("it ends") + 1
    }

    #[test]
    fn warmth_of_falling_times_waits_until_they_are_steady() {
        // A model of 1.1 ms that starts at 2.5 ms and comes down over 300 runs.
        let falling = |i: u32| 1.1 + 1.4 * (1.0 - f64::from(i.min(300)) / 300.0);
        let runs = runs_until_warm(falling);
        assert!(runs > 300, "{runs} runs");
        let steady = runs_until_warm(|_| 1.1);
        assert!((150..300).contains(&steady), "{steady} runs: four stretches of 50 ms");
        assert_eq!(runs_until_warm(|_| 20.0), 20, "four stretches of five runs");
    }

    #[test]
    fn warmth_of_times_that_never_settle_ends_by_the_clock() {
        let runs = runs_until_warm(|i| 100.0 * 0.9f64.powi(i as i32 / 5));
        assert!(runs < 100_000);
        assert_eq!(runs_until_warm(|_| 1000.0), 3, "a slow model");
    }

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
            metered(10, run, meter).expect("runs").energy_j
        };
        let energy_j = energy_of(250_000).expect("counters");
        assert!((energy_j - 0.25).abs() < 1e-9, "two wraps: {energy_j}");
        count(0);
        assert_eq!(energy_of(0), None, "a counter that stands still");
        let nothing = || Ok::<_, Infallible>(());
        assert_eq!(metered(3, nothing, None).expect("runs").energy_j, None);
    }
}

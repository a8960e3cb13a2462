//! Rounds of runs, and the figures that are made of them.

use std::time::Instant;

use super::{Latency, Measured, Run};
use crate::energy::EnergyMeter;

/// What was timed of all models in one round.
#[derive(Debug)]
pub(super) struct Round {
    turns: Vec<Turn>,
}

/// The runs of one model in a round.
#[derive(Debug)]
struct Turn {
    /// In ascending order.
    ms: Vec<f64>,
    /// Of all of them.
    energy_j: Option<f64>,
}

impl Round {
    /// Runs each model so many times, after one run that does not count: the model before has taken the caches.
    pub(super) fn run<E>(
        models: &mut [Run<'_, E>],
        runs: u32,
        meter: &mut Option<EnergyMeter>,
    ) -> Result<Self, E> {
        let turns = models.iter_mut().map(|run| {
            run()?;
            Turn::time(run, runs, meter)
        });
        Ok(Self { turns: turns.collect::<Result<_, E>>()? })
    }
}

impl Turn {
    /// Energy is read after every run: over many, a counter may start anew more than once.
    fn time<E>(
        run: &mut Run<'_, E>,
        runs: u32,
        meter: &mut Option<EnergyMeter>,
    ) -> Result<Self, E> {
        let mut ms = Vec::with_capacity(runs as usize);
        // What was spent before is not of these runs.
        let mut energy_j = meter.as_mut().and_then(EnergyMeter::joules).map(|_| 0.0);
        for _ in 0..runs {
            let start = Instant::now();
            run()?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
            let joules = meter.as_mut().and_then(EnergyMeter::joules);
            energy_j = energy_j.zip(joules).map(|(sum, joules)| sum + joules);
        }
        ms.sort_by(f64::total_cmp);
        Ok(Self { ms, energy_j })
    }
}

/// The figures of one model.
pub(super) fn measured(rounds: &[&Round], model: usize, warmup_runs: u32) -> Measured {
    let turns = || rounds.iter().map(|round| &round.turns[model]);
    let mut ms: Vec<f64> = turns().flat_map(|turn| &turn.ms).copied().collect();
    ms.sort_by(f64::total_cmp);
    let mut medians: Vec<f64> = turns().map(|turn| middle(&turn.ms)).collect();
    medians.sort_by(f64::total_cmp);
    let quantile = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
    let bound = bound_of_median(medians.len());
    let latency = Latency {
        min: ms[0],
        median: middle(&medians),
        median_low: bound.map(|i| medians[i]),
        median_high: bound.map(|i| medians[medians.len() - 1 - i]),
        p90: quantile(0.9),
        p99: quantile(0.99),
        runs: ms.len() as u32,
        rounds: medians.len() as u32,
        warmup_runs,
    };
    let energy_j: Option<f64> = turns().map(|turn| turn.energy_j).sum();
    let energy_j = energy_j.map(|sum| sum / ms.len() as f64);
    Measured { latency, energy_j: energy_j.filter(|j| *j > 0.0) }
}

/// The median of numbers in ascending order.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// How many of the lowest, and of the highest, of `n` independent numbers lie outside of an interval that holds the median of
/// their distribution with at least 95 %; `None` where even all of them are too few.
///
/// Source: David and Nagaraja, Order Statistics, section 7.1: as many lie below the median as coins that show heads.
fn bound_of_median(n: usize) -> Option<usize> {
    let mut all_heads = 0.5f64.powi(n as i32);
    let mut below = 0.0;
    let mut bound = None;
    for i in 0..n / 2 {
        below += all_heads;
        if 2.0 * below > 0.05 {
            break;
        }
        bound = Some(i);
        all_heads *= (n - i) as f64 / (i + 1) as f64;
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;

    #[test]
    fn bound_of_median_is_that_of_the_tables() {
        // Source: Conover, Practical Nonparametric Statistics, on quantiles.
        let expected = [(5, None), (6, Some(0)), (8, Some(0)), (9, Some(1)), (10, Some(1))];
        let more = [(15, Some(3)), (20, Some(5)), (30, Some(9))];
        for (n, bound) in expected.into_iter().chain(more) {
            assert_eq!(bound_of_median(n), bound, "{n}");
        }
    }

    #[test]
    fn figures_of_rounds_are_those_of_their_medians() {
        let round = |ms: [f64; 3]| Round { turns: vec![Turn { ms: ms.to_vec(), energy_j: None }] };
        let rounds: Vec<Round> =
            (1..=6).map(|i| round([0.5, f64::from(i), 100.0 * f64::from(i)])).collect();
        let rounds: Vec<&Round> = rounds.iter().collect();
        let latency = measured(&rounds, 0, 7).latency;
        assert_eq!((latency.median, latency.min), (3.5, 0.5));
        assert_eq!((latency.median_low, latency.median_high), (Some(1.0), Some(6.0)));
        assert_eq!((latency.runs, latency.rounds, latency.warmup_runs), (18, 6, 7));
        let few = measured(&rounds[..5], 0, 0).latency;
        assert_eq!((few.median, few.median_low), (3.0, None));
    }

    #[test]
    fn models_of_a_round_take_turns_after_a_run_that_does_not_count() {
        let ran = std::cell::RefCell::new(String::new());
        let model = |name: char| -> Run<'_, Infallible> {
            let ran = &ran;
            Box::new(move || {
                ran.borrow_mut().push(name);
                Ok(())
            })
        };
        let mut models = [model('a'), model('b')];
        let round = Round::run(&mut models, 2, &mut None).expect("runs");
        assert_eq!(*ran.borrow(), "aaabbb");
        assert!(round.turns.iter().all(|turn| turn.ms.len() == 2));
    }

    #[test]
    fn rounds_give_the_energy_of_one_run_or_none() {
        let sys = tempfile::tempdir().expect("writable");
        let zone = sys.path().join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).expect("writable");
        let count = |uj: u64| fs::write(zone.join("energy_uj"), uj.to_string()).expect("writable");
        fs::write(zone.join("name"), "package-0").expect("writable");
        fs::write(zone.join("max_energy_range_uj"), "1000000").expect("writable");
        count(0);
        let energy_of = |step_uj: u64| {
            let mut now = 0;
            let mut models: [Run<'_, Infallible>; 1] = [Box::new(|| {
                now = (now + step_uj) % 1_000_000;
                count(now);
                Ok(())
            })];
            let mut meter = EnergyMeter::open(sys.path());
            let round = Round::run(&mut models, 10, &mut meter).expect("runs");
            measured(&[&round], 0, 0).energy_j
        };
        let energy_j = energy_of(250_000).expect("counters");
        assert!((energy_j - 0.25).abs() < 1e-9, "wraps twice: {energy_j}");
        count(0);
        assert_eq!(energy_of(0), None, "a counter that stands still");
        let mut models: [Run<'_, Infallible>; 1] = [Box::new(|| Ok(()))];
        let round = Round::run(&mut models, 3, &mut None).expect("runs");
        assert_eq!(measured(&[&round], 0, 0).energy_j, None);
    }
}

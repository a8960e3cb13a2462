//! Warming up: how long until times fall no longer.

use std::time::Instant;

/// Runs until the times are steady, at least so often; gives how often it was.
pub(super) fn warm_up<E>(least: u32, run: &mut impl FnMut() -> Result<(), E>) -> Result<u32, E> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}

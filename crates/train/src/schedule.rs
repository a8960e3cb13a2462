//! How fast weights learn at each step.

/// A linear rise, then half a period of the cosine down to a small rest.
///
/// Source: Loshchilov and Hutter, "SGDR" (arXiv:1608.03983), without restarts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The largest rate.
    pub peak: f64,
    /// The last rate, as a share of the largest.
    pub rest: f64,
    /// Steps of the rise.
    pub warm_up: usize,
    /// Steps in all.
    pub steps: usize,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let falling = self.steps.saturating_sub(self.warm_up + 1).max(1);
        let share = ((step - self.warm_up) as f64 / falling as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        self.peak * (self.rest + (1.0 - self.rest) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_to_the_peak_and_falls_to_the_rest() {
        let schedule = Schedule { peak: 0.01, rest: 0.02, warm_up: 5, steps: 106 };
        let rates = [0, 4, 5, 55, 105, 1000].map(|step| schedule.rate(step));
        let expected = [0.002, 0.01, 0.01, 0.0051, 0.0002, 0.0002];
        for (found, expected) in rates.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
        }
    }
}

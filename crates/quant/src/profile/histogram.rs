//! Fixed-bin histograms of magnitudes whose range doubles.

/// Number of bins.
pub(crate) const BINS: usize = 4096;

/// Exponent of the narrowest bin, 2^-40; what is smaller falls into bin 0.
const NARROWEST: i32 = -40;

/// Counts of non-negative numbers in bins `[i * 2^k, (i + 1) * 2^k)`.
///
/// `k` is the smallest that fits the largest number seen, and bins are joined in aligned pairs: so the counts depend
/// on the set of numbers only, not on their order or on how streams were merged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    exponent: i32,
    /// Empty until the first number.
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { exponent: NARROWEST, counts: Vec::new() }
    }
}

impl Histogram {
    /// Width of a bin.
    pub(super) fn width(&self) -> f64 {
        2f64.powi(self.exponent)
    }

    fn widen(&mut self, exponent: i32) {
        let shift = u32::try_from(exponent - self.exponent).unwrap_or(0);
        self.exponent = self.exponent.max(exponent);
        if shift == 0 || self.counts.is_empty() {
            return;
        }
        let mut joined = vec![0; BINS];
        for (i, &n) in self.counts.iter().enumerate() {
            joined[i.checked_shr(shift).unwrap_or(0)] += n;
        }
        self.counts = joined;
    }

    /// Makes room for finite magnitudes up to `largest`: the counts, and the number of bins a unit.
    ///
    /// A power of two as wide as a bin or wider divides exactly, so f32 is enough.
    pub(super) fn ready_for(&mut self, largest: f32) -> (&mut [u64], f32) {
        let mut exponent = self.exponent;
        while f64::from(largest) >= BINS as f64 * 2f64.powi(exponent) {
            exponent += 1;
        }
        self.widen(exponent);
        if self.counts.is_empty() {
            self.counts = vec![0; BINS];
        }
        (&mut self.counts, 2f32.powi(-self.exponent))
    }

    /// Adds another histogram's counts.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        let mut other = other.clone();
        let exponent = self.exponent.max(other.exponent);
        self.widen(exponent);
        other.widen(exponent);
        if self.counts.is_empty() {
            self.counts = other.counts;
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// Middles of the bins that hold something, with their counts, ascending.
    pub(super) fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = self.width();
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(move |(i, &n)| ((i as f64 + 0.5) * width, n))
    }

    /// Upper edge of the bin that holds the largest number once the `dropped` largest are left out;
    /// `None` when none is left.
    pub(super) fn upper_edge(&self, dropped: u64) -> Option<f32> {
        let mut above = 0;
        for (i, &n) in self.counts.iter().enumerate().rev() {
            above += n;
            if above > dropped {
                return Some(((i + 1) as f64 * self.width()) as f32);
            }
        }
        None
    }
}

//! Between which samples of a plane the pixels of a scaled image lie.

/// Vectors read so many pixels of a row at a time.
pub(super) const RUN: usize = 64;

/// What a row's weight of one is.
pub(super) const ONE: u16 = 256;

/// A line of scaled pixels over a line of the frame, along one axis.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// First luma sample that is looked at.
    pub(super) first: usize,
    /// Luma samples that are looked at.
    pub(super) len: usize,
    /// Pixels that they become.
    pub(super) scaled: usize,
}

/// The samples of a plane along an axis, in the units of luma samples.
#[derive(Clone, Copy)]
pub(super) struct Samples {
    pub(super) count: usize,
    /// Luma samples from one to the next.
    pub(super) step: f64,
    /// Where the first of them lies.
    pub(super) start: f64,
}

/// The sample before a position, and how far the position is from it to the next one.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) first: usize,
    pub(super) fraction: f64,
}

impl Axis {
    /// Pixels have their centres half a pixel from their edges, as OpenCV's `INTER_LINEAR` sees it; beyond the outermost
    /// samples a plane goes on as they are.
    pub(super) fn tap(self, pixel: usize, samples: Samples) -> Tap {
        let scale = self.len as f64 / self.scaled as f64;
        let inside = ((pixel as f64 + 0.5) * scale - 0.5).clamp(0.0, self.len as f64 - 1.0);
        let luma = self.first as f64 + inside;
        let position = (luma - samples.start) / samples.step;
        let position = position.clamp(0.0, samples.count as f64 - 1.0);
        let first = position.floor();
        Tap { first: first as usize, fraction: position - first }
    }
}

/// Two rows of a plane, and the weight of the second in parts of [`ONE`].
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) weight: u16,
}

impl Rows {
    pub(super) fn new(axis: Axis, pixel: usize, samples: Samples) -> Self {
        let Tap { first, fraction } = axis.tap(pixel, samples);
        let weight = (fraction * f64::from(ONE)).round() as u16;
        Self { first, second: (first + 1).min(samples.count - 1), weight }
    }
}

/// Where the pixels of a row lie in a plane's rows.
pub(super) struct Columns {
    /// Samples of a row that are read, from `start` on.
    pub(super) start: usize,
    pub(super) len: usize,
    /// By pixel the sample before it, counted from `start`.
    pub(super) firsts: Vec<u32>,
    /// By pixel the weight of the sample behind it; whole runs, so that vectors may read on.
    pub(super) fractions: Vec<f32>,
}

impl Columns {
    pub(super) fn new(axis: Axis, samples: Samples) -> Self {
        let taps: Vec<Tap> = (0..axis.scaled).map(|pixel| axis.tap(pixel, samples)).collect();
        let [start, last] = [taps.first(), taps.last()].map(|tap| tap.map_or(0, |tap| tap.first));
        let mut fractions: Vec<f32> = taps.iter().map(|tap| tap.fraction as f32).collect();
        fractions.resize(axis.scaled.next_multiple_of(RUN), 0.0);
        Self {
            start,
            len: (last + 2).min(samples.count) - start,
            firsts: taps.iter().map(|tap| (tap.first - start) as u32).collect(),
            fractions,
        }
    }
}

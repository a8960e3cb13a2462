//! First and second moments of what a convolution's filters see: the patches of its input.
use ir::Tensor;
use ir::ops::Conv;

/// Sums over patches, for each group of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchMoments {
    conv: Conv,
    /// Elements of a patch: `C / group * kH * kW`.
    size: usize,
    patches: u64,
    /// For each group, the sum of patches.
    sums: Vec<f64>,
    /// For each group, the sum of outer products, of which the upper triangle counts.
    products: Vec<f32>,
}

impl PatchMoments {
    /// Nothing seen yet, of a convolution that reads `channels` channels.
    pub fn new(conv: &Conv, channels: usize) -> Self {
        let [height, width] = conv.kernel_shape;
        let size = channels / conv.group.max(1) * height * width;
        Self {
            conv: conv.clone(),
            size,
            patches: 0,
            sums: vec![0.0; conv.group * size],
            products: vec![0.0; conv.group * size * size],
        }
    }

    /// Memory of the sums of a convolution that reads `channels` channels.
    pub fn bytes(conv: &Conv, channels: usize) -> usize {
        let size = channels / conv.group.max(1) * conv.kernel_shape.iter().product::<usize>();
        conv.group * size * size * size_of::<f32>()
    }

    /// Takes in about `count` patches of `x: [1, C, H, W] f32`, evenly spread; another type or rank adds nothing.
    pub fn add(&mut self, x: &Tensor, count: usize) {
        let (&[1, channels, height, width], Ok(data)) = (x.shape(), x.as_slice::<f32>()) else {
            return;
        };
        if channels * self.conv.kernel_shape.iter().product::<usize>()
            != self.conv.group * self.size
        {
            return;
        }
        let extent = |axis: usize, length: usize| {
            let window = self.conv.dilations[axis] * (self.conv.kernel_shape[axis] - 1) + 1;
            let padded = length + self.conv.pads[axis] + self.conv.pads[axis + 2];
            (padded + 1).saturating_sub(window).div_ceil(self.conv.strides[axis])
        };
        let (rows, columns) = (extent(0, height), extent(1, width));
        let positions = rows * columns;
        let taken = count.min(positions);
        let mut patch = vec![0f32; self.size];
        for i in 0..taken {
            // The middle of the i-th of `taken` equal parts; a part is seldom a whole row, so columns vary.
            let position = (2 * i + 1) * positions / (2 * taken);
            let at = [position / columns, position % columns];
            for group in 0..self.conv.group {
                self.read_patch(data, [height, width], group, at, &mut patch);
                self.add_patch(group, &patch);
            }
        }
        self.patches += taken as u64;
    }

    fn read_patch(
        &self,
        data: &[f32],
        [height, width]: [usize; 2],
        group: usize,
        at: [usize; 2],
        patch: &mut [f32],
    ) {
        let [kernel_height, kernel_width] = self.conv.kernel_shape;
        let taps = kernel_height * kernel_width;
        let first = group * self.size / taps;
        for (i, out) in patch.iter_mut().enumerate() {
            let (channel, tap) = (first + i / taps, i % taps);
            let place = |axis: usize, tap: usize| {
                (at[axis] * self.conv.strides[axis] + tap * self.conv.dilations[axis])
                    .wrapping_sub(self.conv.pads[axis])
            };
            let (y, x) = (place(0, tap / kernel_width), place(1, tap % kernel_width));
            let inside = y < height && x < width;
            *out = if inside { data[(channel * height + y) * width + x] } else { 0.0 };
        }
    }

    fn add_patch(&mut self, group: usize, patch: &[f32]) {
        let n = self.size;
        for (sum, &x) in self.sums[group * n..].iter_mut().zip(patch) {
            *sum += f64::from(x);
        }
        for (i, &a) in patch.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let row = (group * n + i) * n;
            for (product, &b) in self.products[row + i..row + n].iter_mut().zip(&patch[i..]) {
                *product += a * b;
            }
        }
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.conv.group
    }

    /// Elements of a patch.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Mean patch of a group.
    pub(crate) fn mean(&self, group: usize) -> Vec<f64> {
        let count = self.patches.max(1) as f64;
        let sums = &self.sums[group * self.size..(group + 1) * self.size];
        sums.iter().map(|s| s / count).collect()
    }

    /// Mean patch of a group from the means of all channels, which more images may have given than the moments.
    pub(crate) fn mean_of(&self, group: usize, channels: Option<&[f32]>) -> Vec<f64> {
        let taps = self.conv.kernel_shape.iter().product::<usize>().max(1);
        match channels {
            Some(means) if means.len() * taps == self.conv.group * self.size => {
                let first = group * self.size / taps;
                (0..self.size).map(|i| f64::from(means[first + i / taps])).collect()
            }
            _ => self.mean(group),
        }
    }

    /// Covariance of a group's patches, `[size, size]` row-major, with `damping` of its mean diagonal added to it;
    /// `None` when nothing varies.
    pub(crate) fn covariance(&self, group: usize, damping: f64) -> Option<Vec<f64>> {
        let (n, count) = (self.size, self.patches.max(1) as f64);
        let mean = self.mean(group);
        let mut covariance = vec![0.0; n * n];
        for i in 0..n {
            for j in i..n {
                let product = f64::from(self.products[(group * n + i) * n + j]) / count;
                let c = product - mean[i] * mean[j];
                covariance[i * n + j] = c;
                covariance[j * n + i] = c;
            }
        }
        let trace: f64 = (0..n).map(|i| covariance[i * n + i]).sum();
        let level = trace / n as f64;
        if !(level.is_finite() && level > 0.0) {
            return None;
        }
        (0..n).for_each(|i| covariance[i * n + i] += damping * level);
        Some(covariance)
    }
}

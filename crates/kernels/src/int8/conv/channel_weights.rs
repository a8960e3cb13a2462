//! Weights of depthwise INT8 convolutions, in the order in which channels read them.

use super::spec::QConvSpec;
use crate::Isa;

/// Weights of four neighbouring columns each, `[channels][kH][columns][output][4 vectors][4]`: channels in blocks of four
/// vectors. Neighbouring outputs read the same columns, each with its weights at its own.
pub(crate) struct ChannelWeights {
    /// Outputs of a row that share columns: 1, 2 or 4.
    pub(super) outputs: usize,
    /// Blocks of four columns of a kernel row.
    pub(super) blocks4: usize,
    pub(super) data: Vec<i8>,
}

impl ChannelWeights {
    /// Outputs of a row that are computed together.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn new(spec: &QConvSpec, isa: Isa) -> ChannelWeights {
        let (geometry, layout) = (&spec.geometry, isa.int8());
        let [kernel_h, kernel_w] = geometry.kernel;
        let (stride, lanes) = (geometry.strides[1], layout.lanes);
        let blocks4 = kernel_w.div_ceil(4);
        let outputs = [4, 2].into_iter().find(|outputs| {
            let reach = stride.saturating_mul(outputs - 1).saturating_add(kernel_w);
            geometry.dilations[1] == 1 && reach <= 4 * blocks4
        });
        let outputs = outputs.unwrap_or(1);
        let block = 4 * lanes;
        let bytes = lanes * layout.weight_bytes;
        let mut weights = ChannelWeights { outputs, blocks4, data: Vec::new() };
        let taps = kernel_h * blocks4 * outputs * 4;
        for first in (0..geometry.out_channels).step_by(block) {
            for index in 0..taps {
                let (j, output) = (index % 4, index / 4 % outputs);
                let block4 = index / 4 / outputs;
                let (kh, q) = (block4 / blocks4, block4 % blocks4);
                let lane = |l: usize| -> [i8; 4] {
                    let channel = first + 16 * (l / 4) + 4 * j + l % 4;
                    std::array::from_fn(|i| {
                        let kw = (4 * q + i).wrapping_sub(output * stride);
                        if channel >= geometry.out_channels || kw >= kernel_w {
                            return 0;
                        }
                        spec.weight[(channel * kernel_h + kh) * kernel_w + kw]
                    })
                };
                let lanes: Vec<[i8; 4]> = (0..lanes).map(lane).collect();
                let start = weights.data.len();
                weights.data.resize(start + bytes, 0);
                (layout.pack)(&lanes, &mut weights.data[start..]);
            }
        }
        weights
    }
}

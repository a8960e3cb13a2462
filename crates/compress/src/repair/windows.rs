//! Sampled windows of a convolution's input, as rows of a matrix.

use ir::ops::Conv;
use ir::{Graph, IrError, NodeId, Op, ValueId};
use ndarray::Array2;
use numerics::Rng;

/// The part of its input that a convolution reads for one output pixel, at every position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    /// What it reads.
    pub(crate) input: ValueId,
    channels: usize,
    size: [usize; 2],
    out: [usize; 2],
    conv: Conv,
}

/// How many windows are sampled, and by which seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// Windows of one image at most.
    pub(crate) count: usize,
    /// Seed.
    pub(crate) seed: u64,
}

impl Window {
    /// The window that a convolution reads, where it is not grouped; `None` for other nodes.
    pub(crate) fn read_by(graph: &Graph, id: NodeId) -> Result<Option<Self>, IrError> {
        let node = graph.node(id);
        let Op::Conv(conv) = &node.op else {
            return Ok(None);
        };
        let (x, y) = (&graph.ty(node.inputs[0])?.shape, &graph.ty(node.outputs[0])?.shape);
        if conv.group != 1 || x.len() != 4 || x[0] != 1 || graph.constant(node.inputs[1]).is_none()
        {
            return Ok(None);
        }
        Ok(Some(Self {
            input: node.inputs[0],
            channels: x[1],
            size: [x[2], x[3]],
            out: [y[2], y[3]],
            conv: conv.clone(),
        }))
    }

    /// Elements of a window: channels times taps, in the weight's order.
    pub(crate) fn columns(&self) -> usize {
        self.channels * self.taps()
    }

    /// Rows times columns of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.conv.kernel_shape.iter().product()
    }

    /// The windows sampled of one image's `x`, one a row: the same positions for every layer of this output size.
    pub(crate) fn sample(&self, x: &[f32], image: usize, sampling: Sampling) -> Vec<f32> {
        let positions = positions(self.out[0] * self.out[1], image, sampling);
        let mut rows = Vec::with_capacity(positions.len() * self.columns());
        for p in positions {
            self.window(x, [p / self.out[1], p % self.out[1]], &mut rows);
        }
        rows
    }

    fn window(&self, x: &[f32], at: [usize; 2], row: &mut Vec<f32>) {
        let conv = &self.conv;
        let [height, width] = self.size;
        for plane in x.chunks_exact(height * width) {
            for ky in 0..conv.kernel_shape[0] {
                let y = at[0] * conv.strides[0] + ky * conv.dilations[0];
                let y = y.checked_sub(conv.pads[0]).filter(|y| *y < height);
                for kx in 0..conv.kernel_shape[1] {
                    let x = at[1] * conv.strides[1] + kx * conv.dilations[1];
                    let x = x.checked_sub(conv.pads[1]).filter(|x| *x < width);
                    let element = y.zip(x).map_or(0.0, |(y, x)| plane[y * width + x]);
                    row.push(element);
                }
            }
        }
    }

    /// Rows of images, one below the other; `most` is how many they are at most.
    pub(crate) fn stack(&self, images: impl Iterator<Item = Vec<f32>>, most: usize) -> Array2<f32> {
        let mut all = Vec::with_capacity(most * self.columns());
        images.for_each(|mut rows| all.append(&mut rows));
        let rows = all.len() / self.columns().max(1);
        Array2::from_shape_vec((rows, self.columns()), all).expect("every row has all columns")
    }
}

/// The windows that convolutions read, each with those that read it.
pub(crate) fn by_window(
    graph: &Graph,
    convolutions: &[NodeId],
) -> Result<Vec<(Window, Vec<NodeId>)>, IrError> {
    let mut all: Vec<(Window, Vec<NodeId>)> = Vec::new();
    for &id in convolutions {
        let Some(window) = Window::read_by(graph, id)? else {
            continue;
        };
        match all.iter_mut().find(|(w, _)| *w == window) {
            Some((_, ids)) => ids.push(id),
            None => all.push((window, vec![id])),
        }
    }
    Ok(all)
}

/// Positions of windows among `count`, in ascending order; all of them where there are no more than are sampled.
fn positions(count: usize, image: usize, sampling: Sampling) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    if count <= sampling.count {
        return all;
    }
    let mut random = Rng::new(sampling.seed ^ ((image as u64) << 32) ^ count as u64);
    for i in 0..sampling.count {
        let other = i + (random.next_u64() % (count - i) as u64) as usize;
        all.swap(i, other);
    }
    all.truncate(sampling.count);
    all.sort_unstable();
    all
}

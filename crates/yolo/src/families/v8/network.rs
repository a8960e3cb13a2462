//! YOLOv8's network: backbone, neck and head, the boxes decoded as exporters write it.
//!
//! Source: Terven, Cordova-Esparza and Romero-Gonzalez, "A comprehensive review of YOLO architectures" (arXiv:2304.00501), its
//! section on YOLOv8;
//! the head's distributions from Li et al. (arXiv:2006.04388).
use crate::YoloError;
use crate::network::{FeatureMap, Network, NetworkOptions, Shortcuts};
use ir::ops::{
    BinaryKind, Concat, Conv, Reshape, Slice, SliceRange, Softmax, Transpose, UnaryKind,
};
use ir::{Graph, ValueId};

/// Bins of a distance to one side of a box.
const BINS: usize = 16;

/// Channels of a box tower, however many the levels have; networks narrower than the narrowest that is published have fewer.
const BOX_CHANNELS: usize = 64;
const NARROWEST: f64 = 0.25;

/// How many objects an image is taken to hold before anything is learned, for the bias of scores.
/// Source: the prior of Lin et al. (arXiv:1708.02002), section 4.1, with the share of cells that hold an object.
const PRIOR_OBJECTS: f32 = 5.0;

/// The bias of boxes before anything is learned.
const BOX_BIAS: f32 = 1.0;

/// A network with random weights.
///
/// # Errors
/// `NetworkOption` for sizes that no network has.
pub(super) fn build(options: &NetworkOptions) -> Result<Graph, YoloError> {
    let (mut net, image) = Network::new(options)?;
    let [c1, c2, c3, c4, c5] = [64, 128, 256, 512, 1024].map(|c| net.channels(c));
    let [few, many] = [3, 6].map(|n| net.repeats(n));
    let x = net.conv(image, c1, 3, 2);
    let x = net.conv(x, c2, 3, 2);
    let x = net.c2f(x, c2, few, Shortcuts::Around);
    let x = net.conv(x, c3, 3, 2);
    let fine = net.c2f(x, c3, many, Shortcuts::Around);
    let x = net.conv(fine, c4, 3, 2);
    let middle = net.c2f(x, c4, many, Shortcuts::Around);
    let x = net.conv(middle, c5, 3, 2);
    let x = net.c2f(x, c5, few, Shortcuts::Around);
    let coarse = net.sppf(x, c5);
    // Down to the finest level, and up again (PAN, arXiv:1803.01534).
    let x = net.upsample(coarse);
    let x = net.concat(&[x, middle]);
    let middle = net.c2f(x, c4, few, Shortcuts::None);
    let x = net.upsample(middle);
    let x = net.concat(&[x, fine]);
    let fine = net.c2f(x, c3, few, Shortcuts::None);
    let x = net.conv(fine, c3, 3, 2);
    let x = net.concat(&[x, middle]);
    let middle = net.c2f(x, c4, few, Shortcuts::None);
    let x = net.conv(middle, c4, 3, 2);
    let x = net.concat(&[x, coarse]);
    let coarse = net.c2f(x, c5, few, Shortcuts::None);
    detect(net, options.size_px, &[fine, middle, coarse])
}

/// Two towers a level, one for boxes and one for classes, and the boxes in pixels: `[1, 4 + classes, cells]`.
fn detect(
    mut net: Network<'_>,
    size_px: [usize; 2],
    levels: &[FeatureMap],
) -> Result<Graph, YoloError> {
    let finest = levels[0].channels;
    let share = (net.width() / NARROWEST).min(1.0);
    let box_channels = ((BOX_CHANNELS as f64 * share) as usize).next_multiple_of(8).max(finest / 4);
    let class_channels = finest.max(net.classes().min(100));
    let (mut boxes, mut scores, mut grid) = (Vec::new(), Vec::new(), Grid::default());
    for &level in levels {
        let stride = [0, 1].map(|axis| size_px[axis] as f32 / level.size[axis] as f32);
        let cells = level.size[0] * level.size[1];
        let all = level.size.iter().product::<usize>() as f32 * net.classes() as f32;
        let outputs = [
            (box_channels, 4 * BINS, BOX_BIAS),
            (class_channels, net.classes(), (PRIOR_OBJECTS / all).ln()),
        ];
        let [level_boxes, level_scores] = outputs.map(|(channels, width, bias)| {
            let x = net.conv(level, channels, 3, 1);
            let x = net.conv(x, channels, 3, 1);
            let y = net.plain_conv(x, width, [1, 1], bias);
            net.node(Reshape { shape: vec![1, width, cells] }, &[y.value])
        });
        boxes.push(level_boxes);
        scores.push(level_scores);
        grid.add(level.size, stride[0]);
    }
    let boxes = net.node(Concat { axis: 2 }, &boxes);
    let scores = net.node(Concat { axis: 2 }, &scores);
    let scores = net.node(UnaryKind::Sigmoid, &[scores]);
    let distances = distances(&mut net, boxes, grid.strides.len());
    let boxes = grid.boxes(&mut net, distances);
    net.finish(Concat { axis: 1 }, &[boxes, scores])
}

/// The expected bin of each of the four distributions: `[1, 4, cells]`.
fn distances(net: &mut Network<'_>, boxes: ValueId, cells: usize) -> ValueId {
    let x = net.node(Reshape { shape: vec![1, 4, BINS, cells] }, &[boxes]);
    let x = net.node(Transpose { perm: vec![0, 2, 1, 3] }, &[x]);
    let x = net.node(Softmax { axis: 1, coerced: vec![] }, &[x]);
    let bins = (0..BINS).map(|bin| bin as f32).collect();
    let bins = net.constant("bins", &[1, BINS, 1, 1], bins);
    let expectation =
        Conv { kernel_shape: [1; 2], strides: [1; 2], dilations: [1; 2], pads: [0; 4], group: 1 };
    let x = net.node(expectation, &[x, bins]);
    net.node(Reshape { shape: vec![1, 4, cells] }, &[x])
}

/// Where the cells of all levels lie.
#[derive(Default)]
struct Grid {
    /// Centres in strides.
    xs: Vec<f32>,
    ys: Vec<f32>,
    strides: Vec<f32>,
}

impl Grid {
    fn add(&mut self, [height, width]: [usize; 2], stride: f32) {
        self.xs.extend((0..height * width).map(|i| (i % width) as f32 + 0.5));
        self.ys.extend((0..height * width).map(|i| (i / width) as f32 + 0.5));
        self.strides.resize(self.xs.len(), stride);
    }

    /// Centre and size in pixels, from distances to the left, top, right and bottom in strides.
    fn boxes(&self, net: &mut Network<'_>, distances: ValueId) -> ValueId {
        let cells = self.strides.len();
        let centers = net.constant("centers", &[1, 2, cells], [&self.xs[..], &self.ys].concat());
        let strides = net.constant("strides", &[1, cells], self.strides.clone());
        let two = net.constant("two", &[], vec![2.0]);
        let half = |start| Slice { ranges: vec![SliceRange { axis: 1, start, len: 2, step: 1 }] };
        let [before, after] = [0, 2].map(|start| net.node(half(start), &[distances]));
        let low = net.node(BinaryKind::Sub, &[centers, before]);
        let high = net.node(BinaryKind::Add, &[centers, after]);
        let sum = net.node(BinaryKind::Add, &[low, high]);
        let center = net.node(BinaryKind::Div, &[sum, two]);
        let size = net.node(BinaryKind::Sub, &[high, low]);
        let boxes = net.node(Concat { axis: 1 }, &[center, size]);
        net.node(BinaryKind::Mul, &[boxes, strides])
    }
}

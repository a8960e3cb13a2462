//! Networks built from nothing: the blocks that families are made of, with random weights.
use crate::YoloError;
use ir::ops::{
    BinaryKind, Concat, Conv, CoordinateMode, Extent, MaxPool, NearestMode, Resize, ResizeMode,
    Split, UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId};
use numerics::Rng;

/// The opset of what is built.
const OPSET: i64 = 17;

/// Channels are multiples of this, however narrow the network.
const CHANNEL_STEP: usize = 8;

/// The largest multiple of a family's channels and layers.
const MAX_MULTIPLE: f64 = 4.0;

/// Pixels of the coarsest cells, of which both sides of the input are multiples.
const COARSEST_PX: usize = 32;

/// The sizes of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkOptions {
    /// Class names.
    pub names: Vec<String>,
    /// Height and width of the input.
    pub size_px: [usize; 2],
    /// What the family's numbers of channels are multiplied by.
    pub width: f64,
    /// What the family's numbers of repeated layers are multiplied by.
    pub depth: f64,
    /// Decides the weights.
    pub seed: u64,
}

/// A value of the network, `[1, channels, H, W] f32`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeatureMap {
    pub(crate) value: ValueId,
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
}

/// A network under construction: nodes are named by what they are and a number.
pub(crate) struct Network<'a> {
    options: &'a NetworkOptions,
    graph: Graph,
    edit: Edit,
    rng: Rng,
    nodes: usize,
}

impl<'a> Network<'a> {
    /// A network that has its input only.
    ///
    /// # Errors
    /// `NetworkOption` for sizes that no network has.
    pub(crate) fn new(options: &'a NetworkOptions) -> Result<(Self, FeatureMap), YoloError> {
        let refuse = |option, expected| Err(YoloError::NetworkOption { option, expected });
        for (option, multiple) in [("width", options.width), ("depth", options.depth)] {
            if !(multiple > 0.0 && multiple <= MAX_MULTIPLE) {
                return refuse(option, "a multiple greater than 0 and no greater than 4");
            }
        }
        let fits = |side: &usize| *side > 0 && side.is_multiple_of(COARSEST_PX);
        if !options.size_px.iter().all(fits) {
            return refuse("imgsz", "multiples of 32 pixels");
        }
        if options.names.is_empty() {
            return refuse("names", "at least one class");
        }
        let mut graph = Graph::new(OPSET);
        graph.name = "detector".into();
        let names: Vec<String> = options.names.iter().map(|name| format!("{name:?}")).collect();
        graph.metadata.insert("names".into(), format!("[{}]", names.join(", ")));
        let [height, width] = options.size_px;
        let mut edit = graph.edit();
        let value = edit.input("images", TensorType::new(DataType::F32, [1, 3, height, width]));
        let input = FeatureMap { value, channels: 3, size: options.size_px };
        let rng = Rng::new(options.seed);
        Ok((Self { options, graph, edit, rng, nodes: 0 }, input))
    }

    /// The finished network, whose only output is named `output0`.
    ///
    /// # Errors
    /// `Graph` where it does not hold together.
    pub(crate) fn finish(
        mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<Graph, YoloError> {
        let output = self.edit.node("output", op, inputs, &["output0"])[0];
        self.edit.output(output);
        self.graph.apply(self.edit)?;
        Ok(self.graph)
    }

    /// So many channels as a family's number of them comes to.
    pub(crate) fn channels(&self, family: usize) -> usize {
        let scaled = (family as f64 * self.options.width).ceil() as usize;
        scaled.next_multiple_of(CHANNEL_STEP)
    }

    /// So many layers as a family's number of them comes to, at least one.
    pub(crate) fn repeats(&self, family: usize) -> usize {
        ((family as f64 * self.options.depth).round() as usize).max(1)
    }

    pub(crate) fn width(&self) -> f64 {
        self.options.width
    }

    pub(crate) fn classes(&self) -> usize {
        self.options.names.len()
    }

    fn nodes(&mut self, op: impl Into<Op>, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        let op = op.into();
        self.nodes += 1;
        let name = format!("{}{}", op.op_type().to_lowercase(), self.nodes);
        let outputs: Vec<String> = (0..outputs).map(|i| format!("{name}.{i}")).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        self.edit.node(&name, op, inputs, &outputs)
    }

    /// A node with one output.
    pub(crate) fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.nodes(op, inputs, 1)[0]
    }

    /// A constant.
    ///
    /// # Panics
    /// Where `elements` are not as many as the shape holds, which is a mistake of the family's.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], elements: Vec<f32>) -> ValueId {
        let tensor = Tensor::new(shape, elements).expect("as many elements as the shape holds");
        self.edit.constant(name, tensor)
    }

    /// A convolution padded by half its kernel, without an activation; its bias is the same number for every channel.
    ///
    /// Its weights are drawn evenly around 0, with the variance that keeps that of its input.
    /// Source: He et al. (arXiv:1502.01852), equation 10, without the factor of a rectifier.
    pub(crate) fn plain_conv(
        &mut self,
        x: FeatureMap,
        channels: usize,
        [kernel, stride]: [usize; 2],
        bias: f32,
    ) -> FeatureMap {
        let name = format!("conv{}", self.nodes + 1);
        let fan_in = x.channels * kernel * kernel;
        let spread = (3.0 / fan_in as f32).sqrt();
        let weights = (0..channels * fan_in).map(|_| spread * self.rng.signed()).collect();
        let shape = [channels, x.channels, kernel, kernel];
        let weight = self.constant(&format!("{name}.weight"), &shape, weights);
        let bias = self.constant(&format!("{name}.bias"), &[channels], vec![bias; channels]);
        let op = Conv {
            kernel_shape: [kernel; 2],
            strides: [stride; 2],
            dilations: [1; 2],
            pads: [kernel / 2; 4],
            group: 1,
        };
        let value = self.node(op, &[x.value, weight, bias]);
        FeatureMap { value, channels, size: x.size.map(|n| n.div_ceil(stride)) }
    }

    /// A convolution and SiLU (arXiv:1702.03118).
    pub(crate) fn conv(
        &mut self,
        x: FeatureMap,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> FeatureMap {
        let y = self.plain_conv(x, channels, [kernel, stride], 0.0);
        FeatureMap { value: self.node(UnaryKind::Silu, &[y.value]), ..y }
    }

    /// Values one after the other.
    pub(crate) fn concat(&mut self, parts: &[FeatureMap]) -> FeatureMap {
        let values: Vec<ValueId> = parts.iter().map(|p| p.value).collect();
        let channels = parts.iter().map(|p| p.channels).sum();
        FeatureMap { value: self.node(Concat { axis: 1 }, &values), channels, ..parts[0] }
    }

    /// Twice the size, by the nearest value.
    pub(crate) fn upsample(&mut self, x: FeatureMap) -> FeatureMap {
        let op = Resize {
            mode: ResizeMode::Nearest(NearestMode::Floor),
            coordinate_mode: CoordinateMode::Asymmetric,
            extent: Extent::Scales([2.0; 2]),
        };
        let value = self.node(op, &[x.value]);
        FeatureMap { value, size: x.size.map(|n| 2 * n), ..x }
    }

    /// C2f: a convolution is cut in two; each stage of two convolutions reads what the last one gave, and a last convolution
    /// mixes all of them (ELAN, arXiv:2211.04800).
    pub(crate) fn c2f(
        &mut self,
        x: FeatureMap,
        channels: usize,
        stages: usize,
        shortcuts: Shortcuts,
    ) -> FeatureMap {
        let half = channels / 2;
        let both = self.conv(x, 2 * half, 1, 1);
        let sizes = vec![half; 2];
        let halves = self.nodes(Split { axis: 1, sizes }, &[both.value], 2);
        let mut parts: Vec<FeatureMap> =
            halves.into_iter().map(|value| FeatureMap { value, channels: half, ..both }).collect();
        for _ in 0..stages {
            let last = parts[parts.len() - 1];
            let inner = self.conv(last, half, 3, 1);
            let mut stage = self.conv(inner, half, 3, 1);
            if shortcuts == Shortcuts::Around {
                stage.value = self.node(BinaryKind::Add, &[last.value, stage.value]);
            }
            parts.push(stage);
        }
        let all = self.concat(&parts);
        self.conv(all, channels, 1, 1)
    }

    /// SPPF: a map and what three rounds of pooling make of it, joined (SPP, arXiv:1406.4729).
    pub(crate) fn sppf(&mut self, x: FeatureMap, channels: usize) -> FeatureMap {
        let pool = MaxPool {
            kernel_shape: [5; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [2; 4],
            ceil_mode: false,
        };
        let mut parts = vec![self.conv(x, x.channels / 2, 1, 1)];
        for _ in 0..3 {
            let last = parts[parts.len() - 1];
            parts.push(FeatureMap { value: self.node(pool.clone(), &[last.value]), ..last });
        }
        let all = self.concat(&parts);
        self.conv(all, channels, 1, 1)
    }
}

/// Whether each stage of a block is added to what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcuts {
    Around,
    None,
}

#[cfg(test)]
mod tests;

//! The parameters of a graph while they are trained.
use crate::TrainError;
use ir::ops::QuantFacts;
use ir::{Graph, Node, Op, Tensor, ValueId};

/// Rates of channels are no smaller than this share of their layer's median.
const LEAST_RATE: f64 = 0.1;

/// One parameter: its elements, and how fast each of them learns compared with the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Which value of the graph it is.
    pub value: ValueId,
    /// Its name there.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub elements: Vec<f32>,
    /// What the learning rate is multiplied by, element by element.
    pub rates: Vec<f32>,
    /// How far every element moves towards 0 in each step beside what its gradient does, as a share of its rate: the L1 norm that
    /// makes weights sparse.
    pub sparsity: f64,
}

impl Weight {
    /// The parameter as it is now.
    ///
    /// # Errors
    /// `Graph` never, unless the elements were changed in number.
    pub fn tensor(&self) -> Result<Tensor, TrainError> {
        let tensor = Tensor::new(self.shape.clone(), self.elements.clone());
        tensor.map_err(|error| TrainError::Parameter { parameter: self.name.clone(), error })
    }
}

/// The parameters with rates relative to their size: the weights of an output channel learn in proportion to their root mean
/// square, its bias in proportion to their length, as much as a change of all of them would change the output. Each is at
/// least a tenth of its layer's median. The shift of a BatchNormalization learns in proportion to the root mean square of its scale,
/// other parameters in proportion to their own.
///
/// Source: the idea of layer-wise rates of You, Gitman and Ginsburg (arXiv:1708.03888), applied to channels.
///
/// # Errors
/// `NotAParameter` for a value that has no f32 elements.
pub fn weights(graph: &Graph, parameters: &[ValueId]) -> Result<Vec<Weight>, TrainError> {
    let consumers = graph.consumers();
    let weight = |&value: &ValueId| {
        let name = graph.value(value).name.clone();
        let tensor = graph.value(value).elements();
        let slice = tensor.and_then(|t| Some((t, t.as_slice::<f32>().ok()?)));
        let Some((tensor, elements)) = slice else {
            return Err(TrainError::NotAParameter { value: name });
        };
        let readers = consumers.get(&value).into_iter().flatten();
        let layer =
            readers.clone().find_map(|&(id, input)| layer_rates(graph, graph.node(id), input));
        let scale = readers.clone().find_map(|&(id, input)| scale_of(graph, graph.node(id), input));
        let rates = layer.unwrap_or_else(|| {
            vec![root_mean_square(scale.unwrap_or(elements)) as f32; elements.len()]
        });
        Ok(Weight {
            value,
            name,
            shape: tensor.shape().to_vec(),
            elements: elements.to_vec(),
            rates,
            sparsity: 0.0,
        })
    };
    parameters.iter().map(weight).collect()
}

/// The rates of the weight or the bias of a convolution or a product; `None` for other inputs.
fn layer_rates(graph: &Graph, node: &Node, input: usize) -> Option<Vec<f32>> {
    let QuantFacts::Weighted { weight, axis, bias } = node.op.quant_facts() else {
        return None;
    };
    let tensor = graph.value(node.inputs[weight]).elements()?;
    let (elements, shape) = (tensor.as_slice::<f32>().ok()?, tensor.shape());
    let inner: usize = shape[axis + 1..].iter().product();
    let channel = |at: usize| at / inner % shape[axis];
    let mut squares = vec![0.0; shape[axis]];
    for (at, &w) in elements.iter().enumerate() {
        squares[channel(at)] += f64::from(w) * f64::from(w);
    }
    let each = (elements.len() / shape[axis].max(1)).max(1) as f64;
    if input == weight {
        let rates = floored(squares.iter().map(|s| (s / each).sqrt()).collect());
        return Some((0..elements.len()).map(|at| rates[channel(at)]).collect());
    }
    let rates = (input == bias).then(|| floored(squares.iter().map(|s| s.sqrt()).collect()))?;
    let is_per_channel = graph.ty(node.inputs[bias]).ok()?.elements() == rates.len();
    is_per_channel.then_some(rates)
}

/// The scale of a BatchNormalization, whose shift is an input of its own; `None` for other inputs.
fn scale_of<'g>(graph: &'g Graph, node: &Node, input: usize) -> Option<&'g [f32]> {
    let is_shift = matches!(node.op, Op::BatchNormalization(_)) && input == 2;
    let scale = is_shift.then(|| graph.value(node.inputs[1]).elements())?;
    scale?.as_slice::<f32>().ok()
}

fn floored(rates: Vec<f64>) -> Vec<f32> {
    let mut sorted = rates.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let rate = |r: f64| r.max(LEAST_RATE * median) as f32;
    rates.into_iter().map(rate).collect()
}

fn root_mean_square(elements: &[f32]) -> f64 {
    let squares = elements.iter().map(|&w| f64::from(w) * f64::from(w));
    (squares.sum::<f64>() / elements.len().max(1) as f64).sqrt()
}

/// The graph with its parameters as they are now, as constants again.
///
/// # Errors
/// As [`Graph::apply`].
pub fn with_weights(graph: &Graph, weights: &[Weight]) -> Result<Graph, TrainError> {
    let mut trained = graph.clone();
    let mut edit = trained.edit();
    for weight in weights {
        edit.set_constant(weight.value, weight.tensor()?);
    }
    trained.apply(edit)?;
    Ok(trained)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ir::ops::Conv;
    use ir::{DataType, TensorType};

    /// A parameter of its own.
    pub(crate) fn weight(elements: &[f32], rate: f32) -> Weight {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let value = edit.constant("w", Tensor::vector(elements.to_vec()));
        edit.output(value);
        graph.apply(edit).unwrap();
        Weight {
            value,
            name: "w".into(),
            shape: vec![elements.len()],
            elements: elements.to_vec(),
            rates: vec![rate; elements.len()],
            sparsity: 0.0,
        }
    }

    #[test]
    fn rates_of_a_convolution_follow_its_channels_and_have_a_floor() {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [1, 4, 1, 1]));
        let rows = [[2.0f32; 4], [1.0; 4], [0.001; 4]];
        let w = edit.constant("w", Tensor::new([3, 4, 1, 1], rows.concat()).unwrap());
        let b = edit.constant("b", Tensor::vector(vec![0.0f32; 3]));
        let conv = Conv {
            kernel_shape: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            group: 1,
        };
        let y = edit.node("conv", conv, &[x, w, b], &["y"])[0];
        edit.output(y);
        graph.apply(edit).unwrap();
        let weights = weights(&graph, &[w, b]).unwrap();
        assert_eq!(weights[0].rates, [[2.0; 4], [1.0; 4], [0.1; 4]].concat());
        assert_eq!(weights[1].rates, [4.0, 2.0, 0.2]);
        let trained = with_weights(&graph, &weights).unwrap();
        assert_eq!(trained.constant(w), graph.constant(w));
    }
}

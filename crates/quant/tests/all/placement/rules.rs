//! What each engine wants of a file, checked on the written graph: nothing here asks the planner.
use ir::ops::{Binary, BinaryKind, Op, Unary, UnaryKind};
use ir::{DataType, Graph, Node, NodeId, QuantFacts, QuantParams, ValueId, find_tail};
use quant::{QuantPlan, Target};
use std::collections::{BTreeMap, BTreeSet};

/// A float graph and what it became for a target.
pub(crate) struct Placed {
    pub(crate) float: Graph,
    pub(crate) target: Target,
    pub(crate) plan: QuantPlan,
    pub(crate) graph: Graph,
}

/// A rule of placement: what breaks it, one line each.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) broken: fn(&View<'_>) -> Vec<String>,
}

macro_rules! rules {
    ($($rule:ident),* $(,)?) => { &[$(Rule { name: stringify!($rule), broken: $rule }),*] };
}

/// The rules of each engine. An engine without a row fails.
pub(crate) const CONFORMANCE: &[(&str, &[Rule])] = &[
    (
        "builtin",
        rules![
            weights_are_i8_per_channel,
            all_convolutions_read_quantized_values,
            the_tail_is_float,
            activations_are_u8,
            nothing_stands_between_convolution_and_activation,
            biases_are_float,
            moved_values_keep_their_parameters,
        ],
    ),
    (
        "onnxruntime",
        rules![
            weights_are_i8_per_channel,
            convolutions_that_the_tail_reads_are_float,
            convolutions_read_pairs,
            the_tail_is_float,
            activations_are_u8,
            quantize_follows_convolutions_and_silu_is_split,
            biases_are_i32,
            operators_stand_between_pairs,
            moved_values_keep_their_parameters,
        ],
    ),
    (
        "openvino",
        rules![
            weights_are_i8_per_channel,
            all_convolutions_read_quantized_values,
            the_tail_is_float,
            activations_are_u8,
            nothing_stands_between_convolution_and_activation,
            biases_are_float,
            adds_read_residuals_alone_quantized,
            moved_values_keep_their_parameters,
        ],
    ),
    (
        "tensorrt",
        rules![
            weights_are_i8_per_channel,
            convolutions_of_few_channels_are_float,
            convolutions_read_pairs,
            the_tail_is_float,
            activations_are_i8_around_zero,
            nothing_stands_between_convolution_and_activation,
            biases_are_float,
            adds_read_residuals_alone_quantized,
            concats_have_one_scale,
            moved_values_keep_their_parameters,
        ],
    ),
];

/// The written graph with what the rules look up in it.
pub(crate) struct View<'a> {
    placed: &'a Placed,
    graph: &'a Graph,
    readers: BTreeMap<ValueId, Vec<(NodeId, usize)>>,
    tail: BTreeSet<NodeId>,
}

impl<'a> View<'a> {
    pub(crate) fn new(placed: &'a Placed) -> Self {
        let graph = &placed.graph;
        Self { placed, graph, readers: graph.consumers(), tail: find_tail(graph).nodes }
    }

    fn nodes(&self) -> impl Iterator<Item = &'a Node> {
        self.graph.nodes().filter(|(id, _)| !self.tail.contains(id)).map(|(_, node)| node)
    }

    fn producer(&self, v: ValueId) -> Option<&'a Node> {
        self.graph.producer(v).map(|id| self.graph.node(id))
    }

    fn readers(&self, v: ValueId) -> Vec<&'a Node> {
        let all = self.readers.get(&v).into_iter().flatten();
        all.map(|(id, _)| self.graph.node(*id)).collect()
    }

    /// The parameters of the DequantizeLinear that gives `v`.
    fn dequantized(&self, v: ValueId) -> Option<&'a QuantParams> {
        match &self.producer(v)?.op {
            Op::DequantizeLinear(op) => Some(&op.params),
            _ => None,
        }
    }

    /// The parameters of the QuantizeLinear that read `v`.
    fn quantized(&self, v: ValueId) -> Vec<&'a QuantParams> {
        let params = |node: &'a Node| match &node.op {
            Op::QuantizeLinear(op) => Some(&op.params),
            _ => None,
        };
        self.readers(v).into_iter().filter_map(params).collect()
    }

    /// Parameters of what is dequantized and then only moved to `v`.
    fn moved(&self, v: ValueId) -> Option<&'a QuantParams> {
        if let Some(params) = self.dequantized(v) {
            return Some(params);
        }
        let node = self.producer(v)?;
        let mut inputs = match node.op.quant_facts() {
            QuantFacts::SharesInput => node.inputs[..1].iter(),
            QuantFacts::JoinsInputs => node.inputs.iter(),
            _ => return None,
        }
        .map(|&i| self.moved(i));
        let first = inputs.next()??;
        inputs.all(|params| params == Some(first)).then_some(first)
    }

    /// Convolutions before the tail that could be quantized.
    fn convolutions(&self) -> impl Iterator<Item = &'a Node> {
        let graph = self.graph;
        self.nodes().filter(move |node| {
            let stored = |v: ValueId| match graph.producer(v) {
                Some(id) => matches!(graph.node(id).op, Op::DequantizeLinear(_)),
                None => graph.constant(v).is_some(),
            };
            matches!(node.op, Op::Conv(_)) && stored(node.inputs[1])
        })
    }

    /// Convolutions with a quantized weight.
    fn planned(&self) -> impl Iterator<Item = &'a Node> {
        self.convolutions().filter(|node| self.dequantized(node.inputs[1]).is_some())
    }

    fn is_activation_function(node: &Node) -> bool {
        matches!(node.op, Op::Unary(Unary { kind }) if kind != UnaryKind::Sigmoid)
    }

    /// Whether a planned convolution, perhaps with an activation, gives `v` to one reader alone.
    fn ends_convolution(&self, v: ValueId) -> bool {
        let single = |v| self.readers(v).len() == 1;
        let Some(mut node) = self.producer(v).filter(|_| single(v)) else { return false };
        if node.op.quant_facts() == QuantFacts::Activation {
            match self.producer(node.inputs[0]).filter(|_| single(node.inputs[0])) {
                Some(before) => node = before,
                None => return false,
            }
        }
        matches!(node.op, Op::Conv(_)) && self.dequantized(node.inputs[1]).is_some()
    }

    fn adds(&self) -> impl Iterator<Item = &'a Node> {
        let is_add = |node: &&Node| node.op == Op::Binary(Binary { kind: BinaryKind::Add });
        let graph = self.graph;
        self.nodes()
            .filter(is_add)
            .filter(move |n| n.inputs.iter().all(|&v| graph.constant(v).is_none()))
    }
}

fn named<'a>(broken: impl Iterator<Item = &'a Node>) -> Vec<String> {
    broken.map(|node| node.name.clone()).collect()
}

fn weights_are_i8_per_channel(view: &View<'_>) -> Vec<String> {
    let largest = i64::from(view.placed.target.largest_weight());
    let mut found = 0;
    let broken = named(view.planned().filter(|node| {
        found += 1;
        let params = view.dequantized(node.inputs[1]).expect("it is planned");
        let stored = view.producer(node.inputs[1]).expect("a DequantizeLinear").inputs[0];
        let values = view.graph.constant(stored).and_then(|t| t.to_i64().ok()).unwrap_or_default();
        let fits = !values.is_empty() && values.iter().all(|q| q.abs() <= largest);
        let symmetric = params.zero_point().iter().all(|&z| z == 0);
        !(params.dtype() == DataType::I8 && params.axis() == Some(0) && symmetric && fits)
    }));
    assert_eq!(found, view.placed.plan.weights.len(), "every weight of the plan is written");
    broken
}

fn all_convolutions_read_quantized_values(view: &View<'_>) -> Vec<String> {
    let is_quantized = |node: &&Node| node.inputs[..2].iter().all(|&v| view.moved(v).is_some());
    named(view.convolutions().filter(|node| !is_quantized(node)))
}

fn convolutions_read_pairs(view: &View<'_>) -> Vec<String> {
    named(view.planned().filter(|node| view.dequantized(node.inputs[0]).is_none()))
}

/// Under 16 channels and no multiple of 8, read or given.
fn convolutions_of_few_channels_are_float(view: &View<'_>) -> Vec<String> {
    let is_few = |node: &Node| {
        let channels = |v: ValueId| view.graph.ty(v).expect("typed").shape[1];
        let few = |c: usize| c < 16 && !c.is_multiple_of(8);
        few(channels(node.inputs[0])) || few(channels(node.outputs[0]))
    };
    let planned: BTreeSet<&str> = view.planned().map(|n| n.name.as_str()).collect();
    named(view.convolutions().filter(|n| is_few(n) == planned.contains(n.name.as_str())))
}

/// And no others.
fn convolutions_that_the_tail_reads_are_float(view: &View<'_>) -> Vec<String> {
    let last = find_tail(view.graph).output_convs;
    let last: BTreeSet<&str> = last.iter().map(|&id| view.graph.node(id).name.as_str()).collect();
    let planned: BTreeSet<&str> = view.planned().map(|n| n.name.as_str()).collect();
    let wrong = |n: &&Node| last.contains(n.name.as_str()) == planned.contains(n.name.as_str());
    named(view.convolutions().filter(wrong))
}

fn the_tail_is_float(view: &View<'_>) -> Vec<String> {
    let tail = view.tail.iter().map(|&id| view.graph.node(id));
    named(tail.filter(|node| {
        let reads = node.inputs.iter().any(|&v| view.dequantized(v).is_some());
        reads || node.op.quant_facts() == QuantFacts::Boundary
    }))
}

fn activation_params<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Node, &'a QuantParams)> {
    view.nodes().filter_map(|node| match &node.op {
        Op::QuantizeLinear(op) => Some((node, &op.params)),
        _ => None,
    })
}

fn activations_are_u8(view: &View<'_>) -> Vec<String> {
    let wrong = |p: &QuantParams| p.dtype() != DataType::U8 || p.axis().is_some();
    named(activation_params(view).filter(|(_, p)| wrong(p)).map(|(node, _)| node))
}

fn activations_are_i8_around_zero(view: &View<'_>) -> Vec<String> {
    let wrong = |p: &QuantParams| p.dtype() != DataType::I8 || p.zero_point() != [0];
    named(activation_params(view).filter(|(_, p)| wrong(p)).map(|(node, _)| node))
}

fn nothing_stands_between_convolution_and_activation(view: &View<'_>) -> Vec<String> {
    let activations = |graph: &Graph| {
        let names = graph.nodes().filter(|(_, n)| View::is_activation_function(n));
        names.map(|(_, n)| n.name.clone()).collect::<BTreeSet<_>>()
    };
    let lost = &activations(&view.placed.float) - &activations(view.graph);
    let reads_quantized = |node: &&Node| {
        let x = node.inputs[0];
        View::is_activation_function(node) && view.dequantized(x).is_some()
    };
    lost.into_iter().chain(named(view.nodes().filter(reads_quantized))).collect()
}

fn quantize_follows_convolutions_and_silu_is_split(view: &View<'_>) -> Vec<String> {
    let fused = |node: &Node| node.op == Op::Unary(Unary { kind: UnaryKind::Relu });
    let followed = |node: &Node| {
        let readers = view.readers(node.outputs[0]);
        match readers[..] {
            [one] if fused(one) => !view.quantized(one.outputs[0]).is_empty(),
            _ => readers.iter().any(|n| matches!(n.op, Op::QuantizeLinear(_))),
        }
    };
    let not_followed = view.planned().filter(|n| !followed(n));
    let whole = view.nodes().filter(|n| n.op == Op::Unary(Unary { kind: UnaryKind::Silu }));
    let gates = view.nodes().filter(|n| n.op == Op::Unary(Unary { kind: UnaryKind::Sigmoid }));
    let open = gates.filter(|n| {
        view.dequantized(n.inputs[0]).is_none() || view.quantized(n.outputs[0]).is_empty()
    });
    named(not_followed.chain(whole).chain(open))
}

fn biases_are_float(view: &View<'_>) -> Vec<String> {
    let is_stored = |n: &&Node| n.inputs.get(2).is_some_and(|&b| view.graph.constant(b).is_none());
    named(view.planned().filter(is_stored))
}

/// Of scale `x_scale * w_scale`.
fn biases_are_i32(view: &View<'_>) -> Vec<String> {
    named(view.planned().filter(|node| {
        let Some(&bias) = node.inputs.get(2) else { return false };
        let params = node.inputs[..2].iter().map(|&v| view.dequantized(v));
        let [Some(x), Some(w)] = params.collect::<Vec<_>>()[..] else { return true };
        let expected: Vec<f32> = w.scale().iter().map(|w| w * x.scale()[0]).collect();
        !view.dequantized(bias).is_some_and(|b| b.dtype() == DataType::I32 && b.scale() == expected)
    }))
}

/// Sums, products, joins and moves before the tail.
fn operators_stand_between_pairs(view: &View<'_>) -> Vec<String> {
    named(view.nodes().filter(|node| {
        let facts = node.op.quant_facts();
        let wanted = matches!(facts, QuantFacts::ElementWise | QuantFacts::JoinsInputs);
        let all = node.inputs.iter().all(|&v| view.graph.constant(v).is_none());
        let reads = node.inputs.iter().all(|&v| view.dequantized(v).is_some());
        let gives = |&v: &ValueId| {
            let mut readers = view.readers.get(&v).into_iter().flatten();
            !view.quantized(v).is_empty() || readers.all(|(id, _)| view.tail.contains(id))
        };
        let gives = node.outputs.iter().all(gives);
        wanted && all && !(reads && gives)
    }))
}

fn adds_read_residuals_alone_quantized(view: &View<'_>) -> Vec<String> {
    named(view.adds().filter(|node| {
        let fused = node.inputs.iter().filter(|&&v| view.ends_convolution(v)).count();
        let quantized = node.inputs.iter().filter(|&&v| view.moved(v).is_some()).count();
        // What two convolutions give is fused with one of them.
        if fused == 0 { quantized == 0 } else { quantized != 1 }
    }))
}

/// Inputs and output.
fn concats_have_one_scale(view: &View<'_>) -> Vec<String> {
    named(view.nodes().filter(|node| {
        let after = view.quantized(node.outputs[0]);
        let before = node.inputs.iter().map(|&v| view.dequantized(v));
        node.op.quant_facts() == QuantFacts::JoinsInputs
            && !after.is_empty()
            && !before.chain(after.iter().map(|&p| Some(p))).all(|p| p == Some(after[0]))
    }))
}

fn moved_values_keep_their_parameters(view: &View<'_>) -> Vec<String> {
    named(view.nodes().filter(|node| {
        let Some(before) = node.inputs.first().and_then(|&v| view.moved(v)) else { return false };
        let after = node.outputs.iter().flat_map(|&v| view.quantized(v));
        node.op.quant_facts() == QuantFacts::SharesInput && after.into_iter().any(|p| p != before)
    }))
}

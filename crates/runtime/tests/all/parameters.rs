//! Plans whose weights change: a parameter set in a session, against a plan compiled with the new elements.
use ir::ops::{BatchNormalization, BinaryKind, Conv, UnaryKind};
use ir::{Graph, Tensor, ValueId};
use kernels::Isa;
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::net::{Net, image, numbers};

/// A network with a parameter wherever one may stand: weight and bias of convolutions, with and without what is fused into
/// them, and an operand that is read from the arena.
fn network() -> (Graph, Vec<ValueId>) {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 6, 9, 11]);
    let mut parameters = Vec::new();
    let mut conv = |net: &mut Net, x, [i, o, k]: [usize; 3], group: usize| {
        let weight = net.parameter("weight", &[o, i / group, k, k], 0.5);
        let bias = net.parameter("bias", &[o], 0.5);
        parameters.extend([weight, bias]);
        let conv = Conv {
            kernel_shape: [k, k],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [k / 2; 4],
            group,
        };
        net.op(conv, &[x, weight, bias])
    };
    let y = conv(&mut net, x, [6, 16, 3], 1);
    let a = net.op(UnaryKind::Silu, &[y]);
    let y = conv(&mut net, a, [16, 16, 3], 16);
    let y = net.op(BinaryKind::Add, &[a, y]);
    let y = conv(&mut net, y, [16, 20, 1], 1);
    let statistics = [2.0, 1.0, 1.0].map(|spread| net.parameter("statistic", &[20], spread));
    let variance = Tensor::vector((0..20).map(|i| 0.5 + i as f32).collect::<Vec<_>>());
    let variance = net.edit.constant("variance", variance);
    let [scale, bias, mean] = statistics;
    let y = net.op(BatchNormalization { epsilon: 1e-5 }, &[y, scale, bias, mean, variance]);
    let factor = net.parameter("factor", &[1, 20, 1, 1], 3.0);
    parameters.push(factor);
    let y = net.op(BinaryKind::Mul, &[y, factor]);
    net.edit.output(y);
    for &v in &parameters {
        net.edit.make_parameter(v);
    }
    graph.apply(net.edit).expect("a valid graph");
    (graph, parameters)
}

fn session(graph: &Graph, isa: Isa) -> Session {
    let options = PlanOptions { isa, integer: true };
    let plan = Plan::compile(graph, &[], &options).expect("compiled");
    Session::new(&Arc::new(plan), 1).expect("memory")
}

fn bits(session: &mut Session, x: &Tensor) -> Vec<u32> {
    let x = x.as_slice::<f32>().expect("f32");
    let y = session.run(&[x]).expect("it runs").remove(0);
    let y = y.as_slice::<f32>().expect("f32");
    y.iter().map(|y| y.to_bits()).collect()
}

/// Other elements for the `n`th parameter.
fn other(graph: &Graph, v: ValueId, n: usize) -> Tensor {
    let ty = graph.ty(v).expect("typed");
    let data = numbers(ty.elements(), 1000 + n as u64, 0.7);
    Tensor::new(ty.shape.clone(), data).expect("sizes agree")
}

#[test]
fn compile_convolutions_of_parameters_keeps_their_fast_steps() {
    let (graph, _) = network();
    let session = session(&graph, Isa::best());
    let kinds: Vec<String> = session.plan().steps().into_iter().map(|s| s.kind).collect();
    let convolutions = kinds.iter().filter(|kind| kind.starts_with("Conv")).count();
    assert_eq!(convolutions, 3, "{kinds:?}");
    assert!(!kinds.iter().any(|kind| kind.starts_with("Reference")), "{kinds:?}");
}

#[test]
fn set_parameters_gives_the_bits_of_a_plan_compiled_with_the_new_elements() {
    let (graph, parameters) = network();
    let x = image(&graph);
    for isa in Isa::available() {
        let mut changed = session(&graph, isa);
        let mut sibling = changed.sibling(2).expect("memory");
        let mut untouched = Session::new(changed.plan(), 1).expect("memory");
        let before = bits(&mut changed, &x);
        let mut expected = graph.clone();
        for (n, &v) in parameters.iter().enumerate() {
            let tensor = other(&graph, v, n);
            let elements = tensor.as_slice::<f32>().expect("f32");
            changed.set_parameters(&BTreeMap::from([(v, elements)]), 2).expect("it fits");
            let mut edit = expected.edit();
            edit.set_constant(v, tensor);
            edit.make_parameter(v);
            expected.apply(edit).expect("valid");
            let anew = bits(&mut session(&expected, isa), &x);
            assert_eq!(bits(&mut changed, &x), anew, "parameter {n} on {isa}");
            assert_eq!(bits(&mut sibling, &x), anew, "parameter {n} on {isa}");
        }
        assert_ne!(bits(&mut changed, &x), before, "on {isa}");
        assert_eq!(bits(&mut untouched, &x), before, "on {isa}");
    }
}

#[test]
fn run_with_parameters_gives_the_bits_of_constants() {
    let (graph, parameters) = network();
    let mut constant = graph.clone();
    let mut edit = constant.edit();
    for &v in &parameters {
        edit.set_constant(v, graph.parameter(v).expect("a parameter").clone());
    }
    constant.apply(edit).expect("valid");
    let x = image(&graph);
    let isa = Isa::best();
    let found = bits(&mut session(&graph, isa), &x);
    assert_eq!(found, bits(&mut session(&constant, isa), &x));
}

#[test]
fn set_parameters_that_do_not_fit_are_an_error() {
    let (graph, parameters) = network();
    let mut session = session(&graph, Isa::best());
    let wrong = session.set_parameters(&BTreeMap::from([(parameters[0], &[1.0f32][..])]), 1);
    assert!(matches!(wrong, Err(RuntimeError::ParameterLength { .. })), "{wrong:?}");
    let constant = graph.outputs()[0];
    let wrong = session.set_parameters(&BTreeMap::from([(constant, &[1.0f32][..])]), 1);
    assert!(matches!(wrong, Err(RuntimeError::NotAParameter { .. })), "{wrong:?}");
}

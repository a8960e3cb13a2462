use super::*;
use ir::{DataType, interpreter};
use quant::{ONNXRUNTIME, Range, Target};
use std::collections::BTreeSet;
use testkit::{net, tiny};
use train::{Statistics, differentiate, parameters, weights};

/// The tiny detector, quantized with ranges that are not its own.
fn quantized(target: Target) -> Graph {
    let graph = ir::normalise(tiny::detector()).unwrap().into_graph();
    let points = quant::quantization_points(&graph, target).unwrap();
    let range = |i: usize| Range { min: -0.3 - 0.01 * i as f32, max: 2.0 + 0.02 * i as f32 };
    let ranges = points.iter().enumerate().map(|(i, point)| (point.range_of, range(i)));
    let image = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
    let plan = quant::plan(&graph, &ranges.collect(), &image, target, &BTreeSet::new()).unwrap();
    let quantized = quant::apply(&graph, &plan).unwrap();
    ir::normalise(quantized).unwrap().into_graph()
}

fn start(form: &LearningForm) -> Vec<Weight> {
    weights(form.graph(), &parameters(form.graph())).unwrap()
}

fn outputs(graph: &Graph) -> Vec<Tensor> {
    interpreter::run(graph, &[net::image(graph)]).unwrap()
}

fn params(graph: &Graph) -> Vec<&QuantParams> {
    let params = graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::QuantizeLinear(op) => Some(&op.params),
        Op::DequantizeLinear(op) => Some(&op.params),
        _ => None,
    });
    params.collect()
}

#[test]
fn a_detector_that_learnt_nothing_gives_the_same_numbers_in_both_forms() {
    for target in Target::quantizing() {
        let source = quantized(target);
        let expected = outputs(&source);
        let form = LearningForm::new(source.clone()).unwrap();
        assert_eq!(outputs(form.graph()), expected, "{}", target);
        let weights = start(&form);
        assert_eq!(form.rounded(&weights, 2).unwrap().as_ref(), weights, "{}", target);
        let detector = form.detector(&weights).unwrap();
        assert_eq!(params(&detector), params(&source), "{}", target);
        assert_eq!(outputs(&detector), expected, "{}", target);
    }
}

#[test]
fn all_but_the_image_learns_and_everything_learnt_has_a_gradient() {
    let form = LearningForm::new(quantized(ONNXRUNTIME)).unwrap();
    let learnt = parameters(form.graph());
    assert!(form.stored.keys().chain(form.scales.keys()).all(|v| learnt.contains(v)));
    assert!(form.scales.values().all(|params| params.scale()[0] != 1.0 / 255.0));
    let trunk = ir::find_tail(form.graph()).output_convs;
    let mut graph = form.graph().clone();
    let outputs: Vec<ValueId> = trunk.iter().map(|&id| graph.node(id).outputs[0]).collect();
    let mut edit = graph.edit();
    edit.set_outputs(&outputs);
    graph.apply(edit).unwrap();
    let learnt = parameters(&graph);
    let training = differentiate(&graph, &learnt, Statistics::Frozen).unwrap();
    assert_eq!(training.parameter_gradients.len(), learnt.len());
}

#[test]
fn what_was_learnt_is_what_runs() {
    for target in Target::quantizing() {
        let form = LearningForm::new(quantized(target)).unwrap();
        let mut weights = start(&form);
        for (i, weight) in weights.iter_mut().enumerate() {
            let change = |w: &mut f32| *w *= 1.0 + 0.1 * (i % 3) as f32;
            weight.elements.iter_mut().for_each(change);
        }
        let expected = with_weights(form.graph(), &form.rounded(&weights, 1).unwrap()).unwrap();
        let detector = form.detector(&weights).unwrap();
        for (found, expected) in outputs(&detector).iter().zip(outputs(&expected)) {
            let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
            let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            // Biases that are integers lie on another grid, which may decide a tie.
            let far = found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-3 * largest);
            assert!(far.count() * 100 <= found.len(), "{}", target);
        }
    }
}

#[test]
fn scales_of_biases_stay_the_products_of_two_others() {
    let form = LearningForm::new(quantized(ONNXRUNTIME)).unwrap();
    assert!(form.stored.values().any(|stored| stored.product.is_some()));
    let mut weights = start(&form);
    let scales = weights.iter_mut().filter(|w| form.scales.contains_key(&w.value));
    scales.for_each(|scale| scale.elements[0] *= 1.5);
    let detector = form.detector(&weights).unwrap();
    assert_eq!(products(&detector).len(), products(&form.source).len());
    assert_ne!(params(&detector), params(&form.source));
}

#[test]
fn weights_of_seven_bits_stay_so_and_scales_stay_positive() {
    let form = LearningForm::new(quantized("builtin+avx2".parse().unwrap())).unwrap();
    let mut weights = start(&form);
    for weight in &mut weights {
        let factor = if form.scales.contains_key(&weight.value) { -1.0 } else { 3.0 };
        weight.elements.iter_mut().for_each(|w| *w *= factor);
    }
    let detector = form.detector(&weights).unwrap();
    let integers =
        detector.nodes().filter_map(|(_, node)| detector.constant(*node.inputs.first()?));
    let integers = integers.filter(|t| t.dtype() == DataType::I8);
    let largest = integers.flat_map(|t| t.to_f64().unwrap()).fold(0.0f64, |m, q| m.max(q.abs()));
    assert_eq!(largest, 64.0);
}

//! Weights to start from: every channel of a network with random weights gets the same mean and spread on real images.
//!
//! Without BatchNormalization this is what lets a deep network learn: no layer's outputs vanish or explode.
//! Source: Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent initializations of convolutional neural networks"
//! (arXiv:1511.06856), section 3.1; Mishkin and Matas, "All you need is a good init" (arXiv:1511.06422).
use crate::CompressError;
use ir::{Graph, NodeId, Op, Tensor, find_tail};
use numerics::parallel_map_with;
use observe::{Engine, ImageSet};
use runtime::{Plan, Session};
use std::sync::Arc;
use yolo::ModelInput;

/// The smallest spread of a channel that is made 1: one that gives nothing keeps its weights.
const LEAST_SPREAD: f64 = 1e-6;

/// The graph with the weights of every convolution before its output convolutions scaled, and its biases shifted, so that what
/// each channel gives on the images has mean 0 and variance 1. Layer by layer, each on what the ones before it give now.
///
/// # Errors
/// `Yolo` for images that cannot be read, `Runtime` where the graph cannot be executed.
pub fn standardise(
    graph: &Graph,
    input: &ModelInput,
    images: &ImageSet,
    engine: Engine,
) -> Result<Graph, CompressError> {
    let planes = images.paths.iter().map(|path| Ok(images.planes(path, input)?.0.swap_remove(0)));
    let planes: Vec<Vec<f32>> = planes.collect::<Result<_, CompressError>>()?;
    let tail = find_tail(graph);
    let is_inner = |id: &NodeId| !tail.output_convs.contains(id) && !tail.nodes.contains(id);
    let convs = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Conv(_)));
    let convs: Vec<NodeId> = convs.map(|(id, _)| id).filter(is_inner).collect();
    let mut graph = graph.clone();
    for id in convs {
        let [weight, bias] = [1, 2].map(|input| graph.node(id).inputs.get(input).copied());
        let tensors = [weight, bias].map(|value| value.and_then(|v| graph.constant(v).cloned()));
        let (Some(weight), Some(bias), [Some(w), Some(b)]) = (weight, bias, tensors) else {
            continue;
        };
        let channels = channels(&graph, id, &planes, engine)?;
        let [w, b] = scaled(&w, &b, &channels)?;
        let mut edit = graph.edit();
        edit.set_constant(weight, w);
        edit.set_constant(bias, b);
        graph.apply(edit)?;
    }
    Ok(graph)
}

/// What a channel gives over all images and positions.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    mean: f64,
    spread: f64,
}

/// The channels of a convolution.
fn channels(
    graph: &Graph,
    conv: NodeId,
    planes: &[Vec<f32>],
    engine: Engine,
) -> Result<Vec<Channel>, CompressError> {
    let output = graph.node(conv).outputs[0];
    let shape = graph.ty(output)?.shape.clone();
    let mut prefix = graph.clone();
    let mut edit = prefix.edit();
    edit.set_outputs(&[output]);
    prefix.apply(edit)?;
    let plan = Arc::new(Plan::compile(&prefix, &[], &engine.options)?);
    let sessions = (0..engine.threads).map(|_| Session::new(&plan, 1));
    let mut sessions: Vec<Session> = sessions.collect::<Result<_, _>>()?;
    let positions = shape[2] * shape[3];
    let sums = parallel_map_with(&mut sessions, planes, |session, image| {
        let found = session.run(&[image])?.remove(0);
        let elements = found.as_slice::<f32>().expect("the runtime gives f32");
        let sums = elements.chunks_exact(positions).map(|channel| {
            let values = channel.iter().map(|&v| f64::from(v));
            [values.clone().sum::<f64>(), values.map(|v| v * v).sum()]
        });
        Ok(sums.collect::<Vec<[f64; 2]>>())
    });
    let mut total = vec![[0.0; 2]; shape[1]];
    for image in sums {
        let image: Vec<[f64; 2]> = image.map_err(|e: runtime::RuntimeError| e)?;
        for (total, sums) in total.iter_mut().zip(image) {
            (0..2).for_each(|i| total[i] += sums[i]);
        }
    }
    let count = (positions * planes.len()).max(1) as f64;
    let channel = |[sum, squares]: [f64; 2]| {
        let mean = sum / count;
        Channel { mean, spread: (squares / count - mean * mean).max(0.0).sqrt() }
    };
    Ok(total.into_iter().map(channel).collect())
}

/// A weight `[O, I, kH, kW]` and a bias with which every channel has mean 0 and spread 1.
fn scaled(
    weight: &Tensor,
    bias: &Tensor,
    channels: &[Channel],
) -> Result<[Tensor; 2], CompressError> {
    let [mut w, mut b] = [weight, bias].map(|t| t.as_slice::<f32>().map(<[f32]>::to_vec));
    let (w, b) = (w.as_mut().map_err(|e| e.clone())?, b.as_mut().map_err(|e| e.clone())?);
    let taps = w.len() / channels.len().max(1);
    for (channel, (taps, bias)) in channels.iter().zip(w.chunks_exact_mut(taps).zip(&mut *b)) {
        if channel.spread < LEAST_SPREAD {
            continue;
        }
        let scale = 1.0 / channel.spread;
        taps.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
        *bias = ((f64::from(*bias) - channel.mean) * scale) as f32;
    }
    Ok([
        Tensor::new(weight.shape(), std::mem::take(w))?,
        Tensor::new(bias.shape(), std::mem::take(b))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::net::Net;
    use yolo::LETTERBOX;

    #[test]
    fn every_inner_channel_has_mean_0_and_variance_1_on_the_images() {
        let folder = testkit::tiny_folder::TinyFolder::new(4, 0);
        let mut graph = Graph::new(17);
        let mut net = Net::new(&graph);
        let x = net.input(&[1, 3, 64, 64]);
        let y = net.conv_silu(x, [3, 6, 3, 2]);
        let y = net.conv_silu(y, [6, 5, 3, 2]);
        let y = net.conv(y, [5, 4, 1, 1], 1);
        net.edit.output(y);
        graph.apply(net.edit).unwrap();
        let input = ModelInput::new(&graph, LETTERBOX).unwrap();
        let names = (0..4).map(|i| folder.path(&format!("images/train/{i:04}.png")));
        let images = ImageSet { paths: names.collect(), ..Default::default() };
        let engine = Engine::default();
        let standard = standardise(&graph, &input, &images, engine).unwrap();
        let planes: Vec<Vec<f32>> =
            images.paths.iter().map(|p| images.planes(p, &input).unwrap().0.remove(0)).collect();
        let convs = standard.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
        let convs: Vec<NodeId> = convs.map(|(id, _)| id).collect();
        for &conv in &convs[..2] {
            for channel in channels(&standard, conv, &planes, engine).unwrap() {
                assert!(channel.mean.abs() < 1e-3, "{channel:?}");
                assert!((channel.spread - 1.0).abs() < 1e-3, "{channel:?}");
            }
        }
        let weight = |graph: &Graph| graph.constant(graph.node(convs[2]).inputs[1]).cloned();
        assert_eq!(weight(&standard), weight(&graph));
    }
}

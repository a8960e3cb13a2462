//! Items that become one: SiLU from its two halves, epilogues from what follows a convolution.
use super::{Item, Lowered, Operand, Wiring, Work};
use crate::RuntimeError;
use ir::ops::{Binary, BinaryKind};
use ir::{Op, ValueId};
use kernels::{Activation, FakeQuantize, UnaryOp};
use std::collections::{BTreeMap, BTreeSet};

/// Lets all readers of one quantized value share one fake quantization, where each has a DequantizeLinear of its own.
pub(super) fn share_fake_quantize(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let mut first: Vec<(Operand, FakeQuantize, Operand)> = Vec::new();
    let mut same: BTreeMap<Operand, Operand> = BTreeMap::new();
    let mut gone = vec![false; lowered.items.len()];
    for (item, gone) in lowered.items.iter_mut().zip(&mut gone) {
        for v in &mut item.inputs {
            *v = same.get(v).copied().unwrap_or(*v);
        }
        let Work::Unary(UnaryOp::FakeQuantize(grid)) = item.work else {
            continue;
        };
        let (x, y) = (item.inputs[0], item.outputs[0]);
        match first.iter().find(|(a, b, _)| *a == x && *b == grid) {
            Some(&(_, _, shared)) if !keep.contains(&y.value) => {
                same.insert(y, shared);
                *gone = true;
            }
            Some(_) => {}
            None => first.push((x, grid, y)),
        }
    }
    remove(lowered, gone);
}

/// Joins `x * Sigmoid(x)`, as ONNX writes SiLU, where nothing else reads the Sigmoid.
pub(super) fn join_silu(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for k in 0..lowered.items.len() {
        if let Some((sigmoid, x)) = silu(lowered, &wiring, keep, k) {
            gone[sigmoid] = true;
            lowered.items[k].work = Work::Unary(UnaryOp::Activation(Activation::Silu));
            lowered.items[k].inputs = vec![x];
        }
    }
    remove(lowered, gone);
}

/// The Sigmoid that multiplication `k` joins with, and what both read.
fn silu(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    keep: &BTreeSet<ValueId>,
    k: usize,
) -> Option<(usize, Operand)> {
    let product = &lowered.items[k];
    let Work::Node(Op::Binary(Binary {
        kind: BinaryKind::Mul,
    })) = product.work
    else {
        return None;
    };
    let &[a, b] = product.inputs.as_slice() else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let &writer = wiring.writer.get(&gate)?;
        let item = &lowered.items[writer];
        let sigmoid = matches!(
            item.work,
            Work::Unary(UnaryOp::Activation(Activation::Sigmoid))
        );
        let alone = wiring
            .readers
            .get(&gate)
            .is_some_and(|r| r.as_slice() == [k]);
        (sigmoid && alone && item.inputs == [x] && !keep.contains(&gate.value))
            .then_some((writer, x))
    })
}

/// Joins Softmax with the convolution that takes its mean: one output channel, no bias, all bins at one pixel.
pub(super) fn softmax_means(
    lowered: &mut Lowered<'_>,
    keep: &BTreeSet<ValueId>,
) -> Result<(), RuntimeError> {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for (k, gone) in gone.iter_mut().enumerate() {
        let out = lowered.items[k].outputs[0];
        let next = wiring
            .only_reader(out)
            .filter(|_| !keep.contains(&out.value));
        let Some(next) = next.filter(|_| is_softmax_of_channels(&lowered.items[k])) else {
            continue;
        };
        let Work::Conv(conv) = &lowered.items[next].work else {
            continue;
        };
        let Some(weight) = lowered.weights(conv.weight)? else {
            continue;
        };
        let one_pixel = conv.conv.kernel_shape == [1, 1] && conv.conv.strides == [1, 1];
        let bare = conv.bias.is_none() && conv.conv.pads == [0; 4] && conv.conv.group == 1;
        if !one_pixel || !bare || weight.shape()[0] != 1 {
            continue;
        }
        let weights = weight.as_slice::<f32>();
        let weights = weights
            .map_err(RuntimeError::operator(&lowered.items[next].name))?
            .to_vec();
        lowered.items[next].work = Work::SoftmaxMean(weights);
        lowered.items[next].inputs = lowered.items[k].inputs.clone();
        *gone = true;
    }
    remove(lowered, gone);
    Ok(())
}

fn is_softmax_of_channels(item: &Item) -> bool {
    match &item.work {
        Work::Node(Op::Softmax(softmax)) => softmax.axis == 1 && softmax.coerced.is_empty(),
        _ => false,
    }
}

/// Lets convolutions apply an activation whose input is only made of their results, moved about: it reads each element
/// once, wherever it lies.
pub(super) fn raise_activations(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for (k, gone) in gone.iter_mut().enumerate() {
        let item = &lowered.items[k];
        let Work::Unary(UnaryOp::Activation(activation)) = item.work else {
            continue;
        };
        let (x, outputs) = (item.inputs[0], item.outputs.clone());
        if crate::schedule::q_activation(activation).is_none() {
            continue;
        }
        let Some(convolutions) = moved_convolutions(lowered, &wiring, keep, (x, k)) else {
            continue;
        };
        for &i in &convolutions {
            if let Work::Conv(conv) = &mut lowered.items[i].work {
                conv.activation = activation;
            }
        }
        let writer = wiring.writer[&x];
        lowered.items[writer].outputs = outputs;
        *gone = true;
    }
    remove(lowered, gone);
}

/// The convolutions whose results `x` consists of, if item `k` alone reads it and nothing else reads any part.
fn moved_convolutions(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    keep: &BTreeSet<ValueId>,
    (x, k): (Operand, usize),
) -> Option<Vec<usize>> {
    let (mut found, mut todo) = (Vec::new(), vec![(x, k)]);
    let mut is_moved = false;
    while let Some((v, reader)) = todo.pop() {
        let alone = wiring.only_reader(v) == Some(reader) && !keep.contains(&v.value);
        let &writer = wiring.writer.get(&v).filter(|_| alone)?;
        let item = &lowered.items[writer];
        match &item.work {
            Work::Conv(conv) if is_moved && conv.activation == Activation::Identity => {
                found.push(writer);
            }
            Work::Node(Op::Concat(_) | Op::Reshape(_) | Op::Transpose(_)) => {
                is_moved = true;
                todo.extend(item.inputs.iter().map(|&v| (v, writer)));
            }
            _ => return None,
        }
    }
    Some(found)
}

/// Drops what nothing reads, such as a gate that went into a table.
pub(super) fn drop_unread(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let mut live = keep.clone();
    let mut gone = vec![true; lowered.items.len()];
    for (item, gone) in lowered.items.iter().zip(&mut gone).rev() {
        if item.outputs.iter().any(|y| live.contains(&y.value)) {
            *gone = false;
            live.extend(item.inputs.iter().map(|x| x.value));
        }
    }
    remove(lowered, gone);
}

pub(super) fn remove(lowered: &mut Lowered<'_>, gone: Vec<bool>) {
    let mut gone = gone.into_iter();
    lowered
        .items
        .retain(|_| !gone.next().expect("one flag for each item"));
}

/// Pulls BatchNormalization, activation, residual addition and fake quantization into the convolution before them, in that order.
pub(super) fn epilogues(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let mut wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        let mut stage = 0;
        while let Some(next) = next_fusible(lowered, &wiring, keep, i) {
            let Some(reached) = absorb(lowered, &mut wiring, (i, next), stage) else {
                break;
            };
            stage = reached;
            gone[next] = true;
            let outputs = lowered.items[next].outputs.clone();
            wiring.writer.extend(outputs.iter().map(|&v| (v, i)));
            lowered.items[i].outputs = outputs;
        }
    }
    remove(lowered, gone);
}

/// The only reader of a convolution's result, if that result needs no place of its own.
fn next_fusible(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    keep: &BTreeSet<ValueId>,
    i: usize,
) -> Option<usize> {
    let item = &lowered.items[i];
    let out = item.outputs[0];
    if !matches!(item.work, Work::Conv(_)) || keep.contains(&out.value) {
        return None;
    }
    wiring.only_reader(out)
}

/// Takes item `next` into convolution `i`; gives the stage reached, or `None` if the epilogue cannot hold it.
fn absorb(
    lowered: &mut Lowered<'_>,
    wiring: &mut Wiring,
    (i, next): (usize, usize),
    stage: usize,
) -> Option<usize> {
    let out = lowered.items[i].outputs[0];
    let work = lowered.items[next].work.clone();
    let residual = match &work {
        Work::Node(Op::Binary(Binary {
            kind: BinaryKind::Add,
        })) if stage < 2 => residual(lowered, wiring, (i, next), out),
        _ => None,
    };
    let affine = match &work {
        Work::Node(Op::BatchNormalization(bn)) => {
            lowered.affine(bn.epsilon, &lowered.items[next].inputs[1..])
        }
        _ => None,
    };
    let item = &mut lowered.items[i];
    let Work::Conv(conv) = &mut item.work else {
        return None;
    };
    match work {
        Work::Node(Op::BatchNormalization(_)) if stage == 0 && conv.affine.is_none() => {
            conv.affine = Some(affine?);
            Some(0)
        }
        Work::Unary(UnaryOp::Activation(activation)) if stage == 0 => {
            conv.activation = activation;
            Some(1)
        }
        Work::Unary(UnaryOp::FakeQuantize(fake_quantize)) if stage < 3 => {
            conv.fake_quantize = Some(fake_quantize);
            Some(3)
        }
        _ => {
            let other = residual?;
            item.inputs.push(other);
            for reader in wiring.readers.entry(other).or_default() {
                if *reader == next {
                    *reader = i;
                }
            }
            Some(2)
        }
    }
}

/// The other operand of an addition, if it is there before the convolution and of the same shape.
pub(super) fn residual(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    (i, next): (usize, usize),
    out: Operand,
) -> Option<Operand> {
    let other = *lowered.items[next].inputs.iter().find(|&&v| v != out)?;
    let shape = |v: Operand| lowered.graph.ty(v.value).ok().map(|t| &t.shape);
    let ready = wiring.writer.get(&other).is_none_or(|&w| w < i);
    let fits = shape(other).is_some() && shape(other) == shape(out);
    (ready && fits && lowered.constant(other.value).is_none()).then_some(other)
}

//! The steps of each item.
use super::{Schedule, binary_op, copy_kernel};
use crate::RuntimeError;
use crate::layout::{self, At};
use crate::lowering::{Affine, Form, Item, Operand, Work, requantize};
use crate::step::Kernel;
use ir::ops::ResizeMode;
use ir::{Graph, Op, Tensor};
use kernels::{BinaryOp, Pool};
use std::sync::Arc;

impl Schedule<'_> {
    pub(super) fn item(&mut self, item: &Item) -> Result<(), RuntimeError> {
        let kernel = match &item.work {
            Work::Conv(conv) => return self.conv(item, conv),
            Work::QConv(conv) => return self.q_conv(item, conv),
            Work::Node(op) => return self.node(item, op),
            Work::Island(graph) => return self.island(item, graph),
            Work::QBinary(op) => {
                let [a, b] = [item.inputs[0], item.inputs[1]].map(|v| self.params(v));
                let y = self.params(item.outputs[0]);
                let inputs = self.broadcast(item)?;
                return self.simple(item, Kernel::QBinary { op: *op, a, b, y }, inputs);
            }
            Work::Chain(links) => {
                let inputs = self.broadcast(item)?;
                return self.simple(item, Kernel::Chain(links.clone()), inputs);
            }
            Work::SoftmaxMean(weights) => Kernel::SoftmaxMean(weights.clone()),
            Work::QMatMul(y) => {
                let [a, b] = [item.inputs[0], item.inputs[1]].map(|v| self.params(v));
                let inputs = self.matrices(item)?;
                return self.simple(item, Kernel::QMatMul { a, b, y: *y }, inputs);
            }
            Work::Unary(op) => Kernel::Unary(*op),
            Work::Table(table) => Kernel::QCopy(Some(table.clone())),
            Work::Quantize => Kernel::Quantize(self.params(item.outputs[0])),
            Work::Dequantize => Kernel::Dequantize(self.params(item.inputs[0])),
        };
        let x = self.read(&item.name, item.inputs[0])?;
        self.simple(item, kernel, vec![x])
    }

    fn node(&mut self, item: &Item, op: &Op) -> Result<(), RuntimeError> {
        match op {
            Op::Concat(concat) => self.concat(item, concat.axis),
            Op::Split(split) => {
                let mut start = 0;
                for (&v, &len) in item.outputs.iter().zip(&split.sizes) {
                    self.part(item, v, (split.axis, start, len))?;
                    start += len;
                }
                Ok(())
            }
            Op::Slice(_) | Op::Transpose(_) | Op::Reshape(_) => self.rearrange(item, op),
            Op::MaxPool(pool) => {
                let pool = Pool {
                    kernel: pool.kernel_shape,
                    strides: pool.strides,
                    dilations: pool.dilations,
                    pads: pool.pads,
                    count_include_pad: false,
                };
                let kernel = match item.inputs[0].form {
                    Form::F32 => Kernel::MaxPool(pool),
                    Form::U8 => Kernel::QMaxPool(pool),
                };
                let x = self.pixels(item)?;
                self.simple(item, kernel, vec![x])
            }
            Op::AveragePool(pool) => {
                let pool = Pool {
                    kernel: pool.kernel_shape,
                    strides: pool.strides,
                    dilations: pool.dilations,
                    pads: pool.pads,
                    count_include_pad: pool.count_include_pad,
                };
                let x = self.pixels(item)?;
                self.simple(item, Kernel::AveragePool(pool), vec![x])
            }
            Op::Resize(resize) => {
                let ResizeMode::Nearest(mode) = resize.mode else {
                    return self.reference(item, op);
                };
                let x = self.pixels(item)?;
                let hw = [x.view.shape[2], x.view.shape[3]];
                let map = |axis: usize| resize.nearest_map(axis, hw, mode);
                let (map_h, map_w) = (map(0), map(1));
                let kernel = match item.inputs[0].form {
                    Form::F32 => Kernel::Resize { map_h, map_w },
                    Form::U8 => Kernel::QResize { map_h, map_w },
                };
                self.simple(item, kernel, vec![x])
            }
            Op::Binary(binary) => {
                let kernel = Kernel::Binary(binary_op(binary.kind));
                let inputs = self.broadcast(item)?;
                self.simple(item, kernel, inputs)
            }
            Op::MatMul(_) if self.ranks(item)?.iter().all(|&rank| rank >= 2) => {
                let inputs = self.matrices(item)?;
                self.simple(item, Kernel::MatMul, inputs)
            }
            Op::Softmax(softmax) if softmax.coerced.iter().skip(1).all(|&d| d == 1) => {
                let x = self.read(&item.name, item.inputs[0])?;
                let axis = softmax.axis;
                self.like(item.outputs[0], &x);
                self.simple(item, Kernel::Softmax { axis }, vec![x])
            }
            Op::BatchNormalization(bn) => {
                match self.lowered.affine(bn.epsilon, &item.inputs[1..]) {
                    Some(affine) => self.affine(item, affine),
                    None => self.reference(item, op),
                }
            }
            op => self.reference(item, op),
        }
    }

    /// The item's input with channels side by side.
    fn pixels(&mut self, item: &Item) -> Result<At, RuntimeError> {
        let v = item.inputs[0];
        let x = self.read(&item.name, v)?;
        self.image(item, (v, x), [0; 4])
    }

    /// The item's inputs under the shape of its output.
    fn broadcast(&mut self, item: &Item) -> Result<Vec<At>, RuntimeError> {
        let shape = self.shape(item.outputs[0].value)?;
        let mut inputs = Vec::with_capacity(2);
        for &v in &item.inputs {
            let at = self.read(&item.name, v)?;
            let view =
                layout::broadcast(&at.view, shape).map_err(RuntimeError::kernel(&item.name))?;
            inputs.push(At { view, ..at });
        }
        Ok(inputs)
    }

    fn ranks(&self, item: &Item) -> Result<Vec<usize>, RuntimeError> {
        let rank = |v: &Operand| Ok(self.lowered.graph.ty(v.value)?.rank());
        item.inputs.iter().map(rank).collect()
    }

    /// The operands of a product, under the leading axes of its output.
    fn matrices(&mut self, item: &Item) -> Result<Vec<At>, RuntimeError> {
        let shape = self.shape(item.outputs[0].value)?;
        let leading = &shape[..shape.len() - 2];
        let mut inputs = Vec::with_capacity(2);
        for &v in &item.inputs {
            let at = self.read(&item.name, v)?;
            let matrix = &at.view.shape[at.view.shape.len() - 2..];
            let view = layout::broadcast(&at.view, &[leading, matrix].concat())
                .map_err(RuntimeError::kernel(&item.name))?;
            inputs.push(At { view, ..at });
        }
        Ok(inputs)
    }

    /// Places an output in row-major order where its input's last axis is dense, so that a kernel finds runs in both.
    fn like(&mut self, v: Operand, x: &At) {
        let dense = x.view.strides.last() == Some(&1) && !layout::is_nhwc(&x.view);
        if dense && !self.parents.of.contains_key(&v) && !self.places.contains_key(&v) {
            let at = self.flat(v.form, kernels::View::contiguous(0, &x.view.shape));
            self.places.insert(v, at);
        }
    }

    /// A multiplication and an addition for each channel, in the output's place.
    fn affine(&mut self, item: &Item, affine: Affine) -> Result<(), RuntimeError> {
        let x = self.read(&item.name, item.inputs[0])?;
        let y = self.place(&item.name, item.outputs[0])?;
        let mut from = x;
        for (op, data) in [(BinaryOp::Mul, affine.scale), (BinaryOp::Add, affine.shift)] {
            let mut shape = vec![1; x.view.shape.len() - 1];
            shape[0] = data.len();
            let view = layout::row_major(&shape).map_err(RuntimeError::kernel(&item.name))?;
            let constant = self.flat(Form::F32, view);
            self.buffers[constant.buffer].constant = Some(data);
            let view = layout::broadcast(&constant.view, &x.view.shape)
                .map_err(RuntimeError::kernel(&item.name))?;
            let inputs = vec![from, At { view, ..constant }];
            self.emit(item, Kernel::Binary(op), inputs, vec![y]);
            from = y;
        }
        Ok(())
    }

    /// Gives an output its place inside the item's input.
    fn part(
        &mut self,
        item: &Item,
        v: Operand,
        (axis, start, len): (usize, usize, usize),
    ) -> Result<(), RuntimeError> {
        let x = self.read(&item.name, item.inputs[0])?;
        let view = x
            .view
            .slice(axis, start, len)
            .map_err(RuntimeError::kernel(&item.name))?;
        let plane = x.plane && axis == 1;
        self.places.insert(v, At { view, plane, ..x });
        Ok(())
    }

    /// Slice, Transpose and Reshape: a view where strides can say it, else a copy.
    fn rearrange(&mut self, item: &Item, op: &Op) -> Result<(), RuntimeError> {
        let v = item.outputs[0];
        if self.parents.rows.contains_key(&item.inputs[0]) || self.places.contains_key(&v) {
            return Ok(());
        }
        let x = self.read(&item.name, item.inputs[0])?;
        let shape = self.shape(v.value)?;
        let same_plane = match op {
            Op::Slice(slice) => slice
                .ranges
                .iter()
                .all(|r| r.step == 1 && (r.axis == 1 || r.len == x.view.shape[r.axis])),
            _ => false,
        };
        let view = match op {
            Op::Slice(slice) => layout::slice(&x.view, slice),
            Op::Transpose(transpose) => x.view.permute(&transpose.perm).ok(),
            _ => layout::reshape(&x.view, shape),
        };
        let at = match (view, op) {
            (Some(view), _) => At {
                view,
                plane: x.plane && same_plane,
                ..x
            },
            (None, Op::Reshape(_)) => {
                let view =
                    layout::row_major(&x.view.shape).map_err(RuntimeError::kernel(&item.name))?;
                let copy = self.flat(v.form, view);
                self.emit(item, copy_kernel(v.form), vec![x], vec![copy]);
                let view = layout::row_major(shape).map_err(RuntimeError::kernel(&item.name))?;
                At { view, ..copy }
            }
            (None, op) => return self.reference(item, op),
        };
        self.places.insert(v, at);
        Ok(())
    }

    /// Copies the inputs that were not produced in place.
    fn concat(&mut self, item: &Item, axis: usize) -> Result<(), RuntimeError> {
        let whole = self.place(&item.name, item.outputs[0])?;
        let mut runs: Vec<(Operand, At)> = Vec::with_capacity(item.inputs.len());
        for &v in &item.inputs {
            let x = self.read(&item.name, v)?;
            // Parts of one value that follow each other, as after a Split, are moved together.
            let joined = runs.last().and_then(|(last, at)| {
                let alike = last.form == v.form
                    && self.lowered.params.get(&last.value) == self.lowered.params.get(&v.value);
                layout::join(&at.view, &x.view, axis).filter(|_| alike && at.buffer == x.buffer)
            });
            match (joined, runs.last_mut()) {
                (Some(view), Some((_, at))) => at.view = view,
                _ => runs.push((v, x)),
            }
        }
        let mut start = 0;
        for (v, x) in runs {
            let len = x.view.shape[axis];
            let view = whole
                .view
                .slice(axis, start, len)
                .map_err(RuntimeError::kernel(&item.name))?;
            start += len;
            let y = At { view, ..whole };
            let kernel = self.conversion(v, item.outputs[0]);
            let there = x.buffer == y.buffer && layout::same_elements(&x.view, &y.view);
            if !there || !matches!(kernel, Kernel::Copy | Kernel::QCopy(None)) {
                self.emit(item, kernel, vec![x], vec![y]);
            }
        }
        Ok(())
    }

    /// What makes one value's elements those of another.
    fn conversion(&self, x: Operand, y: Operand) -> Kernel {
        match (x.form, y.form) {
            (Form::F32, Form::F32) => Kernel::Copy,
            (Form::F32, Form::U8) => Kernel::Quantize(self.params(y)),
            (Form::U8, Form::F32) => Kernel::Dequantize(self.params(x)),
            (Form::U8, Form::U8) => {
                let (from, to) = (self.params(x), self.params(y));
                Kernel::QCopy((from != to).then(|| requantize(from, to)))
            }
        }
    }

    fn island(&mut self, item: &Item, graph: &Arc<Graph>) -> Result<(), RuntimeError> {
        let reads = item.inputs.iter().map(|v| self.read(&item.name, *v));
        let inputs = reads.collect::<Result<_, _>>()?;
        let places = item.outputs.iter().map(|v| self.place(&item.name, *v));
        let outputs = places.collect::<Result<_, _>>()?;
        self.emit(item, Kernel::Island(Arc::clone(graph)), inputs, outputs);
        Ok(())
    }

    fn reference(&mut self, item: &Item, op: &Op) -> Result<(), RuntimeError> {
        let constants: Vec<Option<Tensor>> = item
            .inputs
            .iter()
            .map(|&v| self.lowered.constant(v.value).cloned())
            .collect();
        let mut inputs = Vec::new();
        for (&v, constant) in item.inputs.iter().zip(&constants) {
            if constant.is_none() {
                inputs.push(self.read(&item.name, v)?);
            }
        }
        let mut outputs = Vec::new();
        for &v in &item.outputs {
            outputs.push(self.place(&item.name, v)?);
        }
        let op = Box::new(op.clone());
        self.emit(item, Kernel::Reference { op, constants }, inputs, outputs);
        Ok(())
    }
}

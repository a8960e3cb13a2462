//! The schedule: every value gets a place, every item its steps.
use crate::RuntimeError;
use crate::layout::{self, At, Halo};
use crate::lowering::{Affine, FusedConv, Item, Lowered, Work};
use crate::step::{Kernel, Step};
use ir::ops::{BinaryKind, ResizeMode};
use ir::{DataType, NodeId, Op, Tensor, ValueId};
use kernels::{BinaryOp, ConvSpec, Isa, KernelError, PackedConv, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;

mod parents;

pub(crate) use parents::{Parent, parents};

/// Memory for one or several values.
pub(crate) struct Buffer {
    pub(crate) elements: usize,
    /// Where it lies as a whole, from its own start.
    pub(crate) root: At,
    halo: Halo,
    owner: Option<ValueId>,
    filled: bool,
    /// Elements that every session holds from its start.
    pub(crate) constant: Option<Vec<f32>>,
}

/// Packed weights by node, shared by the passes of one compilation.
pub(crate) type Packed = BTreeMap<NodeId, Arc<PackedConv>>;

/// One pass over the items.
pub(crate) struct Schedule<'a> {
    lowered: &'a Lowered<'a>,
    isa: Isa,
    parents: &'a BTreeMap<ValueId, Parent>,
    halos: &'a BTreeMap<ValueId, Halo>,
    packed: &'a mut Packed,
    places: BTreeMap<ValueId, At>,
    pub(crate) demands: BTreeMap<ValueId, Halo>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step<At>>,
    /// How many steps have run when a value is there.
    pub(crate) ready: BTreeMap<ValueId, usize>,
}

impl<'a> Schedule<'a> {
    /// Schedules all items with the halos that an earlier pass asked for.
    pub(crate) fn build(
        lowered: &'a Lowered<'a>,
        isa: Isa,
        parents: &'a BTreeMap<ValueId, Parent>,
        halos: &'a BTreeMap<ValueId, Halo>,
        packed: &'a mut Packed,
    ) -> Result<Self, RuntimeError> {
        let mut schedule = Schedule {
            lowered,
            isa,
            parents,
            halos,
            packed,
            places: BTreeMap::new(),
            demands: BTreeMap::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            ready: BTreeMap::new(),
        };
        for &v in lowered.graph.inputs() {
            let at = schedule.place("the model's input", v)?;
            schedule.fill(at.buffer, "the model's input");
            schedule.ready.insert(v, 0);
        }
        for item in &lowered.items {
            schedule.item(item)?;
            let now = schedule.steps.len();
            schedule
                .ready
                .extend(item.outputs.iter().map(|&v| (v, now)));
        }
        Ok(schedule)
    }

    /// Where a value lies; `None` for what is never computed.
    pub(crate) fn at(&self, v: ValueId) -> Option<At> {
        self.places.get(&v).copied()
    }

    fn shape(&self, v: ValueId) -> Result<&'a [usize], RuntimeError> {
        let ty = self.lowered.graph.ty(v)?;
        if ty.dtype == DataType::F32 {
            return Ok(&ty.shape);
        }
        Err(RuntimeError::DType {
            value: self.lowered.graph.value(v).name.clone(),
            found: ty.dtype,
        })
    }

    fn buffer(&mut self, shape: &[usize], halo: Halo) -> Result<At, KernelError> {
        let (view, elements) = layout::fresh(shape, halo)?;
        let root = At {
            buffer: self.buffers.len(),
            view,
            plane: shape.len() == 4,
        };
        self.buffers.push(Buffer {
            elements,
            root,
            halo,
            owner: None,
            filled: halo == [0; 4],
            constant: None,
        });
        Ok(root)
    }

    /// The place that a step writes a value to: a slice of the Concat it ends up in, or a buffer of its own.
    fn place(&mut self, name: &str, v: ValueId) -> Result<At, RuntimeError> {
        if let Some(&at) = self.places.get(&v) {
            return Ok(at);
        }
        let shape = self.shape(v)?;
        let inside = match self.parents.get(&v) {
            None => None,
            Some(parent) => {
                let whole = self.place(name, parent.value)?;
                let view = whole
                    .view
                    .slice(parent.axis, parent.start, parent.len)
                    .map_err(RuntimeError::kernel(name))?;
                let same = *view.shape == *shape;
                let view = if same {
                    Some(view)
                } else {
                    layout::reshape(&view, shape)
                };
                view.map(|view| At {
                    view,
                    plane: same && whole.plane && parent.axis == 1,
                    ..whole
                })
            }
        };
        let at = match inside {
            Some(at) => at,
            None => {
                let halo = self.halos.get(&v).copied().unwrap_or_default();
                let at = self
                    .buffer(shape, halo)
                    .map_err(RuntimeError::kernel(name))?;
                self.buffers[at.buffer].owner = Some(v);
                at
            }
        };
        self.places.insert(v, at);
        Ok(at)
    }

    /// Where an input lies; constants get a buffer that lives as long as the session.
    fn read(&mut self, name: &str, v: ValueId) -> Result<At, RuntimeError> {
        if let Some(&at) = self.places.get(&v) {
            return Ok(at);
        }
        let Some(tensor) = self.lowered.constant(v) else {
            return Err(RuntimeError::DType {
                value: self.lowered.graph.value(v).name.clone(),
                found: self.lowered.graph.ty(v)?.dtype,
            });
        };
        let data = tensor.to_f64().map_err(RuntimeError::operator(name))?;
        let at = self
            .buffer(tensor.shape(), [0; 4])
            .map_err(RuntimeError::kernel(name))?;
        self.buffers[at.buffer].constant = Some(data.into_iter().map(|x| x as f32).collect());
        self.places.insert(v, at);
        Ok(at)
    }

    fn fill(&mut self, buffer: usize, name: &str) {
        let buffer = &mut self.buffers[buffer];
        if !std::mem::replace(&mut buffer.filled, true) {
            self.steps.push(Step {
                name: name.to_owned(),
                kernel: Kernel::FillHalo(buffer.halo),
                inputs: vec![],
                outputs: vec![buffer.root],
                macs: 0,
            });
        }
    }

    fn emit(&mut self, item: &Item, kernel: Kernel, inputs: Vec<At>, outputs: Vec<At>) {
        for at in &outputs {
            self.fill(at.buffer, &item.name);
        }
        let macs = match kernel {
            Kernel::Copy => 0,
            _ => item.macs,
        };
        self.steps.push(Step {
            name: item.name.clone(),
            kernel,
            inputs,
            outputs,
            macs,
        });
    }

    /// The input as an image kernel needs it: channels side by side, and zeros around it as wide as `pads`.
    fn image(&mut self, item: &Item, at: At, pads: Halo) -> Result<At, RuntimeError> {
        let owner = self.buffers[at.buffer].owner;
        if layout::is_nhwc(&at.view) {
            if pads == [0; 4] {
                return Ok(at);
            }
            if let (true, Some(owner)) = (at.plane, owner) {
                let demand = self.demands.entry(owner).or_default();
                for (have, need) in demand.iter_mut().zip(pads) {
                    *have = (*have).max(need);
                }
                return Ok(at);
            }
        }
        let copy = self
            .buffer(&at.view.shape, pads)
            .map_err(RuntimeError::kernel(&item.name))?;
        self.emit(item, Kernel::Copy, vec![at], vec![copy]);
        Ok(copy)
    }

    fn item(&mut self, item: &Item) -> Result<(), RuntimeError> {
        match &item.work {
            Work::Conv(conv) => self.conv(item, conv),
            Work::Unary(op) => {
                let x = self.read(&item.name, item.inputs[0])?;
                self.simple(item, Kernel::Unary(*op), vec![x])
            }
            Work::Node(op) => self.node(item, op),
        }
    }

    /// One step that writes the item's only output.
    fn simple(&mut self, item: &Item, kernel: Kernel, inputs: Vec<At>) -> Result<(), RuntimeError> {
        let y = self.place(&item.name, item.outputs[0])?;
        self.emit(item, kernel, inputs, vec![y]);
        Ok(())
    }

    fn conv(&mut self, item: &Item, conv: &FusedConv) -> Result<(), RuntimeError> {
        let x = self.read(&item.name, item.inputs[0])?;
        let mut inputs = vec![self.image(item, x, conv.conv.pads)?];
        if let Some(residual) = conv.residual {
            let residual = self.read(&item.name, residual)?;
            inputs.push(self.image(item, residual, [0; 4])?);
        }
        let packed = match self.packed.get(&item.node) {
            Some(packed) => Arc::clone(packed),
            None => {
                let packed = Arc::new(self.pack(item, conv)?);
                self.packed.insert(item.node, Arc::clone(&packed));
                packed
            }
        };
        let kernel = Kernel::Conv {
            packed,
            activation: conv.activation,
            fake_quantize: conv.fake_quantize,
        };
        self.simple(item, kernel, inputs)
    }

    fn pack(&self, item: &Item, conv: &FusedConv) -> Result<PackedConv, RuntimeError> {
        let weights = |v: ValueId| -> Result<&[f32], RuntimeError> {
            let tensor = self.lowered.constant(v);
            tensor
                .expect("lowering fuses constant weights only")
                .as_slice::<f32>()
                .map_err(RuntimeError::operator(&item.name))
        };
        let mut weight = weights(conv.weight)?.to_vec();
        let mut bias = conv.bias.map(weights).transpose()?.map(<[f32]>::to_vec);
        if let Some(affine) = &conv.affine {
            let outputs = affine.scale.len();
            let kernel = (weight.len() / outputs.max(1)).max(1);
            for (row, scale) in weight.chunks_exact_mut(kernel).zip(&affine.scale) {
                row.iter_mut().for_each(|w| *w *= scale);
            }
            let channels = affine.scale.iter().zip(&affine.shift);
            let old = bias.unwrap_or_else(|| vec![0.0; outputs]);
            bias = Some(
                old.iter()
                    .zip(channels)
                    .map(|(b, (s, t))| b * s + t)
                    .collect(),
            );
        }
        let spec = ConvSpec {
            weight,
            in_channels_per_group: self.shape(item.inputs[0])?[1] / conv.conv.group,
            out_channels: self.shape(item.outputs[0])?[1],
            kernel: conv.conv.kernel_shape,
            strides: conv.conv.strides,
            dilations: conv.conv.dilations,
            pads: conv.conv.pads,
            group: conv.conv.group,
            bias,
        };
        PackedConv::new(&spec, self.isa).map_err(RuntimeError::kernel(&item.name))
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
                let kernel = Kernel::MaxPool(Pool {
                    kernel: pool.kernel_shape,
                    strides: pool.strides,
                    dilations: pool.dilations,
                    pads: pool.pads,
                    count_include_pad: false,
                });
                let x = self.read(&item.name, item.inputs[0])?;
                let x = self.image(item, x, [0; 4])?;
                self.simple(item, kernel, vec![x])
            }
            Op::Resize(resize) => {
                let ResizeMode::Nearest(mode) = resize.mode else {
                    return self.reference(item, op);
                };
                let x = self.read(&item.name, item.inputs[0])?;
                let x = self.image(item, x, [0; 4])?;
                let map = |axis: usize| resize.nearest_map(axis, x.view.shape[2 + axis], mode);
                let (map_h, map_w) = (map(0), map(1));
                self.simple(item, Kernel::Resize { map_h, map_w }, vec![x])
            }
            Op::Binary(binary) => {
                let kernel = Kernel::Binary(binary_op(binary.kind));
                let shape = self.shape(item.outputs[0])?;
                let mut inputs = Vec::with_capacity(2);
                for &v in &item.inputs {
                    let at = self.read(&item.name, v)?;
                    let view = layout::broadcast(&at.view, shape)
                        .map_err(RuntimeError::kernel(&item.name))?;
                    inputs.push(At { view, ..at });
                }
                self.simple(item, kernel, inputs)
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

    /// Places an output in row-major order where its input's last axis is dense, so that a kernel finds runs in both.
    fn like(&mut self, v: ValueId, x: &At) {
        let dense = x.view.strides.last() == Some(&1) && !layout::is_nhwc(&x.view);
        if dense && !self.parents.contains_key(&v) && !self.places.contains_key(&v) {
            let at = self.flat(kernels::View::contiguous(0, &x.view.shape));
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
            let constant = self.flat(view);
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
        v: ValueId,
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
        let (v, x) = (item.outputs[0], self.read(&item.name, item.inputs[0])?);
        let shape = self.shape(v)?;
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
                let copy = self.flat(view);
                self.emit(item, Kernel::Copy, vec![x], vec![copy]);
                let view = layout::row_major(shape).map_err(RuntimeError::kernel(&item.name))?;
                At { view, ..copy }
            }
            (None, op) => return self.reference(item, op),
        };
        self.places.insert(v, at);
        Ok(())
    }

    /// A row-major buffer, whatever the number of axes.
    fn flat(&mut self, view: kernels::View) -> At {
        let root = At {
            buffer: self.buffers.len(),
            view,
            plane: false,
        };
        self.buffers.push(Buffer {
            elements: view.elements(),
            root,
            halo: [0; 4],
            owner: None,
            filled: true,
            constant: None,
        });
        root
    }

    /// Copies the inputs that were not produced in place.
    fn concat(&mut self, item: &Item, axis: usize) -> Result<(), RuntimeError> {
        let whole = self.place(&item.name, item.outputs[0])?;
        let mut start = 0;
        for &v in &item.inputs {
            let x = self.read(&item.name, v)?;
            let len = x.view.shape[axis];
            let view = whole
                .view
                .slice(axis, start, len)
                .map_err(RuntimeError::kernel(&item.name))?;
            start += len;
            let y = At { view, ..whole };
            if x.buffer != y.buffer || !layout::same_elements(&x.view, &y.view) {
                self.emit(item, Kernel::Copy, vec![x], vec![y]);
            }
        }
        Ok(())
    }

    fn reference(&mut self, item: &Item, op: &Op) -> Result<(), RuntimeError> {
        let constants: Vec<Option<Tensor>> = item
            .inputs
            .iter()
            .map(|&v| self.lowered.constant(v).cloned())
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

fn binary_op(kind: BinaryKind) -> BinaryOp {
    match kind {
        BinaryKind::Add => BinaryOp::Add,
        BinaryKind::Sub => BinaryOp::Sub,
        BinaryKind::Mul => BinaryOp::Mul,
        BinaryKind::Div => BinaryOp::Div,
        BinaryKind::Pow => BinaryOp::Pow,
    }
}

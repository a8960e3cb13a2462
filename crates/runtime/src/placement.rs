//! Where values lie: every value gets a place in a buffer, and kernels are told the places of their operands.
use crate::RuntimeError;
use crate::conversion::{
    copy, copy_u8, fill_halo, fill_halo_u8, look_up, requantize, to_f32, to_u8,
};
use crate::layout::{self, At, Halo};
use crate::step::{Kernel, Operands, Packing, Step};
use crate::values::{Form, Operand, Values};
use ir::{DataType, ValueId};
use kernels::{Isa, KernelError, U8Params, View};
use std::collections::BTreeMap;

mod destinations;

pub(crate) use destinations::{AnchorRows, Destination, Destinations};

/// Memory for one or several values.
pub(crate) struct Buffer {
    /// Which arena it lies in.
    pub(crate) form: Form,
    pub(crate) elements: usize,
    /// Where it lies as a whole, from its own start.
    pub(crate) root: At,
    halo: Halo,
    /// The value whose place it is: what asks for a larger halo.
    owner: Option<Operand>,
    /// What stands for 0, where it holds quantized values.
    zero_point: u8,
    /// Whether a step has filled its halo.
    filled: bool,
    /// Elements that every session holds from its start.
    pub(crate) constant: Option<Vec<f32>>,
}

/// A value and where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) value: Operand,
    pub(crate) at: At,
}

/// A kernel, and what is known of it beside its operands.
pub(crate) struct Made {
    pub(crate) kernel: Kernel,
    /// Where parameters of the graph are packed into it.
    pub(crate) packing: Option<Box<dyn Packing>>,
    /// How many equal steps the item is divided into.
    pub(crate) shares: usize,
}

impl From<Kernel> for Made {
    fn from(kernel: Kernel) -> Self {
        Self { kernel, packing: None, shares: 1 }
    }
}

/// Where the operands of all steps lie.
///
/// A convolution wants a halo around its input, which another step may have placed before. So places are given several
/// times, each time with the halos that the last time asked for ([`Placement::demands`]), and only the last time makes
/// kernels.
pub(crate) struct Placement<'a> {
    pub(crate) values: &'a Values<'a>,
    pub(crate) isa: Isa,
    pub(crate) destinations: &'a Destinations,
    halos: &'a BTreeMap<Operand, Halo>,
    makes_kernels: bool,
    /// Name and multiply-accumulate operations of the item that is being placed.
    name: String,
    macs: u64,
    places: BTreeMap<Operand, At>,
    /// The halos that kernels need around their inputs.
    pub(crate) demands: BTreeMap<Operand, Halo>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step<At>>,
    /// How many steps have run when a value is there.
    pub(crate) ready: BTreeMap<Operand, usize>,
    /// Parameters of the graph that lie in the arena.
    pub(crate) parameters: BTreeMap<ValueId, At>,
}

impl<'a> Placement<'a> {
    /// Nothing is placed yet.
    pub(crate) fn new(
        values: &'a Values<'a>,
        isa: Isa,
        destinations: &'a Destinations,
        halos: &'a BTreeMap<Operand, Halo>,
        makes_kernels: bool,
    ) -> Self {
        Placement {
            values,
            isa,
            destinations,
            halos,
            makes_kernels,
            name: String::new(),
            macs: 0,
            places: BTreeMap::new(),
            demands: BTreeMap::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            ready: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// Places an input of the model.
    pub(crate) fn input(&mut self, v: Operand) -> Result<(), RuntimeError> {
        self.begin("the model's input", 0);
        let at = self.place(v)?;
        self.fill(at.buffer);
        self.ready.insert(v, 0);
        Ok(())
    }

    /// What is placed and emitted from here on belongs to this item.
    pub(crate) fn begin(&mut self, name: &str, macs: u64) {
        name.clone_into(&mut self.name);
        self.macs = macs;
    }

    /// The item has emitted all its kernels, so these values are there.
    pub(crate) fn end(&mut self, outputs: &[Operand]) {
        let now = self.steps.len();
        self.ready.extend(outputs.iter().map(|&v| (v, now)));
    }

    /// Where a value lies; `None` for what is never computed.
    pub(crate) fn at(&self, v: Operand) -> Option<At> {
        self.places.get(&v).copied()
    }

    /// A step that makes the item's only result of its first input, both wherever they lie.
    pub(crate) fn emit_unary(
        &mut self,
        kernel: Kernel,
        x: Operand,
        y: Operand,
    ) -> Result<(), RuntimeError> {
        let (x, y) = (self.read(x)?, self.place(y)?);
        self.emit_kernel(kernel, vec![x], y)
    }

    /// Says where a value lies: it is a view of what is there already.
    pub(crate) fn set(&mut self, v: Operand, at: At) {
        self.places.insert(v, at);
    }

    /// The shape of a value in the arena.
    ///
    /// # Errors
    /// `DType` for a value of another type than f32, unless it is an input or an output of the model: those are f32 outside.
    pub(crate) fn shape(&self, v: Operand) -> Result<&'a [usize], RuntimeError> {
        let graph = self.values.graph;
        let ty = graph.ty(v.value)?;
        let is_border = || graph.inputs().contains(&v.value) || graph.outputs().contains(&v.value);
        if ty.dtype == DataType::F32 || is_border() {
            return Ok(&ty.shape);
        }
        Err(self.values.other_type(v.value))
    }

    /// What the quantized form of a value stands for.
    pub(crate) fn params(&self, v: Operand) -> U8Params {
        let params = self.values.params.get(&v.value);
        *params.expect("lowering gives parameters to every value that is held as u8")
    }

    /// The parameters of a value that is held as u8; `None` for f32.
    pub(crate) fn stored_params(&self, v: Operand) -> Option<U8Params> {
        (v.form == Form::U8).then(|| self.params(v))
    }

    /// Adds the item's name to a kernel's complaint.
    pub(crate) fn check<T>(&self, result: Result<T, KernelError>) -> Result<T, RuntimeError> {
        result.map_err(RuntimeError::kernel(&self.name))
    }

    /// A buffer for a value, or for a copy of it.
    fn buffer(&mut self, v: Operand, shape: &[usize], halo: Halo) -> Result<At, RuntimeError> {
        let (view, elements) = self.check(layout::fresh(shape, halo))?;
        let zero_point = self.stored_params(v).map_or(0, |p| p.zero_point);
        Ok(self.push(Buffer {
            form: v.form,
            elements,
            root: At { buffer: self.buffers.len(), view, covers_pixels: shape.len() == 4 },
            halo,
            owner: None,
            zero_point,
            filled: halo == [0; 4],
            constant: None,
        }))
    }

    /// A buffer without halo for a view that starts at 0, whatever the number of axes.
    fn dense(&mut self, form: Form, view: View) -> At {
        self.push(Buffer {
            form,
            elements: view.elements(),
            root: At { buffer: self.buffers.len(), view, covers_pixels: false },
            halo: [0; 4],
            owner: None,
            zero_point: 0,
            filled: true,
            constant: None,
        })
    }

    fn push(&mut self, buffer: Buffer) -> At {
        let root = buffer.root;
        self.buffers.push(buffer);
        root
    }

    /// A row-major buffer of these elements, which lives as long as the session.
    pub(crate) fn constant(&mut self, shape: &[usize], data: &[f32]) -> Result<At, RuntimeError> {
        let view = self.check(layout::row_major(shape))?;
        let at = self.dense(Form::F32, view);
        self.buffers[at.buffer].constant = Some(data.to_vec());
        Ok(at)
    }

    /// A row-major copy of what lies at `x`.
    pub(crate) fn row_major_copy(&mut self, x: At, form: Form) -> Result<At, RuntimeError> {
        let view = self.check(layout::row_major(&x.view.shape))?;
        let copy = self.dense(form, view);
        self.emit_copy(form, x, copy)?;
        Ok(copy)
    }

    /// The place that a step writes a value to: a slice of the Concat it ends up in, or a buffer of its own.
    pub(crate) fn place(&mut self, v: Operand) -> Result<At, RuntimeError> {
        // Concats of Concats nest as deep as a file says: from the value out to the first that has a place, and back.
        let mut waiting = Vec::new();
        let mut at = v;
        while !self.places.contains_key(&at) {
            waiting.push(at);
            let Some(destination) = self.destinations.of.get(&at) else {
                break;
            };
            at = destination.value;
        }
        for &v in waiting.iter().rev() {
            let at = match self.inside(v)? {
                Some(at) => at,
                None => self.own(v)?,
            };
            self.places.insert(v, at);
        }
        Ok(self.places[&v])
    }

    /// As [`Placement::place`], in row-major order where the value may lie anywhere: for kernels that find runs in both operands
    /// then, as `x` has its last axis dense.
    pub(crate) fn place_like(&mut self, v: Operand, x: &At) -> Result<At, RuntimeError> {
        let is_dense = x.view.strides.last() == Some(&1) && !layout::is_nhwc(&x.view);
        let is_free = !self.destinations.of.contains_key(&v) && !self.places.contains_key(&v);
        if is_dense && is_free {
            let at = self.dense(v.form, View::contiguous(0, &x.view.shape));
            self.places.insert(v, at);
        }
        self.place(v)
    }

    /// The part of its destination that a value is; `None` where it has none or no view says so.
    fn inside(&mut self, v: Operand) -> Result<Option<At>, RuntimeError> {
        let Some(destination) = self.destinations.of.get(&v) else {
            return Ok(None);
        };
        let shape = self.shape(v)?;
        let whole = self.places[&destination.value];
        let Destination { axis, start, len, .. } = *destination;
        let view = self.check(whole.view.slice(axis, start, len))?;
        let is_same = *view.shape == *shape;
        let view = if is_same { Some(view) } else { layout::reshape(&view, shape) };
        Ok(view.map(|view| At {
            view,
            covers_pixels: is_same && whole.covers_pixels && axis == 1,
            ..whole
        }))
    }

    /// A buffer of its own for a value.
    fn own(&mut self, v: Operand) -> Result<At, RuntimeError> {
        let shape = self.shape(v)?;
        let halo = self.halos.get(&v).copied().unwrap_or_default();
        let flat = layout::channels_last(shape);
        let at = match flat.filter(|_| self.destinations.channels_last.contains(&v)) {
            Some(view) => self.dense(v.form, view),
            None => self.buffer(v, shape, halo)?,
        };
        self.buffers[at.buffer].owner = Some(v);
        Ok(at)
    }

    /// Where an input lies; constants and parameters get a buffer that lives as long as the session.
    pub(crate) fn read(&mut self, v: Operand) -> Result<At, RuntimeError> {
        if let Some(&at) = self.places.get(&v) {
            return Ok(at);
        }
        let parameter = self.values.graph.parameter(v.value);
        let Some(tensor) = self.values.constant(v.value).or(parameter) else {
            return Err(self.values.other_type(v.value));
        };
        let data = tensor.to_f64().map_err(RuntimeError::operator(&self.name))?;
        let at = self.buffer(v, tensor.shape(), [0; 4])?;
        self.buffers[at.buffer].constant = Some(data.into_iter().map(|x| x as f32).collect());
        self.places.insert(v, at);
        if parameter.is_some() {
            self.parameters.insert(v.value, at);
        }
        Ok(at)
    }

    /// Where all these inputs lie.
    pub(crate) fn read_all(&mut self, operands: &[Operand]) -> Result<Vec<At>, RuntimeError> {
        operands.iter().map(|&v| self.read(v)).collect()
    }

    /// The inputs under the shape of the result that they are broadcast to.
    pub(crate) fn broadcast(
        &mut self,
        operands: &[Operand],
        result: Operand,
    ) -> Result<Vec<At>, RuntimeError> {
        let shape = self.shape(result)?;
        let mut inputs = Vec::with_capacity(operands.len());
        for &v in operands {
            let at = self.read(v)?;
            inputs.push(self.broadcast_view(at, shape)?);
        }
        Ok(inputs)
    }

    /// What lies at `at`, under a shape that it broadcasts to.
    pub(crate) fn broadcast_view(&self, at: At, shape: &[usize]) -> Result<At, RuntimeError> {
        let view = self.check(layout::broadcast(&at.view, shape))?;
        Ok(At { view, ..at })
    }

    /// An input as an image kernel needs it: channels side by side, and zeros around it as wide as `pads`.
    pub(crate) fn image(&mut self, v: Operand, pads: Halo) -> Result<At, RuntimeError> {
        let at = self.read(v)?;
        let owner = self.buffers[at.buffer].owner;
        if layout::is_nhwc(&at.view) {
            if pads == [0; 4] {
                return Ok(at);
            }
            if let (true, Some(owner)) = (at.covers_pixels, owner) {
                let demand = self.demands.entry(owner).or_default();
                *demand = layout::larger(*demand, pads);
                return Ok(at);
            }
        }
        let copy = self.buffer(v, &at.view.shape, pads)?;
        self.emit_copy(v.form, at, copy)?;
        Ok(copy)
    }

    /// A step that fills the halo of a buffer that is written for the first time.
    fn fill(&mut self, buffer: usize) {
        let buffer = &mut self.buffers[buffer];
        if std::mem::replace(&mut buffer.filled, true) {
            return;
        }
        let halo = buffer.halo;
        let kernel = match buffer.form {
            Form::F32 => fill_halo(halo),
            Form::U8 => fill_halo_u8(halo, buffer.zero_point),
        };
        let outputs = vec![buffer.root];
        self.steps.push(Step {
            name: self.name.clone(),
            kernel,
            packing: None,
            at: Operands { inputs: vec![], outputs },
            macs: 0,
        });
    }

    /// A step that runs a kernel; `make` is called only where kernels are made.
    pub(crate) fn emit(
        &mut self,
        inputs: Vec<At>,
        outputs: Vec<At>,
        make: impl FnOnce() -> Result<Made, RuntimeError>,
    ) -> Result<(), RuntimeError> {
        for at in &outputs {
            self.fill(at.buffer);
        }
        if self.makes_kernels {
            let made = make()?;
            self.steps.push(Step {
                name: self.name.clone(),
                kernel: made.kernel,
                packing: made.packing,
                at: Operands { inputs, outputs },
                macs: self.macs / made.shares as u64,
            });
        }
        Ok(())
    }

    /// As [`Placement::emit`], of a kernel that needs nothing to be made.
    pub(crate) fn emit_kernel(
        &mut self,
        kernel: Kernel,
        inputs: Vec<At>,
        output: At,
    ) -> Result<(), RuntimeError> {
        self.emit(inputs, vec![output], || Ok(kernel.into()))
    }

    fn emit_copy(&mut self, form: Form, from: At, to: At) -> Result<(), RuntimeError> {
        let macs = std::mem::take(&mut self.macs);
        match form {
            Form::F32 => self.emit_kernel(copy(), vec![from], to)?,
            Form::U8 => self.emit_kernel(copy_u8(), vec![from], to)?,
        }
        self.macs = macs;
        Ok(())
    }

    /// A step that makes the elements of `y` of those of `x`, unless they are there already.
    pub(crate) fn emit_conversion(&mut self, x: Placed, y: Placed) -> Result<(), RuntimeError> {
        let (from, to) = (x.at, y.at);
        let is_there = from.buffer == to.buffer && layout::same_elements(&from.view, &to.view);
        match (self.stored_params(x.value), self.stored_params(y.value)) {
            (None, None) if is_there => Ok(()),
            (Some(a), Some(b)) if a == b && is_there => Ok(()),
            (None, None) => self.emit_copy(Form::F32, from, to),
            (Some(a), Some(b)) if a == b => self.emit_copy(Form::U8, from, to),
            (Some(a), Some(b)) => self.emit_kernel(look_up(requantize(a, b)), vec![from], to),
            (None, Some(params)) => self.emit_kernel(to_u8(params), vec![from], to),
            (Some(params), None) => self.emit_kernel(to_f32(params), vec![from], to),
        }
    }
}

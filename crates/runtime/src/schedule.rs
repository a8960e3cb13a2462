//! The schedule: every value gets a place, every item its steps.
use crate::RuntimeError;
use crate::layout::{self, At, Halo};
use crate::lowering::{Form, Item, Lowered, Operand};
use crate::step::{Kernel, Step};
use ir::{DataType, NodeId, ValueId};
use kernels::{Isa, KernelError, PackedConv, PackedQConv, U8Params, View};
use std::collections::BTreeMap;
use std::sync::Arc;

mod convolutions;
mod nodes;
mod operations;
mod parents;
mod rows;

pub(crate) use operations::{binary_op, q_activation};
pub(crate) use parents::{Parents, parents};

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
    /// The quantized value that stands for 0, where it holds quantized values.
    zero_point: u8,
    filled: bool,
    /// Elements that every session holds from its start.
    pub(crate) constant: Option<Vec<f32>>,
}

/// Packed weights by node and group of output channels, shared by the passes of one compilation.
#[derive(Default)]
pub(crate) struct Packed {
    f32: BTreeMap<(NodeId, usize), Arc<PackedConv>>,
    u8: BTreeMap<(NodeId, usize), Arc<PackedQConv>>,
}

/// One pass over the items.
pub(crate) struct Schedule<'a> {
    lowered: &'a Lowered<'a>,
    isa: Isa,
    parents: &'a Parents,
    halos: &'a BTreeMap<Operand, Halo>,
    packed: &'a mut Packed,
    places: BTreeMap<Operand, At>,
    pub(crate) demands: BTreeMap<Operand, Halo>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step<At>>,
    /// How many steps have run when a value is there.
    pub(crate) ready: BTreeMap<Operand, usize>,
}

impl<'a> Schedule<'a> {
    /// Schedules all items with the halos that an earlier pass asked for.
    pub(crate) fn build(
        lowered: &'a Lowered<'a>,
        isa: Isa,
        parents: &'a Parents,
        halos: &'a BTreeMap<Operand, Halo>,
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
        for &v in &lowered.inputs {
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
    pub(crate) fn at(&self, v: Operand) -> Option<At> {
        self.places.get(&v).copied()
    }

    fn shape(&self, v: ValueId) -> Result<&'a [usize], RuntimeError> {
        let graph = self.lowered.graph;
        let ty = graph.ty(v)?;
        // At the border of the model numbers of every type are f32.
        let border = || graph.inputs().contains(&v) || graph.outputs().contains(&v);
        if ty.dtype == DataType::F32 || border() {
            return Ok(&ty.shape);
        }
        Err(RuntimeError::DType {
            value: self.lowered.graph.value(v).name.clone(),
            found: ty.dtype,
        })
    }

    /// What the quantized values of a value stand for.
    fn params(&self, v: Operand) -> U8Params {
        let params = self.lowered.params.get(&v.value);
        *params.expect("lowering gives params to every value that is held as quantized values")
    }

    /// A buffer for a value, or for a copy of it.
    fn buffer(&mut self, v: Operand, shape: &[usize], halo: Halo) -> Result<At, KernelError> {
        let (view, elements) = layout::fresh(shape, halo)?;
        let zero_point = match v.form {
            Form::F32 => 0,
            Form::U8 => self.params(v).zero_point,
        };
        let plane = shape.len() == 4;
        Ok(self.push(Buffer {
            form: v.form,
            elements,
            root: At {
                buffer: 0,
                view,
                plane,
            },
            halo,
            owner: None,
            zero_point,
            filled: halo == [0; 4],
            constant: None,
        }))
    }

    /// A row-major buffer, whatever the number of axes.
    fn flat(&mut self, form: Form, view: View) -> At {
        self.push(Buffer {
            form,
            elements: view.elements(),
            root: At {
                buffer: 0,
                view,
                plane: false,
            },
            halo: [0; 4],
            owner: None,
            zero_point: 0,
            filled: true,
            constant: None,
        })
    }

    fn push(&mut self, mut buffer: Buffer) -> At {
        buffer.root.buffer = self.buffers.len();
        let root = buffer.root;
        self.buffers.push(buffer);
        root
    }

    /// The place that a step writes a value to: a slice of the Concat it ends up in, or a buffer of its own.
    fn place(&mut self, name: &str, v: Operand) -> Result<At, RuntimeError> {
        // Concats of Concats nest as deep as a file says: from the value out to the first that has a place, and back.
        let mut waiting = Vec::new();
        let mut at = v;
        while !self.places.contains_key(&at) {
            waiting.push(at);
            let Some(parent) = self.parents.of.get(&at) else {
                break;
            };
            at = parent.value;
        }
        for &v in waiting.iter().rev() {
            let at = match self.inside(name, v)? {
                Some(at) => at,
                None => self.own(name, v)?,
            };
            self.places.insert(v, at);
        }
        Ok(self.places[&v])
    }

    /// The part of its parent's place that a value is; `None` where it has no parent or no view says so.
    fn inside(&mut self, name: &str, v: Operand) -> Result<Option<At>, RuntimeError> {
        let Some(parent) = self.parents.of.get(&v) else {
            return Ok(None);
        };
        let shape = self.shape(v.value)?;
        let whole = self.places[&parent.value];
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
        Ok(view.map(|view| At {
            view,
            plane: same && whole.plane && parent.axis == 1,
            ..whole
        }))
    }

    /// A buffer of its own for a value.
    fn own(&mut self, name: &str, v: Operand) -> Result<At, RuntimeError> {
        let shape = self.shape(v.value)?;
        let halo = self.halos.get(&v).copied().unwrap_or_default();
        let flat = layout::channels_last(shape);
        let at = match flat.filter(|_| self.parents.channels_last.contains(&v)) {
            Some(view) => self.flat(v.form, view),
            None => self
                .buffer(v, shape, halo)
                .map_err(RuntimeError::kernel(name))?,
        };
        self.buffers[at.buffer].owner = Some(v);
        Ok(at)
    }

    /// Where an input lies; constants get a buffer that lives as long as the session.
    fn read(&mut self, name: &str, v: Operand) -> Result<At, RuntimeError> {
        if let Some(&at) = self.places.get(&v) {
            return Ok(at);
        }
        let Some(tensor) = self.lowered.constant(v.value) else {
            return Err(RuntimeError::DType {
                value: self.lowered.graph.value(v.value).name.clone(),
                found: self.lowered.graph.ty(v.value)?.dtype,
            });
        };
        let data = tensor.to_f64().map_err(RuntimeError::operator(name))?;
        let at = self
            .buffer(v, tensor.shape(), [0; 4])
            .map_err(RuntimeError::kernel(name))?;
        self.buffers[at.buffer].constant = Some(data.into_iter().map(|x| x as f32).collect());
        self.places.insert(v, at);
        Ok(at)
    }

    fn fill(&mut self, buffer: usize, name: &str) {
        let buffer = &mut self.buffers[buffer];
        if !std::mem::replace(&mut buffer.filled, true) {
            let kernel = match buffer.form {
                Form::F32 => Kernel::FillHalo(buffer.halo),
                Form::U8 => Kernel::QFillHalo(buffer.halo, buffer.zero_point),
            };
            self.steps.push(Step {
                name: name.to_owned(),
                kernel,
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
            Kernel::Copy | Kernel::QCopy(_) => 0,
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
    fn image(
        &mut self,
        item: &Item,
        (v, at): (Operand, At),
        pads: Halo,
    ) -> Result<At, RuntimeError> {
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
            .buffer(v, &at.view.shape, pads)
            .map_err(RuntimeError::kernel(&item.name))?;
        self.emit(item, copy_kernel(v.form), vec![at], vec![copy]);
        Ok(copy)
    }

    /// One step that writes the item's only output.
    fn simple(&mut self, item: &Item, kernel: Kernel, inputs: Vec<At>) -> Result<(), RuntimeError> {
        let y = self.place(&item.name, item.outputs[0])?;
        self.emit(item, kernel, inputs, vec![y]);
        Ok(())
    }
}

fn copy_kernel(form: Form) -> Kernel {
    match form {
        Form::F32 => Kernel::Copy,
        Form::U8 => Kernel::QCopy(None),
    }
}

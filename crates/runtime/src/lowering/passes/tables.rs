//! Functions of one quantized value, collapsed into tables of 256 results.
use super::quantized_values::u8_params;
use crate::RuntimeError;
use crate::conversion::{self, dequantize, quantize, requantize};
use crate::lowering::rewriter::Rewriter;
use crate::step::{Kernel, Operands, StepError};
use crate::steps::{Int8, Item, Table, Work};
use crate::values::Operand;
use ir::ValueId;
use kernels::{Arena, Context, Isa, KernelError, ThreadPool, U8Params, U8Table, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The real value for each quantized value of some other value.
type RealValues = [f32; 256];

/// Longest expression that is looked through.
const MAX_DEPTH: usize = 8;

/// Turns each quantized expression of a single quantized value (Sigmoid, SiLU with a quantized gate, another scale) into a table.
///
/// # Errors
/// `Kernel` when a kernel refuses to compute the table.
pub(super) fn collapse(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    let calculator = Calculator::new();
    let mut finder = Finder {
        tables: BTreeMap::new(),
        calculator: calculator.map_err(RuntimeError::kernel("tables of quantized values"))?,
    };
    for i in r.positions() {
        let Some(params) = u8_params(&r[i]) else {
            continue;
        };
        let Some((root, reals)) = finder.root(r, r[i].inputs[0].value)? else {
            continue;
        };
        let table: conversion::Table = Arc::new(reals.map(|x| quantize(x, params)));
        let step = FoundTable { from: root, table: Arc::clone(&table) };
        finder.tables.insert(r[i].output().value, step);
        r[i].work = Work::Table(Table(table));
        r.set_inputs(i, vec![Operand::f32(root)]);
    }
    Ok(())
}

/// A value that is a table of another.
struct FoundTable {
    from: ValueId,
    table: conversion::Table,
}

struct Finder {
    tables: BTreeMap<ValueId, FoundTable>,
    calculator: Calculator,
}

impl Finder {
    /// The quantized value that `v` is a function of, the nearest if there are several, and the function.
    fn root(
        &mut self,
        r: &Rewriter<'_, '_>,
        v: ValueId,
    ) -> Result<Option<(ValueId, RealValues)>, RuntimeError> {
        let mut candidate = self.leaf(r, v, MAX_DEPTH);
        while let Some(root) = candidate {
            if let Some(reals) = self.real_values(r, v, root, MAX_DEPTH)? {
                return Ok(Some((root, reals)));
            }
            candidate = self.tables.get(&root).map(|table| table.from);
        }
        Ok(None)
    }

    /// The first quantized value that enters an expression.
    fn leaf(&self, r: &Rewriter<'_, '_>, v: ValueId, depth: usize) -> Option<ValueId> {
        if r.values.params.contains_key(&v) {
            return Some(v);
        }
        let (item, _) = expression(r, v, depth)?;
        let mut inputs = item.inputs.iter();
        inputs.find_map(|x| self.leaf(r, x.value, depth - 1))
    }

    /// The value that `v` has for each quantized value of `root`; `None` where it depends on something else.
    fn real_values(
        &mut self,
        r: &Rewriter<'_, '_>,
        v: ValueId,
        root: ValueId,
        depth: usize,
    ) -> Result<Option<RealValues>, RuntimeError> {
        if let Some(&params) = r.values.params.get(&v) {
            let quantized = self.quantized(v, root);
            return Ok(quantized.map(|values| values.map(|q| dequantize(q, params))));
        }
        if let Some(constant) = r.values.constant(v) {
            let data = constant.as_slice::<f32>().ok();
            let one = data.filter(|data| data.len() == 1);
            return Ok(one.map(|data| [data[0]; 256]));
        }
        let Some((item, kernel)) = expression(r, v, depth) else {
            return Ok(None);
        };
        let mut operands = Vec::with_capacity(2);
        for x in &item.inputs {
            match self.real_values(r, x.value, root, depth - 1)? {
                Some(reals) => operands.push(reals),
                None => return Ok(None),
            }
        }
        let reals = self.calculator.calculate(&kernel, &operands);
        reals.map(Some).map_err(|e| e.at(&item.name))
    }

    /// The quantized value that `v` has for each of `root`.
    fn quantized(&self, mut v: ValueId, root: ValueId) -> Option<[u8; 256]> {
        let mut path = Vec::new();
        while v != root {
            let found = self.tables.get(&v)?;
            path.push(&found.table);
            v = found.from;
        }
        let same: [u8; 256] = std::array::from_fn(|q| q as u8);
        let apply =
            |values: [u8; 256], table: &conversion::Table| values.map(|q| table[usize::from(q)]);
        Some(path.into_iter().rev().fold(same, apply))
    }
}

/// The element-wise operation that computes a value, with its kernel.
fn expression<'r>(r: &'r Rewriter<'_, '_>, v: ValueId, depth: usize) -> Option<(&'r Item, Kernel)> {
    let item = &r[r.writer(Operand::f32(v))?];
    match item.work.int8() {
        Int8::ElementWise(kernel) if depth > 0 => Some((item, *kernel)),
        _ => None,
    }
}

/// Runs f32 kernels on 256 values; always scalar, so that tables are the same on every instruction set.
struct Calculator {
    f32_arena: Arena<f32>,
    u8_arena: Arena<u8>,
    pool: ThreadPool,
}

impl Calculator {
    /// Most operands of a kernel.
    const OPERANDS: usize = 2;

    fn new() -> Result<Self, KernelError> {
        Ok(Self {
            f32_arena: Arena::new((Self::OPERANDS + 1) * 256)?,
            u8_arena: Arena::new(0)?,
            pool: ThreadPool::new(1),
        })
    }

    fn calculate(
        &mut self,
        kernel: &Kernel,
        operands: &[RealValues],
    ) -> Result<RealValues, StepError> {
        let view = |i: usize| View::contiguous(i * 256, &[256]);
        let at = Operands {
            inputs: (0..operands.len()).map(view).collect(),
            outputs: vec![view(Self::OPERANDS)],
        };
        for (view, reals) in at.inputs.iter().zip(operands) {
            self.f32_arena.write(view, reals)?;
        }
        let mut ctx = Context {
            f32_arena: &mut self.f32_arena,
            u8_arena: &mut self.u8_arena,
            pool: &self.pool,
            isa: Isa::scalar(),
        };
        kernel.run(&mut ctx, &at)?;
        let mut reals = [0.0; 256];
        self.f32_arena.read_into(at.y(), &mut reals)?;
        Ok(reals)
    }
}

/// Lets convolutions store what the table that follows makes of their quantized values.
pub(super) fn into_convolutions(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        while let Some((next, table)) = following(r, i) {
            let Some(&y) = r.values.params.get(&r[next].output().value) else {
                break;
            };
            if !map_output(r, i, &table, y) {
                break;
            }
            r.fuse(next, i);
        }
    }
    Ok(())
}

/// The table that alone reads a convolution's quantized values.
fn following(r: &Rewriter<'_, '_>, i: usize) -> Option<(usize, conversion::Table)> {
    let is_conv = matches!(r[i].work, Work::Conv(_)) && r[i].on_int8;
    let out = r[i].outputs.first().filter(|_| is_conv)?;
    let next = r.only_reader(*out)?;
    match &r[next].work {
        Work::Table(table) => Some((next, Arc::clone(&table.0))),
        _ => None,
    }
}

/// Makes an item write `table` of its quantized values, which stand for `y`; false where it cannot.
fn map_output(r: &mut Rewriter<'_, '_>, i: usize, table: &conversion::Table, y: U8Params) -> bool {
    let map = |first: &[u8; 256]| first.map(|q| table[usize::from(q)]);
    let own = r.values.params.get(&r[i].output().value).copied();
    // The table of a convolution comes before its residual.
    let takes_table = r[i].on_int8 && r[i].inputs.len() == 1;
    match &mut r[i].work {
        Work::Conv(conv) if takes_table => {
            let Some(own) = own else { return false };
            let new = match &conv.table {
                None => U8Table { x: own, map: **table, y },
                Some(first) => U8Table { x: first.x, map: map(&first.map), y },
            };
            conv.table = Some(Box::new(new));
            true
        }
        Work::Table(first) => {
            first.0 = Arc::new(map(&first.0));
            true
        }
        _ => false,
    }
}

/// Lets what a Concat alone reads be written with the Concat's parameters.
pub(super) fn into_concats(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for k in r.positions() {
        let result = r[k].outputs.first().filter(|_| matches!(r[k].work, Work::Concat(_)));
        let target = result.and_then(|y| r.values.params.get(&y.value).copied());
        let Some(target) = target else { continue };
        for v in r[k].inputs.clone() {
            let own = r.values.params.get(&v.value).copied();
            let (Some(own), Some(writer)) = (own, r.writer(v)) else {
                continue;
            };
            let is_wanted = own != target && r.only_reader(v) == Some(k);
            if is_wanted && map_output(r, writer, &requantize(own, target), target) {
                r.values.params.insert(v.value, target);
            }
        }
    }
    Ok(())
}

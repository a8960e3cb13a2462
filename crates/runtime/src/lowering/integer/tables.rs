//! Functions of one quantized value, collapsed into tables of its 256 possible values.
use super::{grid, remove};
use crate::RuntimeError;
use crate::lowering::{Item, Lowered, Operand, Wiring, Work};
use ir::{Op, ValueId};
use kernels::{Arena, BinaryOp, Context, Isa, ThreadPool, U8Params, U8Table, UnaryOp, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What each of the 256 u8 values becomes.
pub(crate) type Table = Arc<[u8; 256]>;

/// The real value that each u8 stands for.
type RealValues = [f32; 256];

/// Longest expression that is looked through.
const MAX_DEPTH: usize = 8;

/// Turns each quantized expression of a single quantized value (Sigmoid, SiLU with a quantized gate, another grid) into a table.
pub(super) fn collapse(lowered: &mut Lowered<'_>) -> Result<(), RuntimeError> {
    let mut finder = Finder {
        wiring: Wiring::new(&lowered.items),
        tables: BTreeMap::new(),
        calculator: Calculator::new()
            .map_err(RuntimeError::kernel("tables of quantized values"))?,
    };
    for k in 0..lowered.items.len() {
        let Some(params) = grid(&lowered.items[k]) else {
            continue;
        };
        let x = lowered.items[k].inputs[0].value;
        let mut found = None;
        for root in finder.roots(lowered, x, MAX_DEPTH) {
            if let Some(reals) = finder.real_values(lowered, (x, root), MAX_DEPTH)? {
                found = Some((root, reals));
                break;
            }
        }
        if let Some((root, reals)) = found {
            let table: Table = Arc::new(std::array::from_fn(|q| quantize(reals[q], params)));
            let item = &mut lowered.items[k];
            finder
                .tables
                .insert(item.outputs[0].value, (root, Arc::clone(&table)));
            item.work = Work::Table(table);
            item.inputs = vec![Operand::f32(root)];
        }
    }
    Ok(())
}

fn dequantize(value: u8, params: U8Params) -> f32 {
    (f32::from(value) - f32::from(params.zero_point)) * params.scale
}

/// The quantized value of a real value.
pub(crate) fn quantize(x: f32, params: U8Params) -> u8 {
    let q = (x / params.scale).round_ties_even() + f32::from(params.zero_point);
    q.clamp(0.0, 255.0) as u8
}

struct Finder {
    wiring: Wiring,
    /// The tables found so far: from which value, and to what.
    tables: BTreeMap<ValueId, (ValueId, Table)>,
    calculator: Calculator,
}

impl Finder {
    /// Quantized values that an expression may be a function of, the nearest first.
    fn roots(&self, lowered: &Lowered<'_>, v: ValueId, depth: usize) -> Vec<ValueId> {
        let mut roots = Vec::new();
        let mut at = self.leaf(lowered, v, depth);
        while let Some(root) = at {
            roots.push(root);
            at = self.tables.get(&root).map(|(from, _)| *from);
        }
        roots
    }

    fn leaf(&self, lowered: &Lowered<'_>, v: ValueId, depth: usize) -> Option<ValueId> {
        if lowered.params.contains_key(&v) {
            return Some(v);
        }
        let item = self.expression(lowered, v, depth)?;
        let mut inputs = item.inputs.iter();
        inputs.find_map(|x| self.leaf(lowered, x.value, depth - 1))
    }

    /// The element-wise operation that computes a value.
    fn expression<'l>(
        &self,
        lowered: &'l Lowered<'_>,
        v: ValueId,
        depth: usize,
    ) -> Option<&'l Item> {
        let item = &lowered.items[*self.wiring.writer.get(&Operand::f32(v))?];
        let element_wise = matches!(item.work, Work::Unary(_) | Work::Node(Op::Binary(_)));
        (depth > 0 && element_wise).then_some(item)
    }

    /// The value that `v` has for each quantized value of `root`; `None` where it depends on something else.
    fn real_values(
        &mut self,
        lowered: &Lowered<'_>,
        (v, root): (ValueId, ValueId),
        depth: usize,
    ) -> Result<Option<RealValues>, RuntimeError> {
        if let Some(&params) = lowered.params.get(&v) {
            let quantized = self.quantized(v, root);
            return Ok(quantized.map(|quantized| quantized.map(|q| dequantize(q, params))));
        }
        if let Some(constant) = lowered.constant(v) {
            let one = constant
                .as_slice::<f32>()
                .ok()
                .filter(|data| data.len() == 1);
            return Ok(one.map(|data| [data[0]; 256]));
        }
        let Some(item) = self.expression(lowered, v, depth) else {
            return Ok(None);
        };
        let mut operands = Vec::with_capacity(2);
        for x in &item.inputs {
            match self.real_values(lowered, (x.value, root), depth - 1)? {
                Some(reals) => operands.push(reals),
                None => return Ok(None),
            }
        }
        self.calculator
            .calculate(&item.work, &operands)
            .map_err(RuntimeError::kernel(&item.name))
    }

    /// The quantized value that `v` has for each quantized value of `root`.
    fn quantized(&self, mut v: ValueId, root: ValueId) -> Option<[u8; 256]> {
        let mut quantized: [u8; 256] = std::array::from_fn(|q| q as u8);
        let mut path = Vec::new();
        while v != root {
            let (from, table) = self.tables.get(&v)?;
            path.push(table);
            v = *from;
        }
        for table in path.into_iter().rev() {
            quantized = quantized.map(|q| table[usize::from(q)]);
        }
        Some(quantized)
    }
}

/// Runs the f32 kernels on 256 values; always scalar, so that tables are the same on every instruction set.
struct Calculator {
    f32_arena: Arena<f32>,
    u8_arena: Arena<u8>,
    pool: ThreadPool,
}

impl Calculator {
    fn new() -> Result<Self, kernels::KernelError> {
        Ok(Self {
            f32_arena: Arena::new(3 * 256)?,
            u8_arena: Arena::new(0)?,
            pool: ThreadPool::new(1),
        })
    }

    fn calculate(
        &mut self,
        work: &Work,
        operands: &[RealValues],
    ) -> Result<Option<RealValues>, kernels::KernelError> {
        let views: [View; 3] = std::array::from_fn(|i| View::contiguous(i * 256, &[256]));
        for (view, reals) in views.iter().zip(operands) {
            self.f32_arena.write(view, reals)?;
        }
        let mut ctx = Context {
            f32_arena: &mut self.f32_arena,
            u8_arena: &mut self.u8_arena,
            pool: &self.pool,
            isa: Isa::Scalar,
        };
        match (work, operands.len()) {
            (Work::Unary(op), 1) => unary(&mut ctx, *op, &views)?,
            (Work::Node(Op::Binary(b)), 2) => {
                let op: BinaryOp = crate::schedule::binary_op(b.kind);
                kernels::binary(&mut ctx, op, &views[0], &views[1], &views[2])?;
            }
            _ => return Ok(None),
        }
        let y = self.f32_arena.read(&views[2])?;
        Ok(y.try_into().ok())
    }
}

fn unary(
    ctx: &mut Context<'_>,
    op: UnaryOp,
    views: &[View; 3],
) -> Result<(), kernels::KernelError> {
    kernels::unary(ctx, op, &views[0], &views[2])
}

/// Lets convolutions store what the table that follows makes of their quantized values.
pub(super) fn into_convolutions(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        while let Some((next, table)) = following(lowered, &wiring, keep, i) {
            let outputs = lowered.items[next].outputs.clone();
            let Some(&y) = lowered.params.get(&outputs[0].value) else {
                break;
            };
            if !map_output(&mut lowered.items[i], &table, y) {
                break;
            }
            gone[next] = true;
            lowered.items[i].outputs = outputs;
        }
    }
    remove(lowered, gone);
}

/// The table that alone reads a convolution's quantized values.
fn following(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    keep: &BTreeSet<ValueId>,
    i: usize,
) -> Option<(usize, Table)> {
    let item = &lowered.items[i];
    let out = item.outputs[0];
    if !matches!(item.work, Work::QConv(_)) || keep.contains(&out.value) {
        return None;
    }
    let next = wiring.only_reader(out)?;
    match &lowered.items[next].work {
        Work::Table(table) => Some((next, Arc::clone(table))),
        _ => None,
    }
}

/// Makes an item write `table` of its quantized values, which stand for `y`; false where it cannot.
fn map_output(item: &mut Item, table: &Table, y: U8Params) -> bool {
    let map = |first: &[u8; 256]| first.map(|q| table[usize::from(q)]);
    match &mut item.work {
        // The table of a convolution comes before its residual.
        Work::QConv(conv) if item.inputs.len() == 1 => {
            let Some(own) = conv.output else { return false };
            conv.table = Some(match &conv.table {
                None => U8Table {
                    x: own,
                    map: **table,
                    y,
                },
                Some(first) => U8Table {
                    x: first.x,
                    map: map(&first.map),
                    y,
                },
            });
            conv.output = Some(y);
            true
        }
        Work::Table(first) => {
            *first = Arc::new(map(first));
            true
        }
        _ => false,
    }
}

/// Lets what a Concat alone reads be written with the Concat's parameters.
pub(super) fn into_concats(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    for k in 0..lowered.items.len() {
        let item = &lowered.items[k];
        let target = match &item.work {
            Work::Node(Op::Concat(_)) => lowered.params.get(&item.outputs[0].value).copied(),
            _ => None,
        };
        let Some(target) = target else { continue };
        for v in item.inputs.clone() {
            let own = lowered.params.get(&v.value).copied();
            let alone = wiring.only_reader(v) == Some(k) && !keep.contains(&v.value);
            let (Some(own), Some(&writer)) = (own, wiring.writer.get(&v)) else {
                continue;
            };
            let wanted = own != target && alone;
            if wanted && map_output(&mut lowered.items[writer], &requantize(own, target), target) {
                lowered.params.insert(v.value, target);
            }
        }
    }
}

/// The quantized values of one grid on another.
pub(crate) fn requantize(from: U8Params, to: U8Params) -> Table {
    Arc::new(std::array::from_fn(|q| {
        quantize(dequantize(q as u8, from), to)
    }))
}

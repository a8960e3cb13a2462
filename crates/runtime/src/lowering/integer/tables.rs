//! Functions of one code, collapsed into tables of 256 codes.
use super::{grid, remove};
use crate::RuntimeError;
use crate::lowering::{Item, Lowered, Operand, Wiring, Work};
use ir::{Op, ValueId};
use kernels::{Arena, BinaryOp, CodeParams, CodeTable, Context, Isa, ThreadPool, UnaryOp, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The code that each code becomes.
pub(crate) type Table = Arc<[u8; 256]>;

/// The real value of each code of some value.
type Reals = [f32; 256];

/// Longest expression that is looked through.
const MAX_DEPTH: usize = 8;

/// Turns each quantized expression of a single code (Sigmoid, SiLU with a quantized gate, another grid) into a table.
pub(super) fn collapse(lowered: &mut Lowered<'_>) -> Result<(), RuntimeError> {
    let mut finder = Finder {
        wiring: Wiring::new(&lowered.items),
        tables: BTreeMap::new(),
        calculator: Calculator::new().map_err(RuntimeError::kernel("the tables of codes"))?,
    };
    for k in 0..lowered.items.len() {
        let Some(params) = grid(&lowered.items[k]) else {
            continue;
        };
        let x = lowered.items[k].inputs[0].value;
        let mut found = None;
        for root in finder.roots(lowered, x, MAX_DEPTH) {
            if let Some(reals) = finder.reals(lowered, (x, root), MAX_DEPTH)? {
                found = Some((root, reals));
                break;
            }
        }
        if let Some((root, reals)) = found {
            let table: Table = Arc::new(std::array::from_fn(|q| code(reals[q], params)));
            let item = &mut lowered.items[k];
            finder
                .tables
                .insert(item.outputs[0].value, (root, Arc::clone(&table)));
            item.work = Work::Table(table);
            item.inputs = vec![Operand::real(root)];
        }
    }
    Ok(())
}

fn real(code: u8, params: CodeParams) -> f32 {
    (f32::from(code) - f32::from(params.zero_point)) * params.scale
}

/// The code of a real value.
pub(crate) fn code(x: f32, params: CodeParams) -> u8 {
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
    /// Codes that an expression may be a function of, the nearest first.
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
        let item = &lowered.items[*self.wiring.writer.get(&Operand::real(v))?];
        let element_wise = matches!(item.work, Work::Unary(_) | Work::Node(Op::Binary(_)));
        (depth > 0 && element_wise).then_some(item)
    }

    /// The value that `v` has for each code of `root`; `None` where it depends on something else.
    fn reals(
        &mut self,
        lowered: &Lowered<'_>,
        (v, root): (ValueId, ValueId),
        depth: usize,
    ) -> Result<Option<Reals>, RuntimeError> {
        if let Some(&params) = lowered.params.get(&v) {
            let codes = self.codes(v, root);
            return Ok(codes.map(|codes| codes.map(|q| real(q, params))));
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
            match self.reals(lowered, (x.value, root), depth - 1)? {
                Some(reals) => operands.push(reals),
                None => return Ok(None),
            }
        }
        self.calculator
            .calculate(&item.work, &operands)
            .map_err(RuntimeError::kernel(&item.name))
    }

    /// The code that `v` has for each code of `root`.
    fn codes(&self, mut v: ValueId, root: ValueId) -> Option<[u8; 256]> {
        let mut codes: [u8; 256] = std::array::from_fn(|q| q as u8);
        let mut path = Vec::new();
        while v != root {
            let (from, table) = self.tables.get(&v)?;
            path.push(table);
            v = *from;
        }
        for table in path.into_iter().rev() {
            codes = codes.map(|q| table[usize::from(q)]);
        }
        Some(codes)
    }
}

/// Runs the f32 kernels on 256 values; always scalar, so that tables are the same on every instruction set.
struct Calculator {
    reals: Arena<f32>,
    codes: Arena<u8>,
    pool: ThreadPool,
}

impl Calculator {
    fn new() -> Result<Self, kernels::KernelError> {
        Ok(Self {
            reals: Arena::new(3 * 256)?,
            codes: Arena::new(0)?,
            pool: ThreadPool::new(1),
        })
    }

    fn calculate(
        &mut self,
        work: &Work,
        operands: &[Reals],
    ) -> Result<Option<Reals>, kernels::KernelError> {
        let views: [View; 3] = std::array::from_fn(|i| View::contiguous(i * 256, &[256]));
        for (view, reals) in views.iter().zip(operands) {
            self.reals.write(view, reals)?;
        }
        let mut ctx = Context {
            arena: &mut self.reals,
            codes: &mut self.codes,
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
        let y = self.reals.read(&views[2])?;
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

/// Lets convolutions store what the table that follows makes of their codes.
pub(super) fn into_convolutions(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        while let Some((next, table)) = following(lowered, &wiring, keep, i) {
            let outputs = lowered.items[next].outputs.clone();
            let Some(&y) = lowered.params.get(&outputs[0].value) else {
                break;
            };
            if !map_codes(&mut lowered.items[i], &table, y) {
                break;
            }
            gone[next] = true;
            lowered.items[i].outputs = outputs;
        }
    }
    remove(lowered, gone);
}

/// The table that alone reads a convolution's codes.
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

/// Makes an item write `table` of its codes, which stand for `y`; false where it cannot.
fn map_codes(item: &mut Item, table: &Table, y: CodeParams) -> bool {
    let map = |first: &[u8; 256]| first.map(|q| table[usize::from(q)]);
    match &mut item.work {
        // The table of a convolution comes before its residual.
        Work::QConv(conv) if item.inputs.len() == 1 => {
            let Some(own) = conv.codes else { return false };
            conv.table = Some(match &conv.table {
                None => CodeTable {
                    x: own,
                    map: **table,
                    y,
                },
                Some(first) => CodeTable {
                    x: first.x,
                    map: map(&first.map),
                    y,
                },
            });
            conv.codes = Some(y);
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
            if wanted && map_codes(&mut lowered.items[writer], &requantize(own, target), target) {
                lowered.params.insert(v.value, target);
            }
        }
    }
}

/// The codes of one grid on another.
pub(crate) fn requantize(from: CodeParams, to: CodeParams) -> Table {
    Arc::new(std::array::from_fn(|q| code(real(q as u8, from), to)))
}

//! Batched matrix product of quantized values.

use super::conv::steps;
use super::{QOut, U8Params, U8View};
use crate::matmul::{batch_start, check_matrices};
use crate::nest::Base;
use crate::vector::{F32Vector, I32Body, I32Vector, Pixels};
use crate::{Context, Isa, KernelError, View};

/// `y = a b` over the last two axes: sums in i32 of `(a - zero_point) * (b - zero_point)`, times both scales.
///
/// # Shapes
/// `a: [.., M, K]`, `b: [.., K, N]`, `y: [.., M, N]` with equal leading axes; broadcasting is expressed by strides of 0.
///
/// # Errors
/// `Rank`, `Shape`, `Scale`, and what every kernel checks.
pub fn q_matmul(ctx: &mut Context, a: &U8View, b: &U8View, y: &QOut) -> Result<(), KernelError> {
    let view = y.view();
    check_matrices(&a.view, &b.view, view)?;
    a.params.check("a")?;
    b.params.check("b")?;
    match y {
        QOut::U8 { params, .. } => {
            params.check("y")?;
            ctx.check_u8(view, &[("a", &a.view), ("b", &b.view)], false)?;
        }
        QOut::F32 { .. } => {
            a.view.check_bounds("a", ctx.u8_arena.len())?;
            b.view.check_bounds("b", ctx.u8_arena.len())?;
            ctx.check_f32(view, &[], false)?;
        }
    }
    if view.elements() == 0 {
        return Ok(());
    }
    let job = Job {
        isa: ctx.isa,
        u8s: Base(ctx.u8_arena.as_mut_ptr()),
        y_base: y.base(ctx).0,
        a: &a.view,
        b: &b.view,
        y: view,
        zero_points: [a.params.zero_point, b.params.zero_point],
        multiplier: a.params.scale * b.params.scale,
        to: match y {
            QOut::U8 { params, .. } => Some(*params),
            QOut::F32 { .. } => None,
        },
    };
    let rank = view.shape.len();
    let batches = view.shape[..rank - 2].iter().product::<usize>();
    let lanes = job.isa.int8().lanes;
    let panels = view.shape[rank - 1].div_ceil(lanes);
    ctx.pool.run(batches * panels, &|task| {
        let panel = Panel { job: &job, batch: task / panels, column: task % panels * lanes };
        // SAFETY: the views are checked; panels write disjoint columns.
        unsafe { job.isa.run_i32(&panel) };
    });
    Ok(())
}

/// Rows of a tile.
const ROWS: usize = 8;
/// Deeper products are summed in pieces of this depth, a multiple of 4.
const DEPTH: usize = 1024;
/// Bytes of a panel's packed piece: eight for each lane of four values at most.
const PANEL_BYTES: usize = DEPTH / 4 * 128;

struct Job<'a> {
    isa: Isa,
    u8s: Base<u8>,
    y_base: Base<u8>,
    a: &'a View,
    b: &'a View,
    y: &'a View,
    zero_points: [u8; 2],
    multiplier: f32,
    /// u8, or f32 values.
    to: Option<U8Params>,
}

struct Panel<'a> {
    job: &'a Job<'a>,
    batch: usize,
    column: usize,
}

/// A piece of some columns of b, less 128, as weights, and what the zero points add to each column.
struct Packed {
    weights: [i8; PANEL_BYTES],
    columns: [i32; 16],
}

impl I32Body for Panel<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let job = self.job;
        let rank = job.y.shape.len();
        let (rows, depth) = (job.y.shape[rank - 2], job.a.shape[rank - 1]);
        let mut packed = Packed { weights: [0; PANEL_BYTES], columns: [0; 16] };
        if depth <= DEPTH {
            // SAFETY: the caller's.
            unsafe { self.pack(&mut packed, 0, depth) };
        }
        let mut row = 0;
        while row < rows {
            let count = if rows - row >= ROWS { ROWS } else { 1 };
            let mut sums = [[0i32; 16]; ROWS];
            for first in (0..depth.max(1)).step_by(DEPTH) {
                let piece = DEPTH.min(depth - first);
                // SAFETY: the caller's.
                unsafe {
                    if depth > DEPTH {
                        self.pack(&mut packed, first, piece);
                    }
                    if count == ROWS {
                        self.rows::<V, ROWS>(&packed, &mut sums, [row, first, piece]);
                    } else {
                        self.rows::<V, 1>(&packed, &mut sums, [row, first, piece]);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate().take(count) {
                // SAFETY: the caller's.
                unsafe { self.store::<V>(sums, row + m) };
            }
            row += count;
        }
    }
}

impl Panel<'_> {
    fn start(&self, view: &View) -> usize {
        batch_start(view, self.batch)
    }

    /// Packs rows `first..first + depth` of this panel's columns.
    unsafe fn pack(&self, packed: &mut Packed, first: usize, depth: usize) {
        let (job, layout) = (self.job, self.job.isa.int8());
        let lanes = layout.lanes;
        let rank = job.y.shape.len();
        let (k_step, n_step) = (job.b.strides[rank - 2], job.b.strides[rank - 1]);
        let columns = lanes.min(job.y.shape[rank - 1] - self.column);
        let b = self.start(job.b) + first * k_step + self.column * n_step;
        let [a_zero, b_zero] = job.zero_points.map(i32::from);
        packed.columns = [depth as i32 * a_zero * (b_zero - 128); 16];
        let bytes = layout.weight_bytes * lanes;
        for q in 0..depth.div_ceil(4) {
            let mut block4 = [[0i8; 4]; 16];
            // The last four values of a row of a are read whole; weights of those already counted are zero.
            let from = if depth >= 4 { (depth - 4).min(4 * q) } else { 0 };
            let counted = 4 * q - from;
            for (n, block4) in block4.iter_mut().enumerate().take(columns) {
                let kept = block4.iter_mut().enumerate().take(depth - from);
                for (i, weight) in kept.skip(counted) {
                    let at = b + (from + i) * k_step + n * n_step;
                    // SAFETY: the caller's: the index lies inside the checked view.
                    let q = unsafe { *job.u8s.at(at) };
                    *weight = (q ^ 128) as i8;
                    packed.columns[n] -= (a_zero - i32::from(layout.x_offset)) * i32::from(*weight);
                }
            }
            (layout.pack)(&block4[..lanes], &mut packed.weights[q * bytes..][..bytes]);
        }
    }

    /// Adds `MR` rows' products with a packed piece.
    #[inline(always)]
    unsafe fn rows<V: I32Vector, const MR: usize>(
        &self,
        packed: &Packed,
        sums: &mut [[i32; 16]; ROWS],
        [row, first, depth]: [usize; 3],
    ) {
        let job = self.job;
        let rank = job.y.shape.len();
        let (m_step, k_step) = (job.a.strides[rank - 2], job.a.strides[rank - 1]);
        let a = self.start(job.a) + row * m_step + first * k_step;
        let b_zero = i32::from(job.zero_points[1]) - 128;
        let mut copied = [[0u8; DEPTH]; MR];
        let mut pointers = [std::ptr::null::<u8>(); MR];
        // SAFETY: the caller's: indices lie inside the checked views.
        unsafe {
            for (m, pointer) in pointers.iter_mut().enumerate() {
                let from = job.u8s.at(a + m * m_step);
                *pointer = from;
                if k_step != 1 || depth < 4 {
                    for (k, q) in copied[m].iter_mut().enumerate().take(depth) {
                        *q = *from.add(k * k_step);
                    }
                    *pointer = copied[m].as_ptr();
                }
            }
            let mut acc = [V::load(packed.columns.as_ptr()); MR];
            let bytes = V::WEIGHT_BYTES;
            for q in 0..depth.div_ceil(4) {
                let weights = V::weights(packed.weights.as_ptr().add(q * bytes));
                let from = if depth >= 4 { (depth - 4).min(4 * q) } else { 0 };
                for (acc, x) in acc.iter_mut().zip(pointers) {
                    *acc = acc.dot(V::block4(x.add(from)), weights);
                }
            }
            for (m, acc) in acc.into_iter().enumerate() {
                let quantized = std::slice::from_raw_parts(pointers[m], depth);
                let sum: i32 = quantized.iter().map(|&q| i32::from(q)).sum();
                let total = V::load(sums[m].as_ptr()).add(acc.add(V::splat(-b_zero * sum)));
                total.store(sums[m].as_mut_ptr());
            }
        }
    }

    #[inline(always)]
    unsafe fn store<V: I32Vector>(&self, sums: &[i32; 16], row: usize) {
        let job = self.job;
        let rank = job.y.shape.len();
        let columns = V::F::LANES.min(job.y.shape[rank - 1] - self.column);
        let n_step = job.y.strides[rank - 1];
        let y = self.start(job.y) + row * job.y.strides[rank - 2] + self.column * n_step;
        let (mut u8s, mut f32s) = ([0u8; 16], [0f32; 16]);
        // SAFETY: the caller's: indices lie inside the checked view.
        unsafe {
            let value = V::load(sums.as_ptr()).to_f32().mul(V::F::splat(job.multiplier));
            value.store(f32s.as_mut_ptr());
            if let Some(params) = &job.to {
                let to = Pixels { to: u8s.as_mut_ptr(), step: 0, channels: V::F::LANES };
                let steps = steps::<V>(value, 1.0 / params.scale);
                V::store_u8::<1, 1>([steps], params.zero_point, to);
            }
            for n in 0..columns {
                let at = y + n * n_step;
                match job.to {
                    Some(_) => *job.y_base.at(at) = u8s[n],
                    None => *job.y_base.0.cast::<f32>().add(at) = f32s[n],
                }
            }
        }
    }
}

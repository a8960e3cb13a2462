use crate::arena::Floats;
use crate::conv::{Gemm, Steps, choose};
use crate::nest::{Nest, broadcast};
use crate::{Context, Dims, Epilogue, KernelError, View};

/// `y = a @ b`, batched over the leading axes.
///
/// # Shapes
/// `a: [..., M, K]`, `b: [..., K, N]`, `y: [..., M, N]`; leading axes of `a` and `b` broadcast to `y`'s. Fastest where
/// `N` is contiguous in `y` (or `M` is) and `K` in `a`.
///
/// # Errors
/// `Rank` below two axes, `Shape`, `OutOfBounds`, `SelfOverlap`, `Overlap`, `OutOfMemory` for the packed operands.
///
/// Source: ONNX MatMul, opset 1 to 13.
pub fn matmul(ctx: &mut Context<'_>, a: &View, b: &View, y: &View) -> Result<(), KernelError> {
    for (operand, view) in [("a", a), ("b", b), ("y", y)] {
        view.check_rank(operand, view.shape.len().max(2))?;
    }
    let (rank, a_rank, b_rank) = (y.shape.len(), a.shape.len(), b.shape.len());
    let (m, n, k) = (y.shape[rank - 2], y.shape[rank - 1], a.shape[a_rank - 1]);
    ctx.check(y, &[("a", a), ("b", b)], false)?;
    let a = broadcast(
        "a",
        a,
        &y.shape
            .with(rank - 2, m)
            .with(rank - 1, a.shape[a_rank - 1]),
    )?;
    let b = broadcast(
        "b",
        b,
        &y.shape
            .with(rank - 2, k)
            .with(rank - 1, b.shape[b_rank - 1]),
    )?;
    a.check_shape("a", &y.shape.with(rank - 1, k))?;
    b.check_shape("b", &y.shape.with(rank - 2, k))?;
    if y.elements() == 0 {
        return Ok(());
    }
    // The transposed product where that makes the writes contiguous: yT = bT @ aT.
    if n > 1 && y.strides[rank - 1] != 1 && (m == 1 || y.strides[rank - 2] == 1) {
        let [a, b, y] = [&a, &b, y].map(|view| swap_last(view));
        Product { m: n, n: m, k }.run(ctx, &b, &a, &y)
    } else {
        Product { m, n, k }.run(ctx, &a, &b, y)
    }
}

fn swap_last(view: &View) -> View {
    let last = view.shape.len() - 1;
    let swap = |dims: Dims| dims.with(last, dims[last - 1]).with(last - 1, dims[last]);
    View {
        offset: view.offset,
        shape: swap(view.shape),
        strides: swap(view.strides),
    }
}

struct Product {
    m: usize,
    n: usize,
    k: usize,
}

impl Product {
    fn run(&self, ctx: &mut Context<'_>, a: &View, b: &View, y: &View) -> Result<(), KernelError> {
        let rank = y.shape.len();
        let (m, n, k) = (self.m, self.n, self.k);
        let lanes = ctx.isa.lanes();
        let vectors = n.div_ceil(lanes);
        let mut packed_b = Floats::zeroed(vectors * k * lanes)?;
        let bias = Floats::zeroed(vectors * lanes)?;
        let rows_ready = k == 1 || a.strides[rank - 1] == 1;
        let mut packed_a = Floats::zeroed(if rows_ready { 0 } else { m * k })?;
        let y_ready = n == 1 || y.strides[rank - 1] == 1;
        let mut result = Floats::zeroed(if y_ready { 0 } else { m * n })?;
        let tile = choose(ctx.isa, m, vectors);
        let rows = m.div_ceil(tile.mr * 2);
        let width = m.div_ceil(rows);
        let rows = m.div_ceil(width);

        let batch = y.shape.with(rank - 1, 1).with(rank - 2, 1);
        let nest = Nest::new(&batch, [y, a, b]);
        let mut offsets = Offsets::new(&nest);
        let mut packed_from = usize::MAX;
        while let Some([y_at, a_at, b_at]) = offsets.next(&nest) {
            let base = ctx.arena.as_mut_ptr();
            // SAFETY: `matmul` has checked that all elements of the three views are inside the arena and that `y` is
            // disjoint from the others; packed operands have the sizes used here.
            unsafe {
                let (a_first, b_first) = (base.add(a.offset + a_at), base.add(b.offset + b_at));
                if packed_from != b_at {
                    pack_columns(
                        b_first,
                        &b.strides[rank - 2..],
                        [k, n],
                        lanes,
                        packed_b.as_mut_slice(),
                    );
                    packed_from = b_at;
                }
                let (x, pixel) = if rows_ready {
                    (a_first.cast_const(), a.strides[rank - 2])
                } else {
                    pack_rows(
                        a_first,
                        &a.strides[rank - 2..],
                        [m, k],
                        packed_a.as_mut_slice(),
                    );
                    (packed_a.as_ptr(), k)
                };
                let y_first = base.add(y.offset + y_at);
                let (out, y_pixel) = if y_ready {
                    (y_first, y.strides[rank - 2])
                } else {
                    (result.as_mut_ptr(), n)
                };
                let gemm = Gemm {
                    x,
                    x_steps: Steps {
                        image: 0,
                        row: pixel * width,
                        pixel,
                    },
                    y: out,
                    y_steps: Steps {
                        image: 0,
                        row: y_pixel * width,
                        pixel: y_pixel,
                    },
                    residual: std::ptr::null(),
                    residual_steps: Steps::default(),
                    rows,
                    rows_per_image: rows,
                    width,
                    last_width: m - (rows - 1) * width,
                    kernel_rows: 1,
                    row_step: 0,
                    taps: 1,
                    tap_step: 0,
                    run: k,
                    weights: packed_b.as_ptr(),
                    bias: bias.as_ptr(),
                    groups: 1,
                    channels: n,
                    epilogue: &Epilogue::default(),
                };
                gemm.run(ctx, &tile);
                if !y_ready {
                    let steps = &y.strides[rank - 2..];
                    for (i, value) in result.as_slice()[..m * n].iter().enumerate() {
                        *y_first.add(i / n * steps[0] + i % n * steps[1]) = *value;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The offsets of each product of the batch.
struct Offsets {
    cursor: crate::nest::Cursor<3>,
    outer_left: usize,
    inner: usize,
}

impl Offsets {
    fn new(nest: &Nest<3>) -> Offsets {
        Offsets {
            cursor: nest.cursor(0),
            outer_left: nest.outer(),
            inner: 0,
        }
    }

    fn next(&mut self, nest: &Nest<3>) -> Option<[usize; 3]> {
        let (len, steps) = nest.inner();
        if self.inner == len {
            nest.advance(&mut self.cursor);
            self.outer_left -= 1;
            self.inner = 0;
        }
        if self.outer_left == 0 {
            return None;
        }
        let at = [0, 1, 2].map(|i| self.cursor.offsets[i] + self.inner * steps[i]);
        self.inner += 1;
        Some(at)
    }
}

/// `[vector of columns, row, lane]` from a matrix of `rows` by `columns`.
///
/// # Safety
/// The matrix's elements are readable.
unsafe fn pack_columns(
    from: *const f32,
    steps: &[usize],
    [rows, columns]: [usize; 2],
    lanes: usize,
    to: &mut [f32],
) {
    for column in 0..columns {
        let panel = &mut to[column / lanes * rows * lanes..][..rows * lanes];
        for (row, packed) in panel.chunks_exact_mut(lanes).enumerate() {
            // SAFETY: the caller vouches for the matrix.
            packed[column % lanes] = unsafe { *from.add(row * steps[0] + column * steps[1]) };
        }
    }
}

/// The matrix row by row.
///
/// # Safety
/// The matrix's elements are readable.
unsafe fn pack_rows(
    from: *const f32,
    steps: &[usize],
    [rows, columns]: [usize; 2],
    to: &mut [f32],
) {
    for (row, packed) in to.chunks_exact_mut(columns).take(rows).enumerate() {
        for (column, value) in packed.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the matrix.
            *value = unsafe { *from.add(row * steps[0] + column * steps[1]) };
        }
    }
}

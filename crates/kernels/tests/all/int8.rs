//! Operations on quantized values against plain computations: equal quantized values on every instruction set and number of threads.

use kernels::{
    Arena, BinaryOp, Context, Isa, KernelError, Pool, QOut, ThreadPool, U8Params, U8View, View,
    dequantize, q_binary, q_copy, q_fill_halo, q_matmul, q_max_pool, q_resize_nearest, quantize,
    quantize_nchw, write_pixels,
};

const A: U8Params = U8Params { scale: 0.02, zero_point: 120 };
const B: U8Params = U8Params { scale: 0.05, zero_point: 3 };
const Y: U8Params = U8Params { scale: 0.043, zero_point: 77 };

fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn real(params: U8Params, q: u8) -> f32 {
    (i32::from(q) - i32::from(params.zero_point)) as f32 * params.scale
}

fn q(params: U8Params, value: f32) -> u8 {
    let steps = (value * (1.0 / params.scale)).round_ties_even();
    (steps + f32::from(params.zero_point)).clamp(0.0, 255.0) as u8
}

/// Runs on every instruction set on 1 and 3 threads, on an arena of noise; all must leave the same quantized values and f32 values.
fn everywhere(f: &dyn Fn(&mut Context)) -> (Arena<u8>, Arena<f32>) {
    let mut first: Option<(Arena<u8>, Arena<f32>)> = None;
    let whole = View::contiguous(0, &[LEN]);
    let noisy = noise(LEN, 1);
    let values: Vec<f32> = noise(LEN, 2)
        .iter()
        .zip(noise(LEN, 3))
        .map(|(&a, b)| (f32::from(a) - 128.0) * 0.05 + f32::from(b) * 1e-3)
        .collect();
    let bits = |f32s: &Arena<f32>| -> Vec<u32> {
        let f32s = f32s.read(&whole).expect("fits");
        f32s.into_iter().map(f32::to_bits).collect()
    };
    for isa in Isa::available() {
        for threads in [1, 3] {
            let (mut arena, mut quantized) = (
                Arena::<f32>::new(LEN).expect("a small arena"),
                Arena::<u8>::new(LEN).expect("a small arena"),
            );
            quantized.write(&whole, &noisy).expect("fits");
            arena.write(&whole, &values).expect("fits");
            let pool = ThreadPool::new(threads);
            f(&mut Context { f32_arena: &mut arena, u8_arena: &mut quantized, pool: &pool, isa });
            match &first {
                None => first = Some((quantized, arena)),
                Some((expected, f32s)) => {
                    assert!(
                        quantized.read(&whole) == expected.read(&whole)
                            && bits(&arena) == bits(f32s),
                        "{isa}, {threads} threads"
                    );
                }
            }
        }
    }
    first.expect("the plain one is always available")
}

const LEN: usize = 1 << 17;

/// A slice of NHWC pixels at `offset`.
fn slice(offset: usize, shape: [usize; 4], pixel: usize) -> View {
    let [_, _, h, w] = shape;
    View { offset, shape: shape.into(), strides: [h * w * pixel, 1, w * pixel, pixel].into() }
}

const SHAPES: [([usize; 4], usize); 6] = [
    ([1, 64, 9, 11], 64),
    ([2, 1, 3, 5], 1),
    ([1, 70, 7, 6], 81),
    ([1, 3, 12, 70], 3),
    ([1, 128, 6, 13], 256),
    ([2, 17, 5, 8], 20),
];

#[test]
fn q_copy_with_and_without_table_moves_values() {
    let table: [u8; 256] = std::array::from_fn(|i| (i * 7 + 3) as u8);
    for (shape, pixel) in SHAPES {
        for map in [None, Some(&table)] {
            let (x, y) = (slice(5, shape, pixel), slice(60_000, shape, pixel));
            for y in [y, View::contiguous(60_000, &shape), x] {
                let (quantized, _) = everywhere(&|ctx| q_copy(ctx, &x, &y, map).expect("valid"));
                let before = everywhere(&|_| ()).0.read(&x).expect("fits");
                let expected: Vec<u8> =
                    before.iter().map(|&c| map.map_or(c, |table| table[usize::from(c)])).collect();
                assert_eq!(quantized.read(&y).expect("fits"), expected, "{shape:?}");
            }
        }
    }
}

#[test]
fn quantize_and_dequantize_equal_the_plain_computation() {
    for (shape, pixel) in SHAPES {
        for (x, y) in [
            (slice(5, shape, pixel), slice(9, shape, pixel)),
            (View::contiguous(5, &shape), slice(9, shape, pixel)),
        ] {
            let (quantized, f32s) = everywhere(&|ctx| quantize(ctx, &x, &y, Y).expect("valid"));
            let expected: Vec<u8> = f32s.read(&x).expect("fits").iter().map(|&v| q(Y, v)).collect();
            assert_eq!(quantized.read(&y).expect("fits"), expected, "{shape:?}");
            let (quantized, f32s) = everywhere(&|ctx| dequantize(ctx, &y, A, &x).expect("valid"));
            let expected: Vec<f32> =
                quantized.read(&y).expect("fits").iter().map(|&c| real(A, c)).collect();
            assert_eq!(f32s.read(&x).expect("fits"), expected, "{shape:?}");
        }
    }
}

#[test]
fn quantize_extreme_values_clamp_alike() {
    let values = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e30,
        -1e30,
        2.5,
        3.5,
        -0.5,
        0.0,
        1e9,
        -1e9,
        5e8,
    ];
    let params = U8Params { scale: 1.0, zero_point: 10 };
    let all = View::contiguous(0, &[values.len()]);
    let padded = View::contiguous(0, &[24]);
    for repeat in [1, 2] {
        let (quantized, _) = everywhere(&|ctx| {
            let mut input = values.to_vec();
            input.resize(24, 0.0);
            ctx.f32_arena.write(&padded, &input).expect("fits");
            let view = if repeat == 1 { &all } else { &padded };
            quantize(ctx, view, view, params).expect("valid");
        });
        let found = quantized.read(&all).expect("fits");
        assert_eq!(found, [255, 255, 0, 255, 0, 12, 14, 10, 10, 255, 0, 255]);
    }
}

#[test]
fn quantize_nchw_and_write_pixels_store_nhwc() {
    for (shape, pixel) in SHAPES {
        let y = slice(9, shape, pixel);
        let values: Vec<f32> =
            noise(y.elements(), 8).iter().map(|&v| f32::from(v) * 0.04 - 3.0).collect();
        let (quantized, _) = everywhere(&|ctx| quantize_nchw(ctx, &values, &y, Y).expect("valid"));
        let expected: Vec<u8> = values.iter().map(|&v| q(Y, v)).collect();
        assert_eq!(quantized.read(&y).expect("fits"), expected, "{shape:?}");
        let pixels = noise(y.elements(), 9);
        let (quantized, _) = everywhere(&|ctx| write_pixels(ctx, &pixels, &y).expect("valid"));
        let rows = y.permute(&[0, 2, 3, 1]).expect("four axes");
        assert_eq!(quantized.read(&rows).expect("fits"), pixels, "{shape:?}");
    }
}

#[test]
fn q_binary_equals_the_plain_computation() {
    for (shape, pixel) in SHAPES {
        let (a, y) = (slice(5, shape, pixel), slice(40_000, shape, pixel));
        let mut channel = slice(90_000, shape, pixel);
        channel.strides = [0, 1, 0, 0].into();
        for b in [slice(80_000, shape, pixel), channel] {
            for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul] {
                let (quantized, _) = everywhere(&|ctx| {
                    q_binary(ctx, op, &U8View::new(&a, A), &U8View::new(&b, B), &U8View::new(&y, Y))
                        .expect("valid")
                });
                let (left, right) =
                    (quantized.read(&a).expect("fits"), quantized.read(&b).expect("fits"));
                let expected: Vec<u8> = left
                    .iter()
                    .zip(right)
                    .map(|(&a, b)| {
                        let (a, b) = (real(A, a), real(B, b));
                        let value = match op {
                            BinaryOp::Add => a + b,
                            BinaryOp::Sub => a - b,
                            BinaryOp::Mul => a * b,
                            _ => a.max(b),
                        };
                        q(Y, value)
                    })
                    .collect();
                assert_eq!(quantized.read(&y).expect("fits"), expected, "{op:?} {shape:?}");
            }
        }
    }
}

#[test]
fn q_max_pool_equals_the_plain_computation() {
    let pool = |kernel, strides, dilations, pads| Pool {
        kernel: [kernel; 2],
        strides: [strides; 2],
        dilations: [dilations; 2],
        pads: [pads; 4],
        count_include_pad: false,
    };
    for (shape, pixel) in SHAPES {
        for pool in [
            pool(5, 1, 1, 2),
            pool(3, 2, 1, 1),
            pool(3, 1, 2, 2),
            pool(2, 2, 1, 0),
            pool(17, 1, 1, 8),
        ] {
            let out = |len: usize| {
                let window = pool.dilations[0] * (pool.kernel[0] - 1) + 1;
                ((len + 2 * pool.pads[0]).saturating_sub(window)) / pool.strides[0] + 1
            };
            let x = slice(5, shape, pixel);
            let [n, c, h, w] = shape;
            let y = slice(60_000, [n, c, out(h), out(w)], pixel);
            let (quantized, _) = everywhere(&|ctx| q_max_pool(ctx, &x, &y, &pool).expect("valid"));
            let input = quantized.read(&x).expect("fits");
            let mut expected = Vec::new();
            for i in 0..n * c {
                for at in 0..out(h) * out(w) {
                    let (row, column) = (at / out(w), at % out(w));
                    let mut top = 0;
                    for tap in 0..pool.kernel[0] * pool.kernel[1] {
                        let step = [tap / pool.kernel[1], tap % pool.kernel[1]];
                        let row = (row * pool.strides[0] + step[0] * pool.dilations[0])
                            .wrapping_sub(pool.pads[0]);
                        let column = (column * pool.strides[1] + step[1] * pool.dilations[1])
                            .wrapping_sub(pool.pads[1]);
                        if row < h && column < w {
                            top = top.max(input[(i * h + row) * w + column]);
                        }
                    }
                    expected.push(top);
                }
            }
            assert_eq!(quantized.read(&y).expect("fits"), expected, "{pool:?} {shape:?}");
        }
    }
}

#[test]
fn q_resize_nearest_picks_pixels() {
    for (shape, pixel) in SHAPES {
        let [n, c, h, w] = shape;
        let (map_h, map_w): (Vec<usize>, Vec<usize>) =
            ((0..2 * h).map(|i| i / 2).collect(), (0..w + 3).map(|i| i * w / (w + 3)).collect());
        let x = slice(5, shape, pixel);
        let y = slice(60_000, [n, c, map_h.len(), map_w.len()], pixel + 2);
        let (quantized, _) =
            everywhere(&|ctx| q_resize_nearest(ctx, &x, &y, &map_h, &map_w).expect("valid"));
        let input = quantized.read(&x).expect("fits");
        let mut expected = Vec::new();
        for i in 0..n * c {
            for &row in &map_h {
                for &column in &map_w {
                    expected.push(input[(i * h + row) * w + column]);
                }
            }
        }
        assert_eq!(quantized.read(&y).expect("fits"), expected, "{shape:?}");
    }
}

#[test]
fn q_fill_halo_fills_the_halo_alone() {
    for (shape, pixel) in SHAPES {
        let [n, c, h, w] = shape;
        let (halo, row) = ([2, 1, 1, 3], (w + 4) * pixel);
        let x = View {
            offset: 7 + 2 * row + pixel,
            shape: shape.into(),
            strides: [(h + 3) * row, 1, row, pixel].into(),
        };
        let whole = View { offset: 7, shape: [n, c, h + 3, w + 4].into(), strides: x.strides };
        let (quantized, _) = everywhere(&|ctx| q_fill_halo(ctx, &x, halo, 42).expect("valid"));
        let (mut expected, _) = everywhere(&|_| ());
        let inside = expected.read(&x).expect("fits");
        expected.fill(&whole, 42).expect("fits");
        expected.write(&x, &inside).expect("fits");
        let all = View::contiguous(0, &[LEN]);
        assert!(quantized.read(&all) == expected.read(&all), "{shape:?}");
    }
}

#[test]
fn q_matmul_equals_the_plain_computation() {
    for [batches, m, k, n] in [
        [1, 1, 1, 1],
        [2, 5, 7, 9],
        [1, 33, 64, 31],
        [3, 12, 100, 16],
        [1, 20, 3, 70],
        [1, 9, 300, 40],
    ] {
        let a = View::contiguous(3, &[batches, m, k]);
        let transposed = View { offset: 3, shape: a.shape, strides: [m * k, 1, m].into() };
        let b = View::contiguous(40_000, &[batches, k, n]);
        let b_transposed = View { offset: 40_000, shape: b.shape, strides: [k * n, 1, k].into() };
        let y = View::contiguous(90_000, &[batches, m, n]);
        for (a, b) in [(a, b), (transposed, b_transposed)] {
            let out = QOut::U8 { view: y, params: U8Params { scale: 0.5, zero_point: 100 } };
            let (quantized, _) = everywhere(&|ctx| {
                q_matmul(ctx, &U8View::new(&a, A), &U8View::new(&b, B), &out).expect("valid")
            });
            let float = QOut::F32 { view: y };
            let (_, f32s) = everywhere(&|ctx| {
                q_matmul(ctx, &U8View::new(&a, A), &U8View::new(&b, B), &float).expect("valid")
            });
            let (left, right) =
                (quantized.read(&a).expect("fits"), quantized.read(&b).expect("fits"));
            let (found, f32s) = (quantized.read(&y).expect("fits"), f32s.read(&y).expect("fits"));
            for i in 0..batches * m * n {
                let (batch, row, column) = (i / (m * n), i / n % m, i % n);
                let sum: i32 = (0..k)
                    .map(|k_| {
                        let a = left[(batch * m + row) * k + k_];
                        let b = right[(batch * k + k_) * n + column];
                        (i32::from(a) - 120) * (i32::from(b) - 3)
                    })
                    .sum();
                let value = sum as f32 * (A.scale * B.scale);
                assert_eq!(f32s[i], value, "{m} {k} {n}");
                let steps = (value * 2.0).round_ties_even() + 100.0;
                assert_eq!(found[i], steps.clamp(0.0, 255.0) as u8);
            }
        }
    }
}

#[test]
fn parameters_with_a_bad_scale_are_refused() {
    let view = View::contiguous(0, &[4]);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        let bad = U8Params { scale, zero_point: 0 };
        everywhere(&|ctx| {
            let refused = |result: Result<(), KernelError>| {
                assert!(matches!(result, Err(KernelError::Scale { .. })), "{scale}");
            };
            refused(quantize(ctx, &view, &view, bad));
            refused(dequantize(ctx, &view, bad, &view));
            refused(q_binary(
                ctx,
                BinaryOp::Add,
                &U8View::new(&view, bad),
                &U8View::new(&view, A),
                &U8View::new(&view, A),
            ));
        });
    }
}

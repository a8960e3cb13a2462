//! Element-wise operations, pooling, resizing, halos, softmax and matrix products against plain loops.

use kernels::*;
use std::f64::consts::PI;

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 21) as f32 - 4.0
        })
        .collect()
}

fn with(len: usize, f: &mut dyn FnMut(&mut Context)) {
    for isa in Isa::available() {
        for threads in [1, 2] {
            let pool = ThreadPool::new(threads);
            let mut arena = Arena::new(len).expect("a small arena");
            f(&mut Context {
                f32_arena: &mut arena,
                u8_arena: &mut Arena::new(0).expect("a small arena"),
                pool: &pool,
                isa,
            });
        }
    }
}

fn near(found: f32, expected: f64, what: &str) {
    let tolerance = 1e-6 + 4e-7 * expected.abs();
    assert!(
        (f64::from(found) - expected).abs() <= tolerance,
        "{what}: {found} instead of {expected}"
    );
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x` times the normal distribution's integral up to `x`, by Simpson's rule.
fn gelu(x: f64) -> f64 {
    let (steps, width) = (2000, x / 2000.0);
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * PI).sqrt();
    let weight = |i: usize| match i {
        0 | 2000 => 1.0,
        _ if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let sum: f64 = (0..=steps).map(|i| weight(i) * density(i as f64 * width)).sum();
    x * (0.5 + sum * width / 3.0)
}

#[test]
fn unary_equals_the_definition() {
    type Definition = fn(f64) -> f64;
    let ops: &[(UnaryOp, Definition)] = &[
        (UnaryOp::Activation(Activation::Relu), |x| x.max(0.0)),
        (UnaryOp::Activation(Activation::LeakyRelu { alpha: 0.5 }), |x| {
            if x < 0.0 { 0.5 * x } else { x }
        }),
        (UnaryOp::Activation(Activation::Sigmoid), sigmoid),
        (UnaryOp::Activation(Activation::Silu), |x| x * sigmoid(x)),
        (UnaryOp::Activation(Activation::HardSwish), |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (UnaryOp::Activation(Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }), |x| {
            (0.25 * x + 0.5).clamp(0.0, 1.0)
        }),
        (UnaryOp::Activation(Activation::Tanh), f64::tanh),
        (UnaryOp::Activation(Activation::Clip { min: -1.0, max: 2.0 }), |x| x.clamp(-1.0, 2.0)),
        (UnaryOp::Exp, f64::exp),
        (UnaryOp::Neg, |x| -x),
        (UnaryOp::Reciprocal, |x| 1.0 / x),
        (UnaryOp::Abs, f64::abs),
        (UnaryOp::Floor, f64::floor),
        (UnaryOp::Ceil, f64::ceil),
        (UnaryOp::Round, f64::round_ties_even),
        (UnaryOp::Softplus, |x| (1.0 + x.exp()).ln()),
        (UnaryOp::Mish, |x| x * (1.0 + x.exp()).ln().tanh()),
        (UnaryOp::Gelu, gelu),
        (UnaryOp::GeluTanh, |x| {
            0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }),
        (UnaryOp::Elu { alpha: 0.5 }, |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }),
        (UnaryOp::Identity, |x| x),
    ];
    for &(op, definition) in ops {
        for (n, step) in [(1, 1), (15, 1), (16, 1), (17, 1), (37, 3), (9001, 1)] {
            with(n * step * 2, &mut |ctx| {
                let x = View { offset: 0, shape: Dims::new(&[n]), strides: Dims::new(&[step]) };
                let y = View { offset: n * step, ..x };
                let values = noise(n, 7);
                ctx.f32_arena.write(&x, &values).expect("write");
                unary(ctx, op, &x, &y).expect("unary");
                for (x, y) in values.iter().zip(ctx.f32_arena.read(&y).expect("read")) {
                    near(y, definition(f64::from(*x)), &format!("{op:?} {} {x}", ctx.isa));
                }
            });
        }
    }
}

#[test]
fn unary_extremes_stay_finite_or_right() {
    let values = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e30,
        -1e30,
        88.0,
        -88.0,
        100.0,
        -100.0,
        0.0,
        -0.0,
        1e-30,
    ];
    let view = View::contiguous(0, &[values.len()]);
    let y = View { offset: 16, ..view };
    for (op, f) in [
        (UnaryOp::Exp, f32::exp as fn(f32) -> f32),
        (UnaryOp::Activation(Activation::Sigmoid), |x| 1.0 / (1.0 + (-x).exp())),
        (UnaryOp::Activation(Activation::Silu), |x| {
            if x < -1000.0 { 0.0 } else { x / (1.0 + (-x).exp()) }
        }),
        (UnaryOp::Activation(Activation::HardSwish), |x| {
            if x < -3.0 { 0.0 } else { x * (x / 6.0 + 0.5).min(1.0) }
        }),
        (UnaryOp::Activation(Activation::Tanh), f32::tanh),
    ] {
        with(64, &mut |ctx| {
            ctx.f32_arena.write(&view, &values).expect("write");
            unary(ctx, op, &view, &y).expect("unary");
            for (x, y) in values.iter().zip(ctx.f32_arena.read(&y).expect("read")) {
                let expected = f(*x);
                assert!(
                    y == expected || (y - expected).abs() <= 4e-7 * expected.abs() + 1e-37,
                    "{op:?} {} {x}: {y} instead of {expected}",
                    ctx.isa
                );
            }
        });
    }
}

#[test]
fn binary_broadcasts_by_zero_strides_and_runs_in_place() {
    let (c, h, w) = (19, 3, 5);
    for (op, f) in [
        (BinaryOp::Add, (|a, b| a + b) as fn(f32, f32) -> f32),
        (BinaryOp::Sub, |a, b| a - b),
        (BinaryOp::Mul, |a, b| a * b),
        (BinaryOp::Div, |a, b| a / b),
    ] {
        with(2000, &mut |ctx| {
            let a = View::nhwc(0, [1, c, h, w]);
            let b = View { offset: 1000, shape: a.shape, strides: Dims::new(&[0, 1, 0, 0]) };
            let (av, bv) = (noise(c * h * w, 1), noise(c, 2));
            ctx.f32_arena.write(&a, &av).expect("write");
            ctx.f32_arena.write(&View::contiguous(1000, &[c]), &bv).expect("write");
            binary(ctx, op, &a, &b, &a).expect("binary");
            for (i, y) in ctx.f32_arena.read(&a).expect("read").into_iter().enumerate() {
                assert_eq!(y, f(av[i], bv[i / (h * w)]), "{op:?} {}", ctx.isa);
            }
        });
    }
}

#[test]
fn copy_changes_the_layout() {
    with(4000, &mut |ctx| {
        let x = View::nhwc(0, [1, 18, 7, 9]);
        let y = View::contiguous(2000, &[1, 18, 7, 9]);
        let values = noise(x.elements(), 1);
        ctx.f32_arena.write(&x, &values).expect("write");
        copy(ctx, &x, &y).expect("copy");
        assert_eq!(ctx.f32_arena.read(&y).expect("read"), values);
        let mut seen = vec![0.0; values.len()];
        ctx.f32_arena
            .for_each_run(&x, &mut |at, run| {
                assert_eq!(run.len(), 18);
                for (c, v) in run.iter().enumerate() {
                    seen[(c * 7 + at[2]) * 9 + at[3]] = *v;
                }
            })
            .expect("runs");
        assert_eq!(seen, values);
    });
}

#[test]
fn read_of_a_view_that_repeats_its_last_axis_gives_each_element_again() {
    with(16, &mut |ctx| {
        let column = View::contiguous(2, &[3, 1]);
        ctx.f32_arena.write(&column, &[1.0, 2.0, 3.0]).expect("write");
        let repeated = View {
            shape: kernels::Dims::new(&[3, 2]),
            strides: kernels::Dims::new(&[1, 0]),
            ..column
        };
        let found = ctx.f32_arena.read(&repeated).expect("read");
        assert_eq!(found, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        let short = ctx.f32_arena.read_into(&repeated, &mut [0.0; 5]);
        assert!(matches!(short, Err(KernelError::Length { expected: 6, found: 5, .. })));
    });
}

#[test]
fn pools_clamp_their_window_to_the_image() {
    for (kernel, stride, pads, include) in [
        (2, 2, [0; 4], false),
        (3, 2, [1; 4], true),
        (3, 1, [1; 4], false),
        (5, 1, [2; 4], false),
        (3, 2, [0, 0, 1, 1], true),
    ] {
        let (c, h, w) = (21, 8, 7);
        let oh = (h + pads[0] + pads[2] - kernel) / stride + 1;
        let ow = (w + pads[1] + pads[3] - kernel) / stride + 1;
        with(4000, &mut |ctx| {
            let (x, y) = (View::nhwc(0, [1, c, h, w]), View::nhwc(2000, [1, c, oh, ow]));
            let values = noise(c * h * w, 5);
            ctx.f32_arena.write(&x, &values).expect("write");
            let window = Pool {
                kernel: [kernel; 2],
                strides: [stride; 2],
                dilations: [1; 2],
                pads,
                count_include_pad: include,
            };
            let taps = |k: usize, i: usize, j: usize| -> Vec<f64> {
                (0..kernel * kernel)
                    .map(|t| {
                        (
                            (i * stride + t / kernel).wrapping_sub(pads[0]),
                            (j * stride + t % kernel).wrapping_sub(pads[1]),
                        )
                    })
                    .filter(|&(r, s)| r < h && s < w)
                    .map(|(r, s)| f64::from(values[(k * h + r) * w + s]))
                    .collect()
            };
            max_pool(ctx, &x, &y, &window).expect("max_pool");
            let found = ctx.f32_arena.read(&y).expect("read");
            for (n, v) in found.into_iter().enumerate() {
                let taps = taps(n / (oh * ow), n / ow % oh, n % ow);
                assert_eq!(
                    f64::from(v),
                    taps.into_iter().fold(f64::NEG_INFINITY, f64::max),
                    "{}",
                    ctx.isa
                );
            }
            avg_pool(ctx, &x, &y, &window).expect("avg_pool");
            let found = ctx.f32_arena.read(&y).expect("read");
            for (n, v) in found.into_iter().enumerate() {
                let taps = taps(n / (oh * ow), n / ow % oh, n % ow);
                let count = if include { kernel * kernel } else { taps.len() };
                near(v, taps.iter().sum::<f64>() / count as f64, "avg_pool");
            }
        });
    }
}

#[test]
fn resize_and_halo_move_pixels() {
    with(1000, &mut |ctx| {
        let x = View::nhwc(0, [1, 3, 2, 2]);
        let y = View {
            offset: 100 + (6 + 1) * 5,
            shape: Dims::new(&[1, 3, 4, 4]),
            strides: Dims::new(&[180, 1, 30, 5]),
        };
        ctx.f32_arena.write(&x, &noise(12, 1)).expect("write");
        let before = ctx.f32_arena.read(&x).expect("read");
        resize_nearest(ctx, &x, &y, &[0, 0, 1, 1], &[0, 0, 1, 1]).expect("resize");
        fill_halo(ctx, &y, [1; 4], 9.0).expect("halo");
        let wide = View { offset: 100, shape: Dims::new(&[1, 5, 6, 6]), strides: y.strides };
        let all = ctx.f32_arena.read(&wide).expect("read");
        for c in 0..5 {
            for (i, j) in (0..36).map(|p| (p / 6, p % 6)) {
                let inside = (1..5).contains(&i) && (1..5).contains(&j);
                let expected = match (c < 3, inside) {
                    (true, true) => before[(c * 2 + (i - 1) / 2) * 2 + (j - 1) / 2],
                    (true, false) => 9.0,
                    _ => 0.0,
                };
                assert_eq!(all[(c * 6 + i) * 6 + j], expected);
            }
        }
        assert!(matches!(
            resize_nearest(ctx, &x, &y, &[0, 0, 1, 2], &[0; 4]),
            Err(KernelError::Index { index: 2, len: 2, .. })
        ));
        assert!(matches!(fill_halo(ctx, &x, [1; 4], 0.0), Err(KernelError::OutOfBounds { .. })));
    });
}

#[test]
fn softmax_sums_to_one_along_any_axis() {
    for shape in [[1, 16, 4, 33], [2, 5, 3, 7], [1, 1, 1, 1], [1, 33, 1, 70]] {
        for axis in 0..4 {
            for nhwc in [false, true] {
                with(8000, &mut |ctx| {
                    let x = if nhwc { View::nhwc(0, shape) } else { View::contiguous(0, &shape) };
                    let y = View { offset: 4000, ..x };
                    let values = noise(x.elements(), 3);
                    ctx.f32_arena.write(&x, &values).expect("write");
                    softmax(ctx, &x, &y, axis).expect("softmax");
                    let found = ctx.f32_arena.read(&y).expect("read");
                    let inner: usize = shape[axis + 1..].iter().product();
                    for (n, v) in found.into_iter().enumerate() {
                        let first = n / (inner * shape[axis]) * inner * shape[axis] + n % inner;
                        let sum: f64 = (0..shape[axis])
                            .map(|i| f64::from(values[first + i * inner]).exp())
                            .sum();
                        near(v, f64::from(values[n]).exp() / sum, "softmax");
                    }
                });
            }
        }
    }
}

#[test]
fn matmul_equals_the_sums_in_any_layout() {
    for (batch, m, k, n) in [(1, 1, 1, 1), (2, 7, 5, 17), (3, 15, 33, 65), (1, 40, 16, 100)] {
        for transposed in [false, true] {
            with(30_000, &mut |ctx| {
                let a = View::contiguous(0, &[batch, m, k]);
                let mut b = View::contiguous(10_000, &[batch, k, n]);
                if transposed {
                    b.strides = Dims::new(&[0, 1, k]);
                }
                let y = View::contiguous(20_000, &[batch, m, n]);
                let av = noise(a.elements(), 1);
                ctx.f32_arena
                    .write(&View::contiguous(10_000, &[batch * k * n]), &noise(batch * k * n, 2))
                    .expect("write");
                ctx.f32_arena.write(&a, &av).expect("write");
                let bv = ctx.f32_arena.read(&b).expect("read");
                matmul(ctx, &a, &b, &y).expect("matmul");
                for (at, v) in ctx.f32_arena.read(&y).expect("read").into_iter().enumerate() {
                    let (p, i, j) = (at / (m * n), at / n % m, at % n);
                    let sum: f64 = (0..k)
                        .map(|l| {
                            f64::from(av[(p * m + i) * k + l]) * f64::from(bv[(p * k + l) * n + j])
                        })
                        .sum();
                    assert!((f64::from(v) - sum).abs() < 1e-4, "{}: {v} {sum}", ctx.isa);
                }
            });
        }
    }
}

#[test]
fn pool_runs_every_task_once_and_tells_panics() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let pool = ThreadPool::new(3);
    let _active = pool.activate();
    for tasks in [0, 1, 2, 7, 100] {
        for _ in 0..50 {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.run(10, &|i| assert!(i != 5, "task five"));
    }));
    assert!(outcome.is_err());
    pool.run(4, &|_| {});
}

#[test]
fn pools_and_halos_hostile_sizes_are_typed_errors() {
    let plain = Pool {
        kernel: [2; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [0; 4],
        count_include_pad: true,
    };
    let huge = [usize::MAX, 1 << 63, (1 << 63) + 1, 1 << 62];
    with(100, &mut |ctx| {
        let (x, y) = (View::nhwc(0, [1, 1, 4, 4]), View::nhwc(50, [1, 1, 3, 3]));
        for n in huge {
            for window in [
                Pool { kernel: [n, 2], ..plain },
                Pool { strides: [1, n], ..plain },
                Pool { dilations: [n, 1], ..plain },
                Pool { pads: [0, n, 0, 0], ..plain },
                Pool { pads: [0, 0, n, 0], ..plain },
            ] {
                assert!(matches!(max_pool(ctx, &x, &y, &window), Err(KernelError::Reach { .. })));
                assert!(matches!(avg_pool(ctx, &x, &y, &window), Err(KernelError::Reach { .. })));
            }
            assert!(fill_halo(ctx, &x, [n, n, 0, 0], 0.0).is_err());
            assert!(fill_halo(ctx, &x, [0, 0, n, n], 0.0).is_err());
        }
    });
}

#[test]
fn write_puts_every_value_where_read_finds_it() {
    let nhwc = View::nhwc(7, [2, 3, 4, 5]);
    let wide = View::nhwc(3, [2, 8, 6, 7]);
    let part = wide
        .slice(1, 2, 3)
        .and_then(|v| v.slice(2, 1, 4))
        .and_then(|v| v.slice(3, 1, 5))
        .expect("within");
    let turned = nhwc.permute(&[0, 3, 1, 2]).expect("four axes");
    let one = View { shape: [2, 3, 1, 1].into(), strides: [3, 1, 0, usize::MAX].into(), offset: 5 };
    let views = [
        nhwc,
        part,
        turned,
        one,
        View::contiguous(9, &[2, 3, 4, 5]),
        View::contiguous(9, &[2, 3, 2, 2, 3, 2]),
        View::contiguous(9, &[3, 4, 5]).permute(&[2, 0, 1]).expect("three axes"),
        View::contiguous(9, &[11]),
        View::contiguous(9, &[]),
        View::contiguous(9, &[0, 3]),
    ];
    let all = View::contiguous(0, &[1000]);
    let check = |ctx: &mut Context, view: &View, write: &dyn Fn(&mut Context, &[f32])| {
        ctx.f32_arena.fill(&all, -99.0).expect("within");
        let values = noise(view.elements(), 5);
        write(ctx, &values);
        assert_eq!(ctx.f32_arena.read(view), Ok(values.clone()), "{view:?}");
        let rest = ctx.f32_arena.read(&all).expect("read");
        let untouched = rest.iter().filter(|&&v| v == -99.0).count();
        assert_eq!(untouched, 1000 - values.len(), "{view:?}");
    };
    with(1000, &mut |ctx| {
        for view in &views {
            check(ctx, view, &|ctx, values| ctx.f32_arena.write(view, values).expect("write"));
            check(ctx, view, &|ctx, values| write(ctx, values, view).expect("write"));
            let few = write(ctx, &[0.0; 2], view);
            assert!(matches!(few, Err(KernelError::Length { .. })), "{view:?}");
        }
        let outside = View::nhwc(990, [1, 3, 2, 2]);
        let written = write(ctx, &[0.0; 12], &outside);
        assert!(matches!(written, Err(KernelError::OutOfBounds { .. })), "{written:?}");
    });
}

#[test]
fn matmul_deeper_than_a_piece_equals_naive() {
    with(3 * 1100 + 1100 * 18 + 54, &mut |ctx| {
        let (m, k, n) = (3, 1100, 18);
        let (a, b) = (View::contiguous(0, &[m, k]), View::contiguous(m * k, &[k, n]));
        let y = View::contiguous(m * k + k * n, &[m, n]);
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        let (left, right): (Vec<f32>, Vec<f32>) =
            ((0..m * k).map(value).collect(), (0..k * n).map(|i| value(i + 7)).collect());
        ctx.f32_arena.write(&a, &left).expect("fits");
        ctx.f32_arena.write(&b, &right).expect("fits");
        matmul(ctx, &a, &b, &y).expect("valid");
        for (i, found) in ctx.f32_arena.read(&y).expect("fits").into_iter().enumerate() {
            let terms = (0..k).map(|j| left[i / n * k + j] * right[j * n + i % n]);
            let expected: f64 = terms.map(f64::from).sum();
            assert!((f64::from(found) - expected).abs() < 1e-3, "{found} {expected}");
        }
    });
}

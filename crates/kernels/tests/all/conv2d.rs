//! Every instruction set against a naive convolution, on edge shapes, in slices with canaries around them.

use kernels::{
    Activation, Arena, Context, ConvGeometry, ConvSpec, Dims, Epilogue, FakeQuantize, Isa,
    KernelError, PackedConv, ThreadPool, View, conv2d, fill_halo,
};

const CANARY: f32 = 1234.5;

#[derive(Clone, Debug)]
struct Case {
    channels: [usize; 2],
    image: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
    group: usize,
    /// Channels before and after the slices of x and y in their pixels.
    around: [usize; 2],
}

fn case(channels: [usize; 2], image: [usize; 2], kernel: usize) -> Case {
    Case {
        channels,
        image,
        kernel: [kernel; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [kernel / 2; 4],
        group: 1,
        around: [0; 2],
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for m in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 65, 80, 255] {
        cases.push(case([5, m], [3, 7], 3));
        cases.push(Case { around: [3, 5], ..case([9, m], [4, 13], 1) });
    }
    for width in [1, 3, 5, 6, 7, 9, 10, 12, 13, 14, 15, 20, 28, 29] {
        for m in [16, 32, 48, 64] {
            cases.push(Case { around: [1, 1], ..case([4, m], [2, width], 3) });
        }
    }
    cases.push(Case { strides: [2; 2], pads: [2; 4], ..case([3, 16], [16, 20], 6) });
    cases.push(Case { strides: [2; 2], ..case([3, 24], [15, 17], 3) });
    cases.push(Case {
        strides: [2, 1],
        dilations: [2; 2],
        pads: [2, 1, 0, 3],
        ..case([8, 40], [11, 12], 3)
    });
    cases.push(Case { pads: [1, 0, 2, 1], around: [8, 16], ..case([8, 16], [9, 9], 3) });
    cases.push(Case { kernel: [1, 5], pads: [0, 2, 0, 2], ..case([6, 10], [5, 8], 1) });
    cases.push(Case { strides: [2; 2], pads: [0; 4], ..case([6, 10], [6, 8], 1) });
    cases.push(case([16, 64], [21, 23], 1));
    // By transformed filters: tiles that end within and beyond the image, one block of them and several, panels of every width.
    for (channels, image) in [
        ([16, 16], [8, 8]),
        ([17, 30], [9, 7]),
        ([20, 100], [10, 11]),
        ([40, 64], [21, 22]),
        ([130, 255], [12, 6]),
    ] {
        cases.push(Case { around: [3, 2], ..case(channels, image, 3) });
        cases.push(Case { pads: [0, 1, 2, 0], ..case(channels, image.map(|n| n + 3), 3) });
    }
    for (channels, group) in
        [([8, 8], 8), ([17, 17], 17), ([40, 40], 40), ([8, 16], 8), ([12, 18], 3), ([64, 64], 2)]
    {
        cases.push(Case { group, around: [3, 2], ..case(channels, [6, 7], 3) });
        cases.push(Case {
            group,
            strides: [2; 2],
            dilations: [1, 2],
            ..case(channels, [9, 11], 3)
        });
    }
    cases
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

impl Case {
    fn spec(&self) -> ConvSpec {
        let inner = self.channels[0] / self.group;
        ConvSpec {
            geometry: ConvGeometry {
                out_channels: self.channels[1],
                in_channels_per_group: inner,
                kernel: self.kernel,
                strides: self.strides,
                dilations: self.dilations,
                pads: self.pads,
                group: self.group,
            },
            weight: noise(self.channels[1] * inner * self.kernel[0] * self.kernel[1], 1),
            bias: Some(noise(self.channels[1], 2)),
        }
    }

    fn output(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let window = self.dilations[i] * (self.kernel[i] - 1) + 1;
            (self.image[i] + self.pads[i] + self.pads[i + 2] - window) / self.strides[i] + 1
        })
    }

    /// Views of x, y and a residual, and the elements they need.
    fn views(&self) -> (View, View, View, usize) {
        let [before, after] = self.around;
        let view = |start: usize, channels: usize, [h, w]: [usize; 2], pads: [usize; 4]| {
            let pixel = before + channels + after;
            let row = (w + pads[1] + pads[3]) * pixel;
            let rows = h + pads[0] + pads[2];
            let view = View {
                offset: start + pads[0] * row + pads[1] * pixel + before,
                shape: Dims::new(&[1, channels, h, w]),
                strides: Dims::new(&[rows * row, 1, row, pixel]),
            };
            (view, start + rows * row)
        };
        let (x, end) = view(0, self.channels[0], self.image, self.pads);
        let (y, end) = view(end, self.channels[1], self.output(), [1; 4]);
        let (residual, end) = view(end, self.channels[1], self.output(), [0; 4]);
        (x, y, residual, end)
    }

    /// Views of a factor and of slopes, behind all others.
    fn beside(&self) -> [View; 2] {
        let (_, y, _, len) = self.views();
        let view = |at| View::nhwc(at, [1, y.shape[1], y.shape[2], y.shape[3]]);
        [view(len), view(len + y.elements())]
    }

    fn naive(&self, x: &[f32]) -> Vec<f64> {
        let spec = self.spec();
        let ([c, m], [h, w], [oh, ow]) = (self.channels, self.image, self.output());
        let (inner, per_group) = (c / self.group, m / self.group);
        let mut y = Vec::new();
        for (o, i, j) in
            (0..m).flat_map(|o| (0..oh).flat_map(move |i| (0..ow).map(move |j| (o, i, j))))
        {
            let mut sum = f64::from(spec.bias.as_ref().map_or(0.0, |b| b[o]));
            for k in 0..inner {
                for (a, b) in
                    (0..self.kernel[0]).flat_map(|a| (0..self.kernel[1]).map(move |b| (a, b)))
                {
                    let at = |axis: usize, out: usize, tap: usize| {
                        (out * self.strides[axis] + tap * self.dilations[axis])
                            .wrapping_sub(self.pads[axis])
                    };
                    let (r, s) = (at(0, i, a), at(1, j, b));
                    if r < h && s < w {
                        let weight = spec.weight
                            [((o * inner + k) * self.kernel[0] + a) * self.kernel[1] + b];
                        let channel = o / per_group * inner + k;
                        sum += f64::from(weight) * f64::from(x[(channel * h + r) * w + s]);
                    }
                }
            }
            y.push(sum);
        }
        y
    }

    fn run(&self, isa: Isa, threads: usize, epilogue: &Epilogue, residual: bool) -> (Arena, View) {
        let (x, y, r, len) = self.views();
        let [factor, slope] = self.beside();
        let end = len + factor.elements() + slope.elements();
        let mut arena = Arena::new(end).expect("a small arena");
        let whole = View::contiguous(0, &[end]);
        arena.fill(&whole, CANARY).expect("in bounds");
        let [top, left, bottom, right] = self.pads;
        let padded = View {
            offset: x.offset - top * x.strides[2] - left * x.strides[3],
            shape: Dims::new(&[
                1,
                x.shape[1],
                x.shape[2] + top + bottom,
                x.shape[3] + left + right,
            ]),
            strides: x.strides,
        };
        arena.fill(&padded, 0.0).expect("in bounds");
        arena.write(&x, &noise(x.elements(), 3)).expect("in bounds");
        arena.write(&r, &noise(r.elements(), 4)).expect("in bounds");
        arena.write(&factor, &noise(factor.elements(), 5)).expect("in bounds");
        let pool = ThreadPool::new(threads);
        let conv = PackedConv::new(&self.spec(), self.output().iter().product(), isa)
            .expect("a valid convolution");
        let mut ctx = Context {
            f32_arena: &mut arena,
            u8_arena: &mut Arena::new(0).expect("a small arena"),
            pool: &pool,
            isa,
        };
        let epilogue = Epilogue { residual: residual.then_some(r), ..*epilogue };
        conv2d(&mut ctx, &conv, &x, &y, &epilogue).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        (arena, y)
    }
}

#[test]
fn conv2d_equals_the_naive_one_on_every_isa() {
    for case in cases() {
        let x = noise(case.channels[0] * case.image[0] * case.image[1], 3);
        let expected = case.naive(&x);
        // Transformed filters have the errors of plain sums, but mix an output with its neighbours.
        let squares = expected.iter().map(|sum| sum * sum).sum::<f64>();
        let allowed = (2e-5 * (squares / expected.len() as f64).sqrt()).max(1e-4);
        let residual = noise(expected.len(), 4);
        for isa in Isa::available() {
            let epilogue = Epilogue { activation: Activation::Silu, ..Epilogue::default() };
            let (plain, y) = case.run(isa, 1, &Epilogue::default(), false);
            let (full, _) = case.run(isa, 1, &epilogue, true);
            let (plain, full) = (plain.read(&y).expect("read"), full.read(&y).expect("read"));
            for (i, &sum) in expected.iter().enumerate() {
                let silu = sum / (1.0 + (-sum).exp()) + f64::from(residual[i]);
                assert!(
                    (f64::from(plain[i]) - sum).abs() < allowed,
                    "{isa} {case:?} {i}: {} {sum}",
                    plain[i]
                );
                assert!(
                    (f64::from(full[i]) - silu).abs() < allowed,
                    "{isa} {case:?} {i}: {} {silu}",
                    full[i]
                );
            }
        }
    }
}

#[test]
fn conv2d_with_factor_and_slope_equals_the_steps_one_by_one() {
    let group = |group| Case { group, ..case([32, 32], [6, 7], 3) };
    let by_winograd = case([20, 70], [9, 10], 3);
    for case in [group(1), group(32), case([9, 33], [6, 7], 1), by_winograd] {
        let [factor, slope] = case.beside();
        let epilogue = Epilogue {
            activation: Activation::Silu,
            factor: Some(factor),
            slope: Some(slope),
            ..Epilogue::default()
        };
        let residual = noise(factor.elements(), 4);
        let factors = noise(factor.elements(), 5);
        for isa in Isa::available() {
            let (arena, y) = case.run(isa, 2, &Epilogue::default(), false);
            let sums = arena.read(&y).expect("read");
            let (arena, y) = case.run(isa, 2, &epilogue, true);
            let (found, slopes) = (arena.read(&y), arena.read(&slope));
            let (found, slopes) = (found.expect("read"), slopes.expect("read"));
            for (i, &sum) in sums.iter().enumerate() {
                let gate = 1.0 / (1.0 + f64::from(-sum).exp());
                let expected = f64::from(sum) * gate + f64::from(residual[i]);
                let expected = expected * f64::from(factors[i]);
                assert!((f64::from(found[i]) - expected).abs() < 1e-5, "{isa} {case:?} {i}");
                let expected = gate * (1.0 + f64::from(sum) * (1.0 - gate));
                assert!((f64::from(slopes[i]) - expected).abs() < 1e-5, "{isa} {case:?} {i}");
            }
        }
    }
}

#[test]
fn conv2d_writes_its_own_slice_and_nothing_else() {
    for case in cases() {
        for isa in Isa::available() {
            let (arena, y) = case.run(isa, 2, &Epilogue::default(), false);
            let (_, _, r, len) = case.views();
            let all = arena.read(&View::contiguous(0, &[len])).expect("read");
            let mut mine = vec![false; len];
            for (c, (i, j)) in (0..y.shape[1]).flat_map(|c| {
                (0..y.shape[2]).flat_map(move |i| (0..y.shape[3]).map(move |j| (c, (i, j))))
            }) {
                mine[y.offset + c + i * y.strides[2] + j * y.strides[3]] = true;
            }
            let start = y.offset - y.strides[2] - y.strides[3] - case.around[0];
            for at in start..r.offset - case.around[0] {
                assert!(
                    mine[at] || all[at] == CANARY,
                    "{isa} {case:?}: element {at} was overwritten"
                );
            }
        }
    }
}

#[test]
fn conv2d_gives_the_same_bits_on_every_isa_with_fused_products() {
    for case in cases() {
        let bits = |isa| {
            let (arena, y) = case.run(isa, 2, &Epilogue::default(), true);
            let y = arena.read(&y).expect("read");
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let best = bits(Isa::best());
        // Plain Rust rounds products before it adds them.
        for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::scalar()) {
            assert_eq!(bits(isa), best, "{isa} {case:?}");
        }
    }
}

#[test]
fn conv2d_gives_the_same_bits_on_one_and_two_threads() {
    for case in [
        case([17, 100], [10, 11], 3),
        case([48, 72], [40, 40], 3),
        case([16, 64], [40, 40], 3),
        case([32, 255], [30, 31], 1),
        Case { group: 24, ..case([24, 24], [40, 40], 3) },
    ] {
        for isa in Isa::available() {
            let epilogue = Epilogue { activation: Activation::Silu, ..Epilogue::default() };
            let results: Vec<Vec<u32>> = [1, 2]
                .into_iter()
                .map(|threads| {
                    let (arena, y) = case.run(isa, threads, &epilogue, true);
                    arena.read(&y).expect("read").into_iter().map(f32::to_bits).collect()
                })
                .collect();
            assert_eq!(results[0], results[1], "{isa} {case:?}");
        }
    }
}

#[test]
fn conv2d_fake_quantize_gives_steps_of_the_scale() {
    let q = FakeQuantize { scale: 0.07, zero_point: 3.0, q_min: 0.0, q_max: 255.0 };
    let case = case([4, 19], [5, 6], 3);
    for isa in Isa::available() {
        let (plain, y) = case.run(isa, 1, &Epilogue::default(), false);
        let (quantized, _) =
            case.run(isa, 1, &Epilogue { fake_quantize: Some(q), ..Epilogue::default() }, false);
        let (plain, quantized) = (plain.read(&y).expect("read"), quantized.read(&y).expect("read"));
        for (x, found) in plain.into_iter().zip(quantized) {
            let step = ((x / q.scale).round_ties_even() + q.zero_point).clamp(q.q_min, q.q_max);
            assert_eq!(found, (step - q.zero_point) * q.scale, "{isa} {x}");
        }
    }
}

#[test]
fn conv2d_bad_views_are_typed_errors() {
    let case = case([4, 8], [5, 5], 3);
    let (x, y, _, len) = case.views();
    let conv = PackedConv::new(&case.spec(), 25, Isa::scalar()).expect("valid");
    let pool = ThreadPool::new(1);
    let mut arena = Arena::new(len).expect("a small arena");
    let mut ctx = Context {
        f32_arena: &mut arena,
        u8_arena: &mut Arena::new(0).expect("a small arena"),
        pool: &pool,
        isa: Isa::scalar(),
    };
    let epilogue = Epilogue::default();
    let at_start = View { offset: 0, ..x };
    assert!(matches!(
        conv2d(&mut ctx, &conv, &at_start, &y, &epilogue),
        Err(KernelError::OutOfBounds { .. })
    ));
    let over_x = View { offset: x.offset, ..y };
    assert!(matches!(
        conv2d(&mut ctx, &conv, &x, &over_x, &epilogue),
        Err(KernelError::Overlap { .. })
    ));
    let short = View { shape: Dims::new(&[1, 8, 4, 5]), ..y };
    assert!(matches!(
        conv2d(&mut ctx, &conv, &x, &short, &epilogue),
        Err(KernelError::Shape { .. })
    ));
    let beyond = View { offset: len, ..y };
    assert!(matches!(
        conv2d(&mut ctx, &conv, &x, &beyond, &epilogue),
        Err(KernelError::OutOfBounds { .. })
    ));
    let over_y = Epilogue { slope: Some(y), ..epilogue };
    assert!(matches!(
        conv2d(&mut ctx, &conv, &x, &y, &over_y),
        Err(KernelError::Overlap { operand: "y", .. })
    ));
    let short_bias = ConvSpec { bias: Some(vec![0.0]), ..case.spec() };
    assert!(matches!(
        PackedConv::new(&short_bias, 25, Isa::scalar()),
        Err(KernelError::Length { operand: "bias", .. })
    ));
}

#[test]
fn conv2d_hostile_attributes_are_typed_errors() {
    let plain =
        ConvGeometry { kernel: [4, 1], pads: [0; 4], ..case([1, 1], [5, 5], 1).spec().geometry };
    let cases = [
        // Three times this dilation wraps to 2, so the window would seem 3 high.
        ConvGeometry { dilations: [6_148_914_691_236_517_206, 1], ..plain },
        ConvGeometry { pads: [usize::MAX, 0, 2, 0], ..plain },
        ConvGeometry { pads: [0, usize::MAX - 5, 0, 6], ..plain },
    ];
    for geometry in cases {
        let spec = ConvSpec { geometry, weight: vec![1.0; 4], bias: None };
        let conv = PackedConv::new(&spec, 15, Isa::scalar()).expect("valid");
        let pool = ThreadPool::new(1);
        let mut arena = Arena::new(200).expect("a small arena");
        let mut ctx = Context {
            f32_arena: &mut arena,
            u8_arena: &mut Arena::new(0).expect("a small arena"),
            pool: &pool,
            isa: Isa::scalar(),
        };
        let (x, y) = (View::nhwc(0, [1, 1, 5, 5]), View::nhwc(100, [1, 1, 3, 5]));
        assert!(matches!(
            conv2d(&mut ctx, &conv, &x, &y, &Epilogue::default()),
            Err(KernelError::Reach { .. })
        ));
    }
}

#[test]
fn halo_without_room_between_rows_or_images_is_a_typed_error() {
    let conv = PackedConv::new(&case([1, 1], [4, 4], 3).spec(), 16, Isa::scalar()).expect("valid");
    let pool = ThreadPool::new(1);
    let mut arena = Arena::new(400).expect("a small arena");
    let mut ctx = Context {
        f32_arena: &mut arena,
        u8_arena: &mut Arena::new(0).expect("a small arena"),
        pool: &pool,
        isa: Isa::scalar(),
    };
    let y = View::nhwc(200, [2, 1, 4, 4]);
    let x = |row: usize, image: usize| View {
        offset: 20,
        shape: [2, 1, 4, 4].into(),
        strides: [image, 1, row, 1].into(),
    };
    // Rows share one pixel of padding, images one row of it.
    for (row, image, axis) in [(5, 25, None), (4, 25, Some(2)), (5, 24, Some(0))] {
        let x = x(row, image);
        let expected = axis.map(|axis| KernelError::HaloStride {
            operand: "x",
            axis,
            at_least: if axis == 2 { 5 } else { 25 },
            found: if axis == 2 { 4 } else { 24 },
        });
        let found = conv2d(&mut ctx, &conv, &x, &y, &Epilogue::default());
        assert_eq!(found.err(), expected);
        assert_eq!(fill_halo(&mut ctx, &x, [1; 4], 0.0).err(), expected);
    }
}

#[test]
fn repack_equals_packing_anew_on_every_isa() {
    let inside = |channels, group| Case { group, pads: [0; 4], ..case(channels, [5, 5], 3) };
    // The last by transformed filters.
    for (case, pixels) in [
        (inside([20, 70], 1), 9),
        (inside([12, 8], 2), 9),
        (inside([8, 8], 8), 9),
        (inside([20, 70], 1), 10_000),
    ] {
        let first = case.spec();
        let second = ConvSpec { weight: noise(first.weight.len(), 7), bias: None, ..first.clone() };
        for isa in Isa::available() {
            let (x, y, len) = (
                View::nhwc(4096, [1, case.channels[0], 5, 5]),
                View::nhwc(16_384, [1, case.channels[1], 3, 3]),
                32_768,
            );
            let outputs = |conv: &PackedConv| {
                let mut arena = Arena::new(len).expect("a small arena");
                arena.write(&x, &noise(x.elements(), 3)).expect("x lies in the arena");
                let mut ctx = Context {
                    f32_arena: &mut arena,
                    u8_arena: &mut Arena::new(0).expect("a small arena"),
                    pool: &ThreadPool::new(1),
                    isa,
                };
                conv2d(&mut ctx, conv, &x, &y, &Epilogue::default()).expect("valid");
                arena.read(&y).expect("y lies in the arena")
            };
            let mut conv = PackedConv::new(&first, pixels, isa).expect("valid");
            conv.repack(&second.weight, None).expect("fits");
            let anew = PackedConv::new(&second, pixels, isa).expect("valid");
            assert_eq!(outputs(&conv), outputs(&anew), "{isa}");
            assert!(matches!(
                conv.repack(&second.weight[1..], None),
                Err(KernelError::Length { .. })
            ));
            assert_eq!(outputs(&conv), outputs(&anew), "{isa}: nothing has changed");
        }
    }
}

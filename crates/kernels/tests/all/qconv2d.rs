//! Convolution of quantized values: every instruction set against a plain computation, on edge shapes, in slices with canaries
//! around them; equal bits on all of them and on any number of threads.

use kernels::{
    Arena, Context, ConvGeometry, Isa, KernelError, PackedQConv, QActivation, QConvSpec, QEpilogue,
    QOut, ThreadPool, U8Params, U8Table, U8View, View, q_fill_halo, qconv2d,
};

const CANARY: u8 = 77;
const X_ZERO: u8 = 113;

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
    images: usize,
    /// What divides weights drawn from all of i8.
    singles: i8,
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
        images: 1,
        singles: 1,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for m in [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 80, 255] {
        cases.push(case([5, m], [3, 7], 3));
        cases.push(Case { around: [3, 5], ..case([9, m], [4, 13], 1) });
    }
    for width in [1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 20, 23, 24, 25, 29] {
        for m in [16, 32, 48, 64] {
            cases.push(Case { around: [1, 1], ..case([4, m], [2, width], 3) });
        }
    }
    for channels in [1, 2, 3, 4, 6, 7, 8] {
        cases.push(case([channels, 20], [6, 9], 3));
        cases.push(case([channels, 20], [6, 9], 1));
        cases.push(Case { around: [2, 1], ..case([channels, 20], [6, 9], 3) });
    }
    cases.push(Case { strides: [2; 2], pads: [2; 4], images: 2, ..case([3, 16], [16, 20], 6) });
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
    cases.push(Case { images: 2, ..case([16, 64], [21, 23], 1) });
    cases.push(case([64, 64], [12, 20], 3));
    // Weights of which some, and all, blocks of four can be summed in 16 bits.
    for singles in [2, 3, 5] {
        for channels in [4, 5, 9, 16, 30] {
            for m in [7, 16, 24] {
                cases.push(Case { singles, ..case([channels, m], [4, 7], 3) });
                cases.push(Case {
                    singles,
                    strides: [1, 2],
                    dilations: [2, 1],
                    pads: [2, 1, 2, 1],
                    around: [3, 2],
                    ..case([channels, m], [5, 9], 3)
                });
                cases.push(Case { singles, ..case([channels, m], [5, 9], 1) });
            }
        }
    }
    cases.push(Case { singles: 3, group: 3, ..case([24, 30], [6, 7], 3) });
    for (channels, group) in [
        ([8, 8], 8),
        ([17, 17], 17),
        ([40, 40], 40),
        ([70, 70], 70),
        ([128, 128], 128),
        ([8, 16], 8),
        ([12, 18], 3),
        ([64, 64], 2),
    ] {
        for kernel in [3, 5] {
            cases.push(Case { group, around: [3, 2], ..case(channels, [6, 7], kernel) });
        }
        cases.push(Case {
            group,
            strides: [2; 2],
            dilations: [1, 2],
            images: 2,
            ..case(channels, [9, 11], 3)
        });
        cases.push(Case { group, strides: [2; 2], ..case(channels, [10, 13], 3) });
    }
    cases
}

fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

struct Views {
    x: View,
    y: View,
    residual: View,
    quantized: usize,
}

impl Case {
    fn spec(&self) -> QConvSpec {
        let inner = self.channels[0] / self.group;
        let depth = inner * self.kernel[0] * self.kernel[1];
        let m = self.channels[1];
        let weight = noise(m * depth, 1);
        QConvSpec {
            geometry: ConvGeometry {
                out_channels: m,
                in_channels_per_group: inner,
                kernel: self.kernel,
                strides: self.strides,
                dilations: self.dilations,
                pads: self.pads,
                group: self.group,
            },
            weight: weight.into_iter().map(|w| w as i8 / self.singles).collect(),
            x_zero_point: X_ZERO,
            bias: noise(m, 2).iter().map(|&b| (f32::from(b) - 128.0) * 0.01).collect(),
            // Reals of a standard deviation of about 3.
            multiplier: (0..m)
                .map(|m| 3.0 / (5500.0 * (depth as f32).sqrt()) * (1.0 + m as f32 * 0.01))
                .collect(),
        }
    }

    fn output(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let window = self.dilations[i] * (self.kernel[i] - 1) + 1;
            (self.image[i] + self.pads[i] + self.pads[i + 2] - window) / self.strides[i] + 1
        })
    }

    fn views(&self) -> Views {
        let [before, after] = self.around;
        let mut start = 5;
        let mut view = |channels: usize, [h, w]: [usize; 2], pads: [usize; 4]| {
            let pixel = before + channels + after;
            let row = (w + pads[1] + pads[3]) * pixel;
            let rows = h + pads[0] + pads[2];
            let view = View {
                offset: start + pads[0] * row + pads[1] * pixel + before,
                shape: [self.images, channels, h, w].into(),
                strides: [rows * row, 1, row, pixel].into(),
            };
            start += self.images * rows * row + 3;
            view
        };
        let x = view(self.channels[0], self.image, self.pads);
        let y = view(self.channels[1], self.output(), [0; 4]);
        let residual = view(self.channels[1], self.output(), [0; 4]);
        Views { x, y, residual, quantized: start }
    }

    /// Sums in `[N, M, OH, OW]` order.
    fn sums(&self, x: &[u8]) -> Vec<i32> {
        let spec = self.spec();
        let ([h, w], [oh, ow]) = (self.image, self.output());
        let inner = spec.geometry.in_channels_per_group;
        let per_group = self.channels[1] / self.group;
        let mut sums = Vec::new();
        for n in 0..self.images {
            for m in 0..self.channels[1] {
                for i in 0..oh * ow {
                    let (y, z) = (i / ow * self.strides[0], i % ow * self.strides[1]);
                    let mut sum = 0;
                    for k in 0..inner * self.kernel[0] * self.kernel[1] {
                        let (c, tap) = (
                            k / (self.kernel[0] * self.kernel[1]),
                            k % (self.kernel[0] * self.kernel[1]),
                        );
                        let row = (y + tap / self.kernel[1] * self.dilations[0])
                            .wrapping_sub(self.pads[0]);
                        let column = (z + tap % self.kernel[1] * self.dilations[1])
                            .wrapping_sub(self.pads[1]);
                        if row < h && column < w {
                            let c = m / per_group * inner + c;
                            let at = ((n * self.channels[0] + c) * h + row) * w + column;
                            let weight = i32::from(
                                spec.weight[m * inner * self.kernel[0] * self.kernel[1] + k],
                            );
                            sum += (i32::from(x[at]) - i32::from(X_ZERO)) * weight;
                        }
                    }
                    sums.push(sum);
                }
            }
        }
        sums
    }
}

struct Variant {
    activation: QActivation,
    table: Option<U8Table>,
    residual: bool,
    float: bool,
}

const Y: U8Params = U8Params { scale: 0.041, zero_point: 9 };
const RESIDUAL: U8Params = U8Params { scale: 0.013, zero_point: 120 };

fn variants() -> Vec<Variant> {
    let plain = |activation| Variant { activation, table: None, residual: false, float: false };
    let table = U8Table {
        x: U8Params { scale: 0.1, zero_point: 130 },
        map: std::array::from_fn(|i| (i * i / 300) as u8),
        y: U8Params { scale: 0.05, zero_point: 20 },
    };
    let mut variants: Vec<Variant> = [
        QActivation::Silu,
        QActivation::Identity,
        QActivation::Relu,
        QActivation::LeakyRelu { alpha: 0.1 },
        QActivation::Clip { min: -0.5, max: 6.0 },
        QActivation::HardSwish,
        QActivation::Sigmoid,
    ]
    .into_iter()
    .map(plain)
    .collect();
    for activation in [QActivation::Silu, QActivation::Identity] {
        variants.push(Variant { residual: true, ..plain(activation) });
        variants.push(Variant { residual: true, float: true, ..plain(activation) });
    }
    variants.push(Variant { table: Some(table.clone()), ..plain(QActivation::Identity) });
    variants.push(Variant { table: Some(table), residual: true, ..plain(QActivation::Identity) });
    variants
}

/// What a variant makes of a sum's real value, with exact exponentials.
fn expected(variant: &Variant, x: f64, residual: u8) -> f64 {
    let q =
        |p: &U8Params, v: f64| (v / f64::from(p.scale)).round_ties_even() + f64::from(p.zero_point);
    let mut value = match variant.activation {
        QActivation::Identity => x,
        QActivation::Relu => x.max(0.0),
        QActivation::LeakyRelu { alpha } => x.max(x * f64::from(alpha)),
        QActivation::Clip { min, max } => x.clamp(f64::from(min), f64::from(max)),
        QActivation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        QActivation::Silu => x / (1.0 + (-x).exp()),
        _ => 1.0 / (1.0 + (-x).exp()),
    };
    if let Some(table) = &variant.table {
        let q = table.map[q(&table.x, value).clamp(0.0, 255.0) as usize];
        value = (f64::from(q) - f64::from(table.y.zero_point)) * f64::from(table.y.scale);
    }
    if variant.residual {
        value += (f64::from(residual) - f64::from(RESIDUAL.zero_point)) * f64::from(RESIDUAL.scale);
    }
    value
}

/// The quantized values' arena and the f32 values that the convolution leaves.
fn run(case: &Case, variant: &Variant, isa: Isa, threads: usize) -> (Vec<u8>, Vec<f32>) {
    let views = case.views();
    let mut quantized = Arena::<u8>::new(views.quantized).expect("a small arena");
    let whole = View::contiguous(0, &[views.quantized]);
    quantized.fill(&whole, CANARY).expect("fits");
    quantized.write(&views.x, &noise(views.x.elements(), 3)).expect("fits");
    quantized.write(&views.residual, &noise(views.y.elements(), 4)).expect("fits");
    let float = View::nhwc(2, std::array::from_fn(|i| views.y.shape[i]));
    let mut arena = Arena::<f32>::new(views.y.elements() + 4).expect("a small arena");
    let conv = PackedQConv::new(&case.spec(), isa).expect("valid");
    let pool = ThreadPool::new(threads);
    let mut ctx = Context { f32_arena: &mut arena, u8_arena: &mut quantized, pool: &pool, isa };
    q_fill_halo(&mut ctx, &views.x, case.pads, X_ZERO).expect("fits");
    let out = if variant.float {
        QOut::F32 { view: float }
    } else {
        QOut::U8 { view: views.y, params: Y }
    };
    let epilogue = QEpilogue {
        activation: variant.activation,
        table: variant.table.as_ref(),
        residual: variant.residual.then_some(U8View { view: views.residual, params: RESIDUAL }),
    };
    qconv2d(&mut ctx, &conv, &views.x, &out, &epilogue).expect("valid");
    (quantized.read(&whole).expect("fits"), arena.read(&float).expect("fits"))
}

#[test]
fn qconv2d_any_instruction_set_equals_the_plain_computation() {
    let (mut quantized, mut off) = (0usize, 0usize);
    for case in cases() {
        let views = case.views();
        let x = noise(views.x.elements(), 3);
        let residual = noise(views.y.elements(), 4);
        let sums = case.sums(&x);
        let spec = case.spec();
        let plane = views.y.shape[2] * views.y.shape[3];
        for variant in variants() {
            let (all, f32s) = run(&case, &variant, Isa::scalar(), 1);
            let mut arena = Arena::<u8>::new(all.len()).expect("a small arena");
            arena.write(&View::contiguous(0, &[all.len()]), &all).expect("fits");
            let found = arena.read(&views.y).expect("fits");
            for (i, &sum) in sums.iter().enumerate() {
                let m = i / plane % case.channels[1];
                let real = f64::from((sum as f32).mul_add(spec.multiplier[m], spec.bias[m]));
                let value = expected(&variant, real, residual[i]);
                if variant.float {
                    let error = (f64::from(f32s[i]) - value).abs();
                    assert!(error < 8e-5, "{case:?}: {} for {value}", f32s[i]);
                    continue;
                }
                let q = (value / f64::from(Y.scale)).round_ties_even() + f64::from(Y.zero_point);
                let step = (f64::from(found[i]) - q.clamp(0.0, 255.0)).abs();
                // A table's quantized value one off is several off in the result.
                assert!(
                    step <= 1.0 || variant.table.is_some(),
                    "{case:?} {i}: {} for {q}",
                    found[i]
                );
                (quantized, off) = (quantized + 1, off + usize::from(step > 0.0));
            }
        }
    }
    assert!(off * 2000 < quantized, "{off} of {quantized} quantized differ");
}

#[test]
fn qconv2d_instruction_sets_and_threads_give_equal_bits() {
    for case in cases() {
        for variant in variants() {
            let reference = run(&case, &variant, Isa::scalar(), 1);
            for isa in Isa::available() {
                // Threads share out tiles, whatever follows the sums.
                let counts = if variant.residual { 1..4 } else { 1..2 };
                for threads in counts {
                    let found = run(&case, &variant, isa, threads);
                    assert!(
                        found == reference,
                        "{isa}, {threads} threads, {:?} on {case:?}",
                        variant.activation
                    );
                }
            }
        }
    }
}

#[test]
fn qconv2d_around_its_output_leaves_everything() {
    for case in cases() {
        let views = case.views();
        for isa in Isa::available() {
            let (after, _) = run(&case, &variants()[0], isa, 1);
            let mut before = Arena::<u8>::new(views.quantized).expect("a small arena");
            let whole = View::contiguous(0, &[views.quantized]);
            before.write(&whole, &after).expect("fits");
            before.fill(&views.y, 0).expect("fits");
            let mut expected = Arena::<u8>::new(views.quantized).expect("a small arena");
            expected.fill(&whole, CANARY).expect("fits");
            let wide = |pad: usize, axis: usize| (views.x.strides[axis] * pad, pad);
            let (up, left) = (wide(case.pads[0], 2), wide(case.pads[1], 3));
            let halo = View {
                offset: views.x.offset - up.0 - left.0,
                shape: [
                    case.images,
                    case.channels[0],
                    case.image[0] + up.1 + case.pads[2],
                    case.image[1] + left.1 + case.pads[3],
                ]
                .into(),
                strides: views.x.strides,
            };
            expected.fill(&halo, X_ZERO).expect("fits");
            expected.write(&views.x, &noise(views.x.elements(), 3)).expect("fits");
            expected.write(&views.residual, &noise(views.y.elements(), 4)).expect("fits");
            expected.fill(&views.y, 0).expect("fits");
            assert_eq!(
                before.read(&whole).expect("fits"),
                expected.read(&whole).expect("fits"),
                "{isa} on {case:?}"
            );
        }
    }
}

#[test]
fn qconv2d_largest_values_and_weights_do_not_saturate() {
    let case = Case { pads: [0; 4], ..case([16, 64], [1, 9], 1) };
    let views = case.views();
    let y = View::nhwc(0, [1, 64, 1, 9]);
    // What two blocks of four have of one sign in two neighbouring weights each: 128 is the most that an i16 holds with 255.
    for (most, sign) in (124..=132).flat_map(|most| [(most, 1), (most, -1)]) {
        let draws = noise(64 * 8, most as u32);
        let weights = draws.iter().enumerate().flat_map(|(i, &draw)| {
            let both = if i / 2 % 2 == 0 { most / 2 } else { most - most / 2 };
            let one = i32::from(draw) % (both + 1);
            [one, both - one].map(|w| (sign * w) as i8)
        });
        let spec = QConvSpec {
            weight: weights.collect(),
            x_zero_point: 0,
            multiplier: vec![1.0; 64],
            bias: vec![0.0; 64],
            ..case.spec()
        };
        let sums = spec.weight.chunks_exact(16).flat_map(|weights| {
            let sum: i32 = weights.iter().map(|&w| 255 * i32::from(w)).sum();
            [sum as f32; 9]
        });
        let expected: Vec<f32> = sums.collect();
        for isa in Isa::available() {
            let conv = PackedQConv::new(&spec, isa).expect("valid");
            let pool = ThreadPool::new(1);
            let (mut arena, mut quantized) = (
                Arena::new(64 * 9).expect("a small arena"),
                Arena::new(views.quantized).expect("a small arena"),
            );
            quantized.fill(&views.x, 255).expect("fits");
            let mut ctx =
                Context { f32_arena: &mut arena, u8_arena: &mut quantized, pool: &pool, isa };
            let out = QOut::F32 { view: y };
            qconv2d(&mut ctx, &conv, &views.x, &out, &QEpilogue::default()).expect("valid");
            assert!(arena.read(&y).expect("fits") == expected, "{isa}, {most}");
        }
    }
}

#[test]
fn qconv2d_bad_arguments_are_typed_errors() {
    let case = case([8, 16], [5, 6], 3);
    let change = |change: fn(&mut QConvSpec)| {
        let mut spec = case.spec();
        change(&mut spec);
        PackedQConv::new(&spec, Isa::scalar()).err()
    };
    assert!(matches!(
        change(|spec| spec.bias.truncate(3)),
        Some(KernelError::Length { operand: "bias", .. })
    ));
    assert!(matches!(change(|spec| spec.weight.truncate(3)), Some(KernelError::Length { .. })));
    assert!(matches!(change(|spec| spec.geometry.strides[1] = 0), Some(KernelError::Zero { .. })));
    assert!(matches!(change(|spec| spec.geometry.group = 3), Some(KernelError::Groups { .. })));
    for value in [f32::NAN, f32::INFINITY] {
        let mut spec = case.spec();
        spec.multiplier[2] = value;
        assert!(matches!(
            PackedQConv::new(&spec, Isa::scalar()),
            Err(KernelError::NotFinite { .. })
        ));
    }
    let views = case.views();
    let conv = PackedQConv::new(&case.spec(), Isa::scalar()).expect("valid");
    let pool = ThreadPool::new(1);
    let (mut arena, mut quantized) = (
        Arena::new(8).expect("a small arena"),
        Arena::new(views.quantized).expect("a small arena"),
    );
    let mut ctx = Context {
        f32_arena: &mut arena,
        u8_arena: &mut quantized,
        pool: &pool,
        isa: Isa::scalar(),
    };
    let mut run = |x: &View, y: QOut| qconv2d(&mut ctx, &conv, x, &y, &QEpilogue::default()).err();
    let good = QOut::U8 { view: views.y, params: Y };
    assert_eq!(run(&views.x, good), None);
    let no_scale = QOut::U8 { view: views.y, params: U8Params { scale: 0.0, ..Y } };
    assert!(matches!(run(&views.x, no_scale), Some(KernelError::Scale { .. })));
    let onto_x = QOut::U8 { view: View { offset: views.x.offset, ..views.y }, params: Y };
    assert!(matches!(run(&views.x, onto_x), Some(KernelError::Overlap { .. })));
    let without_halo = View { offset: 0, ..views.x };
    assert!(matches!(run(&without_halo, good), Some(KernelError::OutOfBounds { .. })));
    let small = QOut::F32 { view: views.y };
    assert!(matches!(run(&views.x, small), Some(KernelError::OutOfBounds { .. })));
}

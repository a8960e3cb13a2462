//! Activations of quantized values at scales far from those of any trained layer.

use kernels::{
    Arena, Context, ConvGeometry, Isa, PackedQConv, QActivation, QConvSpec, QEpilogue, QOut,
    ThreadPool, U8Params, View, qconv2d,
};

const CHANNELS: usize = 16;
const X_ZERO: u8 = 128;

/// Quantized values of all 256 quantized values times each channel's multiplier, `[256][CHANNELS]`.
fn run(activation: QActivation, y: U8Params, multiplier: &[f32], isa: Isa) -> Vec<u8> {
    let spec = QConvSpec {
        geometry: ConvGeometry {
            out_channels: CHANNELS,
            in_channels_per_group: 1,
            kernel: [1; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [0; 4],
            group: 1,
        },
        weight: vec![1; CHANNELS],
        x_zero_point: X_ZERO,
        bias: vec![0.0; CHANNELS],
        multiplier: multiplier.to_vec(),
    };
    let conv = PackedQConv::new(&spec, isa).expect("valid");
    let (x, to) = (View::nhwc(0, [1, 1, 1, 256]), View::nhwc(256, [1, CHANNELS, 1, 256]));
    let mut quantized = Arena::<u8>::new(256 * (1 + CHANNELS)).expect("a small arena");
    let all: Vec<u8> = (0..=255).collect();
    quantized.write(&x, &all).expect("fits");
    let mut ctx = Context {
        f32_arena: &mut Arena::new(0).expect("a small arena"),
        u8_arena: &mut quantized,
        pool: &ThreadPool::new(1),
        isa,
    };
    let out = QOut::U8 { view: to, params: y };
    let epilogue = QEpilogue { activation, ..QEpilogue::default() };
    qconv2d(&mut ctx, &conv, &x, &out, &epilogue).expect("valid");
    let by_pixel = View::contiguous(256, &[256 * CHANNELS]);
    quantized.read(&by_pixel).expect("fits")
}

#[test]
fn activation_at_any_scale_is_within_a_step() {
    for scale in [1e-30, 1e-13, 1e-8, 1e-4, 0.04, 1e4, 1e8, 1e13, 1e30] {
        let y = U8Params { scale, zero_point: 100 };
        // Arguments of a few units beside those of a few steps.
        let multiplier: Vec<f32> =
            (0..CHANNELS).map(|m| [0.15, scale][m % 2] * (1.0 + m as f32)).collect();
        for (activation, sigmoid) in [(QActivation::Silu, false), (QActivation::Sigmoid, true)] {
            let scalar = run(activation, y, &multiplier, Isa::scalar());
            for (i, &found) in scalar.iter().enumerate() {
                let (pixel, m) = (i / CHANNELS, i % CHANNELS);
                let x = (pixel as f64 - f64::from(X_ZERO)) * f64::from(multiplier[m]);
                let gate = 1.0 / (1.0 + (-x).exp());
                let value = if sigmoid { gate } else { x * gate };
                let q = (value / f64::from(scale)).round_ties_even() + 100.0;
                let off = (f64::from(found) - q.clamp(0.0, 255.0)).abs();
                // What 1e-4 is a step of, 7e-5 moves; what 1e-8 is a step of, the pieces are too coarse for.
                let near = scale > 1e-5 || value.abs() > 1e-4 || x.abs() < 1e-4;
                assert!(off <= 1.0 || !near, "{activation:?} of {x} at {scale}: {found} for {q}");
            }
            for isa in Isa::available() {
                let found = run(activation, y, &multiplier, isa);
                assert!(found == scalar, "{activation:?}, {isa}, {scale}");
            }
        }
    }
}

//! Prints the speed of convolution layers of YOLOv5n and YOLOv8n at 640 pixels beside this processor's FMA peak.
//!
//! `cargo run --release -p yoloslim-kernels --example gflops [isa]`

use kernels::{
    Activation, Arena, Context, ConvSpec, Epilogue, Isa, PackedConv, ThreadPool, View, conv2d,
};
use std::time::Instant;

/// Input channels, output channels, kernel, stride, output side.
const LAYERS: &[(usize, usize, usize, usize, usize)] = &[
    (3, 16, 6, 2, 320),
    (3, 16, 3, 2, 320),
    (16, 32, 3, 2, 160),
    (16, 16, 3, 1, 160),
    (32, 16, 1, 1, 160),
    (32, 32, 1, 1, 160),
    (32, 64, 3, 2, 80),
    (32, 32, 1, 1, 80),
    (32, 32, 3, 1, 80),
    (64, 64, 1, 1, 80),
    (64, 64, 3, 1, 80),
    (64, 80, 3, 1, 80),
    (64, 255, 1, 1, 80),
    (64, 128, 3, 2, 40),
    (64, 64, 3, 1, 40),
    (128, 128, 1, 1, 40),
    (128, 128, 3, 1, 40),
    (128, 256, 3, 2, 20),
    (256, 255, 1, 1, 20),
    (256, 256, 1, 1, 20),
    (256, 256, 3, 1, 20),
    (512, 256, 1, 1, 20),
];

/// Least time of a few calls, in seconds.
fn least(mut f: impl FnMut()) -> f64 {
    f();
    let once = Instant::now();
    f();
    let runs = (0.02 / once.elapsed().as_secs_f64()).clamp(3.0, 200.0) as usize;
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Multiply-adds of `acc` by itself, kept in registers.
#[inline(always)]
fn multiply_adds<const N: usize>(
    acc: &mut [[f32; 8]; N],
    count: usize,
    fma: impl Fn(f32, f32, f32) -> f32,
) {
    for _ in 0..count {
        for vector in acc.iter_mut() {
            for lane in vector.iter_mut() {
                *lane = fma(*lane, 0.999, 0.001);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_adds_avx2<const N: usize>(acc: &mut [[f32; 8]; N], count: usize) {
    multiply_adds(acc, count, f32::mul_add);
}

/// Speed of multiply-adds that wait for nothing, in GFLOP/s on one thread.
///
/// 256-bit vectors show the peak of AVX-512 as well on a core that splits 512-bit ones (Zen 4).
fn fma_peak(isa: Isa) -> f64 {
    const COUNT: usize = 100_000;
    let mut acc = [[1.0f32; 8]; 12];
    let seconds = least(|| {
        let acc = std::hint::black_box(&mut acc);
        #[cfg(target_arch = "x86_64")]
        if isa != Isa::Scalar {
            // SAFETY: both vector sets include AVX2 and FMA.
            return unsafe { multiply_adds_avx2(acc, COUNT) };
        }
        multiply_adds(acc, COUNT, |a, b, c| a * b + c);
    });
    (2 * acc.len() * 8 * COUNT) as f64 / seconds / 1e9
}

fn layer(
    isa: Isa,
    pool: &ThreadPool,
    (i, o, k, stride, side): (usize, usize, usize, usize, usize),
    activation: Activation,
) -> f64 {
    let pad = if k == 6 { 2 } else { k / 2 };
    let input = side * stride;
    let spec = ConvSpec {
        in_channels: i,
        out_channels: o,
        kernel_shape: [k, k],
        strides: [stride, stride],
        dilations: [1, 1],
        pads: [pad; 4],
        group: 1,
    };
    let weights: Vec<f32> = (0..o * i * k * k)
        .map(|n| ((n * 7919) % 255) as f32 / 2550.0 - 0.05)
        .collect();
    let packed = PackedConv::new(isa, spec, &weights, None).expect("valid spec");
    let (row, rows) = ((input + 2 * pad) * i, input + 2 * pad);
    let x = View {
        offset: pad * row + pad * i,
        shape: [1, i, input, input].into(),
        strides: [row * rows, 1, row, i].into(),
    };
    let y = View::nhwc((row * rows).next_multiple_of(16), [1, o, side, side]);
    let mut arena = Arena::new((y.offset + y.elements()) * 4).expect("enough memory");
    let values: Vec<f32> = (0..x.elements())
        .map(|n| ((n * 31) % 101) as f32 / 101.0)
        .collect();
    arena.write(&x, &values).expect("inside the arena");
    let mut ctx = Context {
        arena: &mut arena,
        pool,
        isa,
    };
    let epilogue = Epilogue {
        activation,
        ..Epilogue::default()
    };
    let _active = pool.activate();
    let seconds = least(|| {
        conv2d(&mut ctx, &packed, &x, &y, &epilogue).expect("valid views");
    });
    if activation == Activation::Identity {
        let choice = packed.tile_for(&y).expect("four axes");
        print!("{:<26} {:>7.1} us ", choice.name, seconds * 1e6);
    }
    (2 * o * i * k * k * side * side) as f64 / seconds / 1e9
}

fn main() {
    let isa = match std::env::args().nth(1) {
        Some(name) => name.parse().expect("an instruction set of this processor"),
        None => Isa::best(),
    };
    for threads in [1, 2] {
        let pool = ThreadPool::new(threads);
        let peak = fma_peak(isa) * threads as f64;
        println!("{isa}, {threads} threads, peak {peak:.0} GFLOP/s");
        let (mut total, mut ideal) = (0.0, 0.0);
        for &shape in LAYERS {
            let (i, o, k, stride, side) = shape;
            print!("{i:>3} -> {o:<3} {k}x{k} /{stride} {side:>3}  ");
            let gflops = layer(isa, &pool, shape, Activation::Identity);
            let silu = layer(isa, &pool, shape, Activation::Silu);
            println!(
                "{gflops:>6.1} GFLOP/s {:>4.0} %   SiLU {:>4.0} %",
                100.0 * gflops / peak,
                100.0 * silu / peak
            );
            let work = (2 * o * i * k * k * side * side) as f64 / 1e9;
            total += work / silu;
            ideal += work / peak;
        }
        println!("all with SiLU: {:.0} % of the peak", 100.0 * ideal / total);
    }
}

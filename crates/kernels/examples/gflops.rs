//! Prints what convolutions of YOLO shapes reach, against a loop of nothing but multiply-adds in the same process.

use kernels::{
    Activation, Arena, Context, ConvSpec, Dims, Epilogue, Isa, PackedConv, ThreadPool, View,
    conv2d, fma_loop,
};
use std::time::Instant;

struct Case {
    name: &'static str,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    /// Height and width of the output.
    output: usize,
    halo: bool,
}

const fn case(
    name: &'static str,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    output: usize,
) -> Case {
    Case {
        name,
        channels,
        kernel,
        stride,
        output,
        halo: kernel > 1,
    }
}

const CASES: &[Case] = &[
    case("3->16 k6 s2 320", [3, 16], 6, 2, 320),
    case("3->16 k3 s2 320", [3, 16], 3, 2, 320),
    case("16->32 k3 s2 160", [16, 32], 3, 2, 160),
    case("16->16 k3 160", [16, 16], 3, 1, 160),
    case("32->32 k3 80", [32, 32], 3, 1, 80),
    case("64->64 k3 80", [64, 64], 3, 1, 80),
    case("64->80 k3 80", [64, 80], 3, 1, 80),
    case("128->128 k3 40", [128, 128], 3, 1, 40),
    case("128->256 k3 s2 20", [128, 256], 3, 2, 20),
    case("256->256 k3 20", [256, 256], 3, 1, 20),
    case("512->512 k3 20", [512, 512], 3, 1, 20),
    case("32->16 k1 160", [32, 16], 1, 1, 160),
    case("64->64 k1 80", [64, 64], 1, 1, 80),
    case("64->255 k1 80", [64, 255], 1, 1, 80),
    case("256->128 k1 40", [256, 128], 1, 1, 40),
    case("512->256 k1 20", [512, 256], 1, 1, 20),
];

fn seconds(mut f: impl FnMut()) -> f64 {
    f();
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn measure(case: &Case, isa: Isa, threads: usize, activation: Activation) -> f64 {
    let Case {
        channels: [c, m],
        kernel,
        stride,
        output,
        ..
    } = *case;
    let input = output * stride;
    let pad = if case.halo { (kernel - 1) / 2 } else { 0 };
    let side = input + 2 * pad;
    let x = View {
        offset: pad * (side + 1) * c,
        shape: Dims::new(&[1, c, input, input]),
        strides: Dims::new(&[side * side * c, 1, side * c, c]),
    };
    let end = (side * side * c).next_multiple_of(16);
    let y = View {
        offset: end,
        shape: Dims::new(&[1, m, output, output]),
        strides: Dims::new(&[output * output * m, 1, output * m, m]),
    };
    let mut arena = Arena::new(end + output * output * m).expect("a small arena");
    let spec = ConvSpec {
        weight: (0..m * c * kernel * kernel)
            .map(|i| (i % 17) as f32 * 0.01 - 0.08)
            .collect(),
        out_channels: m,
        in_channels_per_group: c,
        kernel: [kernel; 2],
        bias: Some(vec![0.1; m]),
        strides: [stride; 2],
        dilations: [1; 2],
        pads: [pad, pad, pad, pad],
        group: 1,
    };
    arena.fill(&x, 0.5).expect("the view lies in the arena");
    let conv = PackedConv::new(&spec, isa).expect("a valid convolution");
    let pool = ThreadPool::new(threads);
    let _active = pool.activate();
    let mut ctx = Context {
        f32_arena: &mut arena,
        u8_arena: &mut Arena::new(0).expect("a small arena"),
        pool: &pool,
        isa,
    };
    let epilogue = Epilogue {
        activation,
        ..Epilogue::default()
    };
    let repeat = (200_000_000 / (m * c * kernel * kernel * output * output)).max(1);
    let time = seconds(|| {
        for _ in 0..repeat {
            conv2d(&mut ctx, &conv, &x, &y, &epilogue).expect("valid views");
        }
    });
    2.0 * (repeat * m * c * kernel * kernel * output * output) as f64 / time / 1e9
}

fn main() {
    let isa = std::env::args().nth(1).map_or(Isa::best(), |name| {
        name.parse().expect("avx512, avx2 or scalar")
    });
    let mut flops = 0;
    let time =
        seconds(|| flops = std::hint::black_box(fma_loop(isa, 1_000_000).expect("available").0));
    let peak = flops as f64 / time / 1e9;
    println!("{isa}: peak {peak:.1} GFLOP/s a core");
    println!(
        "{:<20}{:>10}{:>7}{:>10}{:>10}{:>7}",
        "shape", "1 thread", "%", "SiLU", "2 threads", "%"
    );
    for case in CASES {
        let one = measure(case, isa, 1, Activation::Identity);
        let silu = measure(case, isa, 1, Activation::Silu);
        let two = measure(case, isa, 2, Activation::Identity);
        let percent = |v: f64, n: f64| 100.0 * v / (n * peak);
        println!(
            "{:<20}{one:>10.1}{:>7.0}{silu:>10.1}{two:>10.1}{:>7.0}",
            case.name,
            percent(one, 1.0),
            percent(two, 2.0)
        );
    }
}

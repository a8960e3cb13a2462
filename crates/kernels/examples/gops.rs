//! GOP/s of convolutions of quantized values on the layers of YOLO networks, epilogue included, against the processor's ceiling.
//!
//!     cargo run --release --example gops -- [isa] [threads]

use kernels::{
    Arena, Context, Isa, PackedQConv, QActivation, QConvSpec, QEpilogue, QOut, ThreadPool,
    TileChoice, U8Params, View, qconv2d, vnni_loop,
};
use std::time::Instant;

/// Input channels, output channels, output height and width, kernel, stride, group.
type Layer = (usize, usize, [usize; 2], usize, usize, usize);

const LAYERS: &[Layer] = &[
    (3, 16, [320, 320], 3, 2, 1),
    (3, 16, [320, 320], 6, 2, 1),
    (16, 32, [160, 160], 3, 2, 1),
    (16, 16, [160, 160], 3, 1, 1),
    (32, 32, [160, 160], 1, 1, 1),
    (48, 32, [160, 160], 1, 1, 1),
    (32, 64, [80, 80], 3, 2, 1),
    (32, 32, [80, 80], 3, 1, 1),
    (64, 64, [80, 80], 1, 1, 1),
    (128, 64, [80, 80], 1, 1, 1),
    (64, 64, [80, 80], 3, 1, 1),
    (64, 80, [80, 80], 3, 1, 1),
    (80, 80, [80, 80], 3, 1, 1),
    (80, 80, [80, 80], 1, 1, 1),
    (64, 128, [40, 40], 3, 2, 1),
    (64, 64, [40, 40], 3, 1, 1),
    (256, 128, [40, 40], 1, 1, 1),
    (192, 64, [80, 80], 1, 1, 1),
    (128, 256, [20, 20], 3, 2, 1),
    (128, 128, [20, 20], 3, 1, 1),
    (384, 256, [20, 20], 1, 1, 1),
    (128, 255, [40, 40], 1, 1, 1),
    (64, 64, [80, 80], 3, 1, 64),
    (128, 128, [40, 40], 3, 1, 128),
    (64, 64, [80, 80], 5, 2, 64),
];

fn view(offset: usize, channels: usize, [h, w]: [usize; 2], halo: usize) -> (View, usize) {
    let row = (w + 2 * halo) * channels;
    let view = View {
        offset: offset + halo * (row + channels),
        shape: [1, channels, h, w].into(),
        strides: [row * (h + 2 * halo), 1, row, channels].into(),
    };
    (
        view,
        (offset + row * (h + 2 * halo)).next_multiple_of(64) + 64,
    )
}

/// Milliseconds of the fastest of several runs, and the tile.
fn time(isa: Isa, pool: &ThreadPool, layer: Layer) -> (f64, TileChoice) {
    let (c, m, [h, w], kernel, stride, group) = layer;
    let halo = kernel / 2;
    let (x, end) = view(0, c, [h * stride, w * stride], halo);
    let (y, end) = view(end, m, [h, w], 0);
    let spec = QConvSpec {
        weight: (0..m * c / group * kernel * kernel)
            .map(|i| (i * 37 % 251) as i8)
            .collect(),
        out_channels: m,
        in_channels_per_group: c / group,
        kernel: [kernel; 2],
        strides: [stride; 2],
        dilations: [1; 2],
        pads: [
            halo,
            halo,
            (kernel - 1 - halo).min(halo),
            (kernel - 1 - halo).min(halo),
        ],
        group,
        x_zero_point: 7,
        bias: vec![0.1; m],
        multiplier: vec![1e-4; m],
    };
    let conv = PackedQConv::new(&spec, isa).expect("valid");
    let (mut arena, mut quantized) = (
        Arena::new(0).expect("a small arena"),
        Arena::new(end).expect("a small arena"),
    );
    let params = U8Params {
        scale: 0.05,
        zero_point: 6,
    };
    let out = QOut::U8 { view: y, params };
    let epilogue = QEpilogue {
        activation: QActivation::Silu,
        ..Default::default()
    };
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 60 {
        let mut ctx = Context {
            f32_arena: &mut arena,
            u8_arena: &mut quantized,
            pool,
            isa,
        };
        let start = Instant::now();
        qconv2d(&mut ctx, &conv, &x, &out, &epilogue).expect("valid");
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    (best, conv.tile())
}

fn ceiling(isa: Isa) -> f64 {
    let once = || {
        let start = Instant::now();
        let (operations, _) = vnni_loop(isa, 200_000).expect("available");
        operations as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..20).map(|_| once()).fold(0.0, f64::max)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let isa = arguments.next().map_or(Isa::best(), |name| {
        name.parse().expect("a known instruction set")
    });
    let threads = arguments.next().map_or(1, |n| n.parse().expect("a number"));
    let pool = ThreadPool::new(threads);
    let _awake = pool.activate();
    let peak = ceiling(isa) * threads as f64;
    println!("{isa}, {threads} threads: ceiling {peak:.0} GOP/s");
    let (mut operations, mut total_ms) = (0.0, 0.0);
    for &layer in LAYERS {
        let (c, m, [h, w], kernel, stride, group) = layer;
        let (ms, tile) = time(isa, &pool, layer);
        let giga = 2.0 * (m * h * w * kernel * kernel * c / group) as f64 / 1e9;
        let rate = giga / ms * 1e3;
        (operations, total_ms) = (operations + giga, total_ms + ms);
        println!(
            "{c:4} -> {m:4}  {h:3}x{w:<3} k{kernel} s{stride} g{group:<4} {ms:8.3} ms {rate:7.1} GOP/s {:5.1} %  {} x {}: {}",
            100.0 * rate / peak,
            tile.pixels,
            tile.channels,
            tile.why
        );
    }
    let rate = operations / total_ms * 1e3;
    println!(
        "all: {total_ms:.2} ms {rate:.1} GOP/s {:.1} %",
        100.0 * rate / peak
    );
}

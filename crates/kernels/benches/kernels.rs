//! Kernels on the layers of YOLO networks, on every instruction set that this processor executes, one thread.
//!
//!     cargo bench -p yoloslim-kernels -- qconv

use divan::counter::ItemsCount;
use divan::{Bencher, Divan};
use kernels::{
    Activation, Arena, Context, ConvGeometry, ConvSpec, Epilogue, Isa, PackedConv, PackedQConv,
    QActivation, QConvSpec, QEpilogue, QOut, ThreadPool, U8Params, U8View, View, conv2d, matmul,
    q_matmul, qconv2d,
};

fn main() {
    Divan::from_args().main();
}

/// A convolution of a square image, padded by half its kernel.
struct Layer {
    name: &'static str,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    /// Height and width of the output.
    size: usize,
    group: usize,
}

const LAYERS: &[Layer] = &[
    layer("stem 3->16 k3 s2 320", [3, 16], [3, 2], 320),
    layer("stem 3->16 k6 s2 320", [3, 16], [6, 2], 320),
    layer("16->32 k3 s2 160", [16, 32], [3, 2], 160),
    layer("48->32 k1 160", [48, 32], [1, 1], 160),
    layer("32->32 k3 80", [32, 32], [3, 1], 80),
    layer("64->80 k3 80", [64, 80], [3, 1], 80),
    layer("192->64 k1 80", [192, 64], [1, 1], 80),
    layer("128->255 k1 40", [128, 255], [1, 1], 40),
    layer("128->256 k3 s2 20", [128, 256], [3, 2], 20),
    layer("384->256 k1 20", [384, 256], [1, 1], 20),
    Layer { group: 64, ..layer("depthwise 64 k3 80", [64, 64], [3, 1], 80) },
    Layer { group: 64, ..layer("depthwise 64 k5 s2 80", [64, 64], [5, 2], 80) },
];

const fn layer(
    name: &'static str,
    channels: [usize; 2],
    [kernel, stride]: [usize; 2],
    size: usize,
) -> Layer {
    Layer { name, channels, kernel, stride, size, group: 1 }
}

impl Layer {
    fn geometry(&self) -> ConvGeometry {
        let before = self.kernel / 2;
        let after = (self.kernel - 1 - before).min(before);
        ConvGeometry {
            out_channels: self.channels[1],
            in_channels_per_group: self.channels[0] / self.group,
            kernel: [self.kernel; 2],
            strides: [self.stride; 2],
            dilations: [1; 2],
            pads: [before, before, after, after],
            group: self.group,
        }
    }

    fn weights(&self) -> usize {
        self.channels[1] * self.channels[0] / self.group * self.kernel * self.kernel
    }

    /// Multiply-accumulates.
    fn macs(&self) -> ItemsCount {
        ItemsCount::new(self.weights() * self.size * self.size)
    }

    /// x with its halo, then y, and the elements of both.
    fn views(&self) -> (View, View, usize) {
        let (halo, size) = (self.kernel / 2, self.size * self.stride);
        let [c, m] = self.channels;
        let row = (size + 2 * halo) * c;
        let x = View {
            offset: halo * (row + c),
            shape: [1, c, size, size].into(),
            strides: [row * (size + 2 * halo), 1, row, c].into(),
        };
        let start = (row * (size + 2 * halo)).next_multiple_of(64);
        let y = View::nhwc(start, [1, m, self.size, self.size]);
        (x, y, start + y.elements())
    }
}

/// Each case on each instruction set, by name.
fn on_every_isa<T>(cases: &'static [T], name: fn(&T) -> &str) -> Vec<Case<T>> {
    let isas = Isa::available();
    let pairs = isas.iter().flat_map(|&isa| cases.iter().map(move |case| (isa, case)));
    pairs.map(|(isa, case)| Case { text: format!("{isa}: {}", name(case)), isa, case }).collect()
}

struct Case<T: 'static> {
    text: String,
    isa: Isa,
    case: &'static T,
}

impl<T> std::fmt::Display for Case<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Arenas of so many f32 and u8 values, and a thread.
struct Machine {
    f32_arena: Arena,
    u8_arena: Arena<u8>,
    pool: ThreadPool,
    isa: Isa,
}

impl Machine {
    fn new(isa: Isa, f32_len: usize, u8_len: usize) -> Machine {
        Machine {
            f32_arena: Arena::new(f32_len).expect("enough memory"),
            u8_arena: Arena::new(u8_len).expect("enough memory"),
            pool: ThreadPool::new(1),
            isa,
        }
    }

    fn context(&mut self) -> Context<'_> {
        Context {
            f32_arena: &mut self.f32_arena,
            u8_arena: &mut self.u8_arena,
            pool: &self.pool,
            isa: self.isa,
        }
    }
}

const PARAMS: U8Params = U8Params { scale: 0.05, zero_point: 6 };

#[divan::bench(args = on_every_isa(LAYERS, |layer| layer.name))]
fn conv(bencher: Bencher, case: &Case<Layer>) {
    let layer = case.case;
    let (x, y, len) = layer.views();
    let spec =
        ConvSpec { geometry: layer.geometry(), weight: vec![0.01; layer.weights()], bias: None };
    let conv = PackedConv::new(&spec, layer.size * layer.size, case.isa).expect("a valid layer");
    let epilogue = Epilogue { activation: Activation::Silu, ..Epilogue::default() };
    let mut machine = Machine::new(case.isa, len, 0);
    let mut ctx = machine.context();
    bencher.counter(layer.macs()).bench_local(|| conv2d(&mut ctx, &conv, &x, &y, &epilogue));
}

#[divan::bench(args = on_every_isa(LAYERS, |layer| layer.name))]
fn qconv(bencher: Bencher, case: &Case<Layer>) {
    let layer = case.case;
    let (x, view, len) = layer.views();
    let m = layer.channels[1];
    let spec = QConvSpec {
        geometry: layer.geometry(),
        weight: (0..layer.weights()).map(|i| (i * 37 % 251) as i8).collect(),
        x_zero_point: 7,
        bias: vec![0.1; m],
        multiplier: vec![1e-4; m],
    };
    let conv = PackedQConv::new(&spec, case.isa).expect("a valid layer");
    let y = QOut::U8 { view, params: PARAMS };
    let epilogue = QEpilogue { activation: QActivation::Silu, ..QEpilogue::default() };
    let mut machine = Machine::new(case.isa, 0, len);
    let mut ctx = machine.context();
    bencher.counter(layer.macs()).bench_local(|| qconv2d(&mut ctx, &conv, &x, &y, &epilogue));
}

/// Rows, depth and columns of a product of matrices.
struct Product {
    name: &'static str,
    shape: [usize; 3],
}

const PRODUCTS: &[Product] = &[
    Product { name: "attention 400 x 32 x 400", shape: [400, 32, 400] },
    Product { name: "attention 64 x 400 x 400", shape: [64, 400, 400] },
];

impl Product {
    fn views(&self) -> [View; 3] {
        let [m, k, n] = self.shape;
        [
            View::contiguous(0, &[m, k]),
            View::contiguous(m * k, &[k, n]),
            View::contiguous(m * k + k * n, &[m, n]),
        ]
    }

    fn len(&self) -> usize {
        self.views().iter().map(View::elements).sum()
    }

    fn macs(&self) -> ItemsCount {
        ItemsCount::new(self.shape.iter().product::<usize>())
    }
}

#[divan::bench(args = on_every_isa(PRODUCTS, |product| product.name))]
fn product(bencher: Bencher, case: &Case<Product>) {
    let [a, b, y] = case.case.views();
    let mut machine = Machine::new(case.isa, case.case.len(), 0);
    let mut ctx = machine.context();
    bencher.counter(case.case.macs()).bench_local(|| matmul(&mut ctx, &a, &b, &y));
}

#[divan::bench(args = on_every_isa(PRODUCTS, |product| product.name))]
fn q_product(bencher: Bencher, case: &Case<Product>) {
    let [a, b, y] = case.case.views();
    let [a, b] = [a, b].map(|view| U8View { view, params: PARAMS });
    let y = QOut::U8 { view: y, params: PARAMS };
    let mut machine = Machine::new(case.isa, 0, case.case.len());
    let mut ctx = machine.context();
    bencher.counter(case.case.macs()).bench_local(|| q_matmul(&mut ctx, &a, &b, &y));
}

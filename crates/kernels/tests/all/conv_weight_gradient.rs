//! Gradients of filters against a naive sum in f64, on every instruction set.

use kernels::{Arena, Context, ConvGeometry, Isa, ThreadPool, View, conv_weight_gradient};

struct Case {
    images: usize,
    channels: [usize; 2],
    /// Of the output.
    size: [usize; 2],
    stride: usize,
    group: usize,
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
    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            out_channels: self.channels[1],
            in_channels_per_group: self.channels[0] / self.group,
            kernel: [3; 2],
            strides: [self.stride; 2],
            dilations: [1; 2],
            pads: [1; 4],
            group: self.group,
        }
    }

    fn image(&self) -> [usize; 2] {
        self.size.map(|n| n * self.stride)
    }

    /// x with a border of zeros, dy and dw, and the elements they need.
    fn views(&self) -> ([View; 3], usize) {
        let ([c, m], [h, w]) = (self.channels, self.image());
        let row = (w + 2) * c;
        let x = View {
            offset: row + c,
            shape: [self.images, c, h, w].into(),
            strides: [(h + 2) * row, 1, row, c].into(),
        };
        let start = self.images * (h + 2) * row;
        let dy = View::nhwc(start, [self.images, m, self.size[0], self.size[1]]);
        let start = start + dy.elements();
        let dw = View::nhwc(start, [m, c / self.group, 3, 3]);
        ([x, dy, dw], start + dw.elements())
    }

    fn run(&self, isa: Isa, threads: usize) -> Vec<f32> {
        let ([x, dy, dw], len) = self.views();
        let mut arena = Arena::new(len).expect("a small arena");
        arena.write(&x, &noise(x.elements(), 1)).expect("in bounds");
        arena.write(&dy, &noise(dy.elements(), 2)).expect("in bounds");
        let mut ctx = Context {
            f32_arena: &mut arena,
            u8_arena: &mut Arena::new(0).expect("a small arena"),
            pool: &ThreadPool::new(threads),
            isa,
        };
        conv_weight_gradient(&mut ctx, &self.geometry(), &x, &dy, &dw).expect("valid");
        arena.read(&dw).expect("in bounds")
    }

    fn naive(&self) -> Vec<f64> {
        let ([c, m], [h, w], [oh, ow]) = (self.channels, self.image(), self.size);
        let (x, dy) = (noise(self.images * c * h * w, 1), noise(self.images * m * oh * ow, 2));
        let (inner, per_group) = (c / self.group, m / self.group);
        let mut dw = vec![0.0; m * inner * 9];
        for (index, sum) in dw.iter_mut().enumerate() {
            let (o, k, a, b) = (index / (inner * 9), index / 9 % inner, index / 3 % 3, index % 3);
            let channel = o / per_group * inner + k;
            for n in 0..self.images {
                for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
                    let row = (i * self.stride + a).wrapping_sub(1);
                    let column = (j * self.stride + b).wrapping_sub(1);
                    if row < h && column < w {
                        let x = x[((n * c + channel) * h + row) * w + column];
                        *sum += f64::from(x) * f64::from(dy[((n * m + o) * oh + i) * ow + j]);
                    }
                }
            }
        }
        dw
    }
}

const fn case(images: usize, channels: [usize; 2], size: [usize; 2]) -> Case {
    Case { images, channels, size, stride: 1, group: 1 }
}

/// Plain sums, and from 16 channels and 64 pixels on transformed ones: of one chunk of tiles and of several, with blocks of output
/// channels that are finished together and that overlap.
const CASES: &[Case] = &[
    case(2, [5, 9], [4, 7]),
    Case { stride: 2, ..case(1, [17, 20], [9, 6]) },
    Case { group: 2, ..case(1, [32, 64], [8, 9]) },
    case(1, [16, 16], [8, 8]),
    case(3, [17, 30], [9, 7]),
    case(2, [40, 100], [21, 22]),
    case(1, [130, 70], [12, 6]),
    case(1, [100, 64], [30, 40]),
];

#[test]
fn weight_gradient_equals_the_naive_one_on_every_isa() {
    for (index, case) in CASES.iter().enumerate() {
        let expected = case.naive();
        let squares = expected.iter().map(|sum| sum * sum).sum::<f64>();
        let allowed = 2e-5 * (squares / expected.len() as f64).sqrt();
        for isa in Isa::available() {
            for (found, expected) in case.run(isa, 1).into_iter().zip(&expected) {
                let error = (f64::from(found) - expected).abs();
                assert!(error < allowed, "case {index}, {isa}: {found} {expected}");
            }
        }
    }
}

#[test]
fn weight_gradient_gives_the_same_bits_on_every_isa_and_number_of_threads() {
    for (index, case) in CASES.iter().enumerate() {
        let bits =
            |isa, threads| case.run(isa, threads).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let best = bits(Isa::best(), 1);
        for isa in Isa::available() {
            let one = bits(isa, 1);
            // Plain Rust rounds products before it adds them.
            if isa != Isa::scalar() {
                assert_eq!(one, best, "case {index}, {isa}");
            }
            assert_eq!(bits(isa, 3), one, "case {index}, {isa}, 3 threads");
        }
    }
}

//! What modules compute, as plainly as can be: images as lists of channels.
use super::{Module, Py};

/// Channels, rows, columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub c: usize,
    pub h: usize,
    pub w: usize,
    pub v: Vec<f32>,
}

impl Image {
    pub fn from_fn([c, h, w]: [usize; 3], f: impl Fn(usize, usize, usize) -> f32) -> Self {
        let mut v = Vec::with_capacity(c * h * w);
        for i in 0..c * h * w {
            v.push(f(i / (h * w), i / w % h, i % w));
        }
        Self { c, h, w, v }
    }

    /// An element; 0 outside the image.
    pub fn at(&self, c: usize, y: isize, x: isize) -> f32 {
        let inside = (0..self.h as isize).contains(&y) && (0..self.w as isize).contains(&x);
        if !inside {
            return 0.0;
        }
        self.v[(c * self.h + y as usize) * self.w + x as usize]
    }

    pub fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { v: self.v.iter().map(|&x| f(x)).collect(), ..*self }
    }

    pub fn zip(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        assert_eq!((self.c, self.h, self.w), (other.c, other.h, other.w));
        let pairs = self.v.iter().zip(&other.v);
        Self { v: pairs.map(|(&a, &b)| f(a, b)).collect(), ..*self }
    }

    pub fn add(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    pub fn channels(&self, from: usize, count: usize) -> Self {
        let plane = self.h * self.w;
        Self { c: count, v: self.v[from * plane..(from + count) * plane].to_vec(), ..*self }
    }
}

pub fn concat(parts: &[&Image]) -> Image {
    Image {
        c: parts.iter().map(|p| p.c).sum(),
        v: parts.iter().flat_map(|p| p.v.clone()).collect(),
        ..*parts[0]
    }
}

fn pair(m: &Module, name: &str) -> [usize; 2] {
    match m.attributes.iter().find(|(n, _)| n == name) {
        Some((_, Py::Tuple(t))) => [0, 1].map(|i| match t[i] {
            Py::Int(n) => n as usize,
            _ => panic!("{name}"),
        }),
        _ => panic!("{name}"),
    }
}

pub fn convolve(m: &Module, x: &Image) -> Image {
    let ([k, _], [s, _], [p, _]) = (pair(m, "kernel_size"), pair(m, "stride"), pair(m, "padding"));
    let (weight, bias) = (m.values("weight"), m.values("bias"));
    let out = bias.len();
    let per = weight.len() / out / k / k;
    let size = |n: usize| (n + 2 * p - k) / s + 1;
    Image::from_fn([out, size(x.h), size(x.w)], |o, y, z| {
        let first = o / (out / (x.c / per)) * per;
        let mut sum = bias[o];
        for i in 0..per * k * k {
            let (c, dy, dx) = (i / (k * k), i / k % k, i % k);
            let at = |n: usize, d: usize| (n * s + d) as isize - p as isize;
            sum += weight[o * per * k * k + i] * x.at(first + c, at(y, dy), at(z, dx));
        }
        sum
    })
}

pub fn normalize(m: &Module, x: &Image) -> Image {
    let of = |name| m.values(name);
    let (g, b, mean, var) = (of("weight"), of("bias"), of("running_mean"), of("running_var"));
    Image::from_fn([x.c, x.h, x.w], |c, i, j| {
        (x.at(c, i as isize, j as isize) - mean[c]) / (var[c] + 1e-3).sqrt() * g[c] + b[c]
    })
}

pub fn silu(x: &Image) -> Image {
    x.map(|v| v / (1.0 + (-v).exp()))
}

/// What the block of that path gives: convolution, normalisation, SiLU.
pub fn through(m: &Module, path: &str, x: &Image) -> Image {
    let m = m.at(path);
    silu(&normalize(m.at("bn"), &convolve(m.at("conv"), x)))
}

/// A fold over windows, with padding left out.
pub fn windows(x: &Image, [k, s, p]: [usize; 3], fold: impl Fn(&[f32]) -> f32) -> Image {
    let size = |n: usize| (n + 2 * p - k) / s + 1;
    Image::from_fn([x.c, size(x.h), size(x.w)], |c, y, z| {
        let mut inside = Vec::new();
        for i in 0..k * k {
            let at = |n: usize, d: usize| (n * s + d) as isize - p as isize;
            let (r, q) = (at(y, i / k), at(z, i % k));
            if (0..x.h as isize).contains(&r) && (0..x.w as isize).contains(&q) {
                inside.push(x.at(c, r, q));
            }
        }
        fold(&inside)
    })
}

pub fn max_pool(x: &Image, window: [usize; 3]) -> Image {
    windows(x, window, |v| v.iter().copied().fold(f32::MIN, f32::max))
}

pub fn mean_pool(x: &Image, window: [usize; 3]) -> Image {
    windows(x, window, |v| v.iter().sum::<f32>() / v.len() as f32)
}

/// Rows and columns around the image, each element by its place, which may lie outside.
pub fn padded(
    x: &Image,
    [top, bottom, left, right]: [usize; 4],
    f: impl Fn(&Image, usize, isize, isize) -> f32,
) -> Image {
    let shape = [x.c, x.h + top + bottom, x.w + left + right];
    Image::from_fn(shape, |c, i, j| f(x, c, i as isize - top as isize, j as isize - left as isize))
}

//! Modules give what a plain computation of their definition gives.
use crate::made::modules::*;
use crate::made::plain::*;
use crate::made::{Container, Module, Py, Tensor, save};
use checkpoint::{LoadOptions, parse};
use ir::{Tensor as Values, interpreter};

/// Channels, height and width of the image.
const SHAPE: [usize; 3] = [8, 6, 10];

fn image() -> Image {
    let [c, h, w] = SHAPE;
    let v = Tensor::noise(&SHAPE, 2.0, 77).values;
    Image { c, h, w, v }
}

/// What the last of these layers gives on [`image`], before a head of one level.
fn outputs(mut layers: Vec<Module>, channels: usize) -> Image {
    let at = layers.len();
    layers.push(after(detect(&[channels])));
    let file = save(&checkpoint(model(layers)), Container::Zip);
    let options = LoadOptions { imgsz: Some([SHAPE[1], SHAPE[2]]), ..LoadOptions::default() };
    let graph = parse(&file, &options).expect("it loads").graph;
    let input = Values::new([1, SHAPE[0], SHAPE[1], SHAPE[2]], image().v).expect("an image");
    let values = interpreter::run_all(&graph, &[input]).expect("it runs");
    let name = format!("/model.{at}/cv2.0/Conv");
    let head = graph.nodes().find(|(_, n)| n.name == name);
    let value = &values[&head.expect("the head's first convolution").1.inputs[0]];
    let [_, c, h, w] = *value.shape() else {
        panic!("an image, not {:?}", value.shape());
    };
    let v = value.as_slice::<f32>().expect("f32").to_vec();
    Image { c, h, w, v }
}

fn assert_same(name: &str, found: &Image, expected: &Image) {
    let shape = |i: &Image| (i.c, i.h, i.w);
    assert_eq!(shape(found), shape(expected), "{name}");
    let pairs = found.v.iter().zip(&expected.v);
    let off = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    let off = off.fold(0.0f32, f32::max);
    assert!(off < 1e-4, "{name}: off by {off}");
}

/// A normalisation that changes nothing: by it, the model tells the channels of its image.
fn nothing() -> Module {
    let same = |value| Tensor::new(&[SHAPE[0]], vec![value; SHAPE[0]]);
    let mut norm = batch_norm(SHAPE[0], 1);
    norm.parameters.clear();
    norm.weight("running_mean", same(0.0)).weight("running_var", same(1.0 - 1e-3))
}

/// One module on the image.
fn check(module: Module, expected: impl Fn(&Module, &Image) -> Image) {
    let expected = expected(&module, &image());
    let found = outputs(vec![after(nothing()), after(module.clone())], expected.c);
    assert_same(&module.class, &found, &expected);
}

fn smooth(x: &Image) -> Image {
    mean_pool(x, [2, 1, 0])
}

fn halves(x: &Image) -> [Image; 2] {
    [x.channels(0, x.c / 2), x.channels(x.c / 2, x.c / 2)]
}

fn pool([k, s, p]: [usize; 3]) -> Module {
    torch("MaxPool2d")
        .int("kernel_size", k as i64)
        .int("stride", s as i64)
        .int("padding", p as i64)
        .int("dilation", 1)
}

fn bottleneck(c: usize, seed: u32) -> Module {
    block_of("Bottleneck")
        .with("add", Py::Bool(true))
        .child("cv1", block(c, c, 3, 1, seed))
        .child("cv2", block(c, c, 3, 1, seed + 20))
}

fn plain_bottleneck(m: &Module, x: &Image) -> Image {
    through(m, "cv2", &through(m, "cv1", x)).add(x)
}

#[test]
fn downsampling_blocks_equal_their_definition() {
    let aconv = block_of("AConv").child("cv1", block(8, 6, 3, 2, 1));
    check(aconv, |m, x| through(m, "cv1", &smooth(x)));
    let adown =
        block_of("ADown").child("cv1", block(4, 5, 3, 2, 1)).child("cv2", block(4, 5, 1, 1, 2));
    check(adown, |m, x| {
        let [a, b] = halves(&smooth(x));
        let b = max_pool(&b, [3, 2, 1]);
        concat(&[&through(m, "cv1", &a), &through(m, "cv2", &b)])
    });
    let down = block_of("DownC")
        .child("cv1", block(8, 8, 1, 1, 1))
        .child("cv2", block(8, 5, 3, 2, 2))
        .child("cv3", block(8, 5, 1, 1, 3))
        .child("mp", pool([2, 2, 0]));
    check(down, |m, x| {
        let a = through(m, "cv2", &through(m, "cv1", x));
        let b = through(m, "cv3", &max_pool(x, [2, 2, 0]));
        concat(&[&a, &b])
    });
    let stem = block_of("HGStem")
        .child("stem1", block(8, 6, 3, 2, 1))
        .child("stem2a", unpadded(6, 4, 2))
        .child("stem2b", unpadded(4, 6, 3))
        .child("stem3", block(12, 6, 3, 1, 4))
        .child("stem4", block(6, 5, 1, 1, 5))
        .child("pool", pool([2, 1, 0]).with("ceil_mode", Py::Bool(true)));
    check(stem, |m, x| {
        let zeros = |x: &Image| padded(x, [0, 1, 0, 1], |x, c, i, j| x.at(c, i, j));
        let x = zeros(&through(m, "stem1", x));
        let y = through(m, "stem2b", &zeros(&through(m, "stem2a", &x)));
        let both = concat(&[&max_pool(&x, [2, 1, 0]), &y]);
        through(m, "stem4", &through(m, "stem3", &both))
    });
}

/// A block whose convolution of 2 x 2 pixels has no padding.
fn unpadded(c1: usize, c2: usize, seed: u32) -> Module {
    let mut block = block(c1, c2, 2, 1, seed);
    for (name, value) in &mut block.children[0].1.attributes {
        if name == "padding" {
            *value = ints(&[0, 0]);
        }
    }
    block
}

#[test]
fn cross_stage_blocks_equal_their_definition() {
    let elan = block_of("ELAN1")
        .int("c", 4)
        .child("cv1", block(8, 8, 1, 1, 1))
        .child("cv2", block(4, 6, 3, 1, 2))
        .child("cv3", block(6, 6, 3, 1, 3))
        .child("cv4", block(20, 5, 1, 1, 4));
    check(elan, |m, x| {
        let [a, b] = halves(&through(m, "cv1", x));
        let c = through(m, "cv2", &b);
        let d = through(m, "cv3", &c);
        through(m, "cv4", &concat(&[&a, &b, &c, &d]))
    });
    let c1 = block_of("C1")
        .child("cv1", block(8, 6, 1, 1, 1))
        .child("m", sequential(vec![block(6, 6, 3, 1, 2)]));
    check(c1, |m, x| {
        let x = through(m, "cv1", x);
        through(m, "m.0", &x).add(&x)
    });
    let c3f = block_of("C3f")
        .child("cv1", block(8, 4, 1, 1, 1))
        .child("cv2", block(8, 4, 1, 1, 2))
        .child("cv3", block(12, 6, 1, 1, 3))
        .child("m", list("ModuleList", vec![bottleneck(4, 4)]));
    check(c3f, |m, x| {
        let (a, b) = (through(m, "cv2", x), through(m, "cv1", x));
        let c = plain_bottleneck(m.at("m.0"), &b);
        through(m, "cv3", &concat(&[&a, &b, &c]))
    });
    let repc3 = block_of("RepC3")
        .child("cv1", block(8, 4, 1, 1, 1))
        .child("cv2", block(8, 4, 1, 1, 2))
        .child("m", sequential(vec![block(4, 4, 3, 1, 3)]))
        .child("cv3", torch("Identity"));
    check(repc3, |m, x| {
        let y = through(m, "m.0", &through(m, "cv1", x));
        y.add(&through(m, "cv2", x))
    });
    let hg = block_of("HGBlock")
        .with("add", Py::Bool(true))
        .child("m", list("ModuleList", vec![block(8, 4, 3, 1, 1), block(4, 4, 3, 1, 2)]))
        .child("sc", block(16, 6, 1, 1, 3))
        .child("ec", block(6, 8, 1, 1, 4));
    check(hg, |m, x| {
        let a = through(m, "m.0", x);
        let b = through(m, "m.1", &a);
        let y = through(m, "sc", &concat(&[x, &a, &b]));
        through(m, "ec", &y).add(x)
    });
    let resnet = block_of("ResNetBlock")
        .child("cv1", block(8, 4, 1, 1, 1))
        .child("cv2", block(4, 4, 3, 1, 2))
        .child("cv3", block(4, 8, 1, 1, 3))
        .child("shortcut", sequential(vec![]));
    check(resnet, |m, x| {
        let y = through(m, "cv2", &through(m, "cv1", x));
        through(m, "cv3", &y).add(x).map(|v| v.max(0.0))
    });
}

#[test]
fn pyramids_of_poolings_equal_their_definition() {
    let pools = || list("ModuleList", vec![pool([3, 1, 1]), pool([5, 1, 2])]);
    let spp = block_of("SPPCSPC")
        .child("cv1", block(8, 4, 1, 1, 1))
        .child("cv2", block(8, 4, 1, 1, 2))
        .child("cv3", block(4, 4, 3, 1, 3))
        .child("cv4", block(4, 4, 1, 1, 4))
        .child("m", pools())
        .child("cv5", block(12, 4, 1, 1, 5))
        .child("cv6", block(4, 4, 3, 1, 6))
        .child("cv7", block(8, 6, 1, 1, 7));
    check(spp, |m, x| {
        let y = through(m, "cv4", &through(m, "cv3", &through(m, "cv1", x)));
        let all = concat(&[&y, &max_pool(&y, [3, 1, 1]), &max_pool(&y, [5, 1, 2])]);
        let y = through(m, "cv6", &through(m, "cv5", &all));
        through(m, "cv7", &concat(&[&y, &through(m, "cv2", x)]))
    });
    let elan = block_of("SPPELAN")
        .child("cv1", block(8, 4, 1, 1, 1))
        .child("cv2", block_of("SP").child("m", pool([5, 1, 2])))
        .child("cv3", pool([5, 1, 2]))
        .child("cv4", pool([5, 1, 2]))
        .child("cv5", block(16, 6, 1, 1, 2));
    check(elan, |m, x| {
        let a = through(m, "cv1", x);
        let wide = |x: &Image| max_pool(x, [5, 1, 2]);
        let (b, c) = (wide(&a), wide(&wide(&a)));
        let d = wide(&c);
        through(m, "cv5", &concat(&[&a, &b, &c, &d]))
    });
}

#[test]
fn parallel_convolutions_are_summed() {
    let branch = |k, seed| conv2d(8, 8, k, 1, seed);
    for names in [["conv1", "conv2", "bn"], ["rbr_dense", "rbr_1x1", "rbr_identity"]] {
        let rep = Module::new("models.common.RepConv")
            .child(names[0], sequential(vec![branch(3, 1)]))
            .child(names[1], sequential(vec![branch(1, 2)]))
            .child(names[2], batch_norm(8, 3))
            .child("act", torch("SiLU"));
        check(rep, |m, x| {
            let sum = convolve(m.at(names[0]).at("0"), x)
                .add(&convolve(m.at(names[1]).at("0"), x))
                .add(&normalize(m.at(names[2]), x));
            silu(&sum)
        });
    }
    let conv2 = Module::new("ultralytics.nn.modules.conv.Conv2")
        .child("conv", branch(3, 1))
        .child("bn", batch_norm(8, 2))
        .child("act", torch("SiLU"))
        .child("cv2", branch(1, 3));
    check(conv2, |m, x| {
        let sum = convolve(m.at("conv"), x).add(&convolve(m.at("cv2"), x));
        silu(&normalize(m.at("bn"), &sum))
    });
    let light = Module::new("ultralytics.nn.modules.conv.LightConv")
        .child("conv1", block(8, 4, 1, 1, 1))
        .child("conv2", block(4, 4, 3, 1, 2));
    check(light, |m, x| through(m, "conv2", &through(m, "conv1", x)));
}

#[test]
fn lists_are_cut_chosen_and_fused() {
    // Two layers give a list each, one at half the size.
    let cut = |sizes: &[i64], stride, seed| {
        block_of("CBLinear")
            .with("c2s", ints(sizes))
            .child("conv", conv2d(8, sizes.iter().sum::<i64>() as usize, 1, stride, seed))
    };
    let stem = || after(conv2d(8, 8, 1, 1, 9));
    let mut layers = vec![stem()];
    layers.push(cut(&[3, 4], 2, 1).int("f", 0));
    layers.push(cut(&[4, 2], 1, 2).int("f", 0));
    layers.push(conv2d(8, 4, 1, 1, 3).int("f", 0));
    let fuse = block_of("CBFuse").with("idx", Py::List(vec![Py::Int(1), Py::Int(0)]));
    layers.push(joining(fuse, &[1, 2, 3]));
    let x = convolve(&layers[0], &image());
    let a = convolve(layers[1].at("conv"), &x).channels(3, 4);
    let b = convolve(layers[2].at("conv"), &x).channels(0, 4);
    let enlarged =
        Image::from_fn([4, x.h, x.w], |c, i, j| a.at(c, (i / 2) as isize, (j / 2) as isize));
    let expected = convolve(&layers[3], &x).add(&enlarged).add(&b);
    assert_same("CBFuse", &outputs(layers.clone(), 4), &expected);
    layers.truncate(2);
    layers.push(joining(block_of("Index").int("index", 1), &[1]));
    assert_same("Index", &outputs(layers, 4), &a);
    let add = joining(block_of("Shortcut"), &[0, 1]);
    let layers = vec![stem(), after(block(8, 8, 3, 1, 4)), add];
    let x = convolve(&layers[0], &image());
    let y = silu(&normalize(layers[1].at("bn"), &convolve(layers[1].at("conv"), &x)));
    assert_same("Shortcut", &outputs(layers, 8), &x.add(&y));
}

#[test]
fn pixels_are_moved_to_channels_and_back() {
    check(block_of("ReOrg"), |_, x| {
        Image::from_fn([32, 3, 5], |c, i, j| {
            let (row, column) = [(0, 0), (1, 0), (0, 1), (1, 1)][c / 8];
            x.at(c % 8, (2 * i + row) as isize, (2 * j + column) as isize)
        })
    });
    check(block_of("Contract").int("gain", 2), |_, x| {
        Image::from_fn([32, 3, 5], |c, i, j| {
            let (row, column) = (c / 8 / 2, c / 8 % 2);
            x.at(c % 8, (2 * i + row) as isize, (2 * j + column) as isize)
        })
    });
    check(block_of("Expand").int("gain", 2), |_, x| {
        Image::from_fn([2, 12, 20], |c, i, j| {
            let channel = (i % 2 * 2 + j % 2) * 2 + c;
            x.at(channel, (i / 2) as isize, (j / 2) as isize)
        })
    });
}

#[test]
fn layers_of_torch_equal_their_definition() {
    let sides = |name: &str| torch(name).with("padding", ints(&[1, 2, 0, 1]));
    let rows = [0, 1, 1, 2];
    check(sides("ZeroPad2d"), |_, x| padded(x, rows, |x, c, i, j| x.at(c, i, j)));
    check(sides("ConstantPad2d").with("value", Py::Float(0.5)), |_, x| {
        padded(x, rows, |x, c, i, j| {
            let inside = i < x.h as isize && (0..x.w as isize).contains(&j);
            if inside { x.at(c, i, j) } else { 0.5 }
        })
    });
    check(sides("ReplicationPad2d"), |_, x| {
        padded(x, rows, |x, c, i, j| {
            x.at(c, i.clamp(0, x.h as isize - 1), j.clamp(0, x.w as isize - 1))
        })
    });
    check(sides("ReflectionPad2d"), |_, x| {
        let fold = |i: isize, n: usize| (n as isize - 1) - (n as isize - 1 - i.abs()).abs();
        padded(x, rows, move |x, c, i, j| x.at(c, fold(i, x.h), fold(j, x.w)))
    });
    for include in [true, false] {
        let mean = torch("AvgPool2d")
            .int("kernel_size", 3)
            .int("stride", 2)
            .int("padding", 1)
            .with("count_include_pad", Py::Bool(include));
        check(mean, |_, x| {
            windows(x, [3, 2, 1], |v| {
                v.iter().sum::<f32>() / if include { 9.0 } else { v.len() as f32 }
            })
        });
    }
    check(torch("Dropout"), |_, x| x.clone());
    check(batch_norm(8, 5), normalize);
    let mut bare = batch_norm(8, 5);
    bare.parameters.drain(..2);
    check(bare, |m, x| {
        let (mean, var) = (m.values("running_mean"), m.values("running_var"));
        Image::from_fn([8, x.h, x.w], |c, i, j| {
            (x.at(c, i as isize, j as isize) - mean[c]) / (var[c] + 1e-3).sqrt()
        })
    });
    let mut same = conv2d(8, 4, 3, 1, 1);
    same.attributes.retain(|(name, _)| name != "padding");
    let same = same.with("padding", Py::Str("same".to_owned()));
    check(same, |_, x| convolve(&conv2d(8, 4, 3, 1, 1), x));
}

#[test]
fn activations_equal_their_definition() {
    type Function = fn(f32) -> f32;
    let tanh = |m: Module| m.with("approximate", Py::Str("tanh".to_owned()));
    let cases: Vec<(Module, Function)> =
        vec![
            (torch("Mish"), |x| x * x.exp().ln_1p().tanh()),
            (tanh(torch("GELU")), |x| {
                0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044715 * x.powi(3))).tanh())
            }),
            (torch("ELU").with("alpha", Py::Float(0.5)), |x| {
                if x < 0.0 { 0.5 * x.exp_m1() } else { x }
            }),
            (torch("SELU"), |x| 1.050_701 * if x < 0.0 { 1.673_263_2 * x.exp_m1() } else { x }),
            (torch("Softplus").int("beta", 1), |x| x.exp().ln_1p()),
            (torch("Softsign"), |x| x / (1.0 + x.abs())),
            (
                torch("Hardtanh").with("min_val", Py::Float(-0.5)).with("max_val", Py::Float(1.5)),
                |x| x.clamp(-0.5, 1.5),
            ),
            (torch("PReLU").weight("weight", Tensor::new(&[1], vec![0.25])), |x| {
                if x < 0.0 { 0.25 * x } else { x }
            }),
        ];
    for (module, function) in cases {
        check(module, |_, x| x.map(function));
    }
    // The normal distribution's share below 1 is known.
    let gelu = outputs(vec![after(nothing()), after(torch("GELU"))], 8);
    let near = image();
    for (x, y) in near.v.iter().zip(&gelu.v) {
        let share = y / x;
        assert!(x.abs() < 1e-3 || (0.0..=1.0).contains(&share), "{x} {y}");
        assert!((x - 1.0).abs() > 1e-2 || (share - 0.8413).abs() < 3e-3, "{x} {y}");
    }
    let slopes = torch("PReLU").weight("weight", Tensor::noise(&[8], 0.5, 3));
    check(slopes, |m, x| {
        Image::from_fn([8, x.h, x.w], |c, i, j| {
            let v = x.at(c, i as isize, j as isize);
            if v < 0.0 { m.values("weight")[c] * v } else { v }
        })
    });
    let funnel = Module::new("utils.activations.FReLU")
        .child("conv", grouped(8, 8, 3, 1, 8, 1))
        .child("bn", batch_norm(8, 2));
    check(funnel, |m, x| x.zip(&normalize(m.at("bn"), &convolve(m.at("conv"), x)), f32::max));
}

#[test]
fn gates_multiply_channels_and_positions() {
    let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
    let channels = Module::new("ultralytics.nn.modules.conv.ChannelAttention")
        .child("pool", torch("AdaptiveAvgPool2d").int("output_size", 1))
        .child("fc", conv2d(8, 8, 1, 1, 1))
        .child("act", torch("Sigmoid"));
    check(channels, move |m, x| {
        let mean = |c: usize| x.channels(c, 1).v.iter().sum::<f32>() / (x.h * x.w) as f32;
        let means = Image::from_fn([8, 1, 1], |c, _, _| mean(c));
        let gates = convolve(m.at("fc"), &means).map(sigmoid);
        Image::from_fn([8, x.h, x.w], |c, i, j| gates.v[c] * x.at(c, i as isize, j as isize))
    });
    let positions = Module::new("ultralytics.nn.modules.conv.SpatialAttention")
        .child("cv1", conv2d(2, 1, 3, 1, 1))
        .child("act", torch("Sigmoid"));
    check(positions, move |m, x| {
        let column = |i: usize, j: usize| (0..8).map(move |c| (c, i as isize, j as isize));
        let summary = Image::from_fn([2, x.h, x.w], |c, i, j| {
            let values = column(i, j).map(|(c, i, j)| x.at(c, i, j));
            if c == 0 { values.sum::<f32>() / 8.0 } else { values.fold(f32::MIN, f32::max) }
        });
        let gate = convolve(m.at("cv1"), &summary).map(sigmoid);
        Image::from_fn([8, x.h, x.w], |c, i, j| {
            let (i, j) = (i as isize, j as isize);
            gate.at(0, i, j) * x.at(c, i, j)
        })
    });
}

/// A linear layer over channels.
fn linear(c1: usize, c2: usize, seed: u32) -> Module {
    torch("Linear").weight("weight", Tensor::noise(&[c2, c1], 0.4, seed))
}

fn apply(weight: &[f32], bias: Option<&[f32]>, x: &Image) -> Image {
    Image::from_fn([weight.len() / x.c, x.h, x.w], |o, i, j| {
        let products = (0..x.c).map(|c| weight[o * x.c + c] * x.at(c, i as isize, j as isize));
        products.sum::<f32>() + bias.map_or(0.0, |b| b[o])
    })
}

/// Every position's mean of the values, by the softmax of its query with all keys, in heads of `width` channels.
fn attend([q, k, v]: [&Image; 3], width: usize) -> Image {
    let plane = q.h * q.w;
    Image::from_fn([q.c, q.h, q.w], |c, i, j| {
        let head = c / width * width;
        let here = i * q.w + j;
        let score = |p: usize| {
            let products = (head..head + width).map(|c| q.v[c * plane + here] * k.v[c * plane + p]);
            products.sum::<f32>() / (width as f32).sqrt()
        };
        let weights: Vec<f32> = (0..plane).map(|p| score(p).exp()).collect();
        let total: f32 = weights.iter().sum();
        let mixed = (0..plane).map(|p| weights[p] / total * v.v[c * plane + p]);
        mixed.sum()
    })
}

fn multi_head(seed: u32) -> Module {
    torch("MultiheadAttention")
        .int("num_heads", 2)
        .weight("in_proj_weight", Tensor::noise(&[24, 8], 0.4, seed))
        .weight("in_proj_bias", Tensor::noise(&[24], 0.3, seed + 1))
        .child(
            "out_proj",
            torch("NonDynamicallyQuantizableLinear")
                .weight("weight", Tensor::noise(&[8, 8], 0.4, seed + 2))
                .weight("bias", Tensor::noise(&[8], 0.3, seed + 3)),
        )
}

fn plain_multi_head(m: &Module, operands: [&Image; 3]) -> Image {
    let (weight, bias) = (m.values("in_proj_weight"), m.values("in_proj_bias"));
    let part = |i: usize| {
        let (w, b) = (&weight[i * 64..][..64], &bias[i * 8..][..8]);
        apply(w, Some(b), operands[i])
    };
    let mixed = attend([&part(0), &part(1), &part(2)], 4);
    let out = m.at("out_proj");
    apply(out.values("weight"), Some(out.values("bias")), &mixed)
}

#[test]
fn transformers_equal_their_definition() {
    let layer = ["q", "k", "v", "fc1", "fc2"].iter().zip(1..);
    let layer = layer.fold(
        Module::new("ultralytics.nn.modules.transformer.TransformerLayer"),
        |m, (name, seed)| m.child(name, linear(8, 8, seed)),
    );
    let block = Module::new("ultralytics.nn.modules.transformer.TransformerBlock")
        .child("linear", linear(8, 8, 9))
        .child("tr", sequential(vec![layer.child("ma", multi_head(20))]));
    check(block, |m, x| {
        let project = |m: &Module, x: &Image| apply(m.values("weight"), None, x);
        let x = x.add(&project(m.at("linear"), x));
        let m = m.at("tr.0");
        let of = |name: &str, x: &Image| project(m.at(name), x);
        let operands = [&of("q", &x), &of("k", &x), &of("v", &x)];
        let y = plain_multi_head(m.at("ma"), operands).add(&x);
        of("fc2", &of("fc1", &y)).add(&y)
    });
    let norm = |seed| {
        torch("LayerNorm")
            .with("eps", Py::Float(1e-5))
            .weight("weight", Tensor::noise(&[8], 1.0, seed))
            .weight("bias", Tensor::noise(&[8], 0.3, seed + 1))
    };
    let encoder = Module::new("ultralytics.nn.modules.transformer.AIFI")
        .with("normalize_before", Py::Bool(false))
        .child("ma", multi_head(30))
        .child("fc1", linear(8, 12, 1))
        .child("fc2", linear(12, 8, 2))
        .child("norm1", norm(3))
        .child("norm2", norm(5))
        .child("act", torch("ReLU"));
    check(encoder, |m, x| {
        // Channels 0 and 1 are sines of the column at both waves, 2 and 3 cosines, 4 to 7 those of the row; columns come first.
        let places = Image::from_fn([8, x.h, x.w], |c, i, j| {
            let at = i * x.w + j;
            let place = if c < 4 { at / x.h } else { at % x.h } as f32;
            let angle = place * [1.0, 0.01][c % 2];
            if c / 2 % 2 == 0 { angle.sin() } else { angle.cos() }
        });
        let q = x.add(&places);
        let x = plain_layer_norm(m.at("norm1"), &plain_multi_head(m.at("ma"), [&q, &q, x]).add(x));
        let y = apply(m.at("fc1").values("weight"), None, &x).map(|v| v.max(0.0));
        let y = apply(m.at("fc2").values("weight"), None, &y);
        plain_layer_norm(m.at("norm2"), &x.add(&y))
    });
}

fn plain_layer_norm(m: &Module, x: &Image) -> Image {
    Image::from_fn([x.c, x.h, x.w], |c, i, j| {
        let here = |c: usize| x.at(c, i as isize, j as isize);
        let mean = (0..x.c).map(here).sum::<f32>() / x.c as f32;
        let variance = (0..x.c).map(|c| (here(c) - mean).powi(2)).sum::<f32>() / x.c as f32;
        (here(c) - mean) / (variance + 1e-5).sqrt() * m.values("weight")[c] + m.values("bias")[c]
    })
}

//! Modules with weights that look random and are the same everywhere.
use super::{DType, Module, Py, Tensor};

impl Tensor {
    pub fn new(shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Self {
            shape: shape.to_vec(),
            values,
            dtype: DType::Float,
            offset: 0,
            parameter: false,
            part: false,
        }
    }

    /// Numbers from -`scale` to `scale`, by shape and seed.
    pub fn noise(shape: &[usize], scale: f32, seed: u32) -> Self {
        let mut state = u64::from(seed) * 2 + 1;
        let mut next = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let share = (state >> 40) as f32 / (1u64 << 24) as f32;
            // As half floats hold them.
            half::f16::from_f32(scale * (2.0 * share - 1.0)).to_f32()
        };
        let values = (0..shape.iter().product::<usize>()).map(&mut next).collect();
        Self::new(shape, values)
    }
}

impl Module {
    pub fn new(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            attributes: Vec::new(),
            parameters: Vec::new(),
            children: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: Py) -> Self {
        self.attributes.push((name.to_owned(), value));
        self
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.with(name, Py::Int(value))
    }

    pub fn pair(self, name: &str, [a, b]: [usize; 2]) -> Self {
        self.with(name, ints(&[a as i64, b as i64]))
    }

    pub fn weight(mut self, name: &str, tensor: Tensor) -> Self {
        self.parameters.push((name.to_owned(), Py::Tensor(tensor)));
        self
    }

    pub fn child(mut self, name: &str, child: Module) -> Self {
        self.children.push((name.to_owned(), child));
        self
    }

    /// The submodule at a path.
    pub fn at(&self, path: &str) -> &Module {
        path.split('.').fold(self, |m, name| {
            let child = m.children.iter().find(|(n, _)| n == name);
            &child.unwrap_or_else(|| panic!("{name} in {}", m.class)).1
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.children.iter().any(|(n, _)| n == name)
    }

    /// The elements of a parameter.
    pub fn values(&self, name: &str) -> &[f32] {
        match self.parameters.iter().find(|(n, _)| n == name) {
            Some((_, Py::Tensor(t))) => &t.values,
            _ => panic!("{name} in {}", self.class),
        }
    }
}

pub fn ints(values: &[i64]) -> Py {
    Py::Tuple(values.iter().map(|&v| Py::Int(v)).collect())
}

pub fn torch(class: &str) -> Module {
    Module::new(&format!("torch.nn.modules.made.{class}"))
}

pub fn block_of(class: &str) -> Module {
    Module::new(&format!("ultralytics.nn.modules.block.{class}"))
}

/// A convolution with a bias that keeps the image's size at stride 1.
pub fn conv2d(c1: usize, c2: usize, k: usize, stride: usize, seed: u32) -> Module {
    grouped(c1, c2, k, stride, 1, seed)
}

pub fn grouped(c1: usize, c2: usize, k: usize, stride: usize, groups: usize, seed: u32) -> Module {
    let scale = 1.5 / ((c1 / groups * k * k) as f32).sqrt();
    torch("Conv2d")
        .int("in_channels", c1 as i64)
        .pair("kernel_size", [k, k])
        .pair("stride", [stride, stride])
        .pair("padding", [k / 2, k / 2])
        .pair("dilation", [1, 1])
        .int("groups", groups as i64)
        .with("padding_mode", Py::Str("zeros".to_owned()))
        .weight("weight", Tensor::noise(&[c2, c1 / groups, k, k], scale, seed))
        .weight("bias", Tensor::noise(&[c2], 0.3, seed + 1))
}

pub fn batch_norm(c: usize, seed: u32) -> Module {
    let positive = |seed| {
        let mut t = Tensor::noise(&[c], 0.5, seed);
        t.values.iter_mut().for_each(|v| *v = half::f16::from_f32(*v + 1.0).to_f32());
        t
    };
    torch("BatchNorm2d")
        .int("num_features", c as i64)
        .with("eps", Py::Float(1e-3))
        .weight("weight", positive(seed))
        .weight("bias", Tensor::noise(&[c], 0.3, seed + 1))
        .weight("running_mean", Tensor::noise(&[c], 0.3, seed + 2))
        .weight("running_var", positive(seed + 3))
}

/// Convolution, normalisation, SiLU.
pub fn block(c1: usize, c2: usize, k: usize, stride: usize, seed: u32) -> Module {
    Module::new("ultralytics.nn.modules.conv.Conv")
        .child("conv", conv2d(c1, c2, k, stride, seed))
        .child("bn", batch_norm(c2, seed + 7))
        .child("act", torch("SiLU"))
}

pub fn sequential(children: Vec<Module>) -> Module {
    list("Sequential", children)
}

pub fn list(class: &str, children: Vec<Module>) -> Module {
    let named = children.into_iter().enumerate();
    named.fold(torch(class), |m, (i, child)| m.child(&i.to_string(), child))
}

/// A head of two classes without distributions, on levels of these channels.
pub fn detect(channels: &[usize]) -> Module {
    let branch = |width: usize, seed: u32| {
        let convolutions = channels.iter().zip(seed..);
        list("ModuleList", convolutions.map(|(&c, s)| conv2d(c, width, 1, 1, s)).collect())
    };
    let strides = (0..channels.len()).map(|i| (1 << i) as f32).collect();
    Module::new("ultralytics.nn.modules.head.Detect")
        .int("nc", 2)
        .int("reg_max", 1)
        .with("stride", Py::Tensor(Tensor::new(&[channels.len()], strides)))
        .child("cv2", branch(4, 500))
        .child("cv3", branch(2, 600))
}

/// A layer that reads the one before it.
pub fn after(module: Module) -> Module {
    module.int("f", -1)
}

/// A layer that reads several.
pub fn joining(module: Module, from: &[i64]) -> Module {
    let from = from.iter().map(|&f| Py::Int(f)).collect();
    module.with("f", Py::List(from))
}

/// The model of these layers, with two classes.
pub fn model(layers: Vec<Module>) -> Module {
    let names = ["a", "b"].iter().enumerate();
    let names = names.map(|(i, n)| (Py::Int(i as i64), Py::Str((*n).to_owned())));
    Module::new("ultralytics.nn.tasks.DetectionModel")
        .with("names", Py::Dict(names.collect()))
        .child("model", sequential(layers))
}

/// A checkpoint as Ultralytics saves it.
pub fn checkpoint(model: Module) -> Py {
    let key = |k: &str| Py::Str(k.to_owned());
    Py::Dict(vec![
        (key("epoch"), Py::Int(-1)),
        (key("model"), Py::Module(model)),
        (key("ema"), Py::None),
    ])
}

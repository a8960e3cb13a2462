//! Resize of the two spatial axes, nearest or linear.
//! Spec: onnx.ai/onnx/operators/onnx__Resize.html, opset 10 to 21, and Upsample, opset 9; cubic, antialias and crops are not supported.
use crate::Port::{Input, Output};
use crate::{Attribute, Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType};

/// How output pixels are made from input pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ResizeMode {
    Nearest(NearestMode),
    Linear,
}

/// How a source coordinate becomes a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How an output coordinate becomes a source coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CoordinateMode {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// Resize of `x: [N, C, H, W]` to a fixed height and width.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How output pixels are made.
    pub mode: ResizeMode,
    /// How coordinates map.
    pub coordinate_mode: CoordinateMode,
    /// Output height and width.
    pub size: [usize; 2],
    /// Output over input length as the model states it; not always `size / length`.
    pub scales: [f32; 2],
}

const COORDINATES: &[(&str, CoordinateMode)] = &[
    ("half_pixel", CoordinateMode::HalfPixel),
    ("pytorch_half_pixel", CoordinateMode::PytorchHalfPixel),
    ("align_corners", CoordinateMode::AlignCorners),
    ("asymmetric", CoordinateMode::Asymmetric),
];
const NEAREST: &[(&str, NearestMode)] = &[
    ("round_prefer_floor", NearestMode::RoundPreferFloor),
    ("round_prefer_ceil", NearestMode::RoundPreferCeil),
    ("floor", NearestMode::Floor),
    ("ceil", NearestMode::Ceil),
];

fn choose<T: Copy>(name: &str, table: &[(&str, T)], given: Option<String>, default: &str) -> Result<T, OpError> {
    let given = given.unwrap_or_else(|| default.to_owned());
    let found = table.iter().find(|(n, _)| *n == given).map(|(_, v)| *v);
    found.ok_or(OpError::Attribute { name: name.to_owned(), expected: "a supported resize mode", found: given })
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> Attribute {
    let name = table.iter().find(|(_, v)| v == value).map_or("", |(n, _)| n);
    Attribute::String(name.as_bytes().to_vec())
}

impl Resize {
    /// For each output row (axis 0) or column (axis 1), its source coordinate in pixels.
    fn coordinates(&self, axis: usize, len: usize) -> Vec<f64> {
        let (out, scale) = (self.size[axis], f64::from(self.scales[axis]));
        // The ONNX node tests align to the length before it is floored; a scale made from sizes only rounds around it.
        let stated = scale * len as f64;
        let resized = if (stated - out as f64).abs() < 1e-3 { out as f64 } else { stated };
        let half = |i: f64| (i + 0.5) / scale - 0.5;
        (0..out)
            .map(|i| match self.coordinate_mode {
                CoordinateMode::HalfPixel => half(i as f64),
                CoordinateMode::PytorchHalfPixel => if out > 1 { half(i as f64) } else { 0.0 },
                CoordinateMode::AlignCorners => if out > 1 { i as f64 * (len - 1) as f64 / (resized - 1.0) } else { 0.0 },
                CoordinateMode::Asymmetric => i as f64 / scale,
            })
            .collect()
    }

    /// For each output row (axis 0) or column (axis 1), the source index of nearest resizing.
    pub fn nearest_map(&self, axis: usize, len: usize, mode: NearestMode) -> Vec<usize> {
        let pick = |x: f64| match mode {
            NearestMode::Floor => x.floor(),
            NearestMode::Ceil => x.ceil(),
            NearestMode::RoundPreferCeil => (x + 0.5).floor(),
            NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
        };
        self.coordinates(axis, len).into_iter().map(|x| (pick(x).max(0.0) as usize).min(len.saturating_sub(1))).collect()
    }

    fn linear(&self, x: &[f64], shape: &[usize]) -> Vec<f64> {
        let (h, w) = (shape[2], shape[3]);
        let clamp = |v: f64, len: usize| v.clamp(0.0, (len - 1) as f64);
        let (ys, xs) = (self.coordinates(0, h), self.coordinates(1, w));
        let mut out = Vec::with_capacity(shape[0] * shape[1] * ys.len() * xs.len());
        for plane in x.chunks_exact(h * w) {
            for &y in &ys {
                let y = clamp(y, h);
                let (y0, fy) = (y.floor() as usize, y - y.floor());
                for &x in &xs {
                    let x = clamp(x, w);
                    let (x0, fx) = (x.floor() as usize, x - x.floor());
                    let at = |r: usize, c: usize| plane[r.min(h - 1) * w + c.min(w - 1)];
                    let row = |r: usize| at(r, x0) * (1.0 - fx) + at(r, x0 + 1) * fx;
                    out.push(row(y0) * (1.0 - fy) + row(y0 + 1) * fy);
                }
            }
        }
        out
    }
}

/// Output size and scales from whichever parameter the node gives.
fn target(spec: &mut NodeSpec<'_>, shape: &[usize]) -> Result<([usize; 2], [f32; 2]), OpError> {
    let (scales_at, sizes_at) = if spec.op_type == "Upsample" || spec.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let given = spec.parameter(scales_at)?.map(Tensor::to_f64).transpose()?.filter(|s| !s.is_empty());
    let attribute = if spec.opset < 10 { spec.attributes.floats("scales")?.map(|s| s.into_iter().map(f64::from).collect()) } else { None };
    let sizes = spec.integers(sizes_at)?.filter(|s| !s.is_empty());
    let unsupported = OpError::Unsupported { feature: "resizing of other than the two last axes" };
    if let Some(s) = given.or(attribute) {
        let [n, c, h, w] = s[..] else { return Err(unsupported) };
        if n != 1.0 || c != 1.0 || !(h > 0.0 && w > 0.0 && h.is_finite() && w.is_finite()) {
            return Err(unsupported);
        }
        let size = [(shape[2] as f64 * h).floor() as usize, (shape[3] as f64 * w).floor() as usize];
        return Ok((size, [h as f32, w as f32]));
    }
    let sizes = sizes.ok_or(OpError::InputCount { expected: "scales or sizes", found: spec.inputs.len() })?;
    let [n, c, h, w] = sizes[..] else { return Err(unsupported) };
    if n != shape[0] as i64 || c != shape[1] as i64 || h < 1 || w < 1 {
        return Err(unsupported);
    }
    let size = [h as usize, w as usize];
    Ok((size, [size[0] as f32 / shape[2] as f32, size[1] as f32 / shape[3] as f32]))
}

impl Operator for Resize {
    const OP_TYPES: &'static [&'static str] = &["Resize", "Upsample"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let shape = spec.ty(0)?.shape.clone();
        if shape.len() != 4 || shape.contains(&0) {
            return Err(OpError::Rank { input: 0, expected: "4", found: shape });
        }
        let (size, scales) = target(spec, &shape)?;
        let a = &mut spec.attributes;
        let legacy = spec.op_type == "Upsample" || spec.opset < 11;
        let nearest = choose("nearest_mode", NEAREST, a.string("nearest_mode")?, if legacy { "floor" } else { "round_prefer_floor" })?;
        let coordinate_mode = choose("coordinate_transformation_mode", COORDINATES, a.string("coordinate_transformation_mode")?, if legacy { "asymmetric" } else { "half_pixel" })?;
        let mode = choose("mode", &[("nearest", ResizeMode::Nearest(nearest)), ("linear", ResizeMode::Linear)], a.string("mode")?, "nearest")?;
        if a.flag("antialias")?.unwrap_or(false) || a.ints("axes")?.is_some() || a.string("keep_aspect_ratio_policy")?.is_some_and(|p| p != "stretch") {
            return Err(OpError::Unsupported { feature: "antialias, axes or keep_aspect_ratio_policy of Resize" });
        }
        a.ignore(&["cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
        Ok(Parsed::first(Self { mode, coordinate_mode, size, scales }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if x.rank() != 4 || x.shape.contains(&0) {
            return Err(OpError::Rank { input: 0, expected: "4", found: x.shape.clone() });
        }
        let shape = vec![x.shape[0], x.shape[1], self.size[0], self.size[1]];
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = inputs[0].ty();
        let out = self.infer(&[&ty])?.remove(0);
        let (h, w) = (ty.shape[2], ty.shape[3]);
        let y = match self.mode {
            ResizeMode::Linear => Tensor::from_f64(out.dtype, out.shape, &self.linear(&inputs[0].to_f64()?, &ty.shape))?,
            ResizeMode::Nearest(mode) => {
                let (ys, xs) = (self.nearest_map(0, h, mode), self.nearest_map(1, w, mode));
                let planes = 0..ty.shape[0] * ty.shape[1];
                let (ys, xs) = (&ys, &xs);
                let picks = planes.flat_map(|p| ys.iter().flat_map(move |&r| xs.iter().map(move |&c| (p * h + r) * w + c)));
                Tensor::from_data(out.shape, inputs[0].data().gather(picks))?
            }
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        Channels::none().link((Input(0), 1), (Output(0), 1), shapes.inputs[0].shape[1])
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        if matches!(self.mode, ResizeMode::Nearest(_)) { QuantFacts::SharesInput } else { QuantFacts::Float }
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let scales = Tensor::vector(vec![1.0, 1.0, self.scales[0], self.scales[1]]);
        let mut attributes = vec![("coordinate_transformation_mode", name_of(COORDINATES, &self.coordinate_mode))];
        match &self.mode {
            ResizeMode::Linear => attributes.push(("mode", Attribute::String(b"linear".to_vec()))),
            ResizeMode::Nearest(nearest) => {
                attributes.push(("mode", Attribute::String(b"nearest".to_vec())));
                attributes.push(("nearest_mode", name_of(NEAREST, nearest)));
            }
        }
        let inputs = vec![LoweredInput::Input(0), LoweredInput::Absent, LoweredInput::Constant("scales", scales)];
        vec![LoweredNode { op_type: "Resize", inputs, outputs: vec![LoweredOutput::Output(0)], attributes }]
    }
}

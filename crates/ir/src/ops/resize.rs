//! Resize of the two spatial axes, nearest or linear.
//! Spec: onnx.ai/onnx/operators/onnx__Resize.html, opset 10 to 19, and Upsample, opset 9; cubic, antialias and crops are not supported.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

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

/// How the output's height and width are told. What a file states is kept: a size written as a scale would be rounded,
/// and could come back one shorter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// Output over input length of height and width.
    Scales([f32; 2]),
    /// Lengths of the output's four axes.
    Sizes([usize; 4]),
    /// The largest height and width of the input's proportions that go beyond neither of these.
    NotLarger([usize; 2]),
    /// The smallest height and width of the input's proportions that fall below neither of these.
    NotSmaller([usize; 2]),
}

impl Extent {
    /// Output over input length of height and width, for an input of `[H, W]`; computed in f32, as ONNX Runtime does.
    fn scales(&self, hw: [usize; 2]) -> [f32; 2] {
        let over = |to: [usize; 2]| [0, 1].map(|i| to[i] as f32 / hw[i] as f32);
        match *self {
            Extent::Scales(scales) => scales,
            Extent::Sizes([_, _, h, w]) => over([h, w]),
            Extent::NotLarger(bound) => [over(bound)[0].min(over(bound)[1]); 2],
            Extent::NotSmaller(bound) => [over(bound)[0].max(over(bound)[1]); 2],
        }
    }

    /// Height and width of the output, for an input of `[H, W]`.
    fn size(&self, hw: [usize; 2]) -> [usize; 2] {
        let scaled = [0, 1].map(|i| hw[i] as f32 * self.scales(hw)[i]);
        match *self {
            Extent::Scales(_) => scaled.map(|n| n.floor() as usize),
            Extent::Sizes([_, _, h, w]) => [h, w],
            Extent::NotLarger(_) | Extent::NotSmaller(_) => scaled.map(|n| n.round() as usize),
        }
    }
}

/// Resize of the height and width of `x: [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How output pixels are made.
    pub mode: ResizeMode,
    /// How coordinates map.
    pub coordinate_mode: CoordinateMode,
    /// What height and width become.
    pub extent: Extent,
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

fn choose<T: Copy>(
    name: &str,
    table: &[(&str, T)],
    given: Option<String>,
    default: &str,
) -> Result<T, OpError> {
    let given = given.unwrap_or_else(|| default.to_owned());
    let found = table.iter().find(|(n, _)| *n == given).map(|(_, v)| *v);
    found.ok_or(OpError::Attribute {
        name: name.to_owned(),
        expected: "a supported resize mode",
        found: given,
    })
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> Attribute {
    let name = table.iter().find(|(_, v)| v == value).map_or("", |(n, _)| n);
    Attribute::String(name.as_bytes().to_vec())
}

impl Resize {
    /// For each output row (axis 0) or column (axis 1) of an input of `[H, W]`, its source coordinate in pixels. In f32,
    /// step by step as ONNX Runtime does: which pixel is nearest is decided by the last bit.
    fn coordinates(&self, axis: usize, hw: [usize; 2]) -> Vec<f32> {
        let (len, out, scale) =
            (hw[axis] as f32, self.extent.size(hw)[axis], self.extent.scales(hw)[axis]);
        // The ONNX node tests align to the length before it is floored.
        let resized = match self.extent {
            Extent::Scales(_) if (scale * len - out as f32).abs() >= 1e-3 => scale * len,
            _ => out as f32,
        };
        let half = |i: f32| (i + 0.5) / scale - 0.5;
        (0..out)
            .map(|i| match self.coordinate_mode {
                CoordinateMode::HalfPixel => half(i as f32),
                CoordinateMode::PytorchHalfPixel => {
                    if out > 1 {
                        half(i as f32)
                    } else {
                        0.0
                    }
                }
                CoordinateMode::AlignCorners => {
                    if out > 1 {
                        i as f32 * (len - 1.0) / (resized - 1.0)
                    } else {
                        0.0
                    }
                }
                CoordinateMode::Asymmetric => i as f32 / scale,
            })
            .collect()
    }

    /// For each output row (axis 0) or column (axis 1) of an input of `[H, W]`, the source index of nearest resizing.
    pub fn nearest_map(&self, axis: usize, hw: [usize; 2], mode: NearestMode) -> Vec<usize> {
        let pick = |x: f32| match mode {
            NearestMode::Floor => x.floor(),
            NearestMode::Ceil => x.ceil(),
            NearestMode::RoundPreferCeil => (x + 0.5).floor(),
            NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
        };
        self.coordinates(axis, hw)
            .into_iter()
            .map(|x| (pick(x).max(0.0) as usize).min(hw[axis].saturating_sub(1)))
            .collect()
    }

    /// For each output row (axis 0) or column (axis 1) of an input of `[H, W]`, the two source indices of which it is made and
    /// their weights, which sum to 1.
    pub fn sources(&self, axis: usize, hw: [usize; 2]) -> Vec<[(usize, f64); 2]> {
        let last = hw[axis] - 1;
        if let ResizeMode::Nearest(mode) = self.mode {
            let nearest = self.nearest_map(axis, hw, mode).into_iter();
            return nearest.map(|i| [(i, 1.0), (i, 0.0)]).collect();
        }
        let between = |coordinate: f32| {
            let coordinate = f64::from(coordinate.clamp(0.0, last as f32));
            let (first, share) = (coordinate.floor(), coordinate - coordinate.floor());
            let first = first as usize;
            [(first, 1.0 - share), ((first + 1).min(last), share)]
        };
        self.coordinates(axis, hw).into_iter().map(between).collect()
    }

    fn linear(&self, x: &[f64], shape: &[usize]) -> Vec<f64> {
        let (h, w) = (shape[2], shape[3]);
        let (rows, columns) = (self.sources(0, [h, w]), self.sources(1, [h, w]));
        let mut out = Vec::with_capacity(shape[0] * shape[1] * rows.len() * columns.len());
        for plane in x.chunks_exact(h * w) {
            for [(top, above), (bottom, below)] in &rows {
                for [(left, before), (right, after)] in &columns {
                    let row =
                        |r: &usize| plane[r * w + left] * before + plane[r * w + right] * after;
                    out.push(row(top) * above + row(bottom) * below);
                }
            }
        }
        out
    }
}

/// What a node gives for some axes, for all four of them: `default` says what the others are.
fn spread<T: Copy>(
    given: &[T],
    axes: Option<&[usize]>,
    default: [T; 4],
) -> Result<[T; 4], OpError> {
    let axes = axes.unwrap_or(&[0, 1, 2, 3]);
    let unsupported = OpError::Unsupported { feature: "resizing of other than the two last axes" };
    if given.len() != axes.len() {
        return Err(unsupported);
    }
    let mut all = default;
    for (&axis, &value) in axes.iter().zip(given) {
        *all.get_mut(axis).ok_or(unsupported.clone())? = value;
    }
    Ok(all)
}

/// What height and width become, from whichever parameter the node gives.
fn extent(spec: &mut NodeSpec<'_>, shape: [usize; 4]) -> Result<Extent, OpError> {
    let (scales_at, sizes_at) =
        if spec.op_type == "Upsample" || spec.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let given =
        spec.parameter(scales_at)?.map(Tensor::to_f64).transpose()?.filter(|s| !s.is_empty());
    let attribute = if spec.opset < 10 {
        spec.attributes.floats("scales")?.map(|s| s.into_iter().map(f64::from).collect())
    } else {
        None
    };
    let sizes = spec.integers(sizes_at)?.filter(|s| !s.is_empty());
    let axes = match spec.attributes.ints("axes")? {
        None => None,
        Some(axes) => {
            Some(axes.iter().map(|&a| super::axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?)
        }
    };
    let policy = spec.attributes.string("keep_aspect_ratio_policy")?;
    let unsupported = OpError::Unsupported { feature: "resizing of other than the two last axes" };
    if let Some(s) = given.or(attribute) {
        let [n, c, h, w] = spread(&s, axes.as_deref(), [1.0; 4])?;
        if n != 1.0 || c != 1.0 || !(h > 0.0 && w > 0.0 && h.is_finite() && w.is_finite()) {
            return Err(unsupported);
        }
        return Ok(Extent::Scales([h as f32, w as f32]));
    }
    let sizes = sizes
        .ok_or(OpError::InputCount { expected: "scales or sizes", found: spec.inputs.len() })?;
    let lengths = sizes
        .iter()
        .map(|&d| usize::try_from(d).ok().filter(|&d| d > 0))
        .collect::<Option<Vec<_>>>();
    let [n, c, h, w] = spread(&lengths.ok_or(unsupported.clone())?, axes.as_deref(), shape)?;
    if [n, c] != shape[..2] {
        return Err(unsupported);
    }
    let is_spatial = axes.is_some_and(|a| a.len() == 2 && a.contains(&2) && a.contains(&3));
    match policy.as_deref() {
        None | Some("stretch") => Ok(Extent::Sizes([n, c, h, w])),
        Some(policy) => keeping_aspect_ratio(policy, [h, w], is_spatial),
    }
}

fn keeping_aspect_ratio(
    policy: &str,
    size: [usize; 2],
    is_spatial: bool,
) -> Result<Extent, OpError> {
    match policy {
        "not_larger" if is_spatial => Ok(Extent::NotLarger(size)),
        "not_smaller" if is_spatial => Ok(Extent::NotSmaller(size)),
        "not_larger" | "not_smaller" => Err(OpError::Unsupported {
            feature: "keep_aspect_ratio_policy over other than the two last axes",
        }),
        _ => Err(OpError::Attribute {
            name: "keep_aspect_ratio_policy".into(),
            expected: "stretch, not_larger or not_smaller",
            found: policy.to_owned(),
        }),
    }
}

/// How Resize of opset 10 and Upsample choose a pixel: ONNX Runtime, and the node tests of those opsets, go up where the
/// image shrinks.
fn legacy_nearest(scales: [f32; 2]) -> Result<NearestMode, OpError> {
    if scales.iter().all(|&s| s >= 1.0) {
        Ok(NearestMode::Floor)
    } else if scales.iter().all(|&s| s <= 1.0) {
        Ok(NearestMode::Ceil)
    } else {
        Err(OpError::Unsupported {
            feature: "Resize of opset 10 that shrinks one axis and stretches the other",
        })
    }
}

impl Operator for Resize {
    const OP_TYPES: &'static [&'static str] = &["Resize", "Upsample"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let shape = &spec.ty(0)?.shape;
        let wrong = || OpError::Rank { input: 0, expected: "4", found: shape.clone() };
        let lengths: [usize; 4] =
            shape.as_slice().try_into().ok().filter(|_| !shape.contains(&0)).ok_or_else(wrong)?;
        let extent = extent(spec, lengths)?;
        let a = &mut spec.attributes;
        let legacy = spec.op_type == "Upsample" || spec.opset < 11;
        let mode = a.string("mode")?.unwrap_or_else(|| "nearest".into());
        let nearest = match extent {
            Extent::Scales(scales) if legacy && mode == "nearest" => legacy_nearest(scales)?,
            _ => choose("nearest_mode", NEAREST, a.string("nearest_mode")?, "round_prefer_floor")?,
        };
        let coordinate_mode = choose(
            "coordinate_transformation_mode",
            COORDINATES,
            a.string("coordinate_transformation_mode")?,
            if legacy { "asymmetric" } else { "half_pixel" },
        )?;
        let mode = choose(
            "mode",
            &[("nearest", ResizeMode::Nearest(nearest)), ("linear", ResizeMode::Linear)],
            Some(mode),
            "nearest",
        )?;
        if a.flag("antialias")?.unwrap_or(false) {
            return Err(OpError::Unsupported { feature: "antialias of Resize" });
        }
        a.ignore(&["cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
        Ok(Parsed::first(Self { mode, coordinate_mode, extent }, 1))
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
        if let Extent::Sizes([n, c, ..]) = self.extent
            && let Some(axis) =
                [n, c].iter().zip(&x.shape).position(|(expected, found)| expected != found)
        {
            return Err(OpError::AxisLength {
                input: 0,
                axis,
                expected: [n, c][axis],
                found: x.shape[axis],
            });
        }
        let [h, w] = self.extent.size([x.shape[2], x.shape[3]]);
        let shape = vec![x.shape[0], x.shape[1], h, w];
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = inputs[0].ty();
        let out = self.infer(&[&ty])?.remove(0);
        let (h, w) = (ty.shape[2], ty.shape[3]);
        let y = match self.mode {
            ResizeMode::Linear => Tensor::from_f64(
                out.dtype,
                out.shape,
                &self.linear(&inputs[0].to_f64()?, &ty.shape),
            )?,
            ResizeMode::Nearest(mode) => {
                let (ys, xs) =
                    (self.nearest_map(0, [h, w], mode), self.nearest_map(1, [h, w], mode));
                let planes = 0..ty.shape[0] * ty.shape[1];
                let (ys, xs) = (&ys, &xs);
                let picks = planes.flat_map(|p| {
                    ys.iter().flat_map(move |&r| xs.iter().map(move |&c| (p * h + r) * w + c))
                });
                Tensor::from_data(out.shape, inputs[0].data().gather(picks))?
            }
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        Channels::none().link(Input(0).axis(1), Output(0).axis(1), shapes.inputs[0].shape[1])
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        let extent = match self.extent {
            Extent::Sizes([n, c, h, w]) => Extent::Sizes([n, kept.len(Output(0), 1, c), h, w]),
            other => other,
        };
        Self { extent, ..self.clone() }
    }

    fn quant_facts(&self) -> QuantFacts {
        if matches!(self.mode, ResizeMode::Nearest(_)) {
            QuantFacts::SharesInput
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let sizes = |v: &[usize]| {
            LoweredInput::Constant("sizes", Tensor::vector(v.iter().map(|&d| d as i64).collect()))
        };
        let text = |v: &str| Attribute::String(v.as_bytes().to_vec());
        let mut attributes =
            vec![("coordinate_transformation_mode", name_of(COORDINATES, &self.coordinate_mode))];
        let mut by_ratio = |policy| {
            attributes.push(("axes", Attribute::Ints(vec![2, 3])));
            attributes.push(("keep_aspect_ratio_policy", text(policy)));
        };
        let mut inputs = vec![LoweredInput::Input(0), LoweredInput::Absent];
        match &self.extent {
            Extent::Scales([h, w]) => inputs
                .push(LoweredInput::Constant("scales", Tensor::vector(vec![1.0, 1.0, *h, *w]))),
            Extent::Sizes(all) => inputs.extend([LoweredInput::Absent, sizes(all)]),
            Extent::NotLarger(bound) => {
                by_ratio("not_larger");
                inputs.extend([LoweredInput::Absent, sizes(bound)]);
            }
            Extent::NotSmaller(bound) => {
                by_ratio("not_smaller");
                inputs.extend([LoweredInput::Absent, sizes(bound)]);
            }
        }
        match &self.mode {
            ResizeMode::Linear => attributes.push(("mode", text("linear"))),
            ResizeMode::Nearest(nearest) => {
                attributes.push(("mode", text("nearest")));
                attributes.push(("nearest_mode", name_of(NEAREST, nearest)));
            }
        }
        vec![LoweredNode {
            op_type: "Resize",
            inputs,
            outputs: vec![LoweredOutput::Output(0)],
            attributes,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, DataType, InputSpec};

    fn resize(
        opset: i64,
        [h, w]: [usize; 2],
        parameters: &[Option<Tensor>],
        attributes: &[(&str, &str)],
    ) -> Result<Resize, OpError> {
        let ty = TensorType::new(DataType::F32, [1, 3, h, w]);
        let types: Vec<Option<TensorType>> =
            parameters.iter().map(|p| p.as_ref().map(Tensor::ty)).collect();
        let given = parameters.iter().zip(&types).map(|(p, ty)| {
            p.is_some().then_some(InputSpec { ty: ty.as_ref(), constant: p.as_ref() })
        });
        let inputs = std::iter::once(Some(InputSpec { ty: Some(&ty), constant: None }))
            .chain(given)
            .collect();
        let attributes = Attributes::new(
            attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), Attribute::String(v.as_bytes().to_vec()))),
        );
        Resize::parse(&mut NodeSpec { op_type: "Resize", opset, inputs, outputs: 1, attributes })
            .map(|parsed| match parsed.op {
                crate::Op::Resize(op) => op,
                other => panic!("{other:?}"),
            })
    }

    #[test]
    fn resize_by_scales_counts_pixels_in_f32() {
        // ONNX Runtime multiplies in f32: 0.7 of 20 are 14 there, and 13 in f64.
        for (length, scale, expected) in
            [(20, 0.7f32, 14), (10, 0.7, 7), (10, 1.3, 13), (3, 0.6, 1)]
        {
            let scales = Tensor::vector(vec![1.0, 1.0, scale, 1.0]);
            let op = resize(17, [length, 4], &[None, Some(scales)], &[]).unwrap();
            assert_eq!(op.extent.size([length, 4]), [expected, 4], "{length} times {scale}");
        }
    }

    #[test]
    fn resize_by_sizes_is_written_as_sizes() {
        for n in 1..160 {
            let sizes = vec![1, 3, 2 * n as i64 - 1, n as i64 + 1];
            let op = resize(13, [n, n], &[None, None, Some(Tensor::vector(sizes.clone()))], &[])
                .unwrap();
            let ty = TensorType::new(DataType::F32, [1, 3, n, n]);
            assert_eq!(op.infer(&[&ty]).unwrap()[0].shape, [1, 3, 2 * n - 1, n + 1]);
            let written = op.lower(13, 1, 1).remove(0).inputs.remove(3);
            assert_eq!(written, LoweredInput::Constant("sizes", Tensor::vector(sizes)));
        }
    }

    #[test]
    fn resize_by_sizes_follows_its_channels() {
        let op = resize(13, [4, 4], &[None, None, Some(Tensor::vector(vec![1i64, 3, 7, 7]))], &[])
            .unwrap();
        let kept = KeptAxes([((Output(0), 1), vec![0, 2])].into());
        let kept = op.keep(&Shapes { inputs: vec![], outputs: vec![] }, &kept);
        assert_eq!(kept.extent, Extent::Sizes([1, 2, 7, 7]));
        assert!(kept.infer(&[&TensorType::new(DataType::F32, [1, 3, 4, 4])]).is_err());
    }

    #[test]
    fn resize_within_proportions_rounds_the_common_scale() {
        let policy = |policy| {
            let ty = TensorType::new(DataType::F32, [1, 3, 10, 20]);
            let (axes, policy) =
                (Attribute::Ints(vec![-2, -1]), Attribute::String(Vec::from(policy)));
            let attributes = Attributes::new([
                ("axes".to_owned(), axes),
                ("keep_aspect_ratio_policy".to_owned(), policy),
            ]);
            let sizes = Tensor::vector(vec![7i64, 16]);
            let sizes_ty = sizes.ty();
            let inputs = vec![
                Some(InputSpec { ty: Some(&ty), constant: None }),
                None,
                None,
                Some(InputSpec { ty: Some(&sizes_ty), constant: Some(&sizes) }),
            ];
            let parsed = Resize::parse(&mut NodeSpec {
                op_type: "Resize",
                opset: 18,
                inputs,
                outputs: 1,
                attributes,
            })
            .unwrap();
            parsed.op.infer(&[&ty]).unwrap()[0].shape[2..].to_vec()
        };
        assert_eq!(
            (policy("not_larger"), policy("not_smaller"), policy("stretch")),
            (vec![7, 14], vec![8, 16], vec![7, 16])
        );
    }

    #[test]
    fn resize_of_opset_10_goes_up_where_it_shrinks() {
        let nearest = |scale: f32| {
            let scales = Tensor::vector(vec![1.0, 1.0, scale, scale]);
            resize(10, [4, 4], &[Some(scales)], &[("mode", "nearest")]).unwrap().mode
        };
        assert_eq!(nearest(0.6), ResizeMode::Nearest(NearestMode::Ceil));
        assert_eq!(nearest(2.0), ResizeMode::Nearest(NearestMode::Floor));
        let both = Tensor::vector(vec![1.0f32, 1.0, 0.5, 2.0]);
        assert!(resize(10, [4, 4], &[Some(both)], &[]).is_err());
    }
}

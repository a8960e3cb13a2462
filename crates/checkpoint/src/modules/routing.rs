//! What moves values without weights of its own: sequences, concatenation, sums, lists, space to depth, upsampling.
use super::scope::{Built, Scope};
use crate::CheckpointError;
use crate::module::Module;
use crate::tree::Value;
use ir::ValueId;
use ir::ops::{
    Concat, CoordinateMode, Extent, NearestMode, Reshape, Resize, ResizeMode, Slice, SliceRange,
    Split, Transpose,
};

/// Sides of the largest block of pixels that becomes channels.
const MAX_GAIN: usize = 64;

/// The largest factor of an upsampling.
const MAX_FACTOR: usize = 64;

/// Several values: what a layer reads from each of others, or gives.
pub(super) type Lists = Result<Vec<ValueId>, CheckpointError>;

pub(super) fn sequential(s: &mut Scope<'_, '_>, mut x: ValueId) -> Built {
    for child in s.module.children()? {
        x = s.run(&child, x)?;
    }
    Ok(x)
}

pub(super) fn concat(s: &mut Scope<'_, '_>, inputs: &[Vec<ValueId>]) -> Lists {
    let axis = s.module.count("d")?;
    let values = inputs.concat();
    Ok(vec![s.node(Concat { axis }, &values)?])
}

/// The sum of what several layers give.
pub(super) fn sum(s: &mut Scope<'_, '_>, inputs: &[Vec<ValueId>]) -> Lists {
    let values = inputs.concat();
    let [first, rest @ ..] = &values[..] else {
        return Err(s.module.unsupported("a sum of nothing"));
    };
    let total = rest.iter().try_fold(*first, |sum, &v| s.add(sum, v))?;
    Ok(vec![total])
}

/// One of the values that a layer gives.
pub(super) fn index(s: &mut Scope<'_, '_>, inputs: &[Vec<ValueId>]) -> Lists {
    let index = s.module.count("index")?;
    let value = inputs.concat().get(index).copied();
    let value = value.ok_or_else(|| s.module.unsupported("an index beyond the values it reads"))?;
    Ok(vec![value])
}

/// A convolution whose channels are cut into several values (YOLOv9, arXiv:2402.13616).
pub(super) fn cut_linear(s: &mut Scope<'_, '_>, inputs: &[Vec<ValueId>]) -> Lists {
    let [x] = inputs.concat()[..] else {
        return Err(s.module.unsupported("reading other than one value"));
    };
    let y = s.child("conv", x)?;
    let sizes = counts(s.module, "c2s")?;
    match sizes.len() {
        1 => Ok(vec![y]),
        n => s.nodes(Split { axis: 1, sizes }, &[y], n),
    }
}

/// The last value, and of each list before it one value enlarged to the last one's size, summed (YOLOv9).
pub(super) fn fuse_lists(s: &mut Scope<'_, '_>, inputs: &[Vec<ValueId>]) -> Lists {
    let chosen = counts(s.module, "idx")?;
    let misfit = |s: &Scope<'_, '_>| s.module.unsupported("an index beyond what it reads");
    let Some((last, lists)) = inputs.split_last() else {
        return Err(misfit(s));
    };
    let (&[last], true) = (&last[..], lists.len() <= chosen.len()) else {
        return Err(misfit(s));
    };
    let [_, h, w] = s.image(last)?;
    let mut total = None;
    for (list, &i) in lists.iter().zip(&chosen) {
        let value = *list.get(i).ok_or_else(|| misfit(s))?;
        let value = nearest(s, value, [h, w])?;
        total = Some(s.add_to(total, value)?);
    }
    Ok(vec![s.add_to(total, last)?])
}

/// The nearest pixels at another size.
fn nearest(s: &mut Scope<'_, '_>, x: ValueId, size: [usize; 2]) -> Built {
    let [c, h, w] = s.image(x)?;
    if [h, w] == size {
        return Ok(x);
    }
    let op = Resize {
        mode: ResizeMode::Nearest(NearestMode::Floor),
        coordinate_mode: CoordinateMode::Asymmetric,
        extent: Extent::Sizes([1, c, size[0], size[1]]),
    };
    s.node(op, &[x])
}

/// A list of counts.
fn counts(m: &Module<'_>, name: &str) -> Result<Vec<usize>, CheckpointError> {
    let list = m.attribute(name).and_then(|v| m.tree.counts(v));
    list.ok_or_else(|| m.unsupported("a list of other than counts"))
}

/// Every second row and column four times over, as four times the channels.
pub(super) fn focus(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let all = reorganize(s, x)?;
    s.child("conv", all)
}

/// The pixels at (even row, even column), (odd row, even column), (even row, odd column) and (odd, odd), as channels.
pub(super) fn reorganize(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let [_, h, w] = s.image(x)?;
    let every_second = |axis: usize, start: usize, len: usize| Slice {
        ranges: vec![SliceRange {
            axis,
            start,
            len: len.saturating_sub(start).div_ceil(2),
            step: 2,
        }],
    };
    let mut quarters = Vec::with_capacity(4);
    for (row, column) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let rows = s.node(every_second(2, row, h), &[x])?;
        quarters.push(s.node(every_second(3, column, w), &[rows])?);
    }
    s.concat(&quarters)
}

/// Blocks of `gain` by `gain` pixels as channels: the place in the block first, then the channel.
pub(super) fn contract(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let ([c, h, w], gain) = (s.image(x)?, s.module.count("gain")?.clamp(1, MAX_GAIN));
    let blocks = vec![1, c, h / gain, gain, w / gain, gain];
    let channels = c.saturating_mul(gain).saturating_mul(gain);
    let shape = vec![1, channels, h / gain, w / gain];
    rearrange(s, x, blocks, vec![0, 3, 5, 1, 2, 4], shape)
}

/// The inverse of [`contract`].
pub(super) fn expand(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let ([c, h, w], gain) = (s.image(x)?, s.module.count("gain")?.clamp(1, MAX_GAIN));
    let channels = c / gain / gain;
    let blocks = vec![1, gain, gain, channels, h, w];
    let shape = vec![1, channels, h.saturating_mul(gain), w.saturating_mul(gain)];
    rearrange(s, x, blocks, vec![0, 3, 4, 1, 5, 2], shape)
}

fn rearrange(
    s: &mut Scope<'_, '_>,
    x: ValueId,
    blocks: Vec<usize>,
    perm: Vec<usize>,
    shape: Vec<usize>,
) -> Built {
    let x = s.node(Reshape { shape: blocks }, &[x])?;
    let x = s.node(Transpose { perm }, &[x])?;
    s.node(Reshape { shape }, &[x])
}

pub(super) fn upsample(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let shape = s.image(x)?;
    let (mode, coordinate_mode) = match m.text("mode") {
        Some("nearest") => (ResizeMode::Nearest(NearestMode::Floor), CoordinateMode::Asymmetric),
        Some("bilinear") if m.flag("align_corners") => {
            (ResizeMode::Linear, CoordinateMode::AlignCorners)
        }
        Some("bilinear") => (ResizeMode::Linear, CoordinateMode::HalfPixel),
        _ => return Err(m.unsupported("upsampling that is neither nearest nor bilinear")),
    };
    let op = Resize { mode, coordinate_mode, extent: extent(m, shape)? };
    s.node(op, &[x])
}

/// By one factor, one for rows and one for columns, or a size.
fn extent(m: &Module<'_>, [c, h, w]: [usize; 3]) -> Result<Extent, CheckpointError> {
    let stated = m.attribute("scale_factor");
    let stated = stated.filter(|&v| !matches!(m.tree.value(v), Value::None));
    let Some(id) = stated else {
        let size = m.pair("size");
        let [to_h, to_w] =
            size.map_err(|_| m.unsupported("upsampling by neither a factor nor a size"))?;
        let fits = |to: usize, n: usize| (1..=n.saturating_mul(MAX_FACTOR)).contains(&to);
        if !(fits(to_h, h) && fits(to_w, w)) {
            return Err(m.unsupported("upsampling to nothing or by more than 64"));
        }
        return Ok(Extent::Sizes([1, c, to_h, to_w]));
    };
    let factors = match m.tree.sequence(id) {
        Some(&[a, b]) => m.tree.float(a).zip(m.tree.float(b)),
        Some(_) => None,
        None => m.tree.float(id).map(|f| (f, f)),
    };
    let factors =
        factors.filter(|&(a, b)| [a, b].iter().all(|f| (1.0..=MAX_FACTOR as f64).contains(f)));
    match factors {
        Some((a, b)) => Ok(Extent::Scales([a as f32, b as f32])),
        None => Err(m.unsupported("upsampling by less than 1 or more than 64")),
    }
}

//! Where tensors lie: buffers with halos, and views that follow Reshape, Slice and Transpose for free.
use ir::ops::Slice;
use kernels::{Dims, KernelError, View};

/// The border of padding that is stored around an image, so that kernels read past its edges: top, left, bottom, right, in
/// pixels.
pub(crate) type Halo = [usize; 4];

/// The smallest halo that contains both.
pub(crate) fn larger(a: Halo, b: Halo) -> Halo {
    std::array::from_fn(|side| a[side].max(b[side]))
}

/// A view into a buffer, offset counted from the buffer's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) buffer: usize,
    pub(crate) view: View,
    /// All pixels of an NHWC buffer, maybe not all channels: its halo is the buffer's.
    pub(crate) covers_pixels: bool,
}

/// Most axes that a kernel takes.
const MAX_RANK: usize = 6;

fn dims(values: &[usize]) -> Result<Dims, KernelError> {
    if values.len() > MAX_RANK {
        return Err(KernelError::Rank { operand: "view", expected: MAX_RANK, found: values.len() });
    }
    Ok(Dims::new(values))
}

/// A view of everything from a buffer's start, in row-major order.
pub(crate) fn row_major(shape: &[usize]) -> Result<View, KernelError> {
    dims(shape)?;
    Ok(View::contiguous(0, shape))
}

/// The view and size in elements of a new buffer: NHWC with a halo for four axes, row-major otherwise.
pub(crate) fn fresh(shape: &[usize], halo: Halo) -> Result<(View, usize), KernelError> {
    let &[n, c, h, w] = shape else {
        let view = row_major(shape)?;
        return Ok((view, view.elements()));
    };
    let [top, left, bottom, right] = halo;
    let (rows, columns) = (h + top + bottom, w + left + right);
    let counted = [n, c, rows, columns].iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if counted.is_none_or(|n| n > isize::MAX as usize / size_of::<f32>()) {
        let bytes = usize::MAX;
        return Err(KernelError::Memory { bytes });
    }
    let wide = View::nhwc(0, [n, c, rows, columns]);
    let view = wide.slice(2, top, h)?.slice(3, left, w)?;
    Ok((view, wide.elements()))
}

/// The view of a new buffer for `[N, C, L]` whose channels lie side by side, as images flattened to it have them.
pub(crate) fn channels_last(shape: &[usize]) -> Option<View> {
    let &[n, c, l] = shape else { return None };
    reshape(&View::nhwc(0, [n, c, 1, l]), shape)
}

/// Whether channels lie side by side, as the image kernels need them.
pub(crate) fn is_nhwc(view: &View) -> bool {
    view.shape.len() == 4 && (view.shape[1] <= 1 || view.strides[1] == 1)
}

/// Whether two views of one shape name the same elements; strides of axes of length 1 do not matter.
pub(crate) fn same_elements(a: &View, b: &View) -> bool {
    let steps = a.strides.iter().zip(b.strides.iter());
    let equal = |((x, y), &len): ((&usize, &usize), &usize)| len <= 1 || x == y;
    a.offset == b.offset && a.shape == b.shape && steps.zip(a.shape.iter()).all(equal)
}

/// One view of two that follow each other along an axis. A view does not follow itself: its axis of length 1 may have the
/// stride 0, so that it seems to.
pub(crate) fn join(a: &View, b: &View, axis: usize) -> Option<View> {
    let same = |i: usize| i == axis || a.shape[i] == b.shape[i];
    let aligned = a.shape.len() == b.shape.len() && (0..a.shape.len()).all(same);
    let next = a.offset + a.shape[axis] * a.strides[axis];
    if !aligned || a.strides != b.strides || b.offset != next || a.strides[axis] == 0 {
        return None;
    }
    let mut shape = a.shape.to_vec();
    shape[axis] += b.shape[axis];
    let shape = dims(&shape).ok()?;
    Some(View { shape, ..*a })
}

/// The view under a shape it broadcasts to.
pub(crate) fn broadcast(view: &View, shape: &[usize]) -> Result<View, KernelError> {
    let skip = shape.len() - view.shape.len();
    let stride = |axis: usize| match axis.checked_sub(skip) {
        Some(a) if view.shape[a] == shape[axis] => view.strides[a],
        _ => 0,
    };
    let strides: Vec<usize> = (0..shape.len()).map(stride).collect();
    Ok(View { offset: view.offset, shape: dims(shape)?, strides: dims(&strides)? })
}

/// The elements that a Slice takes; `None` where it runs backwards.
pub(crate) fn slice(view: &View, op: &Slice) -> Option<View> {
    let mut shape = view.shape.to_vec();
    let mut strides = view.strides.to_vec();
    let mut offset = view.offset;
    for range in &op.ranges {
        let step = usize::try_from(range.step).ok()?;
        offset += range.start * strides[range.axis];
        shape[range.axis] = range.len;
        strides[range.axis] *= step;
    }
    Some(View { offset, shape: dims(&shape).ok()?, strides: dims(&strides).ok()? })
}

/// The same elements in the same logical order under another shape; `None` when no strides say so.
pub(crate) fn reshape(view: &View, shape: &[usize]) -> Option<View> {
    if view.elements() == 0 {
        let empty = row_major(shape).ok()?;
        return Some(empty);
    }
    let old: Vec<(usize, usize)> = view
        .shape
        .iter()
        .copied()
        .zip(view.strides.iter().copied())
        .filter(|&(d, _)| d != 1)
        .collect();
    let mut strides = vec![0; shape.len()];
    let (mut from, mut to) = (0, 0);
    while from < old.len() {
        let (mut from_end, mut to_end) = (from + 1, to);
        let mut taken = old[from].0;
        let mut made = 1;
        while made != taken {
            if made < taken {
                made *= shape.get(to_end)?;
                to_end += 1;
            } else {
                taken *= old.get(from_end)?.0;
                from_end += 1;
            }
        }
        let merges = |k: usize| old[k].1 == old[k + 1].0 * old[k + 1].1;
        if !(from..from_end - 1).all(merges) {
            return None;
        }
        let mut stride = old[from_end - 1].1;
        for axis in (to..to_end).rev() {
            strides[axis] = stride;
            stride *= shape[axis];
        }
        (from, to) = (from_end, to_end);
    }
    Some(View { offset: view.offset, shape: dims(shape).ok()?, strides: dims(&strides).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements of a view in logical order.
    fn indices(view: &View) -> Vec<usize> {
        let mut found = vec![view.offset];
        for (&len, &stride) in view.shape.iter().zip(view.strides.iter()) {
            found = found.iter().flat_map(|at| (0..len).map(move |i| at + i * stride)).collect();
        }
        found
    }

    struct Case {
        view: View,
        shape: &'static [usize],
        expressible: bool,
    }

    #[test]
    fn reshape_gives_the_same_elements_or_none() {
        let image = View::nhwc(3, [1, 6, 4, 5]);
        let inner = image.slice(3, 1, 3).expect("in range");
        let rows = View::contiguous(0, &[2, 3, 4]);
        let cases = [
            Case { view: image, shape: &[1, 6, 20], expressible: true },
            Case { view: image, shape: &[1, 2, 3, 4, 5], expressible: true },
            Case { view: image, shape: &[120], expressible: false },
            Case { view: inner, shape: &[1, 6, 12], expressible: false },
            Case { view: inner, shape: &[3, 2, 4, 3, 1], expressible: true },
            Case { view: rows, shape: &[24], expressible: true },
            Case { view: rows, shape: &[1, 4, 1, 6], expressible: true },
            Case { view: rows, shape: &[8, 3], expressible: true },
        ];
        for case in cases {
            let found = reshape(&case.view, case.shape);
            assert_eq!(found.is_some(), case.expressible, "{:?}", case.shape);
            if let Some(found) = found {
                assert_eq!(&*found.shape, case.shape);
                assert_eq!(indices(&found), indices(&case.view), "{:?}", case.shape);
            }
        }
    }

    #[test]
    fn reshape_empty_view_is_empty() {
        let empty = View::contiguous(0, &[2, 0, 3]);
        let found = reshape(&empty, &[0, 6]).expect("nothing to order");
        assert_eq!(found.elements(), 0);
    }

    #[test]
    fn fresh_halo_lies_around_the_pixels() {
        let (view, elements) = fresh(&[1, 2, 3, 4], [1, 2, 0, 1]).expect("four axes");
        assert_eq!(elements, 2 * 4 * 7);
        assert_eq!(view.offset, 2 * (7 + 2));
        assert_eq!(&*view.strides, &[56, 1, 14, 2]);
    }

    #[test]
    fn row_major_of_seven_axes_is_an_error() {
        assert!(row_major(&[1; 7]).is_err());
    }
}

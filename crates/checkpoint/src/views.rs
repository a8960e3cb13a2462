//! Tensors as a pickle rebuilds them: strided views of storages.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::storages::{StorageRef, Storages};
use crate::tree::{Id, Tree};
use ir::Tensor;

/// The tensor that a value rebuilds, as f32 of its own shape; shared views are made anew.
///
/// # Errors
/// `Expected` for any other value, `StorageBytes` for a view that reaches outside its storage, `TooLarge`.
pub(crate) fn tensor(
    storages: &mut Storages<'_>,
    tree: &Tree<'_>,
    id: Id,
    at: &str,
    budget: &Budget,
) -> Result<Tensor, CheckpointError> {
    let view = View::read(tree, id, at)?;
    let count = view.elements();
    let bytes = count.and_then(|n| n.checked_mul(size_of::<f32>()));
    budget.charge(bytes.unwrap_or(usize::MAX), || at.to_owned())?;
    let width = view.storage.dtype.size_bytes();
    let data = storages.bytes(view.storage.key)?;
    let needed = view.reach().map(|r| r * width as u128);
    if needed.is_none_or(|n| n > data.len() as u128) {
        return Err(CheckpointError::StorageBytes {
            at: at.to_owned(),
            key: view.storage.key.to_owned(),
            expected: needed.unwrap_or(u128::MAX),
            found: data.len() as u128,
        });
    }
    let values = view.gather(data);
    Tensor::new(view.shape, values)
        .map_err(|cause| CheckpointError::Operator { at: at.to_owned(), cause })
}

/// The function of `torch._utils` that rebuilds a value, with its arguments; a tensor with attributes of its own goes through one more.
fn rebuild_call<'t, 'a>(tree: &'t Tree<'a>, id: Id) -> Option<(&'a str, &'t [Id])> {
    let (package, function) = tree.class(id)?;
    let arguments = tree.sequence(tree.object(id)?.arguments)?;
    match (package, function, arguments) {
        ("torch._utils", _, _) => Some((function, arguments)),
        ("torch._tensor", "_rebuild_from_type_v2", &[inner, _, arguments, ..]) => {
            Some((tree.global(inner)?.1, tree.sequence(arguments)?))
        }
        _ => None,
    }
}

/// Whether a value is a tensor, or a parameter that wraps one.
pub(crate) fn is_tensor(tree: &Tree<'_>, id: Id) -> bool {
    rebuild_call(tree, id).is_some_and(|(function, _)| function.starts_with("_rebuild"))
}

/// A strided view of a storage.
struct View<'a> {
    storage: StorageRef<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> View<'a> {
    fn read(tree: &Tree<'a>, id: Id, at: &str) -> Result<Self, CheckpointError> {
        let expected = "a tensor";
        let call = rebuild_call(tree, id);
        let (function, arguments) = call.ok_or_else(|| tree.unexpected(at, expected, id))?;
        if function.starts_with("_rebuild_parameter") {
            let inner = arguments.first().copied();
            let inner = inner.ok_or_else(|| tree.unexpected(at, expected, id))?;
            // A parameter wraps a tensor, never another parameter: no chain to follow.
            let wraps =
                rebuild_call(tree, inner).is_some_and(|c| c.0.starts_with("_rebuild_tensor"));
            if !wraps {
                return Err(tree.unexpected(at, expected, inner));
            }
            return Self::read(tree, inner, at);
        }
        let &[storage, offset, shape, strides, ..] = arguments else {
            return Err(tree.unexpected(at, expected, id));
        };
        if !matches!(function, "_rebuild_tensor" | "_rebuild_tensor_v2") {
            return Err(tree.unexpected(at, expected, id));
        }
        let parts: Option<(usize, Vec<usize>, Vec<usize>)> = (|| {
            let (shape, strides) = (tree.counts(shape)?, tree.counts(strides)?);
            Some((tree.count(offset)?, shape, strides))
        })();
        let (offset, shape, strides) = parts
            .filter(|(_, shape, strides)| shape.len() == strides.len() && shape.len() <= 8)
            .ok_or_else(|| tree.unexpected(at, "a tensor of 8 axes at most", shape))?;
        let storage = StorageRef::read(tree, storage, at)?;
        Ok(Self { offset: offset.saturating_add(storage.start), storage, shape, strides })
    }

    fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Number of elements the storage must have.
    fn reach(&self) -> Option<u128> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let axes = self.shape.iter().zip(&self.strides);
        let steps = axes.map(|(&d, &s)| (d as u128 - 1) * s as u128);
        steps.chain([self.offset as u128]).try_fold(1u128, u128::checked_add)
    }

    /// The elements in row-major order, whatever their order in the storage (channels last, slices).
    fn gather(&self, data: &[u8]) -> Vec<f32> {
        let count = self.elements().unwrap_or(0);
        let dtype = self.storage.dtype;
        let width = dtype.size_bytes();
        let mut values = Vec::with_capacity(count);
        if count == 0 {
            return values;
        }
        let mut index = vec![0usize; self.shape.len()];
        let mut position = self.offset;
        for _ in 0..count {
            values.push(dtype.read(&data[position * width..][..width]) as f32);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                position = position.wrapping_add(self.strides[axis]);
                if index[axis] < self.shape[axis] {
                    break;
                }
                // An axis of length 1 may state any stride: it only has to cancel out.
                let back = self.strides[axis].wrapping_mul(self.shape[axis]);
                position = position.wrapping_sub(back);
                index[axis] = 0;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storages::DType;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> View<'static> {
        View {
            storage: StorageRef { key: "0", dtype: DType::U8, start: 0 },
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn channels_last_is_gathered_in_row_major_order() {
        let found = view(1, &[1, 2, 2, 2], &[8, 1, 4, 2]).gather(&[9, 0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn reach_counts_what_the_storage_must_hold() {
        assert_eq!(view(1, &[1, 2, 2, 2], &[8, 1, 4, 2]).reach(), Some(9));
        assert_eq!(view(5, &[], &[]).reach(), Some(6));
        assert_eq!(view(5, &[0, 3], &[3, 1]).reach(), Some(0));
        let far = view(0, &[1, 2], &[usize::MAX, usize::MAX]).reach();
        assert_eq!(far, Some(usize::MAX as u128 + 1));
    }

    #[test]
    fn a_stride_of_an_axis_of_one_does_not_count() {
        let found = view(0, &[2, 1], &[1, usize::MAX]).gather(&[3, 4]);
        assert_eq!(found, [3.0, 4.0]);
    }
}

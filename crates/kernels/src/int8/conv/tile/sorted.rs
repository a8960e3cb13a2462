//! Sums of blocks of four in an order of their own, where products that are summed in i16 take fewer instructions.

use super::{Acc, QTiles, Sums, add};
use crate::vector::{F32Vector, I32Vector};

/// Pairs of blocks summed in i16, blocks summed in i16 alone, then blocks summed in i32, wherever they lie in the window.
pub(super) struct Sorted;

impl Sums for Sorted {
    const IN_I16: bool = true;

    #[inline(always)]
    unsafe fn sums<V: I32Vector, const MR: usize, const NV: usize>(
        mut acc: Acc<V, MR, NV>,
        args: &QTiles,
        first: *const u8,
    ) -> Acc<V, MR, NV> {
        // SAFETY: the caller's.
        unsafe {
            let (mut offset, mut weight) = (args.offsets, args.weight);
            let [pairs, singles, others] = args.counts;
            for _ in 0..pairs {
                let blocks = [first.add(*offset), first.add(*offset.add(1))];
                add_i16::<V, MR, NV, 2>(&mut acc, blocks, args.x_step, weight);
                offset = offset.add(2);
                weight = weight.add(NV * 8 * V::F::LANES);
            }
            for _ in 0..singles {
                let blocks = [first.add(*offset)];
                add_i16::<V, MR, NV, 1>(&mut acc, blocks, args.x_step, weight);
                offset = offset.add(1);
                weight = weight.add(NV * 4 * V::F::LANES);
            }
            for _ in 0..others {
                let w: [V::Weights; NV] =
                    std::array::from_fn(|n| V::weights(weight.add(n * V::WEIGHT_BYTES)));
                let block = first.add(*offset);
                each_pixel!(
                    m < MR,
                    add::<V, NV>(&mut acc[m], V::block4(block.add(m * args.x_step)), w)
                );
                offset = offset.add(1);
                weight = weight.add(NV * V::WEIGHT_BYTES);
            }
            acc
        }
    }
}

#[inline(always)]
unsafe fn add_i16<V: I32Vector, const MR: usize, const NV: usize, const N: usize>(
    acc: &mut Acc<V, MR, NV>,
    blocks: [*const u8; N],
    x_step: usize,
    weight: *const i8,
) {
    each_pixel!(m < MR, {
        // SAFETY: the caller's.
        let blocks = blocks.map(|block| unsafe { block.add(m * x_step) });
        for (n, sum) in acc[m].iter_mut().enumerate() {
            // SAFETY: the caller's.
            *sum = unsafe { sum.dot_i16(blocks, weight.add(n * N * 4 * V::F::LANES)) };
        }
    });
}

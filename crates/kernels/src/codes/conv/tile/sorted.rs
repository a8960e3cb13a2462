//! Sums of quads in an order of their own, where products summed in i16 take fewer instructions.

use super::{Acc, CodeTile, Sums, add};
use crate::codes::vector::CodeVector;
use crate::vector::Vector;

/// Pairs of quads summed in i16, quads summed in i16 alone, then others, each wherever it lies in the window.
pub(crate) struct Sorted;

impl<V: CodeVector> Sums<V> for Sorted {
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NV: usize>(
        mut acc: Acc<V, MR, NV>,
        args: &CodeTile,
        first: *const u8,
    ) -> Acc<V, MR, NV> {
        // SAFETY: the caller's.
        unsafe {
            let (mut place, mut weight) = (args.places, args.weight);
            let [pairs, narrow, wide] = args.counts;
            for _ in 0..pairs {
                let codes = [first.add(*place), first.add(*place.add(1))];
                add_narrow::<V, MR, NV, 2>(&mut acc, codes, args.x_step, weight);
                place = place.add(2);
                weight = weight.add(NV * 8 * V::F::LANES);
            }
            for _ in 0..narrow {
                let codes = [first.add(*place)];
                add_narrow::<V, MR, NV, 1>(&mut acc, codes, args.x_step, weight);
                place = place.add(1);
                weight = weight.add(NV * 4 * V::F::LANES);
            }
            for _ in 0..wide {
                let w: [V::Weights; NV] =
                    std::array::from_fn(|n| V::weights(weight.add(n * V::WEIGHT_BYTES)));
                let codes = first.add(*place);
                each_pixel!(
                    m < MR,
                    add::<V, NV>(&mut acc[m], V::quad(codes.add(m * args.x_step)), w)
                );
                place = place.add(1);
                weight = weight.add(NV * V::WEIGHT_BYTES);
            }
            acc
        }
    }
}

#[inline(always)]
unsafe fn add_narrow<V: CodeVector, const MR: usize, const NV: usize, const N: usize>(
    acc: &mut Acc<V, MR, NV>,
    quads: [*const u8; N],
    x_step: usize,
    weight: *const i8,
) {
    each_pixel!(m < MR, {
        // SAFETY: the caller's.
        let codes = quads.map(|codes| unsafe { codes.add(m * x_step) });
        for (n, sum) in acc[m].iter_mut().enumerate() {
            // SAFETY: the caller's.
            *sum = unsafe { sum.dot_narrow(codes, weight.add(n * N * 4 * V::F::LANES)) };
        }
    });
}

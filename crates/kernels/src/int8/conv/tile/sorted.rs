//! Sums of blocks of four in an order of their own, where products summed in i16 take fewer instructions.

use super::{Acc, QTile, Sums, add};
use crate::int8::vector::I32Vector;
use crate::vector::F32Vector;

/// Pairs of blocks of four summed in i16, blocks of four summed in i16 alone, then others, each wherever it lies in the window.
pub(crate) struct Sorted;

impl<V: I32Vector> Sums<V> for Sorted {
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NV: usize>(
        mut acc: Acc<V, MR, NV>,
        args: &QTile,
        first: *const u8,
    ) -> Acc<V, MR, NV> {
        // SAFETY: the caller's.
        unsafe {
            let (mut place, mut weight) = (args.places, args.weight);
            let [pairs, singles, wide] = args.counts;
            for _ in 0..pairs {
                let quantized = [first.add(*place), first.add(*place.add(1))];
                add_i16::<V, MR, NV, 2>(&mut acc, quantized, args.x_step, weight);
                place = place.add(2);
                weight = weight.add(NV * 8 * V::F::LANES);
            }
            for _ in 0..singles {
                let quantized = [first.add(*place)];
                add_i16::<V, MR, NV, 1>(&mut acc, quantized, args.x_step, weight);
                place = place.add(1);
                weight = weight.add(NV * 4 * V::F::LANES);
            }
            for _ in 0..wide {
                let w: [V::Weights; NV] =
                    std::array::from_fn(|n| V::weights(weight.add(n * V::WEIGHT_BYTES)));
                let quantized = first.add(*place);
                each_pixel!(
                    m < MR,
                    add::<V, NV>(&mut acc[m], V::block4(quantized.add(m * args.x_step)), w)
                );
                place = place.add(1);
                weight = weight.add(NV * V::WEIGHT_BYTES);
            }
            acc
        }
    }
}

#[inline(always)]
unsafe fn add_i16<V: I32Vector, const MR: usize, const NV: usize, const N: usize>(
    acc: &mut Acc<V, MR, NV>,
    blocks4: [*const u8; N],
    x_step: usize,
    weight: *const i8,
) {
    each_pixel!(m < MR, {
        // SAFETY: the caller's.
        let quantized = blocks4.map(|quantized| unsafe { quantized.add(m * x_step) });
        for (n, sum) in acc[m].iter_mut().enumerate() {
            // SAFETY: the caller's.
            *sum = unsafe { sum.dot_i16(quantized, weight.add(n * N * 4 * V::F::LANES)) };
        }
    });
}

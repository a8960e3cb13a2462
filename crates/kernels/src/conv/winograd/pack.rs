//! Filters, transformed.

use super::transforms::{self, POSITIONS, square};
use crate::Isa;
use crate::conv::filter_order::FilterOrder;
use crate::conv::geometry::ConvGeometry;
use crate::conv::panels::Panel;
use crate::vector::{F32Body, F32Vector};

/// Transforms the filters of a panel: `packed` is `[36][C][width]`, `weight` in the given order.
pub(in crate::conv) fn pack(
    isa: Isa,
    geometry: &ConvGeometry,
    order: &FilterOrder,
    panel: &Panel,
    weight: &[f32],
    packed: &mut [f32],
) {
    let inputs = geometry.in_channels_per_group;
    let width = packed.len() / (POSITIONS * inputs);
    let filters = &weight[order.output(geometry, panel.channel)..];
    for input in 0..inputs {
        let filters =
            Filters { order, panel, width, filters: &filters[input * order.input_step..] };
        let to = packed[input * width..].as_mut_ptr();
        // SAFETY: the panel has so many vectors at each position, and its last position as many as this slice.
        unsafe { isa.run_f32(&One { filters, to, position_step: inputs * width }) };
    }
}

/// The filters of an input channel and a panel.
struct Filters<'a> {
    order: &'a FilterOrder,
    panel: &'a Panel,
    width: usize,
    /// From the first weight on.
    filters: &'a [f32],
}

struct One<'a> {
    filters: Filters<'a>,
    to: *mut f32,
    position_step: usize,
}

impl F32Body for One<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let Filters { order, panel, width, filters } = &self.filters;
        for c in (0..*width).step_by(V::LANES) {
            let mut lanes = [[0.0f32; 16]; 9];
            for lane in 0..V::LANES.min(panel.channels.saturating_sub(c)) {
                let filter = &filters[(c + lane) * order.output_step..];
                for (lanes, &tap) in lanes.iter_mut().zip(&order.taps) {
                    lanes[lane] = filter[tap];
                }
            }
            // SAFETY: the caller's.
            unsafe {
                let mut taps = [[V::splat(0.0); 3]; 3];
                for (tap, lanes) in taps.as_flattened_mut().iter_mut().zip(&lanes) {
                    *tap = V::load(lanes.as_ptr());
                }
                let values = square(
                    V::splat(0.0),
                    &taps,
                    #[inline(always)]
                    |row| transforms::filter(row),
                );
                for (position, value) in values.as_flattened().iter().enumerate() {
                    value.store(self.to.add(position * self.position_step + c));
                }
            }
        }
    }
}

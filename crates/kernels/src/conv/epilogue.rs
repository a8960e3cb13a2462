//! What happens to a finished tile on its way to memory.

use crate::FakeQuantize;
use crate::pointwise::Map;
use crate::simd::{Simd, Vector};

/// Where a tile goes.
pub(super) struct Target {
    /// First channel of the first pixel.
    pub(super) y: *mut f32,
    pub(super) y_step: usize,
    /// First channel of the first pixel to add, or null.
    pub(super) residual: *const f32,
    pub(super) residual_step: usize,
    /// Channels to store; the tile's last vector may be wider.
    pub(super) channels: usize,
    pub(super) fake_quantize: Option<FakeQuantize>,
}

impl Target {
    /// Stores `pixels` pixels of `nv` vectors each.
    ///
    /// # Safety
    /// `tile` holds `pixels * nv` vectors; `channels <= nv * LANES` elements are writable at each pixel of `y`, and
    /// readable at each pixel of `residual` unless null.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, M: Map>(
        &self,
        s: S,
        map: M,
        tile: *const f32,
        (pixels, nv): (usize, usize),
    ) {
        for m in 0..pixels {
            for v in 0..nv {
                let lanes = (self.channels - v * S::LANES).min(S::LANES);
                // SAFETY: the caller vouches for the memory; `lanes` stays within `channels`.
                unsafe {
                    let value = s.load(tile.add((m * nv + v) * S::LANES));
                    self.store_vector(s, map, value, (m, v * S::LANES, lanes));
                }
            }
        }
    }

    /// Stores `lanes` channels from `channel` on of pixel `m`.
    ///
    /// # Safety
    /// Those elements are writable in `y`, and readable in `residual` unless null.
    #[inline(always)]
    pub(super) unsafe fn store_vector<S: Simd, M: Map>(
        &self,
        s: S,
        map: M,
        sum: S::V,
        (m, channel, lanes): (usize, usize, usize),
    ) {
        let full = lanes == S::LANES;
        let mut value = map.map(s, sum);
        // SAFETY: the caller vouches for `lanes` elements at this place of `y` and `residual`.
        unsafe {
            if !self.residual.is_null() {
                let p = self.residual.add(m * self.residual_step + channel);
                value = value.add(if full {
                    s.load(p)
                } else {
                    s.load_first(p, lanes)
                });
            }
            if let Some(fake_quantize) = self.fake_quantize {
                value = fake_quantize.map(s, value);
            }
            let p = self.y.add(m * self.y_step + channel);
            if full {
                value.store(p);
            } else {
                value.store_first(p, lanes);
            }
        }
    }
}

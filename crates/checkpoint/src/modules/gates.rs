//! Gates from 0 to 1 by which channels or positions are multiplied (CBAM, arXiv:1807.06521).
use super::scope::{Built, Scope};
use ir::ValueId;
use ir::ops::{Reduce, ReduceKind};

/// One gate for each channel.
pub(super) fn channels(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let gate = s.chain(&["pool", "fc", "act"], x)?;
    s.mul(x, gate)
}

/// One gate for each position, from the mean and the maximum over channels.
pub(super) fn positions(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let over_channels = |kind| Reduce { kind, axes: vec![1], keepdims: true };
    let mean = s.node(over_channels(ReduceKind::Mean), &[x])?;
    let max = s.node(over_channels(ReduceKind::Max), &[x])?;
    let both = s.concat(&[mean, max])?;
    let gate = s.chain(&["cv1", "act"], both)?;
    s.mul(x, gate)
}

pub(super) fn both(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    s.chain(&["channel_attention", "spatial_attention"], x)
}

//! Blocks that make half of their channels cheaply from the other half (GhostNet, arXiv:1911.11907).
use super::scope::{Built, Scope};
use ir::ValueId;

pub(super) fn conv(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let own = s.child("cv1", x)?;
    let cheap = s.child("cv2", own)?;
    s.concat(&[own, cheap])
}

pub(super) fn bottleneck(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.child("conv", x)?;
    let past = s.child("shortcut", x)?;
    s.add(through, past)
}

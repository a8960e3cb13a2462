//! The backbone of RT-DETR (HGNetv2; arXiv:2304.08069, section 4): a stem of two paths, and blocks that keep every stage.
use super::cross_stage;
use super::pooling::pad_after;
use super::scope::{Built, Scope};
use ir::ValueId;

/// One path halves the image by convolutions, one by pooling; both are padded by a row and a column of zeros.
pub(super) fn stem(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.child("stem1", x)?;
    let x = pad_after(s, x)?;
    let y = s.child("stem2a", x)?;
    let y = pad_after(s, y)?;
    let y = s.child("stem2b", y)?;
    let pooled = s.child("pool", x)?;
    let both = s.concat(&[pooled, y])?;
    s.chain(&["stem3", "stem4"], both)
}

pub(super) fn block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut parts = vec![x];
    cross_stage::stages(s, &mut parts)?;
    let all = s.concat(&parts)?;
    let y = s.chain(&["sc", "ec"], all)?;
    s.shortcut(x, y)
}

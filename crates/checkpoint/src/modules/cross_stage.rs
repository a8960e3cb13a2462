//! Residual and cross-stage-partial blocks (arXiv:1911.11929); C2f and C3k2 keep every stage (ELAN, arXiv:2211.04800).
use super::scope::{Built, Scope};
use crate::CheckpointError;
use ir::ValueId;
use ir::ops::{Split, UnaryKind};

pub(super) fn bottleneck(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let y = s.chain(&["cv1", "cv2"], x)?;
    s.shortcut(x, y)
}

/// A stack of convolutions beside a shortcut that every block has.
pub(super) fn c1(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.child("cv1", x)?;
    let y = s.child("m", x)?;
    s.add(y, x)
}

/// One convolution's output is cut in two: one half passes the stages, a last convolution mixes both.
pub(super) fn c2(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let parts = halves(s, x)?;
    let through = s.child("m", parts[0])?;
    let both = s.concat(&[through, parts[1]])?;
    s.child("cv2", both)
}

/// Half of the channels pass the bottlenecks, half pass by, one convolution mixes them.
pub(super) fn c3(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.chain(&["cv1", "m"], x)?;
    let past = s.child("cv2", x)?;
    let both = s.concat(&[through, past])?;
    s.child("cv3", both)
}

/// As C3, with a sum in place of the concatenation.
pub(super) fn rep_c3(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.chain(&["cv1", "m"], x)?;
    let past = s.child("cv2", x)?;
    let both = s.add(through, past)?;
    s.child("cv3", both)
}

/// As C3, with bare convolutions before one normalisation of both halves.
pub(super) fn bottleneck_csp(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.chain(&["cv1", "m", "cv3"], x)?;
    let past = s.child("cv2", x)?;
    let both = s.concat(&[through, past])?;
    s.chain(&["bn", "act", "cv4"], both)
}

/// The first convolution's output is cut in two; each stage reads the last and all go into the last convolution.
pub(super) fn c2f(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut parts = halves(s, x)?;
    stages(s, &mut parts)?;
    let all = s.concat(&parts)?;
    s.child("cv2", all)
}

/// As C2f, with two convolutions in place of one that is cut.
pub(super) fn c3f(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut parts = vec![s.child("cv2", x)?, s.child("cv1", x)?];
    stages(s, &mut parts)?;
    let all = s.concat(&parts)?;
    s.child("cv3", all)
}

/// Each stage of `m` reads the last of `parts` and adds one.
pub(super) fn stages(
    s: &mut Scope<'_, '_>,
    parts: &mut Vec<ValueId>,
) -> Result<(), CheckpointError> {
    for stage in s.module.child("m")?.children()? {
        let last = parts[parts.len() - 1];
        parts.push(s.run(&stage, last)?);
    }
    Ok(())
}

/// As [`stages`], with the submodules of these names.
pub(super) fn named_stages(
    s: &mut Scope<'_, '_>,
    names: &[&str],
    parts: &mut Vec<ValueId>,
) -> Result<(), CheckpointError> {
    for name in names {
        let last = parts[parts.len() - 1];
        parts.push(s.child(name, last)?);
    }
    Ok(())
}

/// The two halves of `cv1`, `c` channels each.
pub(super) fn halves(s: &mut Scope<'_, '_>, x: ValueId) -> Result<Vec<ValueId>, CheckpointError> {
    let y = s.child("cv1", x)?;
    let c = s.module.count("c")?;
    let sizes = vec![c, c];
    s.nodes(Split { axis: 1, sizes }, &[y], 2)
}

/// Three convolutions beside a shortcut (ResNet, arXiv:1512.03385).
pub(super) fn res_net_block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.chain(&["cv1", "cv2", "cv3"], x)?;
    let past = s.child("shortcut", x)?;
    let sum = s.add(through, past)?;
    s.node(UnaryKind::Relu, &[sum])
}

pub(super) fn res_net_layer(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    s.child("layer", x)
}

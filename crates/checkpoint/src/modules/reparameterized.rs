//! Parallel convolutions that are one when they run (RepVGG, arXiv:2101.03697), and the blocks of YOLOv9 (arXiv:2402.13616)
//! and YOLOv10 (arXiv:2405.14458) around them.
use super::cross_stage;
use super::scope::{Built, Scope};
use ir::ValueId;
use ir::ops::{AveragePool, MaxPool, Split};

/// The sum of what the branches of these names give, as far as there are such, then the activation.
fn sum(s: &mut Scope<'_, '_>, x: ValueId, branches: &[&str]) -> Built {
    let mut total = None;
    for name in branches {
        let Some(branch) = s.module.find(name)? else {
            continue;
        };
        let y = s.run(&branch, x)?;
        total = Some(s.add_to(total, y)?);
    }
    let total = total.ok_or_else(|| s.module.unsupported("a block without branches"))?;
    s.child("act", total)
}

/// Branches by the names of Ultralytics or of YOLOv7; a block that is merged already has one convolution.
pub(super) fn rep_conv(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    for merged in ["conv", "rbr_reparam"] {
        if s.module.find(merged)?.is_some() {
            return sum(s, x, &[merged]);
        }
    }
    let branches = ["conv1", "conv2", "bn", "rbr_dense", "rbr_1x1", "rbr_identity"];
    sum(s, x, &branches)
}

/// The large and the small depthwise convolution of YOLOv10's inverted blocks.
pub(super) fn rep_vgg_dw(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    sum(s, x, &["conv", "conv1"])
}

/// Compact inverted block: a run of convolutions beside a shortcut.
pub(super) fn cib(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let y = s.child("cv1", x)?;
    s.shortcut(x, y)
}

/// Channels first, then the smaller image.
pub(super) fn sc_down(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    s.chain(&["cv1", "cv2"], x)
}

/// The mean of each two rows and two columns.
fn smooth(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let op = AveragePool {
        kernel_shape: [2, 2],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
        count_include_pad: true,
    };
    s.node(op, &[x])
}

/// A smoothed image is made smaller by a convolution.
pub(super) fn a_conv(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = smooth(s, x)?;
    s.child("cv1", x)
}

/// Halves of a smoothed image are made smaller, one by a convolution, one by pooling.
pub(super) fn a_down(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let pool = MaxPool {
        kernel_shape: [3, 3],
        strides: [2, 2],
        dilations: [1, 1],
        pads: [1; 4],
        ceil_mode: false,
    };
    let x = smooth(s, x)?;
    let [c, _, _] = s.image(x)?;
    let sizes = vec![c.div_ceil(2), c / 2];
    let halves = s.nodes(Split { axis: 1, sizes }, &[x], 2)?;
    let a = s.child("cv1", halves[0])?;
    let b = s.node(pool, &[halves[1]])?;
    let b = s.child("cv2", b)?;
    s.concat(&[a, b])
}

/// A convolution in two steps beside pooling and one (YOLOv7, arXiv:2207.02696).
pub(super) fn down_c(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let a = s.chain(&["cv1", "cv2"], x)?;
    let b = s.chain(&["mp", "cv3"], x)?;
    s.concat(&[a, b])
}

/// Two stages after a cut, all of which go into the last convolution.
pub(super) fn elan(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut parts = cross_stage::halves(s, x)?;
    cross_stage::named_stages(s, &["cv2", "cv3"], &mut parts)?;
    let all = s.concat(&parts)?;
    s.child("cv4", all)
}

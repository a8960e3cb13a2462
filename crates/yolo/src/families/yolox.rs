//! YOLOX (arXiv:2107.08430): anchor-free, decoupled head, output `[1, N, 5 + classes]` with boxes still on their grids.
use super::{Family, Preprocess, RawOutput, Tail, single_output, v5};
use crate::{Detection, ModelInput, Placement};
use ir::Graph;

const STRIDES_PX: [usize; 3] = [8, 16, 32];

/// Each scale has three output convolutions: classes, box, objectness.
pub(super) const FAMILY: Family = Family {
    name: "yolox",
    preprocess: Preprocess {
        placement: Placement::TopLeft,
        scale: 1.0,
        bgr: true,
    },
    classes,
    forced: |graph, _| has_a_row_for_each_cell(graph).then(|| v5::row_classes(graph))?,
    decode,
    nms: true,
};

fn has_a_row_for_each_cell(graph: &Graph) -> bool {
    let cells = |[h, w]: [usize; 2]| STRIDES_PX.iter().map(|s| (h / s) * (w / s)).sum();
    let rows = single_output(graph).map(|s| s[0]);
    let input = ModelInput::new(graph, FAMILY.preprocess).ok();
    rows.is_some() && input.map(|i| cells(i.size_px)) == rows
}

fn classes(graph: &Graph, tail: &Tail) -> Option<usize> {
    let classes = v5::row_classes(graph)?;
    let scales = tail.widths.len() / 3;
    let mut expected = [vec![1; scales], vec![4; scales], vec![classes; scales]].concat();
    let mut widths = tail.widths.clone();
    expected.sort_unstable();
    widths.sort_unstable();
    (scales > 0 && widths == expected && tail.dfl_bins.is_none()).then_some(classes)
}

fn decode(raw: &RawOutput<'_>, conf: f32) -> Vec<Detection> {
    let mut cells = Vec::with_capacity(raw.shape[0]);
    for stride in STRIDES_PX {
        let (rows, columns) = (raw.size_px[0] / stride, raw.size_px[1] / stride);
        cells.extend((0..rows * columns).map(|i| (i % columns, i / columns, stride as f32)));
    }
    v5::decode(raw, conf, |i, [x, y, w, h]| {
        let Some(&(column, row, stride)) = cells.get(i) else {
            return [0.0; 4];
        };
        [
            (x + column as f32) * stride,
            (y + row as f32) * stride,
            w.exp() * stride,
            h.exp() * stride,
        ]
    })
}

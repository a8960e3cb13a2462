//! Anchors: the graph holds them only where it decodes boxes itself.
use ir::Graph;

/// Key of the model's metadata that names anchors.
pub const ANCHORS: &str = "anchors";

/// Source: YOLOv5 (v2.0 to v7.0).
const V5_PX: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

/// Width and height in pixels of the anchors of every scale, the finest first: those that the metadata lists under
/// `anchors`, or YOLOv5's where the head has three scales of three. Empty where neither fits.
pub(crate) fn known(graph: &Graph, levels: usize, per_cell: usize) -> Vec<Vec<[f32; 2]>> {
    let stated = graph.metadata.get(ANCHORS).map(|text| numbers(text));
    let flat = match stated {
        Some(stated) => stated,
        None => V5_PX.as_flattened().as_flattened().to_vec(),
    };
    if per_cell == 0 || flat.len() != 2 * levels * per_cell || !flat.iter().all(|&v| v > 0.0) {
        return vec![];
    }
    let pairs = flat.as_chunks::<2>().0;
    pairs.chunks(per_cell).map(<[_]>::to_vec).collect()
}

/// All numbers of a text, however they are bracketed.
fn numbers(text: &str) -> Vec<f32> {
    let parts = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    parts.filter_map(|p| p.parse().ok()).collect()
}

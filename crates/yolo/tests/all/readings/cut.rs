//! A head that is cut behind its output convolutions is read to the same detections.
use super::*;
use ir::{CutOutput, cut};
use yolo::families::{Head, PICKED, RawMap};

/// The graph behind whose raw outputs nothing stands but the Sigmoid of scores.
fn cut_off(graph: &Graph, head: &Head) -> Graph {
    let raw = head.raw(graph).unwrap();
    let output = |map: &RawMap| CutOutput {
        value: map.value,
        sigmoid: map.part.is_score(),
        name: format!("{}_{}", map.part.name(), map.level),
    };
    let outputs: Vec<CutOutput> = raw.maps().iter().map(output).collect();
    let mut part = cut(graph, &outputs).unwrap();
    raw.tell(graph, &mut part);
    part
}

fn image() -> Tensor {
    let mut random = noise(11);
    let image = (0..3 * SIDE_PX * SIDE_PX).map(|_| random()).collect();
    Tensor::new([1, 3, SIDE_PX, SIDE_PX], image).unwrap()
}

#[test]
fn cut_of_a_head_in_every_form_is_decoded_to_the_same_detections() {
    let all = [Kind::Distances(1), Kind::Distances(8), Kind::Distances(16), Kind::Offsets];
    let of_kind = |kind| FINISHED.iter().chain(RAW).map(move |form| (kind, form));
    let anchored = RAW.iter().chain(ANCHORED).map(|form| (Kind::Anchors, form));
    for (kind, form) in all.into_iter().flat_map(of_kind).chain(anchored) {
        let what = format!("{kind:?}, {}", form.0);
        let (graph, _, outputs) = written(kind, form);
        let head = identify(&graph, None).unwrap();
        let part = cut_off(&graph, &head);
        let maps =
            if kind == Kind::Anchors { 3 } else { 3 * (2 + usize::from(kind == Kind::Offsets)) };
        assert_eq!(part.outputs().len(), maps, "{what}");
        let read = identify(&part, None).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((read.family.name, read.classes), (head.family.name, CLASSES), "{what}");
        let found = interpreter::run(&part, &[image()]).unwrap();
        let found = sorted(read.decoder.decode(&found, CONF).unwrap());
        let expected = sorted(head.decoder.decode(&outputs, CONF).unwrap());
        assert!(found.len() == expected.len() && found.len() > 10, "{what}: {}", found.len());
        for (a, b) in found.iter().zip(&expected) {
            let sides = a.bbox.xywh().into_iter().zip(b.bbox.xywh());
            // 1e-5 of the input's side, and of a box that is larger than that.
            let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-5 * b.abs().max(SIDE_PX as f64);
            let same = a.class == b.class && (a.score - b.score).abs() <= 1e-5;
            assert!(same && sides.into_iter().all(near), "{what}: {a:?}, expected {b:?}");
        }
    }
}

#[test]
fn cut_of_a_head_that_picked_the_best_is_decoded_to_as_many_and_suppresses_nothing() {
    let (mut graph, ..) = written(Kind::Distances(1), &RAW[1]);
    let all = identify(&graph, None).unwrap();
    graph.metadata.insert(PICKED.to_owned(), "7".to_owned());
    let head = identify(&graph, None).unwrap();
    assert_eq!(head.family.name, "end2end");
    assert!(!head.decoder.needs_nms() && all.decoder.needs_nms());
    let outputs = interpreter::run(&graph, &[image()]).unwrap();
    let mut expected = all.decoder.decode(&outputs, CONF).unwrap();
    expected.sort_by(|a, b| b.score.total_cmp(&a.score));
    expected.truncate(7);
    assert_eq!(head.decoder.decode(&outputs, CONF).unwrap(), expected);
    // Cut again, it tells the same.
    let again = cut_off(&graph, &head);
    assert_eq!(again.metadata[PICKED], "7");
}

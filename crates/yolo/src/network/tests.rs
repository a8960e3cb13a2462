use super::*;
use crate::families::{identify, with_networks};

fn options(width: f64, depth: f64) -> NetworkOptions {
    let names = ["open", "mouse bite"].map(str::to_owned).to_vec();
    NetworkOptions { names, size_px: [64, 96], width, depth, seed: 3 }
}

#[test]
fn every_network_is_recognised_as_its_family_with_its_classes_and_pixels() {
    for family in with_networks() {
        let graph = family.network(&options(0.125, 0.34)).unwrap();
        let head = identify(&graph, None).unwrap();
        assert_eq!(head.family.name, family.name);
        assert_eq!(head.names.as_deref(), Some(&options(1.0, 1.0).names[..]));
        assert!(head.notes.is_empty(), "{:?}", head.notes);
        assert_eq!(head.input.size_px, [64, 96]);
        assert_eq!(head.input.preprocess, family.preprocess);
        let raw = head.raw(&graph).unwrap();
        assert_eq!(raw.outputs.len(), 6);
    }
}

#[test]
fn v8_at_the_published_multiples_has_the_published_size() {
    // YOLOv8n of 80 classes at 640: 3.2 M parameters and 8.7 GFLOPs, two for a multiply-accumulate; its BatchNorm has two
    // parameters a channel, here folded into one.
    let names = (0..80).map(|class| format!("class{class}")).collect();
    let options =
        NetworkOptions { names, size_px: [640; 2], width: 0.25, depth: 1.0 / 3.0, seed: 0 };
    let graph = identify_family("v8").network(&options).unwrap();
    assert!((3.10e6..3.20e6).contains(&(graph.params() as f64)), "{}", graph.params());
    assert!((4.30e9..4.45e9).contains(&(graph.macs() as f64)), "{}", graph.macs());
}

fn identify_family(name: &str) -> &'static crate::families::Family {
    with_networks().find(|family| family.name == name).unwrap()
}

#[test]
fn a_seed_decides_the_weights_and_sizes_that_no_network_has_are_refused() {
    let family = identify_family("v8");
    let weights = |seed| {
        let graph = family.network(&NetworkOptions { seed, ..options(0.1, 0.1) }).unwrap();
        let (_, first) = graph.values().find(|(_, v)| v.name == "conv1.weight").unwrap();
        first.elements().unwrap().clone()
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
    let refused = [
        options(0.0, 0.3),
        options(0.3, f64::NAN),
        NetworkOptions { size_px: [64, 100], ..options(0.3, 0.3) },
        NetworkOptions { names: vec![], ..options(0.3, 0.3) },
    ];
    for options in refused {
        let error = family.network(&options).unwrap_err();
        assert!(matches!(error, YoloError::NetworkOption { .. }), "{error}");
    }
}

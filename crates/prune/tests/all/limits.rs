//! Plans keep to their limits.
use ir::ops::{Conv, UnaryKind};
use ir::{DataType, Graph, Tensor, TensorType};
use prune::criteria::{BN_GAMMA, L1, L2};
use prune::{Groups, Limits, PruneError, analyse, apply, choose_contribution};

/// The deepest groups may lose half of their channels.
const HALVES: Limits = Limits { round_to: 8, floor: 8, shallow_ratio: 0.2, deep_ratio: 0.5 };

/// Eight convolutions of 64 channels whose filters differ in size.
fn tower() -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let mut x = e.input("x", TensorType::new(DataType::F32, [1, 3, 8, 8]));
    let mut from = 3;
    for layer in 0..8 {
        let conv = Conv {
            kernel_shape: [1; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [0; 4],
            group: 1,
        };
        let data: Vec<f32> = (0..64 * from)
            .map(|i| ((i / from * 37 + layer * 11) % 64) as f32 / 64.0 + 0.1)
            .collect();
        let w = Tensor::new([64, from, 1, 1], data).unwrap();
        let w = e.constant(&format!("w{layer}"), w);
        let y = e.node(&format!("conv{layer}"), conv, &[x, w], &[&format!("y{layer}")])[0];
        x = e.node(&format!("act{layer}"), UnaryKind::Silu, &[y], &[&format!("z{layer}")])[0];
        from = 64;
    }
    e.output(x);
    graph.apply(e).unwrap();
    graph
}

fn widths(groups: &Groups) -> Vec<usize> {
    groups.prunable().map(|g| g.width()).collect()
}

#[test]
fn choose_contribution_keeps_the_share_in_steps_of_round_to_under_the_caps() {
    let graph = tower();
    let groups = analyse(&graph).unwrap();
    assert_eq!(widths(&groups), [64; 7]);
    for criterion in [L1, L2] {
        let importance = (criterion.score)(&graph, &groups, &Default::default()).unwrap();
        let limits = HALVES;
        let choose = || choose_contribution(&graph, &groups, &importance, &limits, 0.9).unwrap();
        let plan = choose();
        let pruned = apply(&graph, &groups, &plan).unwrap();
        let left = widths(&analyse(&pruned).unwrap());
        assert!(left.iter().all(|w| w % 8 == 0 && *w >= 32), "{left:?}");
        assert!(left[0] >= 56, "{left:?}");
        for (name, removed) in &plan.removed {
            let scores = &importance[name];
            let gone: f64 = removed.iter().map(|&c| scores[c]).sum();
            assert!(gone > 0.0 && gone <= 0.1 * scores.iter().sum::<f64>());
        }
        assert_eq!(plan, choose());
    }
}

#[test]
fn choose_contribution_removes_the_least_important_of_a_group() {
    let graph = tower();
    let groups = analyse(&graph).unwrap();
    let importance = (L1.score)(&graph, &groups, &Default::default()).unwrap();
    let limits = HALVES;
    let plan = choose_contribution(&graph, &groups, &importance, &limits, 0.8).unwrap();
    assert_eq!(plan.removed.len(), 7);
    for (name, removed) in &plan.removed {
        let scores = &importance[name];
        let worst = removed.iter().map(|&c| scores[c]).fold(0.0, f64::max);
        let kept = (0..64).filter(|c| !removed.contains(c));
        assert!(kept.map(|c| scores[c]).fold(f64::MAX, f64::min) >= worst);
    }
}

#[test]
fn choose_contribution_with_numbers_out_of_range_is_refused() {
    let graph = tower();
    let groups = analyse(&graph).unwrap();
    let importance = (L1.score)(&graph, &groups, &Default::default()).unwrap();
    let fine = Limits::default();
    let cases = [
        (Limits { shallow_ratio: f64::NAN, ..fine }, 0.9),
        (Limits { round_to: 0, ..fine }, 0.9),
        (Limits { floor: 0, ..fine }, 0.9),
        (Limits { deep_ratio: -0.1, ..fine }, 0.9),
        (fine, 1.5),
        (fine, f64::NAN),
    ];
    for (limits, keep) in cases {
        let plan = choose_contribution(&graph, &groups, &importance, &limits, keep);
        assert!(matches!(plan, Err(PruneError::Limit { .. })), "{limits:?}");
    }
    let none = choose_contribution(&graph, &groups, &Default::default(), &fine, 0.9);
    assert!(matches!(none, Err(PruneError::ImportanceLength { .. })));
}

#[test]
fn bn_gamma_without_batch_normalization_is_refused() {
    let graph = tower();
    let groups = analyse(&graph).unwrap();
    let refused = (BN_GAMMA.score)(&graph, &groups, &Default::default());
    assert!(matches!(refused, Err(PruneError::NoBatchNormalization { .. })));
}

#[test]
fn layers_of_a_group_are_who_writes_and_who_reads_it_with_the_macs_of_both() {
    let graph = tower();
    let groups = analyse(&graph).unwrap();
    let first = groups.get("conv0").unwrap();
    let layers = first.layers(&graph);
    let told: Vec<(&str, f64, f64)> =
        layers.iter().map(|l| (graph.node(l.node).name.as_str(), l.writes, l.reads)).collect();
    assert_eq!(told, [("conv0", 1.0, 0.0), ("conv1", 0.0, 1.0)]);
    assert_eq!(first.macs(&graph), 64 * (3 * 64 + 64 * 64));
}

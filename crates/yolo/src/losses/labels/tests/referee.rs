//! Every rule against PyTorch's autograd on a rule of its own (`tests/torch_losses.py`), where a Python with it is found
//! (`YOLOSLIM_TORCH_PYTHON`; it needs `torch` and `numpy`).
use super::*;
use std::path::Path;
use std::process::Command;

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_TORCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import torch, numpy"]).output();
    probe.is_ok_and(|o| o.status.success()).then_some(python)
}

/// A loss, its outputs and targets, in a folder of their own.
struct Case {
    loss: LabelledLoss,
    outputs: Vec<Vec<f32>>,
    targets: Targets,
    folder: tempfile::TempDir,
}

impl Case {
    fn new(loss: LabelledLoss, seed: u64, labels: &[LabelledBox]) -> Self {
        let case = Self {
            outputs: outputs(&loss, seed),
            targets: loss.targets(labels).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            loss,
        };
        for (i, output) in case.outputs.iter().enumerate() {
            let bytes: Vec<u8> = output.iter().flat_map(|v| v.to_le_bytes()).collect();
            std::fs::write(case.folder.path().join(format!("raw{i}")), bytes).unwrap();
        }
        let text = case.description().to_string();
        std::fs::write(case.folder.path().join("case.json"), text).unwrap();
        case
    }

    fn description(&self) -> serde_json::Value {
        let head = &self.loss.head;
        let channels = |c: RawChannels| [c.output, c.first];
        let boxes = head.form.boxes.iter().map(|b| {
            serde_json::json!({
                "level": b.level,
                "rows": b.cells / b.columns,
                "columns": b.columns,
                "boxes": channels(b.boxes),
                "objectness": b.objectness.map(channels),
                "classes": channels(b.classes),
            })
        });
        let (kind, bins) = match head.form.kind {
            Kind::Anchors(_) => ("anchors", 1),
            Kind::Distances(bins) => ("distances", bins),
            Kind::Offsets => ("offsets", 1),
        };
        serde_json::json!({
            "kind": kind,
            "bins": bins,
            "one_to_one": head.is_one_to_one,
            "classes": head.form.classes,
            "size_px": head.form.size_px,
            "boxes": boxes.collect::<Vec<_>>(),
            "anchors": head.anchors_px,
            "outputs": self.outputs.len(),
            "targets": self.targets.0.iter().map(|t| t.edges).collect::<Vec<_>>(),
            "labels": self.targets.0.iter().map(|t| t.class).collect::<Vec<_>>(),
            "objects": self.objects(),
        })
    }

    fn objects(&self) -> f64 {
        self.targets.objects().max(1) as f64
    }

    fn check(&self) {
        let kind = self.loss.head.form.kind;
        let found = self.loss.loss(&self.outputs, &self.targets, self.objects());
        let expected = doubles(&self.folder.path().join("loss"))[0];
        let error = (found.value - expected).abs() / expected.abs();
        assert!(error < 1e-9, "{kind:?}: {} instead of {expected}", found.value);
        for (i, gradient) in found.gradients.iter().enumerate() {
            let expected = doubles(&self.folder.path().join(format!("gradient{i}")));
            assert_eq!(gradient.len(), expected.len());
            for (at, (&found, expected)) in gradient.iter().zip(expected).enumerate() {
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error < 1e-5 * (1e-2 + expected.abs()),
                    "{kind:?} {i} {at}: {found} instead of {expected}"
                );
            }
        }
    }
}

fn doubles(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("the referee wrote it");
    let number = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).map(number).collect()
}

#[test]
fn losses_and_gradients_of_every_rule_equal_pytorch() {
    let Some(python) = python() else {
        println!("skipped: losses with labels (no torch in python3 or YOLOSLIM_TORCH_PYTHON)");
        return;
    };
    let mut crowded = labels();
    crowded.extend(labels().iter().map(|l| {
        let BoxXyxy { left, top, right, bottom } = l.bbox;
        label((l.class + 1) % CLASSES, [left + 1.7, top - 1.1, right + 2.9, bottom - 3.3])
    }));
    crowded.push(label(0, [26.1, 27.2, 28.0, 29.1]));
    crowded.push(label(1, [0.0, 0.0, 64.0, 48.0]));
    let mut cases = Vec::new();
    for seed in 0..4 {
        for labels in [&labels()[..], &crowded, &[]] {
            cases.extend(heads().map(|loss| Case::new(loss, seed, labels)));
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch_losses.py");
    let folders = cases.iter().map(|case| case.folder.path());
    let referee = Command::new(python).arg(script).args(folders).output().unwrap();
    let said = String::from_utf8_lossy(&referee.stderr);
    assert!(referee.status.success(), "{said}");
    cases.iter().for_each(Case::check);
}

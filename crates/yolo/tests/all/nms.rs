//! `nms` against OpenCV's.

use std::path::Path;
use std::process::Command;

use yolo::{BoxXyxy, Detection, nms};

/// Boxes of each class are shifted apart, so that one call suppresses class by class.
const SCRIPT: &str = "
import json, sys
import cv2
import numpy as np
data = json.load(open(sys.argv[1]))
b, s, c = np.array(data['boxes'], np.float32), np.array(data['scores'], np.float32), np.array(data['classes'])
b = b + c[:, None] * 7680.0
rects = np.c_[b[:, :2], b[:, 2:] - b[:, :2]].tolist()
print(json.dumps([int(i) for i in cv2.dnn.NMSBoxes(rects, s.tolist(), 0.0, data['iou'])]))
";

struct Noise(u32);

impl Noise {
    fn below(&mut self, bound: u32) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.0 >> 8) % bound) as f32
    }
}

/// Boxes on a coarse grid, so that many IoUs lie on a threshold; scores tie often.
fn candidates(noise: &mut Noise) -> Vec<Detection> {
    let candidate = |_| {
        let (left, top) = (noise.below(60) * 4.0, noise.below(60) * 4.0);
        let (width, height) = (4.0 + noise.below(12) * 4.0, 4.0 + noise.below(12) * 4.0);
        Detection {
            bbox: BoxXyxy { left, top, right: left + width, bottom: top + height },
            score: (1.0 + noise.below(500)) / 512.0,
            class: noise.below(3) as usize,
        }
    };
    (0..2000).map(candidate).collect()
}

fn opencv(python: &str, input: &Path) -> Option<Vec<usize>> {
    let output = Command::new(python).args(["-c", SCRIPT]).arg(input).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("a JSON list"))
}

#[test]
fn nms_kept_boxes_equal_opencv() {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = folder.path().join("candidates.json");
    for (seed, iou) in [(1, 0.7f32), (2, 0.5), (3, 0.25), (4, 0.45)] {
        let candidates = candidates(&mut Noise(seed));
        let corners = |d: &Detection| [d.bbox.left, d.bbox.top, d.bbox.right, d.bbox.bottom];
        let data = serde_json::json!({
            "boxes": candidates.iter().map(corners).collect::<Vec<_>>(),
            "scores": candidates.iter().map(|d| d.score).collect::<Vec<_>>(),
            "classes": candidates.iter().map(|d| d.class).collect::<Vec<_>>(),
            "iou": iou,
        });
        std::fs::write(&input, data.to_string()).expect("writable");
        let Some(theirs) = opencv(&python, &input) else {
            println!("skipped: nms against OpenCV (no {python} with cv2)");
            return;
        };
        let theirs: Vec<Detection> = theirs.into_iter().map(|index| candidates[index]).collect();
        let ours = nms(&candidates, iou, usize::MAX);
        assert!(ours.len() > 100 && ours.len() < 1990, "{}", ours.len());
        assert_eq!(ours, theirs, "iou {iou}");
        assert_eq!(nms(&candidates, iou, 50), theirs[..50], "iou {iou}");
    }
}

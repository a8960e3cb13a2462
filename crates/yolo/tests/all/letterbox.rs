//! `letterbox` against OpenCV: the same pixels, to the bit.

use std::process::Command;

use image::{Rgb, RgbImage};
use yolo::{Letterbox, Placement, letterbox};

/// Our own formulation of both families' preprocessing, with OpenCV for the pixels.
const SCRIPT: &str = "
import sys
import cv2
import numpy as np
source, target, w, h, sw, sh, top_left = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:8])
image = np.fromfile(source, np.uint8).reshape(h, w, 3)
r = min(sh / h, sw / w)
nw, nh = (int(w * r), int(h * r)) if top_left else (round(w * r), round(h * r))
left, top = (0, 0) if top_left else (int(round((sw - nw) / 2 - 0.1)), int(round((sh - nh) / 2 - 0.1)))
canvas = np.full((sh, sw, 3), 114, np.uint8)
canvas[top:top + nh, left:left + nw] = cv2.resize(image, (nw, nh), interpolation=cv2.INTER_LINEAR)
canvas.tofile(target)
";

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = width ^ height;
    RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Smooth parts, hard edges and noise.
        let edge = if (x / 7 + y / 5) % 2 == 0 { 255 } else { 0 };
        Rgb([(state >> 24) as u8, (x * 3 + y) as u8, edge])
    })
}

#[test]
fn letterbox_pixels_equal_opencv() {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let importable = Command::new(&python).args(["-c", "import cv2"]).output();
    if !importable.is_ok_and(|output| output.status.success()) {
        println!("skipped: letterbox against OpenCV (no {python} with cv2)");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let cases = [
        ((640, 426), (640, 640)),
        ((427, 640), (416, 416)),
        ((640, 640), (320, 320)),
        ((640, 480), (320, 320)),
        ((1280, 720), (640, 640)),
        ((1281, 721), (640, 640)),
        ((99, 57), (640, 640)),
        ((64, 64), (640, 384)),
        ((3, 2), (64, 64)),
        ((1, 1), (32, 32)),
        ((2, 50), (32, 32)),
        ((999, 17), (64, 64)),
        ((810, 1080), (640, 640)),
    ];
    for ((w, h), (size_w, size_h)) in cases {
        for placement in [Placement::Centered, Placement::TopLeft] {
            let image = noise(w, h);
            std::fs::write(&source, image.as_raw()).expect("writable");
            let top_left = u32::from(placement == Placement::TopLeft);
            let numbers = [w, h, size_w, size_h, top_left].map(|number| number.to_string());
            let mut command = Command::new(&python);
            command.args(["-c", SCRIPT]).arg(&source).arg(&target).args(numbers);
            let output = command.output().expect("the interpreter just ran");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs = std::fs::read(&target).expect("just written");
            let sides = |sides: [u32; 2]| sides.map(|side| side as usize);
            let geometry = Letterbox::new(placement, sides([w, h]), sides([size_w, size_h]));
            let ours = letterbox(&image, &geometry);
            let different = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            assert_eq!(ours.len(), theirs.len());
            assert_eq!(different, 0, "{w}x{h} into {size_w}x{size_h}, {placement:?}");
        }
    }
}

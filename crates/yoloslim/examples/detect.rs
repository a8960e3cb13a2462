//! Finds objects in images: `cargo run --release -p yoloslim --example detect -- MODEL IMAGE…`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use yoloslim::Detector;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("expected MODEL IMAGE…")?;
    let mut detector = Detector::load(model)?;
    for path in arguments {
        let image = image::open(&path)?.into_rgb8();
        for found in detector.detect(&image)? {
            let (name, bbox) = (detector.class_name(found.class), found.bbox);
            println!(
                "{path}: {name} {:.2} at {:.0}, {:.0}, {:.0}, {:.0} px",
                found.score, bbox.left, bbox.top, bbox.right, bbox.bottom
            );
        }
    }
    Ok(())
}

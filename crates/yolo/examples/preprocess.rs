//! What it takes to make a network's input of a frame of YUV 4:2:0, one thread: the times of `ROUNDS` rounds in ms, one a line.
//!
//!     cargo run --release -p yoloslim-yolo --example preprocess -- FRAME.yuv WIDTH HEIGHT SIDE ROUNDS
//!
//! FRAME.yuv holds the planes Y, U and V without gaps; the input has SIDE x SIDE pixels.

use std::error::Error;
use std::time::Instant;

use ir::{DataType, Graph, TensorType};
use yolo::{LETTERBOX, ModelInput, YuvColours, YuvFrame, YuvMatrix, YuvPixels, YuvRange};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, width, height, side, rounds] = arguments.as_slice() else {
        return Err("expected FRAME.yuv WIDTH HEIGHT SIDE ROUNDS".into());
    };
    let [width, height, side, rounds] = [width, height, side, rounds].map(|n| n.parse::<usize>());
    let (width, height, side, rounds) = (width?, height?, side?, rounds?);
    let bytes = std::fs::read(path)?;
    let colours = YuvColours { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };
    let frame = YuvFrame::contiguous(&bytes, [width, height], colours)?;
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    edit.input("images", TensorType::new(DataType::F32, [1, 3, side, side]));
    graph.apply(edit)?;
    let input = ModelInput::new(&graph, LETTERBOX)?;
    let mut pixels = YuvPixels::default();
    for _ in 0..rounds {
        let start = Instant::now();
        input.pixels_of_yuv(&frame, &mut pixels)?;
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

//! A tiny detector of pairs: red squares are seen in visible light alone, blue ones in the infrared alone.
use crate::tiny::{SIDE_PX, WIDTH, finish, halve, scene};
use ir::ops::{BinaryKind, Concat, Slice, SliceRange};
use ir::{DataType, Graph, TensorType};

/// How the streams come in and meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// Two inputs `[1, 3, 64, 64]` and `[1, 1, 64, 64]`, whose channels are joined.
    Concat,
    /// The same inputs, added.
    Add,
    /// One input `[1, 6, 64, 64]` that is cut into streams, which are joined.
    Channels,
}

/// A YOLOX of two classes that finds the squares of [`pair`].
pub fn detector(fusion: Fusion) -> Graph {
    let mut graph = Graph::new(17);
    graph.name = "two_streams".into();
    let mut e = graph.edit();
    let ty = |channels: usize| TensorType::new(DataType::F32, [1, channels, SIDE_PX, SIDE_PX]);
    let (inputs, infrared) = match fusion {
        Fusion::Channels => {
            let x = e.input("images", ty(6));
            let mut cut = |name: &str, start: usize| {
                let (axis, len, step) = (1, 3, 1);
                let range = SliceRange { axis, start, len, step };
                let op = Slice { ranges: vec![range] };
                e.node(name, op, &[x], &[&format!("{name}.out")])[0]
            };
            ([cut("visible", 0), cut("infrared", 3)], 3)
        }
        _ => ([e.input("visible", ty(3)), e.input("infrared", ty(1))], 1),
    };
    let mut stream = |name: &str, at: usize, channels: usize, colours: usize| {
        let carries = |o: usize, i: usize| o == i && o < colours;
        let stem = format!("{name}.stem");
        let x = halve(&mut e, &stem, inputs[at], channels, 4.0 / 255.0, &carries);
        halve(&mut e, &format!("{name}.down1"), x, WIDTH, 1.0, &carries)
    };
    // What the infrared sees goes where blue light would.
    let both = [stream("visible", 0, 3, 3), stream("infrared", 1, infrared, 1)];
    let (x, width) = match fusion {
        Fusion::Add => (e.node("fusion", BinaryKind::Add, &both, &["fusion.out"])[0], WIDTH),
        _ => {
            let joined = e.node("fusion", Concat { axis: 1 }, &both, &["fusion.out"]);
            (joined[0], 2 * WIDTH)
        }
    };
    let x = halve(&mut e, "down2", x, width, 1.0, &|o, i| o < 3 && i % WIDTH == o);
    finish(graph, e, x)
}

/// One scene by two cameras.
#[derive(Clone, Debug)]
pub struct Pair {
    /// 64 rows of 64 RGB pixels in visible light.
    pub visible: Vec<u8>,
    /// The same in the infrared, gray.
    pub infrared: Vec<u8>,
    /// A label file for both.
    pub labels: String,
}

/// Two dark images with a few squares, the same for the same seed.
pub fn pair(seed: u64) -> Pair {
    let scene = scene(seed);
    let pixels = scene.rgb.as_chunks::<3>().0;
    Pair {
        visible: pixels.iter().flat_map(|&[r, g, b]| [r, g, b % 24]).collect(),
        infrared: pixels.iter().flat_map(|&[_, _, b]| [b; 3]).collect(),
        labels: scene.labels,
    }
}

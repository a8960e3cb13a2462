//! The range of what every convolution computes on images: `cargo run --release -p yoloslim --example observe -- MODEL IMAGE…`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::error::Error;

use ir::{Op, ValueId};
use yoloslim::{Engine, ImageSet, Model};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("expected MODEL IMAGE…")?;
    let model = Model::open(model)?;
    let head = model.head()?;
    let images = ImageSet { paths: arguments.map(Into::into).collect(), ..ImageSet::default() };
    let convolutions = model.graph.nodes();
    let convolutions = convolutions.filter(|(_, node)| matches!(node.op, Op::Conv(_)));
    let values: Vec<ValueId> = convolutions.map(|(_, node)| node.outputs[0]).collect();
    let observation = model.observation(&head, &images, Engine::default());
    type Ranges = BTreeMap<ValueId, (f32, f32)>;
    let (collected, _) = observation.run(&values, Ranges::new, |ranges, _, value, observed| {
        let range = ranges.entry(value).or_insert((f32::MAX, f32::MIN));
        observed.for_each_run(&mut |_, run| {
            for &x in run {
                *range = (range.0.min(x), range.1.max(x));
            }
        })
    })?;
    for value in values {
        let of_threads = collected.iter().filter_map(|ranges| ranges.get(&value));
        let (low, high) = of_threads
            .fold((f32::MAX, f32::MIN), |(low, high), range| (low.min(range.0), high.max(range.1)));
        let name = &model.graph.value(value).name;
        println!("{low:10.3} to {high:10.3}  {name}");
    }
    Ok(())
}

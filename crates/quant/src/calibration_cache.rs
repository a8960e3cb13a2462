//! The calibration cache of TensorRT up to version 10, which quantizes a float model itself by the scales of its tensors.
use crate::points::Region;
use crate::{QuantError, Range};
use ir::{Graph, ValueId};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The version is not compared with that of the TensorRT which reads it; the algorithm is: `trtexec` calibrates by this one.
const HEADER: &str = "TRT-8601-EntropyCalibration2";

/// The values whose ranges the cache holds: what is computed before the tail and read there. What the tail reads has no
/// scale, so that it stays float.
///
/// # Errors
/// As [`crate::quantization_points`].
pub fn cached_values(graph: &Graph) -> Result<Vec<ValueId>, QuantError> {
    let region = Region::new(graph)?;
    let is_cached = |v: &ValueId| region.is_activation(*v) && region.readers(*v).next().is_some();
    Ok(region.nodes().flat_map(|(_, node)| node.outputs.clone()).filter(is_cached).collect())
}

/// The cache: a line for every tensor with its name in the float file and the scale of its symmetric I8 values, the four
/// bytes of an f32, the highest first, in hexadecimal.
///
/// `ranges` are those of [`cached_values`]; `input` is that of the image. What only moves elements has the scale of what
/// it moves, as TensorRT joins them without a conversion only then.
/// Source: TensorRT's sampleINT8, "Calibration file".
///
/// # Errors
/// `MissingRange` and `Params` with the value; `UnwritableName` for a name with a line break.
pub fn calibration_cache(
    graph: &Graph,
    ranges: &BTreeMap<ValueId, Range>,
    input: Range,
) -> Result<String, QuantError> {
    let region = Region::new(graph)?;
    let mut cache = format!("{HEADER}\n");
    for v in graph.inputs().iter().copied().chain(cached_values(graph)?) {
        let name = &graph.value(v).name;
        if name.contains(['\n', '\r']) {
            return Err(QuantError::UnwritableName { value: name.clone() });
        }
        let root = region.root(v);
        let range = if graph.inputs().contains(&root) { Some(&input) } else { ranges.get(&root) };
        let range = range.ok_or_else(|| QuantError::MissingRange { value: name.clone() })?;
        let params = range.i8_params().map_err(crate::weights::at(name))?;
        writeln!(cache, "{name}: {:08x}", params.scale()[0].to_bits())
            .expect("text takes what is written to it");
    }
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Tensor;
    use ir::ops::UnaryKind;
    use testkit::net::Net;

    #[test]
    fn calibration_cache_holds_symmetric_scales_and_leaves_the_tail_out() {
        let mut graph = Graph::new(17);
        let mut net = Net::new(&graph);
        let x = net.input(&[1, 3, 4, 4]);
        let a = net.conv(x, [3, 4, 1, 1], 1);
        let b = net.op(UnaryKind::Relu, &[a]);
        let p = net.pool(b, 3);
        let c = net.conv(p, [4, 4, 1, 1], 1);
        let y = net.op(UnaryKind::Sigmoid, &[c]);
        net.edit.output(y);
        graph.apply(net.edit).unwrap();
        let values = cached_values(&graph).unwrap();
        assert_eq!(values, [a, b, p]);
        let ranges = BTreeMap::from([(a, Range::new(-254.0, 1.0)), (b, Range::new(0.0, 127.0))]);
        let text = calibration_cache(&graph, &ranges, Range::new(0.0, 1.0)).unwrap();
        let name = |v: ValueId| graph.value(v).name.clone();
        // 1/127, 2 and 1 as f32.
        let expected = [(x, "3c010204"), (a, "40000000"), (b, "3f800000"), (p, "3f800000")];
        let lines = expected.map(|(v, bits)| format!("{}: {bits}\n", name(v)));
        assert_eq!(text, format!("{HEADER}\n{}", lines.concat()));
        let missing = calibration_cache(&graph, &BTreeMap::new(), Range::new(0.0, 1.0));
        assert_eq!(missing, Err(QuantError::MissingRange { value: name(a) }));
    }

    #[test]
    fn calibration_cache_of_a_name_with_a_line_break_is_an_error() {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let ty = ir::TensorType::new(ir::DataType::F32, [1, 1, 2, 2]);
        let x = edit.input("a\nb", ty);
        let w = edit.constant("w", Tensor::new([1, 1, 1, 1], vec![1f32]).unwrap());
        let op = ir::ops::Conv {
            kernel_shape: [1; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [0; 4],
            group: 1,
        };
        let y = edit.node("conv", op, &[x, w], &["y"])[0];
        edit.output(y);
        graph.apply(edit).unwrap();
        let error = calibration_cache(&graph, &BTreeMap::new(), Range::new(0.0, 1.0));
        assert_eq!(error, Err(QuantError::UnwritableName { value: "a\nb".into() }));
    }
}

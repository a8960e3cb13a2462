//! Comparison of outputs.
use ir::Tensor;

/// Equal shapes and elements, but for the rounding of another order of summation.
pub(crate) fn assert_close(a: &[Tensor], b: &[Tensor], what: &str) {
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.shape(), b.shape(), "{what}");
        for (x, y) in a.to_f64().unwrap().iter().zip(b.to_f64().unwrap()) {
            assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{what}: {x} and {y}");
        }
    }
}

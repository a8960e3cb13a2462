//! Probabilities of raw numbers, and logarithms of them that stay finite.

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + exp(x))`: minus the logarithm of `1 - sigmoid(x)`.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Cross-entropy of the sigmoid of a logit with a probability.
pub(super) fn cross_entropy(logit: f64, target: f64) -> f64 {
    softplus(logit) - target * logit
}

/// Logarithms of the softmax of logits.
pub(super) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|l| (l - largest).exp()).sum();
    let log_sum = largest + sum.ln();
    logits.iter().map(|l| l - log_sum).collect()
}

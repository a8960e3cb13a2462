use super::*;
use ir::DataType;
use ir::ops::Conv;

fn noise(i: u64) -> f64 {
    let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / f64::from(1u32 << 24) - 0.5
}

/// Output error of a 1x1 convolution over 6 correlated channels, rounded plainly and by moments.
#[test]
fn round_tensor_of_correlated_inputs_halves_the_output_error() {
    let (channels, outputs, pixels) = (6, 16, 64 * 64);
    let common: Vec<f64> = (0..pixels).map(|p| noise(p + 900) * 4.0).collect();
    let x: Vec<f32> = (0..channels * pixels)
        .map(|i| (common[(i % pixels) as usize] + 0.3 * noise(i) + 1.0) as f32)
        .collect();
    let conv =
        Conv { kernel_shape: [1; 2], strides: [1; 2], dilations: [1; 2], pads: [0; 4], group: 1 };
    let mut moments = PatchMoments::new(&conv, channels as usize);
    let input = Tensor::new([1, channels as usize, 64, 64], x.clone()).unwrap();
    moments.add(&input, pixels as usize);
    let weights: Vec<f32> = (0..outputs * channels).map(|i| noise(i + 77) as f32).collect();
    let weight = Tensor::new([outputs as usize, channels as usize, 1, 1], weights.clone()).unwrap();
    let n = outputs as usize;
    let params = QuantParams::per_channel(0, vec![0.05; n], vec![0; n], DataType::I8).unwrap();
    let grid = Grid { params: &params, largest: 127 };
    let (better, shift) = round_tensor("w", &weight, grid, &moments, None).unwrap().unwrap();
    let plain = crate::weights::rounded("w", &weight, &params).unwrap();
    let error = |rounded: &[f64], shift: Option<&[f64]>| -> f64 {
        let squared_error = |o: usize, p: usize| -> f64 {
            let change = (0..channels as usize).map(|c| {
                let at = o * channels as usize + c;
                (rounded[at] - f64::from(weights[at])) * f64::from(x[c * pixels as usize + p])
            });
            (change.sum::<f64>() - shift.map_or(0.0, |s| s[o])).powi(2)
        };
        (0..n)
            .flat_map(|o| (0..pixels as usize).map(move |p| (o, p)))
            .map(|(o, p)| squared_error(o, p))
            .sum()
    };
    let (plain, better) = (error(&plain, None), error(&better, Some(&shift)));
    assert!(better < 0.5 * plain, "{plain} became {better}");
}

#[test]
fn round_row_with_carried_errors_stays_within_the_largest_weight() {
    let params = QuantParams::per_channel(0, vec![0.1], vec![0], DataType::I8).unwrap();
    // All of the first weight's error, and more, is carried to the second, which is at the end of the range.
    let factors = UnitUpper::factor(vec![2501.0, 50.0, 50.0, 1.0], 2).unwrap();
    for (largest, sign) in [(64, 1.0), (64, -1.0), (127, 1.0), (127, -1.0)] {
        let end = sign * f64::from(largest) * 0.1;
        let mut after = [0.0; 2];
        let before = [sign * 0.04, end];
        let params = &params;
        round_row(&before, &mut after, Grid { params, largest }, 0, Some(&factors));
        assert!((after[1] - end).abs() < 1e-6, "{largest}: {after:?}");
    }
}

#[test]
fn moments_of_a_depthwise_window_hold_padding_and_strides() {
    let conv =
        Conv { kernel_shape: [3; 2], strides: [2; 2], dilations: [1; 2], pads: [1; 4], group: 2 };
    let mut moments = PatchMoments::new(&conv, 2);
    let x = Tensor::new([1, 2, 4, 4], (1..33).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    moments.add(&x, 100);
    // Windows begin at -1 and 1: the top left tap sees padding in all but the last of four.
    assert_eq!(moments.mean(0)[0], 6.0 / 4.0);
    assert_eq!(moments.mean(1)[4], f64::from(17 + 19 + 25 + 27) / 4.0);
}

use super::auto::AUTO;
use super::mse::MSE;
use super::*;
use crate::profile::BINS;

/// Deterministic noise in [-1, 1) with a few large values: x^9 has heavy ends.
fn samples(n: u64, low: f32, high: f32) -> Vec<f32> {
    let noise = |i: u64| {
        let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n)
        .map(|i| {
            let x = noise(i).powi(9);
            if x < 0.0 { -x * low } else { x * high }
        })
        .collect()
}

fn profile(chunks: &[&[f32]]) -> Profile {
    let mut profile = Profile::default();
    chunks.iter().for_each(|c| profile.observe(c));
    profile
}

fn range_of(calibrator: &Calibrator, chunks: &[&[f32]]) -> Option<Range> {
    (calibrator.range)(&profile(chunks))
}

#[test]
fn calibrators_of_values_in_any_order_give_the_same_range() {
    let data = samples(40_000, -3.0, 20.0);
    let mut sorted = data.clone();
    sorted.sort_by(f32::total_cmp);
    for calibrator in CALIBRATORS {
        let once = range_of(calibrator, &[&data]);
        let name = calibrator.name;
        assert_eq!(once, range_of(calibrator, &[&sorted]), "{name}");
        let (small, large) = sorted.split_at(25_000);
        assert_eq!(once, range_of(calibrator, &[large, small]), "{name}");
        let chunks: Vec<&[f32]> = sorted.chunks(997).collect();
        assert_eq!(once, range_of(calibrator, &chunks), "{name}");
    }
}

#[test]
fn profiles_merged_equal_one_stream() {
    let data = samples(30_000, -3.0, 20.0);
    let once = profile(&[&data]);
    for cut in [0, 1, 10_000, 30_000] {
        let mut merged = profile(&[&data[..cut]]);
        merged.merge(&profile(&[&data[cut..]]));
        assert_eq!(merged, once, "cut at {cut}");
    }
}

#[test]
fn profiles_count_what_is_not_finite_and_calibrators_hold_zero() {
    for calibrator in CALIBRATORS {
        let name = calibrator.name;
        assert_eq!(range_of(calibrator, &[]), None, "{name}");
        let not_finite: &[f32] = &[f32::NAN, f32::INFINITY];
        assert_eq!(range_of(calibrator, &[not_finite]), None, "{name}");
        let mixed = profile(&[not_finite, &[2.0, f32::NEG_INFINITY, 3.0]]);
        let found = ((calibrator.range)(&mixed), mixed.non_finite());
        assert_eq!(found, (Some(Range::new(0.0, 3.0)), 3), "{name}");
        let negative = range_of(calibrator, &[&[-5.0, -4.0]]);
        assert_eq!(negative, Some(Range::new(-5.0, 0.0)), "{name}");
        assert_eq!(ir::named::<Calibrator>(name), Ok(*calibrator));
    }
    assert!(ir::named::<Calibrator>("none").is_err());
}

#[test]
fn percentile_of_samples_is_within_one_bin_of_the_exact_one() {
    for (low, high, percentile) in
        [(-3.0, 20.0, 99.99), (-3.0, 20.0, 99.0), (-0.27, 9.0, 99.9), (-1e6, 1e-3, 99.9)]
    {
        let mut data = samples(50_000, low, high);
        let range = profile(&[&data]).percentile(percentile).unwrap();
        data.sort_by(f32::total_cmp);
        let one_sided = data[0] >= -0.2785;
        let share = (100.0 - percentile) / 100.0 / if one_sided { 1.0 } else { 2.0 };
        let dropped = (data.len() as f64 * share) as usize;
        let exact =
            Range::new(data[if one_sided { 0 } else { dropped }], data[data.len() - 1 - dropped]);
        // A bin is at most twice the largest magnitude of its side, divided by the number of bins.
        let bin = |end: f32| 2.0 * end.abs() / BINS as f32;
        assert!((range.max - exact.max).abs() <= bin(data[data.len() - 1]), "{range:?} {exact:?}");
        assert!((range.min - exact.min).abs() <= bin(data[0]), "{range:?} {exact:?}");
    }
}

#[test]
fn percentile_of_extreme_magnitudes_stays_finite() {
    let values = [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, 0.0];
    let range = profile(&[&values]).percentile(99.99);
    assert_eq!(range, Some(Range::new(-f32::MAX, f32::MAX)));
}

/// Sum of twelve uniform numbers: a bell of standard deviation 1, with ends at 6.
fn bell(n: u64) -> Vec<f32> {
    let noise = samples(12 * n, -1.0, 1.0);
    let uniform = noise.iter().map(|x| x.signum() * x.abs().powf(1.0 / 9.0));
    let uniform: Vec<f32> = uniform.map(|x| 0.5 * x).collect();
    uniform.chunks(12).map(|c| c.iter().sum()).collect()
}

#[test]
fn calibrators_of_a_bell_with_one_outlier_cut_it_unless_they_weigh_its_square() {
    let mut data = bell(20_000);
    data.push(300.0);
    for calibrator in CALIBRATORS {
        let name = calibrator.name;
        let range = range_of(calibrator, &[&data]).unwrap();
        if matches!(name, "percentile" | "entropy") {
            assert!(range.max < 30.0 && range.max > 2.0, "{name}: {range:?}");
        } else {
            assert_eq!(range.max, 300.0, "{name}");
        }
        assert!(range.min < -2.0, "{name}: {range:?}");
    }
}

#[test]
fn calibrators_of_even_values_keep_nearly_all() {
    let data: Vec<f32> = (0..40_000).map(|i| (i * 7919 % 40_000) as f32 / 4e3).collect();
    for calibrator in CALIBRATORS {
        let name = calibrator.name;
        let range = range_of(calibrator, &[&data]).unwrap();
        assert!(range.max > 9.2 && range.min == 0.0, "{name}: {range:?}");
    }
}

#[test]
fn calibrators_of_silu_outputs_keep_the_lower_end() {
    let silu = |x: f32| x / (1.0 + (-x).exp());
    let mut data: Vec<f32> = bell(20_000).iter().map(|x| silu(3.0 * x)).collect();
    data.push(200.0);
    let lowest = data.iter().copied().fold(0.0, f32::min);
    for calibrator in CALIBRATORS {
        let range = range_of(calibrator, &[&data]).unwrap();
        assert_eq!(range.min, lowest, "{}", calibrator.name);
    }
}

#[test]
fn mse_of_a_bell_beats_every_other_search() {
    let mut data = bell(20_000);
    data.extend([40.0, -25.0]);
    let error = |r: Range| -> f64 {
        let p = r.u8_params().unwrap();
        let lost = |x: &f32| f64::from(p.dequantize(0, p.quantize(0, *x)) - x).powi(2);
        data.iter().map(lost).sum()
    };
    let best = error(range_of(&MSE, &[&data]).unwrap());
    for calibrator in CALIBRATORS {
        let other = error(range_of(calibrator, &[&data]).unwrap());
        assert!(best <= 1.02 * other, "{}: {other}, mse {best}", calibrator.name);
    }
}

#[test]
fn auto_offers_the_range_of_every_search_but_minmax() {
    let data = bell(10_000);
    let profile = profile(&[&data]);
    let offered: Vec<Option<Range>> =
        AUTO.alternatives.iter().map(|a| (a.range)(&profile)).collect();
    let is_search = |c: &&&Calibrator| !["auto", "minmax"].contains(&c.name);
    for calibrator in CALIBRATORS.iter().filter(is_search) {
        let range = (calibrator.range)(&profile);
        assert!(offered.contains(&range), "{}", calibrator.name);
    }
}

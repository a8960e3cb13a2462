//! What each way does to an image whose values are known.
use super::*;
use image::Rgb;

fn flat(value: u8) -> RgbImage {
    RgbImage::from_pixel(40, 30, Rgb([value; 3]))
}

fn mean(image: &RgbImage) -> f64 {
    image.iter().map(|&v| f64::from(v)).sum::<f64>() / image.len() as f64
}

fn deviation(image: &RgbImage) -> f64 {
    let mean = mean(image);
    let squares = image.iter().map(|&v| (f64::from(v) - mean).powi(2));
    (squares.sum::<f64>() / image.len() as f64).sqrt()
}

#[test]
fn exposure_scales_light_and_saturates() {
    let mut rng = Rng::new(0);
    let expose = |gain, gamma| Degradation::Exposure { gain, gamma };
    let half = expose(0.5, 1.0).apply(&flat(200), &mut rng);
    let expected = 200.0 * 0.5f64.powf(1.0 / 2.2);
    assert!((mean(&half) - expected).abs() <= 0.5, "{}", mean(&half));
    assert_eq!(expose(8.0, 1.0).apply(&flat(200), &mut rng), flat(255));
    assert_eq!(expose(1.0, 1.0).apply(&flat(77), &mut rng), flat(77));
}

#[test]
fn sensor_noise_has_the_variance_that_it_says() {
    let noise = Degradation::SensorNoise { shot: 0.5, read: 4.0 };
    let found = noise.apply(&flat(128), &mut Rng::new(5));
    let expected = (0.5f64 * 128.0 + 16.0).sqrt();
    assert!((deviation(&found) / expected - 1.0).abs() < 0.05, "{}", deviation(&found));
    assert!((mean(&found) - 128.0).abs() < 0.5);
    assert_eq!(found, noise.apply(&flat(128), &mut Rng::new(5)));
}

#[test]
fn blur_keeps_the_mean_and_spreads_a_point_along_its_way() {
    let mut point = flat(0);
    point.put_pixel(20, 15, Rgb([255; 3]));
    let spread = |by: Degradation, axis: usize| {
        let found = by.apply(&point, &mut Rng::new(0));
        let (mut all, mut squares) = (0.0, 0.0);
        for (x, y, pixel) in found.enumerate_pixels() {
            let away = [f64::from(x) - 20.0, f64::from(y) - 15.0][axis];
            all += f64::from(pixel[0]);
            squares += f64::from(pixel[0]) * away * away;
        }
        assert!((all - 255.0).abs() < 20.0, "{all}");
        (squares / all).sqrt()
    };
    let gaussian = Degradation::GaussianBlur { sigma_px: 1.5 };
    for axis in [0, 1] {
        assert!((spread(gaussian, axis) - 1.5).abs() < 0.15);
    }
    let motion = Degradation::MotionBlur { length_px: 9.0, angle_deg: 0.0 };
    // The deviation of a uniform distribution is its length over the root of 12.
    assert!((spread(motion, 0) - 9.0 / 12f64.sqrt()).abs() < 0.1);
    assert!(spread(motion, 1) < 1e-9);
}

#[test]
fn a_patch_covers_what_it_says_and_is_cut_at_edges() {
    let patch = Patch { covers_px: [30, 20, 20, 20], from_px: [35, 25] };
    let found = covered(&flat(10), &flat(99), patch);
    let changed = found.pixels().filter(|p| p[0] == 99).count();
    // The other image has 5 x 5 pixels from there on.
    assert_eq!(changed, 25);
    assert_eq!(found.get_pixel(30, 20)[0], 99);
}

#[test]
fn four_in_one_shows_each_in_its_quarter() {
    let images = [10, 20, 30, 40].map(flat);
    let found = four_in_one([&images[0], &images[1], &images[2], &images[3]]);
    assert_eq!(found.dimensions(), (40, 30));
    for (at, expected) in [([0, 0], 10), ([39, 0], 20), ([0, 29], 30), ([39, 29], 40)] {
        assert_eq!(found.get_pixel(at[0], at[1])[0], expected);
    }
    let sliver = RgbImage::new(1, 7);
    assert_eq!(four_in_one([&sliver; 4]), sliver);
}

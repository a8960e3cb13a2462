//! Measures of images that were made to have them.
use super::*;
use crate::Degradation;
use image::Rgb;
use numerics::Rng;

fn gray(width: u32, height: u32, f: impl Fn(u32, u32) -> u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([f(x, y); 3]))
}

/// Broad stripes: detail without noise.
fn stripes() -> RgbImage {
    gray(320, 240, |x, y| if x / 40 % 2 == 0 { 90 } else { 150 + (y / 60) as u8 })
}

fn measures(image: &RgbImage) -> ImageMeasures {
    Appearance::of(image).measures
}

#[test]
fn luminance_of_a_ramp_is_what_its_levels_are() {
    let found = measures(&gray(256, 64, |x, _| x as u8));
    assert!((found.luminance - 127.5).abs() < 0.01, "{found:?}");
    assert!(
        (found.luminance_low - 12.0).abs() <= 1.0 && (found.luminance_high - 243.0).abs() <= 1.0
    );
    assert!((found.saturated_share - 6.0 / 256.0).abs() < 1e-9);
}

#[test]
fn noise_of_a_known_deviation_is_estimated() {
    for sigma in [3.0, 8.0, 15.0] {
        let noise = Degradation::SensorNoise { shot: 0.0, read: sigma };
        let found = measures(&noise.apply(&stripes(), &mut Rng::new(1))).noise;
        // Independent noise of red, green and blue, weighted as luminance weights them.
        let expected = sigma * (0.299f64.powi(2) + 0.587f64.powi(2) + 0.114f64.powi(2)).sqrt();
        // Rounding to 8 bits and the lower quartile leave a little less or more.
        assert!((found / expected - 1.0).abs() < 0.15, "{expected}: {found}");
    }
    assert!(measures(&stripes()).noise < 0.5);
}

#[test]
fn sharpness_falls_with_blur_and_not_with_contrast() {
    let image = stripes();
    let sharp = measures(&image).sharpness;
    let blur = Degradation::GaussianBlur { sigma_px: 2.0 };
    let blurred = measures(&blur.apply(&image, &mut Rng::new(0))).sharpness;
    assert!(blurred < 0.2 * sharp, "{sharp} {blurred}");
    let faint = Degradation::Haze { contrast: 0.5, veil: 120.0 };
    let faint = measures(&faint.apply(&image, &mut Rng::new(0)));
    assert!((faint.sharpness / sharp - 1.0).abs() < 0.1, "{sharp} {faint:?}");
    assert!((faint.contrast() - 0.5 * measures(&image).contrast()).abs() <= 1.0);
}

#[test]
fn a_large_image_is_measured_as_the_network_sees_it() {
    let large = gray(1280, 960, |x, _| if x / 160 % 2 == 0 { 90 } else { 160 });
    let small = gray(640, 480, |x, _| if x / 80 % 2 == 0 { 90 } else { 160 });
    assert_eq!(Appearance::of(&large), Appearance::of(&small));
}

#[test]
fn images_of_any_size_are_measured() {
    for (width, height) in [(1, 1), (1, 500), (3, 2), (2000, 1), (17, 19)] {
        let found = Appearance::of(&gray(width, height, |x, y| (x ^ y) as u8));
        let numbers = found.descriptor.iter().flatten();
        assert!(numbers.clone().all(|v| v.is_finite()) && found.measures.noise.is_finite());
        assert_eq!(numbers.count(), 16 + 32 + 16 + 8 + 8);
    }
}

#[test]
fn directions_of_edges_are_told_apart() {
    let strongest = |image: &RgbImage| {
        let directions = &Appearance::of(image).descriptor[3];
        (0..ORIENTATIONS).max_by(|&a, &b| directions[a].total_cmp(&directions[b])).unwrap()
    };
    let upright = strongest(&gray(64, 64, |x, _| if x % 16 < 8 { 0 } else { 255 }));
    let lying = strongest(&gray(64, 64, |_, y| if y % 16 < 8 { 0 } else { 255 }));
    let slanted = strongest(&gray(64, 64, |x, y| ((x + y) * 2) as u8));
    assert_eq!((upright, lying), (0, 3));
    assert!(slanted == 1 || slanted == 2);
}

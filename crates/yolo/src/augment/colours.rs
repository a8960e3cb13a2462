//! Hue, saturation and brightness of an image changed at once, by a matrix.

/// How colours are changed: a matrix that red, green and blue are multiplied by.
///
/// Hues are turned about the axis of grays, saturation is the distance from it; grays are changed by brightness alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Colours([[f32; 3]; 3]);

impl Colours {
    /// `hue` in full turns; the others multiply.
    pub(super) fn new(hue: f64, saturation: f64, brightness: f64) -> Self {
        let (sin, cos) = (hue * std::f64::consts::TAU).sin_cos();
        // Turning about (1, 1, 1): what stays, and what goes to the next channel and the one after it.
        let along = (1.0 - cos) / 3.0;
        let across = sin / 3.0_f64.sqrt();
        let turned = [cos + along, along + across, along - across];
        let matrix = [0, 1, 2].map(|to: usize| {
            [0, 1, 2].map(|from: usize| {
                let gray = (1.0 - saturation) / 3.0;
                (brightness * (saturation * turned[(to + 3 - from) % 3] + gray)) as f32
            })
        });
        Self(matrix)
    }

    pub(super) fn apply(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.0.map(|row| row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: [f32; 3], expected: [f32; 3]) {
        let apart = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-3, "{found:?} instead of {expected:?}");
    }

    #[test]
    fn a_third_of_a_turn_makes_green_of_red() {
        near(Colours::new(1.0 / 3.0, 1.0, 1.0).apply([90.0, 0.0, 0.0]), [0.0, 90.0, 0.0]);
    }

    #[test]
    fn grays_keep_hue_and_saturation_and_take_brightness() {
        near(Colours::new(0.2, 3.0, 1.5).apply([60.0; 3]), [90.0; 3]);
    }

    #[test]
    fn no_saturation_makes_grays_of_the_same_mean() {
        near(Colours::new(0.4, 0.0, 1.0).apply([90.0, 30.0, 0.0]), [40.0; 3]);
    }
}

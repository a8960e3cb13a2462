//! What Y, U and V mean.

/// By which weights red, green and blue make up brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YuvMatrix {
    /// ITU-R BT.601: standard definition, and JPEG.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// Which bytes stand for black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YuvRange {
    /// Y from 16 to 235, U and V from 16 to 240: video.
    Limited,
    /// All from 0 to 255: JPEG, and some cameras.
    Full,
}

/// What Y, U and V mean, as the stream says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YuvColours {
    /// The weights of brightness.
    pub matrix: YuvMatrix,
    /// The bytes' range.
    pub range: YuvRange,
}

/// From Y, U and V to a channel: `y * luma + u * of_u + v * of_v + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Coefficients {
    pub(super) luma: f32,
    /// Red of V.
    pub(super) red_v: f32,
    /// Green of U.
    pub(super) green_u: f32,
    /// Green of V.
    pub(super) green_v: f32,
    /// Blue of U.
    pub(super) blue_u: f32,
    /// Of red, green and blue.
    pub(super) offsets: [f32; 3],
}

impl YuvColours {
    /// For Y, U and V that were multiplied by `factor`. Source: ITU-R BT.601-7 and BT.709-6, section 3.
    pub(super) fn coefficients(self, factor: f64) -> Coefficients {
        let [red, blue] = match self.matrix {
            YuvMatrix::Bt601 => [0.299, 0.114],
            YuvMatrix::Bt709 => [0.2126, 0.0722],
        };
        let green = 1.0 - red - blue;
        let [luma, chroma, black] = match self.range {
            YuvRange::Limited => [255.0 / 219.0, 255.0 / 224.0, 16.0],
            YuvRange::Full => [1.0, 1.0, 0.0],
        };
        let red_v = 2.0 * (1.0 - red) * chroma;
        let blue_u = 2.0 * (1.0 - blue) * chroma;
        let (green_u, green_v) = (-blue_u * blue / green, -red_v * red / green);
        let offset = |of_chroma: f64| (-black * luma - 128.0 * of_chroma) as f32;
        let scaled = |value: f64| (value / factor) as f32;
        Coefficients {
            luma: scaled(luma),
            red_v: scaled(red_v),
            green_u: scaled(green_u),
            green_v: scaled(green_v),
            blue_u: scaled(blue_u),
            offsets: [offset(red_v), offset(green_u + green_v), offset(blue_u)],
        }
    }
}

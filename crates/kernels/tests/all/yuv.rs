//! Scaling of YUV frames against a plain computation, pixel by pixel: the same bytes on every instruction set.

use kernels::{
    Isa, KernelError, Plane, Region, YuvColours, YuvMatrix, YuvRange, YuvScaler, YuvScaling,
    chroma_px,
};

const VIDEO: YuvColours = YuvColours { matrix: YuvMatrix::Bt709, range: YuvRange::Limited };
const JPEG: YuvColours = YuvColours { matrix: YuvMatrix::Bt601, range: YuvRange::Full };

/// A frame of noise, or of what else a function says of plane, column and row.
struct Frame {
    size_px: [usize; 2],
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
}

impl Frame {
    fn new(size_px: [usize; 2], gap: usize, sample: impl Fn(usize, usize, usize) -> u8) -> Self {
        let sizes = [size_px, chroma_px(size_px), chroma_px(size_px)];
        let strides = sizes.map(|[width, _]| width + gap);
        let plane = |at: usize| {
            let [width, height] = sizes[at];
            // The last row ends with its last sample; what lies between rows must not be read.
            let mut bytes = vec![0xAA; (height - 1) * strides[at] + width];
            for row in 0..height {
                for column in 0..width {
                    bytes[row * strides[at] + column] = sample(at, column, row);
                }
            }
            bytes
        };
        Self { size_px, planes: std::array::from_fn(plane), strides }
    }

    fn noise(size_px: [usize; 2], gap: usize) -> Self {
        Self::new(size_px, gap, |plane, column, row| {
            let mixed = (plane * 7919 + column * 104_729 + row * 1_299_709 + 17) as u32;
            (mixed.wrapping_mul(2_654_435_761) >> 24) as u8
        })
    }

    fn views(&self) -> [Plane<'_>; 3] {
        let view = |at: usize| Plane { bytes: &self.planes[at], stride_bytes: self.strides[at] };
        std::array::from_fn(view)
    }

    fn scaled(&self, isa: Isa, scaling: YuvScaling) -> Vec<u8> {
        let [width, height] = scaling.image_px;
        let mut image = vec![114; width * height * 3];
        let mut scaler = YuvScaler::new(scaling).expect("regions fit");
        scaler.run(isa, &self.views(), &mut image).expect("planes fit");
        image
    }
}

fn whole([width, height]: [usize; 2]) -> Region {
    Region { left: 0, top: 0, width, height }
}

/// A sample's place along an axis and how far the position lies behind it.
fn between(first: usize, len: usize, scaled: usize, pixel: usize) -> f64 {
    let scale = len as f64 / scaled as f64;
    first as f64 + ((pixel as f64 + 0.5) * scale - 0.5).clamp(0.0, len as f64 - 1.0)
}

/// A plane's value at a position, in 1/256: rows first, by weights in 1/256, then columns.
fn sample(frame: &Frame, plane: usize, [x, y]: [f64; 2]) -> f32 {
    let [width, height] = if plane == 0 { frame.size_px } else { chroma_px(frame.size_px) };
    let (x, y) = (x.clamp(0.0, width as f64 - 1.0), y.clamp(0.0, height as f64 - 1.0));
    let (column, row) = (x.floor() as usize, y.floor() as usize);
    let weight = ((y - y.floor()) * 256.0).round() as u32;
    let at = |column: usize| {
        let byte = |row: usize| {
            let (column, row) = (column.min(width - 1), row.min(height - 1));
            u32::from(frame.planes[plane][row * frame.strides[plane] + column])
        };
        (byte(row) * (256 - weight) + byte(row + 1) * weight) as f32
    };
    at(column) + (at(column + 1) - at(column)) * ((x - x.floor()) as f32)
}

/// Red, green and blue by the definition of the colours, in f64; the factor of 256 goes into the weights.
fn reference(frame: &Frame, scaling: YuvScaling) -> Vec<u8> {
    let [red, blue] = match scaling.colours.matrix {
        YuvMatrix::Bt601 => [0.299, 0.114],
        YuvMatrix::Bt709 => [0.2126, 0.0722],
    };
    let (luma, chroma, black) = match scaling.colours.range {
        YuvRange::Limited => (255.0 / 219.0, 255.0 / 224.0, 16.0),
        YuvRange::Full => (1.0, 1.0, 0.0),
    };
    let green = 1.0 - red - blue;
    let (red_v, blue_u) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
    let (green_u, green_v) = (-blue_u * blue / green, -red_v * red / green);
    let f = |value: f64| (value / 256.0) as f32;
    let offset = |sum: f64| (-black * luma - 128.0 * sum) as f32;
    let [width, height] = scaling.image_px;
    let mut image = vec![114; width * height * 3];
    for row in 0..scaling.to.height {
        for column in 0..scaling.to.width {
            let x = between(scaling.from.left, scaling.from.width, scaling.to.width, column);
            let y = between(scaling.from.top, scaling.from.height, scaling.to.height, row);
            let chroma = [x / 2.0, (y - 0.5) / 2.0];
            let luma = sample(frame, 0, [x, y]) * f(luma);
            let (u, v) = (sample(frame, 1, chroma), sample(frame, 2, chroma));
            let rgb = [
                luma + offset(red_v) + v * f(red_v),
                luma + offset(green_u + green_v) + u * f(green_u) + v * f(green_v),
                luma + offset(blue_u) + u * f(blue_u),
            ];
            let at = ((scaling.to.top + row) * width + scaling.to.left + column) * 3;
            for (channel, value) in rgb.into_iter().enumerate() {
                let channel = if scaling.bgr { 2 - channel } else { channel };
                image[at + channel] = value.round_ties_even().clamp(0.0, 255.0) as u8;
            }
        }
    }
    image
}

#[test]
fn scaled_frames_equal_a_plain_computation_on_every_instruction_set() {
    let cases = [
        ([192, 108], [64, 36], [64, 64]),
        ([128, 72], [64, 36], [64, 64]),
        ([64, 64], [64, 64], [64, 64]),
        ([50, 38], [130, 99], [160, 130]),
        ([333, 187], [101, 57], [105, 60]),
        ([1, 1], [32, 32], [32, 32]),
        ([2, 50], [1, 32], [32, 32]),
        ([999, 17], [64, 1], [64, 64]),
    ];
    for (size_px, [width, height], image_px) in cases {
        for (colours, bgr) in [(VIDEO, false), (JPEG, true)] {
            let [left, top] = [(image_px[0] - width) / 2, (image_px[1] - height) / 2];
            let to = Region { left, top, width, height };
            let scaling =
                YuvScaling { frame_px: size_px, from: whole(size_px), image_px, to, colours, bgr };
            let frame = Frame::noise(size_px, 5);
            let expected = reference(&frame, scaling);
            for isa in Isa::available() {
                assert!(frame.scaled(isa, scaling) == expected, "{isa}: {scaling:?}");
            }
        }
    }
}

#[test]
fn scaled_part_of_a_frame_equals_a_plain_computation_on_every_instruction_set() {
    let frame_px = [321, 181];
    let frame = Frame::noise(frame_px, 0);
    let parts = [[1, 1, 1, 1], [320, 180, 1, 1], [17, 33, 200, 101], [0, 80, 321, 101]];
    for [left, top, width, height] in parts {
        let from = Region { left, top, width, height };
        let image_px = [96, 80];
        let to = Region { left: 3, top: 2, width: 90, height: 77 };
        let scaling = YuvScaling { frame_px, from, image_px, to, colours: VIDEO, bgr: false };
        let expected = reference(&frame, scaling);
        for isa in Isa::available() {
            assert!(frame.scaled(isa, scaling) == expected, "{isa}: {scaling:?}");
        }
    }
}

#[test]
fn scaled_frame_of_one_colour_is_that_colour() {
    // ITU-R BT.709, limited: white, black, and what is beyond them; BT.601, full: JPEG's red.
    let cases = [
        (VIDEO, [235, 128, 128], [255, 255, 255]),
        (VIDEO, [16, 128, 128], [0, 0, 0]),
        (VIDEO, [255, 128, 128], [255, 255, 255]),
        (VIDEO, [0, 128, 128], [0, 0, 0]),
        (VIDEO, [63, 102, 240], [255, 1, 0]),
        (JPEG, [76, 85, 255], [254, 0, 0]),
        (JPEG, [255, 128, 128], [255, 255, 255]),
    ];
    for (colours, yuv, rgb) in cases {
        let frame = Frame::new([20, 10], 0, |plane, _, _| yuv[plane]);
        let (size_px, image_px) = ([20, 10], [7, 9]);
        let (from, to) = (whole(size_px), whole(image_px));
        let scaling = YuvScaling { frame_px: size_px, from, image_px, to, colours, bgr: false };
        for isa in Isa::available() {
            let image = frame.scaled(isa, scaling);
            assert!(image.chunks_exact(3).all(|pixel| pixel == rgb), "{yuv:?}: {:?}", &image[..3]);
        }
    }
}

#[test]
fn scaler_of_a_region_outside_is_an_error() {
    let frame_px = [20, 10];
    let regions = [[20, 0, 1, 1], [0, 0, 21, 1], [0, 9, 1, 2], [0, 0, 0, 1], [usize::MAX, 0, 2, 1]];
    for [left, top, width, height] in regions {
        let region = Region { left, top, width, height };
        let scaling = |from, to| YuvScaling {
            frame_px,
            from,
            image_px: frame_px,
            to,
            colours: JPEG,
            bgr: false,
        };
        let whole = whole(frame_px);
        for (name, scaling) in
            [("frame", scaling(region, whole)), ("image", scaling(whole, region))]
        {
            let error = YuvScaler::new(scaling).map(|_| ()).expect_err("outside");
            assert!(matches!(error, KernelError::Region { operand, .. } if operand == name));
        }
    }
}

#[test]
fn scaler_of_a_short_plane_or_image_is_an_error() {
    let frame_px = [20, 10];
    let whole = whole(frame_px);
    let scaling = YuvScaling {
        frame_px,
        from: whole,
        image_px: frame_px,
        to: whole,
        colours: JPEG,
        bgr: false,
    };
    let frame = Frame::noise(frame_px, 0);
    let mut scaler = YuvScaler::new(scaling).expect("regions fit");
    let mut run = |planes: &[Plane<'_>; 3], bytes: usize| {
        scaler.run(Isa::best(), planes, &mut vec![0; bytes]).expect_err("too short")
    };
    for (at, name) in ["y", "u", "v"].into_iter().enumerate() {
        let mut planes = frame.views();
        planes[at].bytes = &planes[at].bytes[1..];
        let error = run(&planes, 600);
        assert!(matches!(error, KernelError::Length { operand, .. } if operand == name));
        planes = frame.views();
        planes[at].stride_bytes -= 1;
        let error = run(&planes, 600);
        assert!(matches!(error, KernelError::Length { operand, .. } if operand == name));
    }
    let error = run(&frame.views(), 599);
    assert!(matches!(error, KernelError::Length { operand: "image", .. }));
}

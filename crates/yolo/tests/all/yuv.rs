//! Frames of video against the way round by an image: converted whole, in f64, then letterboxed.

use crate::frames::Frame;
use image::{Rgb, RgbImage};
use ir::{DataType, Graph, TensorType};
use runtime::PlanOptions;
use testkit::tiny;
use yolo::{
    CompiledDetector, LETTERBOX, Letterbox, ModelInput, Placement, Preprocess, Region, Thresholds,
    YoloError, YuvColours, YuvFrame, YuvMatrix, YuvPixels, YuvPlane, YuvRange, letterbox,
};

const VIDEO: YuvColours = YuvColours { matrix: YuvMatrix::Bt709, range: YuvRange::Limited };
const CAMERA: YuvColours = YuvColours { matrix: YuvMatrix::Bt601, range: YuvRange::Full };
const THRESHOLDS: Thresholds = Thresholds { conf: 0.25, iou: 0.6 };

impl Frame {
    fn view(&self) -> YuvFrame<'_> {
        YuvFrame::contiguous(&self.bytes, self.size_px, self.colours).unwrap()
    }
}

/// A network's input of so many channels.
fn input(channels: &[usize], [width, height]: [usize; 2], preprocess: Preprocess) -> ModelInput {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    for (i, &c) in channels.iter().enumerate() {
        edit.input(&format!("x{i}"), TensorType::new(DataType::F32, [1, c, height, width]));
    }
    graph.apply(edit).unwrap();
    ModelInput::new(&graph, preprocess).unwrap()
}

/// Colours that change slowly over the image, and never so far that a channel is cut off.
fn smooth(width: u32, height: u32) -> RgbImage {
    let wave = |at: f32| (128.0 + 80.0 * at.sin()) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
        Rgb([wave(5.0 * x + y), wave(3.0 * y - 2.0 * x), wave(4.0 * (x + y))])
    })
}

/// Largest and mean difference.
fn differences(a: &[u8], b: &[u8]) -> [f64; 2] {
    assert_eq!(a.len(), b.len());
    let all = || a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)));
    [all().fold(0.0, f64::max), all().sum::<f64>() / a.len() as f64]
}

#[test]
fn pixels_of_smooth_frames_are_those_of_their_images() {
    use Placement::{Centered, TopLeft};
    let cases = [
        ([1920, 1080], [640, 640], Centered),
        ([1280, 720], [640, 640], TopLeft),
        ([641, 479], [320, 416], Centered),
        ([333, 501], [640, 640], TopLeft),
        ([320, 320], [320, 320], Centered),
    ];
    for ([width, height], size, placement) in cases {
        for (colours, bgr) in [(VIDEO, false), (CAMERA, true)] {
            let preprocess = Preprocess { placement, bgr, ..LETTERBOX };
            let input = input(&[3], size, preprocess);
            let frame = Frame::new(&smooth(width, height), colours);
            let mut into = YuvPixels::default();
            let geometry = input.pixels_of_yuv(&frame.view(), &mut into).unwrap();
            let found = &into.pixels().bytes;
            let mut expected = letterbox(&frame.to_rgb(), &geometry);
            if bgr {
                expected.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
            }
            let [most, mean] = differences(found, &expected);
            assert!(most <= 2.0 && mean < 0.2, "{width} x {height}, {placement:?}: {most} {mean}");
        }
    }
}

#[test]
fn pixels_of_a_part_are_those_of_the_part_of_the_image() {
    let input = input(&[3], [320, 320], LETTERBOX);
    let frame = Frame::new(&smooth(641, 361), VIDEO);
    let whole = frame.to_rgb();
    let mut into = YuvPixels::default();
    for [left, top, width, height] in [[0, 0, 641, 361], [101, 51, 300, 173], [640, 360, 1, 1]] {
        let region = Region { left, top, width, height };
        let geometry = input.pixels_of_yuv(&frame.view().crop(region).unwrap(), &mut into).unwrap();
        let [x, y, w, h] = [left, top, width, height].map(|side| side as u32);
        let part = image::imageops::crop_imm(&whole, x, y, w, h).to_image();
        let [most, mean] = differences(&into.pixels().bytes, &letterbox(&part, &geometry));
        assert!(most <= 2.0 && mean < 0.2, "{region:?}: {most} {mean}");
    }
}

#[test]
fn pixels_of_frames_of_changing_sizes_keep_nothing_of_the_last() {
    let input = input(&[3], [64, 64], LETTERBOX);
    let mut into = YuvPixels::default();
    for size in [[64, 64], [128, 32], [32, 128], [32, 128]] {
        let frame = Frame::new(&smooth(size[0], size[1]), CAMERA);
        input.pixels_of_yuv(&frame.view(), &mut into).unwrap();
        let mut anew = YuvPixels::default();
        input.pixels_of_yuv(&frame.view(), &mut anew).unwrap();
        assert_eq!(into.pixels(), anew.pixels(), "{size:?}");
    }
}

#[test]
fn pixels_for_a_gray_network_are_the_brightness() {
    let frame = Frame::new(&smooth(200, 100), CAMERA);
    let mut into = YuvPixels::default();
    let geometry =
        input(&[1], [64, 64], LETTERBOX).pixels_of_yuv(&frame.view(), &mut into).unwrap();
    assert_eq!((into.pixels().channels, into.pixels().bytes.len()), (1, 64 * 64));
    let gray: Vec<u8> = letterbox(&frame.to_rgb(), &geometry)
        .chunks_exact(3)
        .map(|p| {
            let [r, g, b] = [p[0], p[1], p[2]].map(f64::from);
            (0.299 * r + 0.587 * g + 0.114 * b).round() as u8
        })
        .collect();
    let [most, mean] = differences(&into.pixels().bytes, &gray);
    assert!(most <= 2.0 && mean < 0.5, "{most} {mean}");
}

#[test]
fn pixels_for_several_images_of_a_scene_are_an_error() {
    let frame = Frame::new(&smooth(20, 10), CAMERA);
    for channels in [&[3, 1][..], &[6]] {
        let input = input(channels, [64, 64], LETTERBOX);
        let error = input.pixels_of_yuv(&frame.view(), &mut YuvPixels::default()).unwrap_err();
        assert!(matches!(error, YoloError::ImageCount { expected: 2, found: 1 }), "{error}");
    }
}

#[test]
fn frame_of_planes_that_do_not_hold_it_is_an_error() {
    let bytes = [0u8; 64];
    let plane = |bytes, stride_bytes| YuvPlane { bytes, stride_bytes };
    // 7 x 5: four by three samples of U and V.
    let good = [plane(&bytes[..35], 7), plane(&bytes[..12], 4), plane(&bytes[..18], 7)];
    assert!(YuvFrame::new(good, [7, 5], VIDEO).is_ok());
    for at in 0..3 {
        let mut short = good;
        short[at].bytes = &short[at].bytes[1..];
        let mut narrow = good;
        narrow[at].stride_bytes = 3;
        for planes in [short, narrow] {
            let error = YuvFrame::new(planes, [7, 5], VIDEO).map(|_| ()).unwrap_err();
            let name = ["plane Y", "plane U", "plane V"][at];
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
    for size in [[0, 5], [7, 0], [usize::MAX, 2], [2, usize::MAX]] {
        assert!(YuvFrame::new(good, size, VIDEO).is_err());
        assert!(YuvFrame::contiguous(&bytes, size, VIDEO).is_err());
    }
    assert!(YuvFrame::contiguous(&bytes[..59], [7, 5], VIDEO).is_ok());
    assert!(YuvFrame::contiguous(&bytes[..58], [7, 5], VIDEO).is_err());
}

#[test]
fn crop_outside_the_frame_is_an_error() {
    let frame = Frame::new(&smooth(20, 10), CAMERA);
    for [left, top, width, height] in [[20, 0, 1, 1], [0, 0, 21, 1], [0, 5, 1, 6], [3, 3, 0, 1]] {
        let region = Region { left, top, width, height };
        let error = frame.view().crop(region).map(|_| ()).unwrap_err();
        assert!(matches!(error, YoloError::Kernel(_)), "{error}");
    }
}

/// A drawn scene, four times as large, in a larger frame of gray.
fn scene(seed: u64, [left, top]: [u32; 2]) -> RgbImage {
    let side = u32::try_from(tiny::SIDE_PX).unwrap();
    let small = RgbImage::from_raw(side, side, tiny::scene(seed).rgb).unwrap();
    let mut large = RgbImage::from_pixel(4 * side + left, 4 * side + top, Rgb([114; 3]));
    for (x, y, pixel) in large.enumerate_pixels_mut() {
        if x >= left && y >= top {
            *pixel = *small.get_pixel((x - left) / 4, (y - top) / 4);
        }
    }
    large
}

#[test]
fn detect_yuv_finds_what_detect_finds_in_the_image() {
    let compiled = CompiledDetector::open(tiny::detector(), None, &PlanOptions::default()).unwrap();
    let mut detector = compiled.session(1).unwrap();
    let mut found = 0;
    for seed in 0..8 {
        let frame = Frame::new(&scene(seed, [0, 0]), CAMERA);
        let expected = detector.detect(&[frame.to_rgb()], THRESHOLDS).unwrap();
        let ours = detector.detect_yuv(&frame.view(), THRESHOLDS).unwrap();
        assert_eq!(ours.len(), expected.len());
        for (a, b) in ours.iter().zip(&expected) {
            let near = [(a.bbox.left, b.bbox.left), (a.bbox.bottom, b.bbox.bottom)];
            let near = near.iter().all(|(a, b)| (a - b).abs() < 1.0);
            assert!(a.class == b.class && near, "{a:?} {b:?}");
        }
        found += ours.len();
    }
    assert!(found > 8, "{found} detections");
}

#[test]
fn detect_yuv_in_a_part_gives_boxes_in_pixels_of_the_frame() {
    let compiled = CompiledDetector::open(tiny::detector(), None, &PlanOptions::default()).unwrap();
    let mut detector = compiled.session(1).unwrap();
    let alone = Frame::new(&scene(1, [0, 0]), CAMERA);
    let alone_found = detector.detect_yuv(&alone.view(), THRESHOLDS).unwrap();
    let framed = Frame::new(&scene(1, [40, 26]), CAMERA);
    let [width, height] = alone.size_px;
    let region = Region { left: 40, top: 26, width, height };
    let part = framed.view().crop(region).unwrap();
    assert_eq!((part.region(), part.size_px()), (region, framed.size_px));
    let found = detector.detect_yuv(&part, THRESHOLDS).unwrap();
    assert!(!found.is_empty());
    assert_eq!(found.len(), alone_found.len());
    for (a, b) in found.iter().zip(&alone_found) {
        let near = [(a.bbox.left, b.bbox.left + 40.0), (a.bbox.bottom, b.bbox.bottom + 26.0)];
        assert!(near.iter().all(|(a, b)| (a - b).abs() < 1.0), "{a:?} {b:?}");
    }
}

#[test]
fn letterbox_of_a_part_is_that_of_an_image_of_its_size() {
    let frame = Frame::new(&smooth(200, 100), VIDEO);
    let region = Region { left: 7, top: 9, width: 50, height: 80 };
    let part = frame.view().crop(region).unwrap();
    let geometry =
        input(&[3], [64, 32], LETTERBOX).pixels_of_yuv(&part, &mut YuvPixels::default()).unwrap();
    assert_eq!(geometry, Letterbox::new(Placement::Centered, [50, 80], [64, 32]));
}

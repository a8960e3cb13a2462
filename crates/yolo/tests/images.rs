//! `read_rgb`: every kind of image that is read, and what is said of broken ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};
use yolo::{read_rgb, read_size};

fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 5) as u8, (y * 7) as u8, (x + y) as u8])
    })
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95)
        .encode_image(image)
        .expect("encodable");
    bytes
}

/// A JPEG whose EXIF segment gives an orientation.
fn jpeg_with_orientation(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let bytes = jpeg(image);
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&bytes[..2], &[0xff, 0xe1], &length, &exif, &bytes[2..]].concat()
}

#[test]
fn read_rgb_kinds_of_pixels_become_rgb() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gray = ImageBuffer::from_pixel(3, 2, Luma([77u8]));
    let gray_alpha = ImageBuffer::from_pixel(3, 2, LumaA([77u8, 9]));
    let gray_deep = ImageBuffer::from_pixel(3, 2, Luma([0x4dff_u16]));
    let rgba = ImageBuffer::from_pixel(3, 2, Rgba([1u8, 2, 3, 0]));
    let deep = ImageBuffer::from_pixel(3, 2, Rgb([0x01ff_u16, 0x0280, 0x0300]));
    let deep_alpha = ImageBuffer::from_pixel(3, 2, Rgba([0x01ff_u16, 0x0280, 0x0300, 5]));
    let cases: [(&str, DynamicImage, [u8; 3]); 8] = [
        ("gray.png", gray.clone().into(), [77; 3]),
        ("gray.bmp", gray.into(), [77; 3]),
        ("gray_alpha.png", gray_alpha.into(), [77; 3]),
        ("gray_16.png", gray_deep.into(), [77; 3]),
        ("rgba.png", rgba.clone().into(), [1, 2, 3]),
        ("rgba.webp", rgba.into(), [1, 2, 3]),
        ("rgb_16.png", deep.into(), [1, 2, 3]),
        ("rgba_16.png", deep_alpha.into(), [1, 2, 3]),
    ];
    for (name, image, expected) in cases {
        let path = folder.path().join(name);
        image.save(&path).expect("encodable");
        let rgb = read_rgb(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (rgb.dimensions(), rgb.get_pixel(2, 1)),
            ((3, 2), &Rgb(expected)),
            "{name}"
        );
        assert_eq!(read_size(&path).expect("a header"), (3, 2));
    }
}

#[test]
fn read_rgb_exif_orientation_turns_the_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("turned.jpg");
    let image = gradient(32, 16);
    for (orientation, size) in [(1, (32, 16)), (3, (32, 16)), (6, (16, 32)), (8, (16, 32))] {
        fs::write(&path, jpeg_with_orientation(&image, orientation)).expect("writable");
        let rgb = read_rgb(&path).expect("a good JPEG");
        assert_eq!(rgb.dimensions(), size, "{orientation}");
        assert_eq!(read_size(&path).expect("a header"), size, "{orientation}");
        // Blue is least where x + y is least: the original's top left corner.
        let corner = match orientation {
            1 => (0, 0),
            3 => (31, 15),
            6 => (15, 0),
            _ => (0, 31),
        };
        assert!(
            rgb.get_pixel(corner.0, corner.1)[2] < 12,
            "{orientation}: {rgb:?}"
        );
    }
}

#[test]
fn read_rgb_broken_says_what() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broken");
    let good = jpeg(&gradient(64, 48));
    let mut png = Vec::new();
    let mut cursor = std::io::Cursor::new(&mut png);
    gradient(64, 48)
        .write_to(&mut cursor, image::ImageFormat::Png)
        .expect("encodable");
    // A thumbnail's end-of-image in a segment before the scan, as cameras write it.
    let thumbnail = [
        &good[..2],
        &[0xff, 0xec, 0, 6, 0xff, 0xd8, 0xff, 0xd9],
        &good[2..],
    ]
    .concat();
    let bomb = bmp_header(60_000, 60_000);
    let heavy = bmp_header(16_000, 16_000);
    let cases: [(&[u8], &str); 9] = [
        (b"", "not a JPEG, PNG, BMP or WebP image"),
        (
            b"GIF89a\x01\0\x01\0\0\0\0;",
            "not a JPEG, PNG, BMP or WebP image",
        ),
        (
            &good[..good.len() / 2],
            "truncated JPEG: no end-of-image marker",
        ),
        (
            &thumbnail[..thumbnail.len() / 2],
            "truncated JPEG: no end-of-image marker",
        ),
        (&good[..3], "truncated JPEG"),
        (&png[..png.len() / 2], "broken: "),
        (&png[..20], "broken: "),
        (
            &bomb,
            "image claims 60000x60000 pixels; at most 16384 a side and 536870912 bytes",
        ),
        (&heavy, "image claims 16000x16000 pixels"),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).expect("writable");
        let message = read_rgb(&path).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
    let message = read_rgb(&folder.path().join("gone.jpg"))
        .expect_err("no file")
        .to_string();
    assert!(message.starts_with("cannot read "), "{message}");
    fs::write(&path, &thumbnail).expect("writable");
    read_rgb(&path).expect("a whole JPEG with a thumbnail");
}

fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([1, 0, 24, 0]);
    bytes.resize(54, 0);
    bytes
}

#[test]
fn read_rgb_any_damage_is_an_image_or_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged");
    let encoded = |format| {
        let mut bytes = Vec::new();
        let mut cursor = std::io::Cursor::new(&mut bytes);
        gradient(24, 24)
            .write_to(&mut cursor, format)
            .expect("encodable");
        bytes
    };
    let formats = [image::ImageFormat::Jpeg, image::ImageFormat::Png];
    let others = [image::ImageFormat::Bmp, image::ImageFormat::WebP];
    let mut state = 1u32;
    for good in formats.into_iter().chain(others).map(encoded) {
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = (state >> 3) as u8;
            }
            fs::write(&path, &bytes).expect("writable");
            let _ = (read_rgb(&path), read_size(&path));
        }
    }
}

/// OpenCV's decoder is the referee: mAP of the same weights is compared with pipelines built on it.
#[test]
fn read_rgb_jpegs_are_close_to_opencv() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !assets.is_dir() {
        println!("skipped: decoded pixels against OpenCV (no ../shared/assets)");
        return;
    }
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let turned = folder.path().join("turned.jpg");
    fs::write(&turned, jpeg_with_orientation(&gradient(96, 64), 6)).expect("writable");
    let mut files = vec![
        assets.join("photos/bus.jpg"),
        assets.join("photos/zidane.jpg"),
        turned,
    ];
    files.extend(first_files(&assets.join("coco/images/val"), 8));
    files.extend(first_files(&assets.join("deeppcb/images/val"), 4));
    let script = "import sys, cv2\nfor i, f in enumerate(sys.argv[2:]): \
                  open(f'{sys.argv[1]}/{i}.rgb', 'wb').write(cv2.imread(f)[:, :, ::-1].tobytes())";
    let run = Command::new(&python)
        .args(["-c", script])
        .arg(folder.path())
        .args(&files)
        .output();
    if !run.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: decoded pixels against OpenCV (no {python} with cv2)");
        return;
    }
    for (index, file) in files.iter().enumerate() {
        let theirs = fs::read(folder.path().join(format!("{index}.rgb"))).expect("just written");
        let ours = read_rgb(file).expect("a good JPEG").into_raw();
        assert_eq!(ours.len(), theirs.len(), "{}", file.display());
        let differences: Vec<u8> = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| a.abs_diff(*b))
            .collect();
        let most = differences.iter().max().copied().unwrap_or(0);
        let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / ours.len() as f64;
        println!("{}: max {most}, mean {mean:.4}", file.display());
        assert!(
            most <= 4 && mean < 0.2,
            "{}: max {most}, mean {mean}",
            file.display()
        );
    }
}

fn first_files(folder: &Path, count: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("assets");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("assets").path()).collect();
    files.sort();
    files.truncate(count);
    files
}

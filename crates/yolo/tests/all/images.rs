//! `read_rgb`: every kind of image that is read, and what is said of broken ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use yolo::{is_image_name, lacks_end_marker, read_rgb, read_size};

fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x + y) as u8]))
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(image).expect("encodable");
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
    let faded = ImageBuffer::from_pixel(3, 2, Rgba([100u8, 200, 255, 128]));
    let faded = DynamicImage::from(faded);
    let deep_alpha = ImageBuffer::from_pixel(3, 2, Rgba([0x01ff_u16, 0x0280, 0x0300, 5]));
    // Rounded, as libtiff does it: 0x0280 is 2.49 of 257, 0x01ff 1.99.
    let cases: [(&str, DynamicImage, [u8; 3]); 14] = [
        ("gray.tif", gray.clone().into(), [77; 3]),
        ("gray_16.tiff", gray_deep.clone().into(), [77; 3]),
        ("rgb_16.tif", deep.clone().into(), [2, 2, 3]),
        ("rgba.tif", faded, [50, 100, 128]),
        ("gray.pgm", gray.clone().into(), [77; 3]),
        ("rgb_16.ppm", deep.clone().into(), [1, 2, 3]),
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
        assert_eq!((rgb.dimensions(), rgb.get_pixel(2, 1)), ((3, 2), &Rgb(expected)), "{name}");
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
        assert!(rgb.get_pixel(corner.0, corner.1)[2] < 12, "{orientation}: {rgb:?}");
    }
}

#[test]
fn read_rgb_broken_says_what() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broken");
    let good = jpeg(&gradient(64, 48));
    let mut png = Vec::new();
    let mut cursor = std::io::Cursor::new(&mut png);
    gradient(64, 48).write_to(&mut cursor, image::ImageFormat::Png).expect("encodable");
    // A thumbnail's end-of-image in a segment before the scan, as cameras write it.
    let thumbnail = [&good[..2], &[0xff, 0xec, 0, 6, 0xff, 0xd8, 0xff, 0xd9], &good[2..]].concat();
    let bomb = bmp_header(60_000, 60_000);
    let just_too_large = bmp_header(13_378, 13_378);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let unread = "not a JPEG, PNG, BMP, WebP, TIFF or PNM image";
    // An end-of-image marker behind half an image makes it no whole one.
    let closed = [&good[..good.len() / 2], &[0xff, 0xd9]].concat();
    let cases: [(&[u8], &str); 11] = [
        (b"", "the file is empty"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", unread),
        (pointer, "git lfs pull"),
        (&good[..good.len() / 2], "truncated JPEG"),
        (&thumbnail[..thumbnail.len() / 2], "truncated JPEG"),
        (&closed, "truncated JPEG"),
        (&good[..3], "JPEG"),
        (&png[..png.len() / 2], "broken: "),
        (&png[..20], "broken: "),
        (&bomb, "image claims 60000x60000 pixels; at most 178956970 are read"),
        (&just_too_large, "image claims 13378x13378 pixels"),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).expect("writable");
        let message = read_rgb(&path).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
    let message = read_rgb(&folder.path().join("gone.jpg")).expect_err("no file").to_string();
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
fn read_rgb_without_end_marker_is_the_whole_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("camera.jpg");
    let good = jpeg(&gradient(64, 48));
    fs::write(&path, &good).expect("writable");
    let whole = read_rgb(&path).expect("a good JPEG");
    assert!(!lacks_end_marker(&path));
    fs::write(&path, &good[..good.len() - 2]).expect("writable");
    assert_eq!(read_rgb(&path).expect("whole but for its marker"), whole);
    assert!(lacks_end_marker(&path));
    let padded = [&good[..], &[0; 512]].concat();
    fs::write(&path, padded).expect("writable");
    assert_eq!(read_rgb(&path).expect("a JPEG and more"), whole);
    assert!(!lacks_end_marker(&path));
    gradient(8, 8).save_with_format(&path, ImageFormat::Png).expect("writable");
    assert!(!lacks_end_marker(&path));
    assert!(!lacks_end_marker(&folder.path().join("gone.jpg")));
}

#[test]
fn read_rgb_is_told_by_content_and_found_by_any_case_of_its_ending() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("lies.JPG");
    gradient(9, 7).save_with_format(&path, ImageFormat::Tiff).expect("writable");
    assert_eq!(read_rgb(&path).expect("a TIFF"), gradient(9, 7));
    for name in ["a.JPG", "b.Jpeg", "c.TIFF", "d.mpo", "e.webp", "f.ppm"] {
        assert!(is_image_name(Path::new(name)), "{name}");
    }
    for name in ["a.gif", "jpg", "b.jpg.txt", "c.dng"] {
        assert!(!is_image_name(Path::new(name)), "{name}");
    }
}

#[test]
#[cfg(unix)]
fn read_rgb_of_a_pipe_or_a_device_is_an_error_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe.jpg");
    let made = Command::new("mkfifo").arg(&pipe).status();
    let mut paths = vec![PathBuf::from("/dev/zero")];
    paths.extend(made.is_ok_and(|m| m.success()).then_some(pipe));
    for path in paths {
        for message in [read_rgb(&path).err(), read_size(&path).err()] {
            let message = message.expect("no image").to_string();
            assert!(message.contains("not a regular file"), "{message}");
        }
        assert!(!lacks_end_marker(&path));
    }
}

#[test]
fn read_rgb_any_damage_is_an_image_or_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged");
    let encoded = |format| {
        let mut bytes = Vec::new();
        let mut cursor = std::io::Cursor::new(&mut bytes);
        gradient(24, 24).write_to(&mut cursor, format).expect("encodable");
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

/// OpenCV's decoder is the referee: mAP of the same weights is compared with pipelines built on it. It also writes the
/// images: JPEGs of every subsampling, and of the other formats what they differ in.
#[test]
fn read_rgb_pixels_equal_those_of_opencv() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = gradient(96, 64);
    fs::write(folder.path().join("turned.jpg"), jpeg_with_orientation(&image, 6))
        .expect("writable");
    fs::write(folder.path().join("inks.jpg"), jpeg_of_inks(31, 17)).expect("writable");
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    let mut files = Vec::new();
    if assets.is_dir() {
        files.extend(["bus.jpg", "zidane.jpg"].map(|name| assets.join("photos").join(name)));
        files.extend(first_files(&assets.join("coco/images/val"), 8));
        files.extend(first_files(&assets.join("deeppcb/images/val"), 4));
    } else {
        println!("skipped: pixels of real photos against OpenCV (no ../shared/assets)");
    }
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/referee_pixels.py");
    let run = Command::new(&python).arg(script).arg(folder.path()).args(&files).output();
    let listed = match run {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => {
            println!("skipped: decoded pixels against OpenCV (no {python} with cv2)");
            return;
        }
    };
    assert!(listed.lines().count() >= 50, "{listed}");
    for line in listed.lines() {
        let (pixels, file) = line.split_once('\t').expect("two columns");
        let theirs = fs::read(pixels).expect("just written");
        let ours = read_rgb(Path::new(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ours.as_raw().len(), theirs.len(), "{file}");
        let differences = ours.as_raw().iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b));
        let most = differences.clone().max().unwrap_or(0);
        let mean = differences.map(f64::from).sum::<f64>() / theirs.len() as f64;
        assert!(mean < 0.02 && most <= 4, "{file}: max {most}, mean {mean}");
    }
}

/// A JPEG of four inks, as Adobe writes them.
fn jpeg_of_inks(width: usize, height: usize) -> Vec<u8> {
    let inks: Vec<u8> = (0..width * height * 4).map(|i| (i * 37 % 251) as u8).collect();
    let (format, subsampling) =
        (libjpeg_turbo_rs::PixelFormat::Cmyk, libjpeg_turbo_rs::Subsampling::S444);
    libjpeg_turbo_rs::compress(&inks, width, height, format, 95, subsampling).expect("encodable")
}

fn first_files(folder: &Path, count: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("assets");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("assets").path()).collect();
    files.sort();
    files.truncate(count);
    files
}

//! Data sets as people have them: what is understood, and what is said of it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use yolo::{Dataset, YoloError};

/// A folder with files given as (path, text); images are tiny PNGs.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        write(folder.path(), name, text.as_bytes());
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    if yolo::is_image_name(&path) {
        image::RgbImage::new(4, 2)
            .save_with_format(&path, image::ImageFormat::Png)
            .expect("writable");
    } else {
        fs::write(&path, bytes).expect("writable");
    }
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, "val").unwrap_or_else(|error| panic!("{error}"))
}

fn told(dataset: &Dataset, expected: &str) {
    let all = &dataset.warnings;
    assert!(all.iter().any(|w| w.contains(expected)), "{expected}: {all:?}");
}

const BOX: &str = "0 0.5 0.5 0.5 1\n";

#[test]
fn label_lines_of_one_object_count_once_and_it_is_said() {
    let lines = [
        "0 0.5 0.5 0.5 1",
        "1 0.5 0.5 0.5 1",
        // The same numbers, written otherwise.
        "0.0\t.5 5e-1 0.50 1.0 ",
        // Equal in 32 bits.
        "0 0.5 0.500000000001 0.5 1",
        // Its box is that of the first line.
        "0 0.25 0 0.75 0 0.75 1 0.25 1",
        "0 0.5 0.5 0.5 0.9",
    ];
    let root = folder(&[
        ("data.yaml", "val: images\nnames: [a, b]\n"),
        ("images/a.jpg", ""),
        ("images/b.jpg", ""),
        ("labels/a.txt", &lines.join("\n")),
        // The same object in another image is another object.
        ("labels/b.txt", "\u{feff}0 0.5 0.5 0.5 1\r\n"),
    ]);
    let dataset = open(&root.path().join("data.yaml"));
    assert_eq!(dataset.duplicate_labels, 3);
    assert_eq!(dataset.images[0].labels.len(), 3);
    assert_eq!(dataset.images[1].labels.len(), 1);
    told(&dataset, "3 labels are exact duplicates");
    told(&dataset, "1 label files hold boxes and polygons");
}

#[test]
fn label_boxes_that_look_wrong_are_said() {
    let root = folder(&[
        ("data.yaml", "val: images\nnames: [a]\n"),
        ("images/a.jpg", ""),
        // Corners where centre and size belong, and a box without height.
        ("labels/a.txt", "0 0.1 0.1 0.9 0.9\n0 0.5 0.5 0.2 0\n"),
    ]);
    let dataset = open(&root.path().join("data.yaml"));
    assert_eq!(dataset.images[0].labels.len(), 2);
    told(&dataset, "1 labels reach more than 5 % outside of their image");
    told(&dataset, "1 labels are boxes of no width or height");
}

#[test]
fn data_yaml_forms_that_ultralytics_takes_are_taken() {
    let root = folder(&[
        ("images/val/a.jpg", ""),
        ("labels/val/a.txt", BOX),
        ("list.txt", "\u{feff}./images\\val\\a.jpg\r\n"),
    ]);
    let yaml = root.path().join("data.yaml");
    let cases: [(&[u8], &str); 12] = [
        (b"val: images/val\nnames: {\"0\": a, \"1\": b}", ""),
        (b"val: images/val/\nnames:\n  '1': b\n  0: a\n", ""),
        (b"validation: images/val\nnames: [a, b]", ""),
        (b"val: images/val\nnc: '2'\nnames: [a, b]", ""),
        (b"val: gone\nval: images/val\nnames: [a, b]", "`val` is given twice"),
        (b"val: images/val\nnames: {0: c, 0: a, 1: b}", "`0` is given twice"),
        (b"# \xca\xfd\xbe\xdd\xbc\xaf\nval: images/val\nnames: [a, b]", "not UTF-8 throughout"),
        (b"\xef\xbb\xbfval: images/val\r\nnames: [a, b]\r\n", ""),
        (b"val: images\\val\nnames: [a, b]", ""),
        (b"path: .\\images\nval: val\nnames: [a, b]", ""),
        (b"val: list.txt\nnames: [a, b]", ""),
        (b"val: images/val/a.jpg\nnames: [a, b]\ntest:\n", ""),
    ];
    for (text, warning) in cases {
        fs::write(&yaml, text).expect("writable");
        let dataset = open(&yaml);
        let text = String::from_utf8_lossy(text);
        assert_eq!(dataset.names, ["a", "b"], "{text}");
        assert_eq!(dataset.images[0].labels.len(), 1, "{text}");
        told_or_nothing(&dataset, warning, &text);
    }
    let mut wide = vec![0xff, 0xfe];
    wide.extend("val: images/val".encode_utf16().flat_map(u16::to_le_bytes));
    fs::write(&yaml, wide).expect("writable");
    let message = Dataset::open(&yaml, "val").expect_err("UTF-16").to_string();
    assert!(message.contains("UTF-16: save it as UTF-8"), "{message}");
}

fn told_or_nothing(dataset: &Dataset, warning: &str, text: &str) {
    if !warning.is_empty() {
        return told(dataset, warning);
    }
    // A root that is written with Windows' separators is another root than the first.
    let mut warnings = dataset.warnings.iter();
    let expected = warnings.all(|w| w.contains("is not there beside"));
    assert!(expected, "{text}: {:?}", dataset.warnings);
}

#[test]
fn data_yaml_paths_under_the_working_directory_are_found_beside_it_first() {
    // Tests share a working directory: what is looked for lies under a name of its own.
    let here = tempfile::tempdir_in(".").expect("a temporary folder");
    let name = here.path().file_name().expect("a name").to_string_lossy();
    write(here.path(), "images/val/a.jpg", b"");
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let yaml = elsewhere.path().join("cfg/boards.yaml");
    let text = format!("path: {name}\nval: images/val\nnames: [a]\n");
    write(elsewhere.path(), "cfg/boards.yaml", text.as_bytes());
    let dataset = open(&yaml);
    assert!(dataset.images[0].path.starts_with(name.as_ref()));
    told(&dataset, "`images/val` is not there beside the file");

    write(elsewhere.path(), &format!("cfg/{name}/images/val/b.jpg"), b"");
    let dataset = open(&yaml);
    assert!(dataset.images[0].path.ends_with("b.jpg"));
    assert!(dataset.warnings.is_empty(), "{:?}", dataset.warnings);

    let gone = format!("path: {name}/gone\nval: images/val\nnames: [a]\n");
    fs::write(&yaml, gone).expect("writable");
    let message = Dataset::open(&yaml, "val").expect_err("gone").to_string();
    let looked =
        [format!("cfg/{name}/gone/images/val"), format!("datasets/{name}/gone/images/val")];
    for place in looked {
        assert!(message.contains(&place), "{place}: {message}");
    }
}

#[test]
fn images_named_in_several_ways_count_once() {
    let root = folder(&[
        ("images/a.jpg", ""),
        ("images/deep/b.jpg", ""),
        ("list.txt", "images/a.jpg\n./images/deep/../a.jpg\nimages/a.jpg\nimages/deep/b.jpg\n"),
        ("data.yaml", "val: [images, list.txt]\nnames: [a]\n"),
    ]);
    let dataset = open(&root.path().join("data.yaml"));
    assert_eq!(dataset.images.len(), 2);
    told(&dataset, "4 images are listed more than once");
}

#[test]
fn folder_of_images_or_a_data_yaml_without_names_needs_no_labels() {
    let root = folder(&[
        ("images/a.jpg", ""),
        ("images/deep/b.PNG", ""),
        ("labels/a.txt", BOX),
        ("data.yaml", "val: images\n"),
    ]);
    for data in ["images", "data.yaml"] {
        let mut dataset = open(&root.path().join(data));
        assert_eq!(dataset.images.len(), 2, "{data}");
        assert!(!dataset.is_labelled(), "{data}");
        dataset.fit_classes(80, None).expect("nothing is labelled");
        let error = dataset.check_labelled().expect_err("no names");
        assert!(matches!(error, YoloError::NoNames), "{error}");
        let paths = Dataset::images_of(&root.path().join(data), "val");
        assert_eq!(paths.map(|p| p.len()), (data == "data.yaml").then_some(2));
    }
    let message = Dataset::open(&root.path().join("labels"), "val").expect_err("no images");
    assert!(message.to_string().starts_with("no images"), "{message}");
}

#[test]
#[cfg(unix)]
fn pipes_and_devices_in_place_of_files_are_errors_at_once() {
    let root = folder(&[("data.yaml", "val: images\nnames: [a]\n"), ("images/a.jpg", "")]);
    let link = |to: &str, name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::os::unix::fs::symlink(to, path).expect("writable");
    };
    link("/dev/zero", "labels/a.txt");
    let dataset = open(&root.path().join("data.yaml"));
    let said = dataset.bad_labels[0].to_string();
    assert!(said.contains("not a regular file"), "{said}");
    for name in ["device.yaml", "device.json"] {
        link("/dev/zero", name);
        let message = Dataset::open(&root.path().join(name), "val").expect_err(name);
        let message = message.to_string();
        assert!(message.contains("not a regular file"), "{message}");
    }
}

#[test]
fn label_text_that_steers_a_terminal_is_shown_as_escapes() {
    let root = folder(&[
        ("data.yaml", "val: images\nnames: [a]\n"),
        ("images/a.jpg", ""),
        ("labels/a.txt", "0 \u{1b}]0;owned\u{7} 0.5 0.5 1\n"),
    ]);
    let dataset = open(&root.path().join("data.yaml"));
    let said = dataset.bad_labels[0].to_string();
    assert!(!said.contains(char::is_control), "{said:?}");
    assert!(said.contains("\\u{1b}]0;owned\\u{7}"), "{said}");
    let long = format!("0 {}\n", "x".repeat(5000));
    write(root.path(), "labels/a.txt", long.as_bytes());
    let dataset = open(&root.path().join("data.yaml"));
    assert!(dataset.bad_labels[0].reason.len() < 100);
}

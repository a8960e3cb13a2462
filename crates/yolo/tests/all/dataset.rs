//! `Dataset::open`: layouts that are understood, and what is said of those that are not.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use yolo::{BadInput, Dataset, LabelBox, read_rgb};

/// A folder with files given as (path, text); images are tiny PNGs whatever their extension.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        match path.extension().and_then(|e| e.to_str()) {
            Some("jpg" | "png") => image::RgbImage::new(4, 2)
                .save_with_format(&path, image::ImageFormat::Png)
                .expect("writable"),
            _ => fs::write(&path, text).expect("writable"),
        }
    }
    folder
}

fn names_of(dataset: &Dataset) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
    dataset.images.iter().map(|image| name(&image.path)).collect()
}

/// Words of a parser, which a user does not know.
const RUST_WORDS: [&str; 9] =
    ["untagged", "enum", "variant", "struct", "Option", "serde", "Policy", "u64", "usize"];

const BOX: &str = "0 0.5 0.5 0.5 1\n";

#[test]
fn data_yaml_every_form_of_split_is_listed_by_file_name() {
    let files = [
        ("images/val/b.jpg", ""),
        ("images/val/a.png", ""),
        ("images/val/deep/c.jpg", ""),
        ("images/val/.hidden.jpg", ""),
        ("images/val/notes.md", ""),
        ("images/more/aa.jpg", ""),
        ("labels/val/b.txt", "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.1 0.2 0.3\n"),
        ("lists/val.txt", "../images/val/b.jpg\n\n./images/more/aa.jpg\n"),
    ];
    let cases: [(&str, &[&str]); 6] = [
        ("val: images/val", &["a.png", "b.jpg", "c.jpg"]),
        ("path: images\nval: val", &["a.png", "b.jpg", "c.jpg"]),
        ("val: ../images/val", &["a.png", "b.jpg", "c.jpg"]),
        ("val: [images/val, images/more, images/val]", &["a.png", "aa.jpg", "b.jpg", "c.jpg"]),
        ("val: lists/val.txt", &["aa.jpg", "b.jpg"]),
        ("val:\n  - lists/val.txt\n  - images/val/deep", &["aa.jpg", "b.jpg", "c.jpg"]),
    ];
    let root = folder(&files);
    let yaml = root.path().join("data.yaml");
    for (split, expected) in cases {
        fs::write(&yaml, format!("{split}\nnames: [part, 2]\nnc: 2\n")).expect("writable");
        let dataset =
            Dataset::open(&yaml, "val").unwrap_or_else(|error| panic!("{split}: {error}"));
        assert_eq!(names_of(&dataset), expected, "{split}");
        assert_eq!(dataset.names, ["part", "2"]);
        assert_eq!(dataset.category_ids, [0, 1]);
        let ids: Vec<u64> = dataset.images.iter().map(|image| image.image_id).collect();
        assert_eq!(ids, (0..expected.len() as u64).collect::<Vec<_>>());
        let b = dataset.images.iter().find(|image| image.path.ends_with("b.jpg")).expect("b");
        assert_eq!(b.labels.len(), 2, "{split}");
        assert_eq!(b.labels[0].bbox, LabelBox::Normalised([0.5, 0.5, 0.25, 0.5]));
        assert_eq!(b.objects(100, 50)[0].bbox, [37.5, 12.5, 25.0, 25.0]);
    }
}

#[test]
fn data_yaml_absolute_path_and_named_classes_are_understood() {
    let root = folder(&[("d/images/a.jpg", ""), ("d/labels/a.txt", BOX), ("y/data.yml", "")]);
    let yaml = root.path().join("y/data.yml");
    let cases = [
        ("names:\n  0: person\n  1: 3\n  2: yes\n", vec!["person", "3", "yes"]),
        ("nc: 2\n", vec!["class_0", "class_1"]),
        ("names: ['a b', \"c\"]\ndownload: |\n  echo hello\n", vec!["a b", "c"]),
    ];
    for (classes, expected) in cases {
        let text = format!("path: {}\ntest: images\n{classes}", root.path().join("d").display());
        fs::write(&yaml, text).expect("writable");
        let dataset = Dataset::open(&yaml, "test").unwrap_or_else(|e| panic!("{classes}: {e}"));
        assert_eq!(dataset.names, expected);
        assert_eq!(dataset.images[0].labels.len(), 1);
    }
}

#[test]
fn data_yaml_unusable_says_what_and_where() {
    let root = folder(&[("images/a.jpg", ""), ("empty/readme.md", "")]);
    let yaml = root.path().join("data.yaml");
    let cases = [
        ("train: images\ntest: images\nnames: [a]", "no split `val`; splits found: train, test"),
        ("val:\nnames: [a]", "no split `val`; splits found: none"),
        ("val: ''\nnames: [a]", "no split `val`; splits found: none"),
        ("val: images\nnames: [a, b]\nnc: 3", "3 classes by `nc`, but 2 by `names`"),
        ("val: images\nnames: {0: a, 2: b}", "`names` has 2 entries but none for class 1"),
        (
            "val: images\nnc: 99999999999",
            "`nc` is 99999999999: expected a number of classes from 1 to 65536",
        ),
        ("val: images\nnc: many", "`nc` is many: expected a number"),
        ("val: empty\nnames: [a]", "webp) for split `val` in"),
        (
            "val: gone\nnames: [a]",
            "`gone`, which is to hold the split `val`, is not there; looked for at",
        ),
        ("path: nowhere\nval: images\nnames: [a]", "/datasets/nowhere/images"),
        ("val: [images\nnames: [a]", "not a usable data.yaml: line 2"),
        ("val: images\nnames: {a: b}", "`names` has the key `a`: classes are numbered from 0"),
        ("val: images\nnames: part", "`names` is a text: expected a list"),
        ("val: {a: b}\nnames: [a]", "`val` is a map: expected a folder"),
        ("path: [a]\nval: images\nnames: [a]", "`path` is a list: expected a folder"),
        ("- val: images", "expected the keys `path`"),
        ("", "expected the keys `path`"),
        ("val:\timages\n\tnames: [a]", "not a usable data.yaml: line"),
        ("val: images\n---\nval: images", "a second document begins"),
    ];
    for (text, expected) in cases {
        fs::write(&yaml, text).expect("writable");
        let message = Dataset::open(&yaml, "val").expect_err(text).to_string();
        assert!(message.contains(expected), "{text}\n{message}");
        for word in RUST_WORDS {
            assert!(!message.contains(word), "{text}\n{message}");
        }
        assert!(message.contains(&root.path().display().to_string()), "{message}");
    }
    let cases = [
        ("data.csv", "data.csv is not a data set: expected a data.yaml (.yaml, .yml), COCO"),
        ("gone.yaml", "gone.yaml: No such file or directory"),
        ("gone.json", "gone.json: No such file or directory"),
    ];
    for (name, expected) in cases {
        let message = Dataset::open(&root.path().join(name), "val").expect_err(name).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn label_lines_few_bad_are_skipped_and_more_are_an_error() {
    let root = folder(&[
        ("data.yaml", "val: images\nnames: [a]\n"),
        ("images/a.jpg", ""),
        ("labels/a.txt", "0 0.5 0.5 0.5 1\n0 0.5 0.5\n7 0.5 0.5 0.5 1\n0 2 0.5 0.5 1\n"),
    ]);
    let yaml = root.path().join("data.yaml");
    let dataset = Dataset::open(&yaml, "val").expect("three bad lines are within the limit");
    assert_eq!(dataset.images[0].labels.len(), 1);
    let said: Vec<String> = dataset.bad_labels.iter().map(BadInput::to_string).collect();
    let labels = root.path().join("labels/a.txt");
    assert_eq!(said[0].strip_prefix(&format!("{}:2: ", labels.display())), {
        Some("expected 5 fields or a polygon (7, 9, …), found 3")
    });
    assert!(said[1].ends_with("a.txt:3: class 7 is not one of 0..1"), "{said:?}");
    assert!(said[2].ends_with("a.txt:4: x = 2 is outside of 0..1"), "{said:?}");

    let four = format!("{}0 nan 0.5 0.5 1\n", fs::read_to_string(&labels).expect("just written"));
    fs::write(&labels, &four).expect("writable");
    let message = Dataset::open(&yaml, "val").expect_err("four bad lines").to_string();
    let expected = "4 bad labels of 5 (at most 3 are skipped), the first: ";
    assert!(message.starts_with(expected), "{message}");

    fs::write(&labels, four + &BOX.repeat(400)).expect("writable");
    let dataset = Dataset::open(&yaml, "val").expect("four of 405 are within 1 %");
    assert_eq!(dataset.bad_labels.len(), 4);
}

#[test]
fn images_unreadable_are_reported_and_counted() {
    let root = folder(&[
        ("data.yaml", "val: [images, list.txt]\nnames: [a]\n"),
        ("images/a.jpg", ""),
        ("images/b.heic", ""),
        ("list.txt", "images/gone.jpg\nimages/b.heic\n"),
    ]);
    let dataset = Dataset::open(&root.path().join("data.yaml"), "val").expect("three bad images");
    let said: Vec<String> = dataset.bad_images.iter().map(BadInput::to_string).collect();
    assert!(said[0].ends_with("b.heic: .heic images are not read"), "{said:?}");
    assert!(said[1].ends_with("list.txt:1: image `images/gone.jpg` not found"), "{said:?}");
    assert!(said[2].contains("list.txt:2: `images/b.heic` is no image that is read"), "{said:?}");

    fs::write(&dataset.images[0].path, b"no image at all").expect("writable");
    let error = read_rgb(&dataset.images[0].path).expect_err("no image");
    let bad = BadInput::image(&dataset.images[0].path, &error);
    assert!(
        bad.to_string().ends_with("a.jpg: not a JPEG, PNG, BMP, WebP, TIFF or PNM image"),
        "{bad}"
    );
    let message = dataset.check_bad_images(&[bad]).expect_err("a fourth").to_string();
    assert!(message.starts_with("4 bad images of 4 (at most 3 are skipped)"), "{message}");
}

#[test]
fn labels_nowhere_is_an_error_where_they_are_needed() {
    let root = folder(&[("data.yaml", "val: images\nnames: [a]\n"), ("images/a.jpg", "")]);
    let dataset = Dataset::open(&root.path().join("data.yaml"), "val").expect("an image");
    let message = dataset.check_labelled().expect_err("no labels").to_string();
    assert!(message.starts_with("no labels for any of 1 images"), "{message}");
    assert!(message.ends_with("labels/a.txt"), "{message}");
}

const INSTANCES: &str = r#"{
  "info": {"year": 2017},
  "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 9, "file_name": "a.jpg", "license": 1}],
  "categories": [{"id": 90, "name": "tooth"}, {"id": 1, "name": "person"}],
  "annotations": [
    {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4.5], "area": 6.5, "iscrowd": 0,
     "segmentation": [[1, 2, 3, 4]]},
    {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1}
  ]
}"#;

#[test]
fn coco_json_images_are_found_beside_it() {
    let places = [
        ("instances_val.json", ""),
        ("instances_val.json", "images/val"),
        ("instances_val.json", "images"),
        ("instances_val.json", "val2017"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/instances_val2017.json", "images/val"),
        ("annotations/instances_val.json", "images"),
    ];
    for (json, images) in places {
        let image = |name: &str| format!("{images}/{name}").trim_start_matches('/').to_owned();
        let root = folder(&[(json, INSTANCES), (&image("a.jpg"), ""), (&image("b.jpg"), "")]);
        let dataset = Dataset::open(&root.path().join(json), "val")
            .unwrap_or_else(|error| panic!("{json} with {images}: {error}"));
        assert_eq!(names_of(&dataset), ["a.jpg", "b.jpg"]);
        assert_eq!(dataset.names, ["person", "tooth"]);
        assert_eq!(dataset.category_ids, [1, 90]);
        assert_eq!((dataset.images[0].image_id, dataset.images[1].image_id), (9, 7));
        let objects = dataset.images[1].objects(10, 10);
        assert_eq!((objects[0].class, objects[0].area, objects[0].crowd), (1, 6.5, false));
        assert_eq!((objects[1].class, objects[1].area, objects[1].crowd), (0, 25.0, true));
    }
}

#[test]
fn coco_json_bad_annotations_are_skipped_and_named() {
    let bad = |annotation: &str| {
        INSTANCES.replace("\"annotations\": [", &format!("\"annotations\": [{annotation},"))
    };
    let cases = [
        (
            r#"{"id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}"#,
            "annotation 5: no usable image_id",
        ),
        (
            r#"{"id": 5, "image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1]}"#,
            "annotation 5: image_id 8 is not among the images",
        ),
        (
            r#"{"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]}"#,
            "annotation number 0: category_id 2 is not among the categories",
        ),
        (
            r#"{"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, null, 1, 1]}"#,
            "annotation 5: no bbox of four numbers",
        ),
        (
            r#"{"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1, 1]}"#,
            "annotation 5: no bbox of four numbers",
        ),
        (
            r#"{"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, -1, 1]}"#,
            "annotation 5: bbox [0.0, 0.0, -1.0, 1.0] is no box",
        ),
        (
            r#"{"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "area": "big"}"#,
            "annotation 5: area is no area",
        ),
    ];
    let root = folder(&[("a.jpg", ""), ("b.jpg", "")]);
    let json = root.path().join("instances_val.json");
    for (annotation, expected) in cases {
        fs::write(&json, bad(annotation)).expect("writable");
        let dataset = Dataset::open(&json, "val").unwrap_or_else(|e| panic!("{annotation}: {e}"));
        assert_eq!(dataset.bad_labels.len(), 1, "{annotation}");
        assert_eq!(dataset.bad_labels[0].reason, expected);
        assert_eq!(dataset.images[1].labels.len(), 2);
    }
}

#[test]
fn coco_json_unusable_says_what_and_where() {
    let root = folder(&[("a.jpg", ""), ("b.jpg", ""), ("elsewhere/c.jpg", "")]);
    let json = root.path().join("instances_val.json");
    let cases = [
        (INSTANCES[..INSTANCES.len() / 2].to_owned(), ": the file ends too early"),
        ("{\"images\": []}".to_owned(), "there is no list `categories`"),
        ("[]".to_owned(), "expected one object with the lists"),
        ("{\"images\": {}, \"categories\": []}".to_owned(), "expected one object with the lists"),
        (
            INSTANCES.replace("\"area\": 6.5", "\"area\": NaN"),
            "no JSON (NaN and Infinity are none either)",
        ),
        (
            INSTANCES.replace("\"id\": 9", "\"id\": -9"),
            "image number 1 has no usable `id` and `file_name`",
        ),
        (
            INSTANCES.replace("\"name\": \"person\"", "\"title\": \"person\""),
            "category number 1 has no usable `id` and `name`",
        ),
        (INSTANCES.replace("\"id\": 9", "\"id\": 7"), "image id 7 appears twice"),
        (INSTANCES.replace("\"id\": 90", "\"id\": 1"), "category id 1 appears twice"),
        (INSTANCES.replace(".jpg", ".gone"), "`a.gone` for one"),
    ];
    for (text, expected) in cases {
        fs::write(&json, &text).expect("writable");
        let message = Dataset::open(&json, "val").expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
        for word in RUST_WORDS {
            assert!(!message.contains(word), "{message}");
        }
    }
    let one_gone = INSTANCES.replace("\"a.jpg\"", "\"gone.jpg\"");
    fs::write(&json, one_gone).expect("writable");
    let dataset = Dataset::open(&json, "val").expect("one of two images");
    assert_eq!(dataset.bad_images[0].reason, "image 9: `gone.jpg` not found");
}

#[test]
fn data_yaml_folder_links_in_a_circle_are_walked_once() {
    let root = folder(&[("data.yaml", "val: images\nnames: [a]\n"), ("images/a.jpg", "")]);
    if cfg!(unix) {
        link(&root.path().join("images"), &root.path().join("images/again"));
        let dataset = Dataset::open(&root.path().join("data.yaml"), "val").expect("an image");
        assert_eq!(names_of(&dataset), ["a.jpg"]);
    }
}

#[cfg(unix)]
fn link(original: &Path, link: &Path) {
    std::os::unix::fs::symlink(original, link).expect("writable");
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) {}

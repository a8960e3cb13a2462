//! COCO JSON as tools export it: names of files and of classes, and what is said of them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use yolo::{Dataset, YoloError};

/// A folder with tiny images.
fn folder(images: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in images {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        image::RgbImage::new(4, 2).save(path).expect("writable");
    }
    folder
}

/// Instances of two images and the categories given; each annotation is (image, category).
fn instances(names: [&str; 2], categories: &str, annotations: &[(u64, u64)]) -> String {
    let name = |name: &str| name.replace('\\', "\\\\");
    let annotation = |(id, (image, category)): (usize, &(u64, u64))| {
        format!(
            r#"{{"id": {id}, "image_id": {image}, "category_id": {category}, "bbox": [{id}, 0, 1, 1]}}"#
        )
    };
    let annotations: Vec<String> = annotations.iter().enumerate().map(annotation).collect();
    format!(
        r#"{{"images": [{{"id": 1, "file_name": "{}"}}, {{"id": "2", "file_name": "{}"}}],
             "categories": [{categories}], "annotations": [{}]}}"#,
        name(names[0]),
        name(names[1]),
        annotations.join(", ")
    )
}

const CATEGORY: &str = r#"{"id": 0, "name": "a"}"#;

fn open(root: &Path, json: &str, text: &str) -> Result<Dataset, YoloError> {
    let path = root.join(json);
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(&path, text).expect("writable");
    Dataset::open(&path, "val")
}

fn ends(dataset: &Dataset) -> [bool; 2] {
    ["a.jpg", "b.jpg"].map(|name| dataset.images.iter().any(|i| i.path.ends_with(name)))
}

#[test]
fn coco_file_names_of_other_systems_and_machines_are_found_and_it_is_said() {
    let root = folder(&["images/a.jpg", "images/b.jpg", "images/deep/c d.jpg"]);
    let exact = [
        ["images\\a.jpg", "images\\b.jpg"],
        ["images/a.jpg", "./images/b.jpg"],
        ["a.jpg", "b.jpg"],
        ["a%2Ejpg", "b%2ejpg"],
    ];
    let by_end = [
        ["C:\\Users\\x\\images\\a.jpg", "C:\\Users\\x\\images\\b.jpg"],
        ["/home/x/set/a.jpg", "/home/x/set/b.jpg"],
        ["train/a.jpg", "train/b.jpg"],
        ["/data/local-files/?d=set/a.jpg", "/data/local-files/?d=set/b.jpg"],
    ];
    let by_end = by_end.iter().map(|names| (names, true));
    for (names, shortened) in exact.iter().map(|names| (names, false)).chain(by_end) {
        let text = instances(*names, CATEGORY, &[(1, 0), (2, 0)]);
        let dataset = open(root.path(), "result.json", &text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ends(&dataset), [true, true], "{names:?}");
        assert!(dataset.images.iter().all(|i| i.labels.len() == 1), "{names:?}");
        let said = dataset.warnings.iter().any(|w| w.contains("found by the end of it"));
        assert_eq!(said, shortened, "{names:?}: {:?}", dataset.warnings);
    }
    let text = instances(["deep/c%20d.jpg", "b.jpg"], CATEGORY, &[]);
    let dataset = open(root.path(), "result.json", &text).expect("both");
    assert_eq!(dataset.images.len(), 2);
}

#[test]
fn coco_file_names_that_lead_to_one_file_are_no_two_images() {
    let root = folder(&["images/a.jpg", "images/b.jpg"]);
    let text = instances(["left/a.jpg", "right/a.jpg"], CATEGORY, &[(1, 0), (2, 0)]);
    let dataset = open(root.path(), "result.json", &text).expect("one");
    assert_eq!(dataset.images.len(), 1);
    let reason = &dataset.bad_images[0].reason;
    assert!(reason.contains("is what `left/a.jpg` leads to"), "{reason}");
    // What is where its name says is taken from there, whatever was found before it.
    let root = folder(&["images/a.jpg", "images/b.jpg", "right/b.jpg"]);
    let text = instances(["left/a.jpg", "right/b.jpg"], CATEGORY, &[]);
    let dataset = open(root.path(), "result.json", &text).expect("two");
    assert!(dataset.images.iter().any(|i| i.path.ends_with("right/b.jpg")));
}

const PROJECT: &str = r#"{"id": 0, "name": "boards", "supercategory": "none"},
    {"id": 1, "name": "open", "supercategory": "boards"},
    {"id": 2, "name": "short", "supercategory": "boards"}"#;

#[test]
fn coco_supercategory_without_boxes_is_a_class_only_where_the_head_has_one_for_it() {
    let root = folder(&["a.jpg", "b.jpg"]);
    let text = instances(["a.jpg", "b.jpg"], PROJECT, &[(1, 1), (2, 2)]);
    let mut dataset = open(root.path(), "x.json", &text).expect("good");
    dataset.fit_classes(2, None).expect("two classes");
    assert_eq!(dataset.names, ["open", "short"]);
    assert_eq!(dataset.category_ids, [1, 2]);
    assert_eq!(dataset.images[1].labels[0].class, 1);
    assert!(dataset.warnings[0].contains("`boards` is no class"));

    let mut dataset = open(root.path(), "x.json", &text).expect("good");
    dataset.fit_classes(3, None).expect("three classes");
    assert_eq!(dataset.names.len(), 3);
    let labelled = instances(["a.jpg", "b.jpg"], PROJECT, &[(1, 0), (2, 2)]);
    let mut dataset = open(root.path(), "x.json", &labelled).expect("good");
    let error = dataset.fit_classes(2, None).expect_err("it is labelled");
    assert!(matches!(error, YoloError::HeadClasses { head: 2, names: 3 }), "{error}");
}

#[test]
fn classes_in_another_order_than_the_models_are_matched_by_name() {
    let root = folder(&["a.jpg", "b.jpg"]);
    let categories =
        r#"{"id": 7, "name": "Cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "cow"}"#;
    let text = instances(["a.jpg", "b.jpg"], categories, &[(1, 7), (2, 3)]);
    let names = |names: [&str; 3]| names.map(str::to_owned);
    let fitted = |model: [&str; 3]| {
        let mut dataset = open(root.path(), "x.json", &text).expect("good");
        dataset.fit_classes(3, Some(&names(model))).expect("three classes");
        dataset
    };
    let dataset = fitted(["cow", "cat", "dog"]);
    assert_eq!(dataset.names, ["cow", "Cat", "dog"]);
    assert_eq!(dataset.category_ids, [9, 7, 3]);
    let class = |image: usize| dataset.images[image].labels[0].class;
    assert_eq!([class(0), class(1)], [1, 2]);
    assert!(dataset.warnings[0].contains("matched by their names"));

    let same = fitted(["dog", "cat", "cow"]);
    assert!(same.warnings.is_empty(), "{:?}", same.warnings);
    let made_up = fitted(["0", "class1", "class_2"]);
    assert!(made_up.warnings.is_empty(), "{:?}", made_up.warnings);
    let other = fitted(["dog", "horse", "cow"]);
    assert_eq!(other.category_ids, [3, 7, 9]);
    let said = "matched by number: 1 is `horse` and `Cat`";
    assert!(other.warnings[0].contains(said), "{:?}", other.warnings);
}

#[test]
fn coco_annotations_twice_all_count_and_it_is_said() {
    let root = folder(&["a.jpg", "b.jpg"]);
    let text = instances(["a.jpg", "b.jpg"], CATEGORY, &[(1, 0), (2, 0)]);
    let twice = text
        .replace("\"bbox\": [1,", "\"bbox\": [0,")
        .replace("\"image_id\": 2", "\"image_id\": 1");
    let dataset = open(root.path(), "x.json", &twice).expect("good");
    assert_eq!(dataset.images[0].labels.len(), 2);
    let said = "1 annotations are exact duplicates of others: all count";
    assert!(dataset.warnings[0].contains(said), "{:?}", dataset.warnings);
    let dataset = open(root.path(), "x.json", &format!("\u{feff}{text}")).expect("good");
    assert!(dataset.warnings.is_empty(), "{:?}", dataset.warnings);
}

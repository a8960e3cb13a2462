//! `calibset` and what hangs on it, as a user runs it.
use crate::support::{Tiny, accepts, assets, json, refuses};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use yolo::{Dataset, read_rgb, save_image};

/// Every file below a folder with its content, by its path in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it").to_owned();
                all.push((name, fs::read(path).expect("readable")));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_set_is_a_data_set_and_equal_for_equal_seeds_with_any_number_of_threads() {
    let tiny = Tiny::new(40, 6);
    let data = tiny.arg("data.yaml");
    let sets = [("a", "1", "7"), ("b", "2", "7"), ("c", "2", "8")].map(|(name, threads, seed)| {
        let out = tiny.arg(name);
        let args = ["calibset", &data, "-n", "20", "--extremes", "0.35", "-o", &out];
        accepts(&[&args[..], &["--threads", threads, "--seed", seed]].concat());
        contents(Path::new(&out))
    });
    assert_eq!(sets[0], sets[1]);
    assert_ne!(sets[0], sets[2]);
    let set = Dataset::open(&tiny.path("a/data.yaml"), "train").expect("a data set");
    let val = Dataset::open(&tiny.path("a/data.yaml"), "val").expect("it names the data's val");
    assert_eq!((set.images.len(), val.images.len()), (20, 6));
    assert!(
        set.is_labelled() && val.is_labelled() && set.warnings.is_empty(),
        "{:?}",
        set.warnings
    );
    let manifest = json(tiny.path("a/calibset.json"));
    let images = manifest["images"].as_array().expect("a list");
    assert_eq!(images.len(), 20);
    let own: BTreeSet<Vec<u8>> =
        tiny.files("images/train").iter().map(|p| fs::read(p).unwrap()).collect();
    for image in images {
        let file = image["file"].as_str().unwrap();
        let bytes = fs::read(tiny.path("a").join(file)).expect("it is there");
        let is_synthetic = image["synthetic"].as_bool().unwrap();
        assert_eq!(own.contains(&bytes), !is_synthetic, "{file}");
        assert_eq!(file.contains("synthetic-"), is_synthetic);
        assert_eq!(image.get("how").is_some(), is_synthetic);
    }
    let page = fs::read_to_string(tiny.path("a/coverage.html")).expect("the page");
    assert!(page.contains("data:image/jpeg;base64,"));
}

#[test]
fn a_set_calibrates_and_may_be_made_anew_but_replaces_nothing_else() {
    let tiny = Tiny::new(30, 4);
    let (data, set) = (tiny.arg("data.yaml"), tiny.arg("set"));
    accepts(&["calibset", &data, "-n", "12", "-o", &set, "--model", &tiny.arg("tiny.onnx")]);
    let (yaml, int8) = (tiny.arg("set/data.yaml"), tiny.arg("int8.onnx"));
    accepts(&["quantize", &tiny.arg("tiny.onnx"), "--data", &yaml, "-n", "12", "-o", &int8]);
    accepts(&["calibset", &data, "-n", "5", "--no-synthetic", "-o", &set]);
    assert_eq!(Dataset::open(Path::new(&yaml), "train").unwrap().images.len(), 5);
    let elsewhere = ["calibset", &data, "-n", "5", "-o", &tiny.arg("images")];
    refuses(&elsewhere, &["holds no calibration set"]);
    let of_val = ["calibset", &data, "--split", "val", "-o", &tiny.arg("other")];
    refuses(&of_val, &["judges the result"]);
    // A set is no source of itself: it would be removed before it is read.
    refuses(&["calibset", &yaml, "-n", "3", "-o", &set], &["is an image of the data"]);
    assert_eq!(Dataset::open(Path::new(&yaml), "train").unwrap().images.len(), 5);
}

#[test]
fn scenes_of_several_images_are_refused_unless_the_model_reads_one() {
    let tiny = Tiny::new(6, 2);
    fs::create_dir_all(tiny.path("imagesIR/train")).unwrap();
    for path in tiny.files("images/train") {
        let to = tiny.path("imagesIR/train").join(path.file_name().unwrap());
        fs::copy(&path, to).unwrap();
    }
    let (data, set) = (tiny.arg("data.yaml"), tiny.arg("set"));
    let args = ["calibset", &data, "-n", "3", "-o", &set];
    refuses(&args, &["several images", "imagesIR", "--model"]);
    assert!(!tiny.path("set").exists());
    accepts(&[&args[..], &["--model", &tiny.arg("tiny.onnx")]].concat());
}

#[test]
fn images_of_val_and_copies_are_not_chosen_and_a_folder_needs_no_labels() {
    let tiny = Tiny::new(12, 4);
    fs::copy(tiny.path("images/val/0000.png"), tiny.path("images/train/again.png")).unwrap();
    fs::copy(tiny.path("images/train/0001.png"), tiny.path("images/train/twin.png")).unwrap();
    let record = tiny.arg("record.json");
    let common = ["-n", "100", "--extremes", "0", "--json", &record];
    let args = ["calibset", &tiny.arg("data.yaml"), "-o", &tiny.arg("set")];
    accepts(&[&args[..], &common].concat());
    assert_eq!(json(&record)["picked"], 12);
    let args = ["calibset", &tiny.arg("images/train"), "-o", &tiny.arg("bare")];
    accepts(&[&args[..], &common].concat());
    assert_eq!(json(&record)["picked"], 13);
    assert_eq!(json(&record)["objects"], "nothing");
    assert!(!tiny.path("bare/labels/train/0000.txt").exists());
}

/// Copies of images that were changed, in a folder.
fn changed(images: &[PathBuf], folder: &Path, by: yolo::Degradation) -> String {
    fs::create_dir_all(folder).expect("a folder");
    for (i, path) in images.iter().enumerate() {
        let mut rng = numerics::Rng::new(i as u64);
        let image = by.apply(&read_rgb(path).expect("readable"), &mut rng);
        save_image(&image, &folder.join(format!("{i:03}.png"))).expect("written");
    }
    folder.to_str().expect("test paths are UTF-8").to_owned()
}

#[test]
fn ranges_are_left_by_other_images_and_not_by_others_of_the_same_set() {
    let Some(assets) = assets("ranges of trained models") else { return };
    let tiny = Tiny::new(1, 1);
    let model = assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx");
    let data = assets.join("deeppcb/data.yaml");
    let (int8, record) = (tiny.arg("int8.onnx"), tiny.arg("record.json"));
    let [model, data] = [&model, &data].map(|p| p.to_str().expect("UTF-8"));
    accepts(&["quantize", model, "--data", data, "-n", "48", "--budget", "fast", "-o", &int8]);
    let shifts = |data: &str, split: &str| {
        let args = ["inspect", &int8, "--ranges", "--data", data, "--split", split, "-n", "16"];
        accepts(&[&args[..], &["--json", &record]].concat());
        let found = json(&record);
        (found["shifted"].as_bool().expect("a truth value"), found["warnings"].to_string())
    };
    for split in ["val", "train"] {
        let (shifted, warnings) = shifts(data, split);
        assert!(!shifted, "{split}: {warnings}");
    }
    let others = assets.join("coco/data.yaml");
    let (shifted, warnings) = shifts(others.to_str().expect("UTF-8"), "val");
    assert!(shifted, "photos are no circuit boards");
    assert!(warnings.contains("yoloslim calibset") && warnings.contains("model."), "{warnings}");
    // `detect` and `val` say it by themselves.
    let warnings = |verb: &[&str]| {
        accepts(&[&[verb[0], &int8], &verb[1..], &["--json", &record]].concat());
        json(&record)["warnings"].to_string()
    };
    let photos = assets.join("coco/images/val");
    let found = warnings(&["detect", photos.to_str().expect("UTF-8")]);
    assert!(found.contains("of another kind") && found.contains("model."), "{found}");
    let found = warnings(&["val", "--data", data]);
    assert!(!found.contains("of another kind"), "{found}");
    let val = Dataset::open(Path::new(data), "val").expect("a data set");
    let some: Vec<PathBuf> = val.images.iter().take(12).map(|i| i.path.clone()).collect();
    for (name, by) in [
        ("dark", yolo::Degradation::Exposure { gain: 0.05, gamma: 1.3 }),
        ("noisy", yolo::Degradation::SensorNoise { shot: 1.5, read: 40.0 }),
    ] {
        let folder = changed(&some, &tiny.path(name), by);
        let (shifted, _) = shifts(&folder, "train");
        assert!(shifted, "{name}");
    }
}

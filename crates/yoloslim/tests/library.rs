//! The library on the tiny detector: what is compressed detects, and comes out the same twice.
use testkit::tiny::{SIDE_PX, scene};
use testkit::tiny_folder::TinyFolder;
use yoloslim::{Detector, Engine, Model, RgbImage, Run, RunDir, compress};

fn image(seed: u64) -> RgbImage {
    let side = SIDE_PX as u32;
    RgbImage::from_raw(side, side, scene(seed).rgb).expect("three bytes a pixel")
}

#[test]
fn compress_twice_gives_the_same_bytes_of_a_model_that_detects() {
    let tiny = TinyFolder::new(48, 24);
    let model = Model::open(tiny.path("tiny.onnx")).unwrap();
    let mut recipe = model.recipe(tiny.path("data.yaml")).unwrap();
    recipe.images.calibration = 12;
    recipe.prune.macs = vec![0.2];
    let data = model.splits(&recipe).unwrap();
    let compressed = ["first", "second"].map(|name| {
        let dir = RunDir::create(&tiny.path(name), false).unwrap();
        let run = Run::quiet(&dir, Engine::default());
        let record = compress(&model, &data, &recipe, &run).unwrap();
        assert!(record.quantized.file_bytes < record.baseline.file_bytes);
        std::fs::read(dir.file("model.onnx")).unwrap()
    });
    assert!(compressed[0] == compressed[1]);
    let mut detector = Detector::from_bytes(&compressed[0]).unwrap();
    let found = detector.detect(&image(7)).unwrap();
    assert!(!found.is_empty());
    assert_eq!(detector.class_name(5), "class 5");
}

#[test]
fn detector_of_a_file_and_of_its_bytes_find_the_same() {
    let tiny = TinyFolder::new(1, 0);
    let path = tiny.path("tiny.onnx");
    let mut from_bytes = Detector::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
    let mut from_file = Detector::load(&path).unwrap();
    let image = image(3);
    let found = from_file.detect(&image).unwrap();
    assert_eq!(found, from_bytes.detect(&image).unwrap());
    assert!(Detector::load(tiny.path("absent.onnx")).is_err());
}

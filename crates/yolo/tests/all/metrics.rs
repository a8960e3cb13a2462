//! The evaluator against pycocotools, and `paired_bootstrap` on real labels.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::json;
use yolo::metrics::{CocoEvaluator, CocoMetrics, GroundTruth, evaluate, paired_bootstrap};
use yolo::{CocoResult, Dataset, read_size, write_results};

#[derive(Deserialize)]
struct Referee {
    stats: [f64; 12],
    per_class: Vec<f64>,
}

/// What pycocotools says, or nothing where it is not installed.
fn referee(arguments: &[&Path], classes: usize) -> Option<Referee> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let importable = Command::new(&python).args(["-c", "import pycocotools, cv2"]).output();
    if !importable.is_ok_and(|output| output.status.success()) {
        println!("skipped: pycocotools referee (no {python} with pycocotools and cv2)");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/referee_coco.py");
    let mut command = Command::new(&python);
    command.arg(script).args(arguments).arg(classes.to_string());
    let output = command.output().expect("the interpreter just ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("the script prints JSON"))
}

fn assets() -> Option<PathBuf> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !assets.is_dir() {
        println!("skipped: metrics on real labels (no ../shared/assets)");
        return None;
    }
    Some(assets)
}

fn check(name: &str, ours: &CocoMetrics, referee: &Referee) {
    let or_absent = |figure: Option<f64>| figure.unwrap_or(-1.0);
    let figures = [
        ours.map_50_95,
        ours.map_50,
        ours.map_75,
        or_absent(ours.map_small),
        or_absent(ours.map_medium),
        or_absent(ours.map_large),
        or_absent(ours.ar_1),
        or_absent(ours.ar_10),
        or_absent(ours.ar_100),
        or_absent(ours.ar_small),
        or_absent(ours.ar_medium),
        or_absent(ours.ar_large),
    ];
    for (index, (ours, theirs)) in figures.iter().zip(&referee.stats).enumerate() {
        assert!(
            (ours - theirs).abs() < 1e-6,
            "{name}, figure {index}: {ours}, pycocotools {theirs}"
        );
    }
    assert_eq!(ours.per_class.len(), referee.per_class.len(), "{name}");
    for (ours, theirs) in ours.per_class.iter().zip(&referee.per_class) {
        let figure = or_absent(ours.map_50_95);
        assert!((figure - theirs).abs() < 1e-6, "{name}, {}: {figure}, {theirs}", ours.name);
    }
}

/// A plain linear congruential generator: the cases are the same on every machine.
struct Noise(u64);

impl Noise {
    fn unit(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// A box near `bbox`, from almost equal to beside it.
    fn near(&mut self, bbox: [f64; 4]) -> [f64; 4] {
        let spread = [0.02, 0.1, 0.3, 0.8][self.below(4)];
        let mut shift = |side: f64| (self.unit() - 0.5) * spread * side;
        let [x, y, w, h] = bbox;
        [x + shift(w), y + shift(h), w + shift(w), h + shift(h)]
    }
}

/// Some objects found well, some badly, some twice, some not, some as another class; scores tie often.
fn detections(truth: &GroundTruth, noise: &mut Noise) -> Vec<CocoResult> {
    let ids: Vec<u64> = truth.categories().iter().map(|category| category.id).collect();
    let mut found = Vec::new();
    for (index, &image_id) in truth.image_ids().iter().enumerate() {
        for object in truth.objects(index) {
            for _ in 0..noise.below(4) {
                let class = if noise.unit() < 0.9 { object.class } else { noise.below(ids.len()) };
                let bbox = noise.near(object.bbox);
                let score = (noise.unit() * 20.0).round() / 20.0;
                found.push(CocoResult { image_id, category_id: ids[class], bbox, score });
            }
        }
    }
    found
}

/// Instances with sparse ids, crowds, areas that are not the box's, empty images, and one crowded image.
fn synthetic(noise: &mut Noise) -> serde_json::Value {
    let categories = [3u64, 5, 17, 18, 90];
    let mut annotations = Vec::new();
    for image in 0..12u64 {
        let objects = if image == 7 { 160 } else { noise.below(12) };
        for _ in 0..objects {
            let side = [8.0, 40.0, 120.0, 300.0][noise.below(4)];
            let bbox =
                [noise.unit() * 400.0, noise.unit() * 400.0, side, side * (0.5 + noise.unit())];
            annotations.push(json!({
                "id": annotations.len() + 1,
                "image_id": 1000 - image * 13,
                "category_id": categories[noise.below(if image == 7 { 1 } else { 4 })],
                "bbox": bbox,
                "area": bbox[2] * bbox[3] * (0.4 + 0.6 * noise.unit()),
                "iscrowd": u8::from(noise.unit() < 0.15),
            }));
        }
    }
    let images = (0..12u64).map(|image| {
        json!({"id": 1000 - image * 13, "file_name": format!("{image:02}.png"), "width": 640, "height": 640})
    });
    let categories = categories.map(|id| json!({"id": id, "name": format!("category {id}")}));
    json!({
        "images": images.collect::<Vec<_>>(),
        "annotations": annotations,
        "categories": categories,
    })
}

#[test]
fn coco_metrics_synthetic_ground_truth_equals_pycocotools() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (truth_json, found_json) =
        (folder.path().join("instances.json"), folder.path().join("dets.json"));
    for image in 0..12 {
        let path = folder.path().join(format!("{image:02}.png"));
        image::RgbImage::new(2, 2).save(path).expect("writable");
    }
    for seed in 0..6 {
        let mut noise = Noise(seed);
        let instances = synthetic(&mut noise);
        std::fs::write(&truth_json, instances.to_string()).expect("writable");
        let dataset = Dataset::open(&truth_json, "val").expect("good instances");
        let truth = dataset.ground_truth(&vec![Some((640, 640)); dataset.images.len()]);
        let found = detections(&truth, &mut noise);
        write_results(&found_json, &found).expect("writable");
        let ours = CocoEvaluator::new(&truth).evaluate(&found).expect("known images");
        let Some(referee) = referee(&[Path::new("json"), &truth_json, &found_json], 5) else {
            return;
        };
        check(&format!("seed {seed}"), &ours.accumulate(None), &referee);
    }
}

#[test]
fn coco_metrics_real_coco_json_equals_pycocotools() {
    let Some(assets) = assets() else { return };
    let json = assets.join("coco/instances_val.json");
    let dataset = Dataset::open(&json, "val").expect("good instances");
    assert_eq!(dataset.images.len(), 128);
    let truth = dataset.ground_truth(&vec![Some((640, 640)); 128]);
    let crowds = |image: usize| truth.objects(image).iter().filter(|object| object.crowd).count();
    assert_eq!((0..128).map(crowds).sum::<usize>(), 1);
    check_real("coco JSON", &truth, &[Path::new("json"), &json]);
}

#[test]
fn coco_metrics_real_yolo_layout_equals_pycocotools() {
    let Some(assets) = assets() else { return };
    for (name, images) in [("coco", 128), ("deeppcb", 300)] {
        let data = assets.join(name).join("data.yaml");
        let dataset = Dataset::open(&data, "val").expect("a good data set");
        assert_eq!(dataset.images.len(), images, "{name}");
        assert!(dataset.bad_labels.is_empty(), "{name}: {:?}", dataset.bad_labels);
        let sizes: Vec<_> =
            dataset.images.iter().map(|image| read_size(&image.path).ok()).collect();
        let truth = dataset.ground_truth(&sizes);
        assert_eq!(truth.images(), images, "{name}");
        let folder = assets.join(name).join("images/val");
        check_real(name, &truth, &[Path::new("yolo"), &folder]);
    }
}

fn check_real(name: &str, truth: &GroundTruth, arguments: &[&Path]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dets.json");
    let found = detections(truth, &mut Noise(11));
    write_results(&path, &found).expect("writable");
    let (metrics, matches) = evaluate(truth, &found).expect("known images");
    assert!((0.05..0.95).contains(&metrics.coco.map_50_95), "{name}: {metrics:?}");
    let interval = paired_bootstrap(&matches, &matches, 3, 50).expect("comparable");
    assert_eq!((interval.ratio, interval.lower, interval.upper), (1.0, 1.0, 1.0), "{name}");
    let arguments = [arguments, &[&path]].concat();
    if let Some(referee) = referee(&arguments, truth.categories().len()) {
        check(name, &metrics.coco, &referee);
    }
}

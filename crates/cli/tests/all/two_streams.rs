//! Detectors of two images a scene, visible light and infrared, through every verb.
use crate::support::{Tiny, accepts, json, refuses, stderr};
use image::RgbImage;
use std::fs;
use testkit::tiny::SIDE_PX;
use testkit::two_streams::{Fusion, detector, pair};

const ALL: [Fusion; 3] = [Fusion::Concat, Fusion::Add, Fusion::Channels];

/// A data set of pairs, with the detector of each kind of fusion.
fn pairs(train: usize, val: usize) -> Tiny {
    let tiny = Tiny::new(0, 0);
    for fusion in ALL {
        let bytes = onnx::encode(&detector(fusion)).unwrap();
        std::fs::write(tiny.path(&format!("{fusion:?}.onnx")), bytes).unwrap();
    }
    for (split, count, seed) in [("train", train, 1000), ("val", val, 2000)] {
        for i in 0..count {
            let pair = pair(seed + i as u64);
            for (folder, rgb) in [("images", pair.visible), ("imagesIR", pair.infrared)] {
                put_image(&tiny, &format!("{folder}/{split}/{i:04}.png"), rgb);
            }
            tiny.put(&format!("labels/{split}/{i:04}.txt"), pair.labels.as_bytes());
        }
    }
    tiny
}

fn put_image(tiny: &Tiny, file: &str, rgb: Vec<u8>) {
    tiny.put(file, b"");
    let height = (rgb.len() / 3 / SIDE_PX) as u32;
    let image = RgbImage::from_raw(SIDE_PX as u32, height, rgb).unwrap();
    image.save(tiny.path(file)).unwrap();
}

fn map_50(tiny: &Tiny, model: &str) -> f64 {
    let (data, out) = (tiny.arg("data.yaml"), tiny.arg("val.json"));
    accepts(&["val", model, "--data", &data, "--json", &out]);
    json(&out)["map_50"].as_f64().unwrap()
}

#[test]
fn val_of_two_streams_needs_both_images() {
    let tiny = pairs(0, 20);
    for fusion in ALL {
        let map = map_50(&tiny, &tiny.arg(&format!("{fusion:?}.onnx")));
        assert!(map > 0.9, "{fusion:?}: {map}");
    }
    // Without what the infrared sees one of the two classes is gone.
    for i in 0..20 {
        fs::copy(
            tiny.path(&format!("images/val/{i:04}.png")),
            tiny.path(&format!("imagesIR/val/{i:04}.png")),
        )
        .unwrap();
    }
    for fusion in ALL {
        let map = map_50(&tiny, &tiny.arg(&format!("{fusion:?}.onnx")));
        assert!(map < 0.6, "{fusion:?}: {map}");
    }
}

#[test]
fn prune_and_quantize_of_two_streams_still_detect() {
    let tiny = pairs(16, 20);
    let data = tiny.arg("data.yaml");
    for fusion in ALL {
        let model = tiny.arg(&format!("{fusion:?}.onnx"));
        let (pruned, int8, out) = (tiny.arg("p.onnx"), tiny.arg("q.onnx"), tiny.arg("out.json"));
        accepts(&[
            "prune", &model, "--data", &data, "--macs", "0.2", "-o", &pruned, "--json", &out,
        ]);
        let found = json(&out);
        let [macs, before] = ["macs", "source_macs"].map(|k| found[k].as_f64().unwrap());
        assert!(macs < 0.9 * before, "{fusion:?}: {macs} of {before}");
        accepts(&["quantize", &pruned, "--data", &data, "-o", &int8, "--json", &out]);
        assert!(json(&out)["int8_macs_share"].as_f64().unwrap() > 0.9);
        let map = map_50(&tiny, &int8);
        assert!(map > 0.85, "{fusion:?}: {map}");
        let shown = accepts(&["inspect", &int8]);
        assert!(String::from_utf8_lossy(&shown.stdout).contains("yolox"));
        accepts(&[
            "bench",
            &model,
            &int8,
            "--runs",
            "2",
            "--warmup",
            "0",
            "--plan",
            "--streams",
            "1",
        ]);
        accepts(&["compare", &model, &int8, "--data", &data]);
    }
}

#[test]
fn quantize_of_two_streams_gives_the_same_bytes_on_one_thread_and_on_two() {
    let tiny = pairs(12, 0);
    let (model, data, out) = (tiny.arg("Concat.onnx"), tiny.arg("data.yaml"), tiny.arg("q.onnx"));
    let written = ["1", "2"].map(|threads| {
        accepts(&["quantize", &model, "--data", &data, "-o", &out, "--threads", threads]);
        fs::read(&out).unwrap()
    });
    assert!(written[0] == written[1]);
}

#[test]
fn compress_of_two_streams_passes_the_gate_and_is_reported() {
    let tiny = pairs(24, 16);
    let (model, data, run) = (tiny.arg("Add.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    accepts(&["compress", &model, "--data", &data, "-o", &run, "--keep", "0.8"]);
    let found = json(tiny.path("run/metrics.json"));
    assert_eq!(found["gate"]["passed"], true);
    let shown = accepts(&["report", &run]);
    assert!(!stderr(&shown).contains("not shown"), "{}", stderr(&shown));
}

#[test]
fn detect_of_two_streams_finds_the_partner_beside_the_folder() {
    let tiny = pairs(0, 4);
    let (model, images, out) =
        (tiny.arg("Concat.onnx"), tiny.arg("images/val"), tiny.arg("out.json"));
    let drawn = tiny.arg("drawn");
    accepts(&["detect", &model, &images, "--out", &drawn, "--json", &out]);
    let found = json(&out);
    let names = |name: &str| {
        let images = found["images"].as_array().unwrap().iter();
        let all = images.flat_map(|i| i["detections"].as_array().unwrap());
        all.filter(|d| d["name"] == name).count()
    };
    assert!(names("red") > 0 && names("blue") > 0);
    assert_eq!(tiny.files("drawn").len(), 4);
    // Elsewhere nothing says where the partner is.
    fs::rename(tiny.path("images"), tiny.path("visible")).unwrap();
    fs::rename(tiny.path("imagesIR"), tiny.path("infrared")).unwrap();
    let images = tiny.arg("visible/val");
    refuses(&["detect", &model, &images], &["images, imagesIR", "visible/val/0000.png"]);
    let yaml = "path: .\nval: visible/val\nnames: [red, blue]\nstreams: [visible, infrared]\n";
    tiny.put("data.yaml", yaml.as_bytes());
    let data = tiny.arg("data.yaml");
    let again = tiny.arg("again.json");
    accepts(&["detect", &model, &images, "--data", &data, "--json", &again]);
    let detections = |file: &serde_json::Value| {
        let images = file["images"].as_array().unwrap().iter();
        images.map(|i| i["detections"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(detections(&json(&again)), detections(&found));
    // A swapped order gives the visible image to the infrared's input.
    let swapped = yaml.replace("[visible, infrared]", "[infrared, visible]");
    tiny.put("data.yaml", swapped.as_bytes());
    accepts(&["detect", &model, &images, "--data", &data, "--json", &again]);
    assert_ne!(detections(&json(&again)), detections(&found));
}

#[test]
fn a_partner_that_is_missing_or_of_another_size_is_skipped_and_named_and_too_many_exit_2() {
    let tiny = pairs(8, 8);
    let (model, data, out) = (tiny.arg("Add.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    fs::remove_file(tiny.path("imagesIR/val/0003.png")).unwrap();
    put_image(&tiny, "imagesIR/val/0005.png", vec![9; SIDE_PX * SIDE_PX * 3 / 2]);
    let shown = accepts(&["val", &model, "--data", &data, "--json", &out]);
    let told = stderr(&shown);
    for words in [
        "imagesIR/val/0003.png: No such file",
        "imagesIR/val/0005.png: 64x32 pixels, expected 64x64",
    ] {
        assert!(told.contains(words), "no `{words}` in: {told}");
    }
    assert_eq!(json(&out)["bad_images"].as_array().unwrap().len(), 2);
    fs::remove_dir_all(tiny.path("imagesIR")).unwrap();
    let out = tiny.arg("out.onnx");
    for verb in ["val", "prune", "quantize"] {
        let mut args = vec![verb, &model, "--data", &data];
        let more: &[&str] = match verb {
            "val" => &[],
            "prune" => &["--macs", "0.2", "-o", &out],
            _ => &["-o", &out],
        };
        args.extend(more);
        refuses(&args, &["imagesIR/", "No such file"]);
    }
    assert!(!tiny.path("out.onnx").exists());
}

//! Images and tensors that are posted: right answers, and refusals that say what is wrong.
use super::served::{Served, expected, form, png};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

fn found(detections: &Value) -> Vec<(String, f32)> {
    let detections = detections.as_array().expect("a list");
    let one =
        |d: &Value| (d["label"].as_str().unwrap().to_owned(), d["score"].as_f64().unwrap() as f32);
    detections.iter().map(one).collect()
}

#[test]
fn detect_image_as_body_and_in_a_form_finds_what_the_detector_finds() {
    let served = Served::new();
    let told = served.post("/v1/detect", &["Content-Type: image/png"], &png(7));
    assert_eq!(told.status, 200, "{}", told.json());
    let told = told.json();
    assert_eq!(found(&told["detections"]), expected(7));
    assert!(expected(7).len() >= 3);
    assert_eq!((&told["width_px"], &told["height_px"]), (&json!(64), &json!(64)));
    assert_eq!(told["model"].as_str().unwrap().len(), 64);
    let bbox = &told["detections"][0]["box"];
    assert!(
        bbox["right"].as_f64() > bbox["left"].as_f64()
            && bbox["bottom"].as_f64() > bbox["top"].as_f64()
    );
    let (header, body) = form(&[("note", b"hello"), ("image", &png(7))]);
    assert_eq!(
        served.post("/v1/detect", &[&header], &body).json()["detections"],
        told["detections"]
    );
    let certain = told["detections"][0]["score"].as_f64().unwrap();
    let only = served.post(&format!("/v1/detect?conf={certain}"), &[], &png(7)).json();
    assert!(found(&only["detections"]).len() < expected(7).len());
    assert!(
        found(&only["detections"]).iter().all(|(_, score)| f64::from(*score) >= certain - 1e-6)
    );
}

#[test]
fn deepstack_image_in_a_form_is_answered_in_its_protocol() {
    let served = Served::new();
    let (header, body) = form(&[("image", &png(7))]);
    let told = served.post("/v1/vision/detection", &[&header], &body);
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!(told["success"], true);
    assert!(told["duration"].is_u64());
    let predictions = told["predictions"].as_array().unwrap();
    let named: Vec<(String, f32)> = predictions
        .iter()
        .map(|p| {
            (p["label"].as_str().unwrap().to_owned(), p["confidence"].as_f64().unwrap() as f32)
        })
        .collect();
    assert_eq!(named, expected(7));
    for p in predictions {
        let [left, top, right, bottom] =
            ["x_min", "y_min", "x_max", "y_max"].map(|key| p[key].as_i64().unwrap());
        assert!(
            0 <= left && left < right && right <= 64 && 0 <= top && top < bottom && bottom <= 64,
            "{p}"
        );
    }
    let (header, body) = form(&[("min_confidence", b"1.0"), ("image", &png(7))]);
    let none = served.post("/v1/vision/detection", &[&header], &body).json();
    assert_eq!(none["predictions"], json!([]));
    let refused = [
        (form(&[("image", b"no image")]), "not a JPEG"),
        (form(&[("picture", b"x")]), "no field `image`"),
        (form(&[("min_confidence", b"much"), ("image", b"x")]), "min_confidence"),
    ];
    for ((header, body), part) in refused {
        let told = served.post("/v1/vision/detection", &[&header], &body);
        assert_eq!(told.status, 400);
        let told = told.json();
        assert_eq!((&told["success"], &told["duration"]), (&json!(false), &json!(0)));
        assert!(told["error"].as_str().unwrap().contains(part), "{told}");
    }
    assert_eq!(
        served.post("/v1/vision/detection", &["Content-Type: image/png"], &png(7)).status,
        400
    );
}

/// A PNG that claims to be of this size and holds next to nothing.
fn bomb(width_px: u32, height_px: u32) -> Vec<u8> {
    let mut png = png(7);
    png[16..20].copy_from_slice(&width_px.to_be_bytes());
    png[20..24].copy_from_slice(&height_px.to_be_bytes());
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    png
}

/// Source: PNG specification, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn detect_what_is_no_image_is_refused_with_the_reason() {
    let served = Served::with(|settings, _| settings.http.max_body_bytes = 100_000);
    let scene = image::load_from_memory(&png(7)).unwrap().to_rgb8();
    let jpeg = super::served::encoded(&scene, image::ImageFormat::Jpeg);
    let mut no_pixels = png(7);
    no_pixels.truncate(60);
    let cases: [(&str, &[u8], u16, &str); 12] = [
        ("/v1/detect", b"", 400, "empty"),
        ("/v1/detect", b"hello", 400, "not a JPEG"),
        ("/v1/detect", &jpeg[..jpeg.len() / 2], 400, ""),
        ("/v1/detect", &no_pixels, 400, ""),
        ("/v1/detect", b"GIF89a\x01\0\x01\0", 400, "not a JPEG"),
        ("/v1/detect", &bomb(30_000, 30_000), 413, "30000x30000"),
        ("/v1/detect", &bomb(8_000, 8_000), 413, "max_image_pixels"),
        ("/v1/detect", &bomb(0, 5), 400, ""),
        ("/v1/detect", &[0; 100_001], 413, "max_body_bytes"),
        ("/v1/detect?conf=2", &png(7), 400, "0 to 1"),
        ("/v1/detect?conf=NaN", &png(7), 400, "0 to 1"),
        ("/v1/detect?iou=high", &png(7), 400, ""),
    ];
    for (path, body, status, part) in cases {
        let told = served.post(path, &["Content-Type: image/jpeg"], body);
        assert_eq!(told.status, status, "{path}: {}", told.json());
        assert!(told.error().contains(part), "{}", told.error());
    }
    let form = served.post("/v1/detect", &["Content-Type: multipart/form-data"], b"x");
    assert_eq!(form.status, 400, "a form without a boundary");
    // Each was refused, and the server is as it was.
    assert_eq!(found(&served.post("/v1/detect", &[], &png(7)).json()["detections"]), expected(7));
}

#[test]
fn detect_body_without_a_length_is_limited_too() {
    let served = Served::with(|settings, _| settings.http.max_body_bytes = 10_000);
    let part = [b"1000\r\n".as_slice(), &[7; 4096], b"\r\n"].concat();
    let head = b"POST /v1/detect HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let told = served.send(&[head.as_slice(), &part, &part, &part].concat());
    assert_eq!(told.status, 413);
}

#[test]
fn detect_body_that_never_comes_whole_is_given_up() {
    let served = Served::with(|settings, _| settings.http.timeout_s = 0.3);
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream
        .write_all(b"POST /v1/detect HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nbegun")
        .unwrap();
    assert_eq!(super::served::read(&mut stream).status, 408);
}

#[test]
fn detect_two_hundred_at_once_with_garbage_between_are_all_answered_right() {
    let served = Served::with_source();
    let address = served.address;
    let expected: Vec<_> = (0..4).map(expected).collect();
    let callers: Vec<_> = (0..200_u64)
        .map(|i| {
            thread::spawn(move || {
                let body = if i % 10 == 9 { png(i % 4)[..90].to_vec() } else { png(i % 4) };
                super::served::post(address, "/v1/detect", &[], &body)
            })
        })
        .collect();
    for (i, caller) in callers.into_iter().enumerate() {
        let told = caller.join().expect("an answer");
        if i % 10 == 9 {
            assert_eq!(told.status, 400);
            assert!(!told.error().is_empty());
        } else {
            assert_eq!(told.status, 200, "{}", told.json());
            assert_eq!(found(&told.json()["detections"]), expected[i % 4]);
        }
    }
}

#[test]
fn callers_that_are_slow_keep_nobody_out() {
    let served = Served::with(|settings, _| {
        settings.http.max_connections = 4;
        settings.http.timeout_s = 0.5;
    });
    // Requests that never come whole, on every connection that there may be.
    let begun = [
        "",
        "GET /healthz HTTP/1.1\r\nHost:",
        "POST /v1/detect HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n",
    ];
    let slow: Vec<TcpStream> = (0..4)
        .map(|i| {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.write_all(begun[i % 3].as_bytes()).unwrap();
            stream
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(served.get("/healthz").status, 200);
    drop(slow);
}

fn infer(served: &Served, request: &Value) -> super::served::Told {
    served.post(
        "/v2/models/tiny/infer",
        &["Content-Type: application/json"],
        request.to_string().as_bytes(),
    )
}

#[test]
fn infer_tensors_flat_and_nested_give_the_networks_outputs() {
    let served = Served::new();
    let rgb = testkit::tiny::scene(7).rgb;
    // The family reads blue, green, red, as bytes.
    let planes: Vec<f32> =
        (0..3).rev().flat_map(|c| rgb.iter().skip(c).step_by(3).map(|v| f32::from(*v))).collect();
    let flat = json!({ "id": "a", "inputs": [{ "name": "images", "shape": [1, 3, 64, 64], "datatype": "FP32", "data": planes }] });
    let told = infer(&served, &flat);
    assert_eq!(told.status, 200, "{}", told.json());
    let told = told.json();
    assert_eq!((&told["model_name"], &told["id"]), (&json!("tiny"), &json!("a")));
    let output = &told["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&json!("output"), &json!("FP32")));
    let graph = testkit::tiny::detector();
    let input = ir::Tensor::new([1, 3, 64, 64], planes.clone()).unwrap();
    let reference = ir::interpreter::run(&graph, &[input]).unwrap().remove(0);
    assert_eq!(output["shape"], json!(reference.shape()));
    let data: Vec<f64> =
        output["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let reference = reference.to_f64().unwrap();
    assert_eq!(data.len(), reference.len());
    let far = data.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-4, "{far}");
    let rows: Vec<Vec<&[f32]>> =
        planes.chunks(64 * 64).map(|plane| plane.chunks(64).collect()).collect();
    let nested = json!({ "inputs": [{ "name": "images", "shape": [1, 3, 64, 64], "datatype": "FP32", "data": [rows] }],
        "outputs": [{ "name": "output" }] });
    assert_eq!(infer(&served, &nested).json()["outputs"], told["outputs"]);
}

#[test]
fn infer_what_the_model_does_not_take_is_refused_with_the_reason() {
    let served = Served::new();
    let data = vec![0.0_f32; 3 * 64 * 64];
    let input =
        json!({ "name": "images", "shape": [1, 3, 64, 64], "datatype": "FP32", "data": data });
    let changed = |key: &str, value: Value| {
        let mut input = input.clone();
        input[key] = value;
        json!({ "inputs": [input] })
    };
    let cases = [
        (json!({ "inputs": [] }), "\"images\" is missing"),
        (json!({ "inputs": [input, input] }), "there twice"),
        (changed("name", json!("other")), "missing"),
        (changed("shape", json!([1, 64, 64, 3])), "[1, 3, 64, 64]"),
        (changed("shape", json!([-1, 3, 64, 64])), "-1"),
        (changed("datatype", json!("UINT8")), "FP32"),
        (changed("data", json!([1.0, 2.0])), "2 elements"),
        (changed("data", json!([[1.0], [2.0, 3.0]])), "different lengths"),
        (changed("data", json!("AAAA")), "a number"),
        (json!({ "inputs": [input], "outputs": [{ "name": "boxes" }] }), "boxes"),
        (json!({}), "inputs"),
    ];
    for (request, part) in cases {
        let told = infer(&served, &request);
        assert_eq!(told.status, 400, "{part}");
        assert!(told.error().contains(part), "{part}: {}", told.error());
    }
    assert_eq!(served.post("/v2/models/tiny/infer", &[], b"{").status, 400);
    assert_eq!(served.post("/v2/models/other/infer", &[], b"{}").status, 404);
}

#[test]
fn infer_protocol_tells_the_server_and_the_model() {
    let served = Served::new();
    assert_eq!(served.get("/v2").json()["name"], "yoloslim");
    assert_eq!(served.get("/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(served.get("/v2/health/ready").json(), json!({ "ready": true }));
    let model = served.get("/v2/models/tiny").json();
    assert_eq!(
        model["inputs"],
        json!([{ "name": "images", "datatype": "FP32", "shape": [1, 3, 64, 64] }])
    );
    assert_eq!(model["outputs"][0]["name"], "output");
    assert_eq!(served.get("/v2/models/tiny/ready").json()["ready"], true);
    assert_eq!(served.get("/v2/models/other/ready").status, 404);
}

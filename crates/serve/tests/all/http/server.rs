//! What the server tells of itself, who may change it, and what it does with callers that are no good.
use super::served::{Served, read};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

const TOKEN: &str = "a token of the test";

fn with_token() -> Served {
    Served::with(|settings, _| settings.http.token = serve::Secret::try_from(TOKEN.to_owned()).ok())
}

#[test]
fn readiness_needs_a_live_source_where_there_are_sources() {
    assert_eq!(Served::new().get("/readyz").status, 200);
    let served = Served::with_source();
    assert_eq!(served.get("/healthz").status, 200);
    served.until("/readyz", 200);
    let empty = Served::with(|settings, folder| {
        folder.put("empty/note.txt", b"no image");
        let location = folder.arg("empty");
        settings.add_sources(&[location]).unwrap();
    });
    assert_eq!(empty.get("/readyz").status, 503);
    assert_eq!(empty.get("/healthz").status, 200);
    let picture = empty.until("/v1/sources/camera1/latest.jpg", 503);
    assert!(picture.headers.contains("retry-after"));
}

#[test]
fn status_tells_everything_and_no_secret() {
    let served = Served::with(|settings, _| {
        let url = "rtsp://user:hunter2@127.0.0.1:1/stream?key=hunter3".to_owned();
        settings.add_sources(&[url]).unwrap();
        settings.http.token = serve::Secret::try_from("hunter4".to_owned()).ok();
        settings.ffmpeg = "/no/such/ffmpeg".into();
    });
    let status = served.get("/v1/status");
    assert_eq!(status.status, 200);
    let told = status.json();
    assert_eq!(told["model"]["name"], "tiny");
    assert_eq!(told["model"]["labels"], json!(["red", "blue"]));
    assert_eq!(told["sessions"], 2);
    assert_eq!(told["sources"][0]["name"], "camera1");
    assert!(told["sources"][0]["location"].as_str().unwrap().starts_with("rtsp://user:***@"));
    for path in
        ["/v1/status", "/metrics", "/v1/sources/camera1/latest.jpg", "/v1/machine", "/readyz"]
    {
        let body = String::from_utf8(served.get(path).body).unwrap();
        assert!(!body.contains("hunter"), "{path}: {body}");
    }
}

#[test]
fn pictures_of_a_live_source_are_jpegs_with_boxes() {
    let served = Served::with_source();
    served.until("/readyz", 200);
    let picture = served.until("/v1/sources/front/latest.jpg", 200);
    assert!(picture.headers.contains("content-type: image/jpeg"));
    let image = image::load_from_memory(&picture.body).expect("a JPEG").to_rgb8();
    assert_eq!(image.dimensions(), (64, 64));
    // The scenes hold red and blue alone: other colours are those of labels and frames.
    let drawn = image.pixels().filter(|p| p[1] > 120).count();
    assert!(drawn > 20, "{drawn} pixels");
    assert_eq!(served.get("/v1/sources/back/latest.jpg").status, 404);
    assert_eq!(served.get("/v1/sources/back/stream.mjpeg").status, 404);
    let status = served.get("/v1/status").json();
    assert_eq!(status["sources"][0]["state"], "live");
    assert!(status["sources"][0]["detected"].as_u64() > Some(0));
}

#[test]
fn stream_of_a_live_source_is_one_picture_after_another() {
    let served = Served::with_source();
    served.until("/readyz", 200);
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.write_all(b"GET /v1/sources/front/stream.mjpeg HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let parts = |bytes: &[u8]| bytes.windows(16).filter(|w| w == b"--yoloslim-frame").count();
    while parts(&bytes) < 4 {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "the stream ended");
        bytes.extend_from_slice(&part[..count]);
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200 OK"));
    assert!(text.contains("content-type: multipart/x-mixed-replace; boundary=yoloslim-frame"));
    assert!(text.contains("Content-Type: image/jpeg\r\nContent-Length: "));
}

#[test]
fn model_without_the_token_is_not_changed() {
    let served = Served::new();
    let body = json!({ "path": served.folder.path("tiny.onnx") }).to_string();
    let told = served.post("/v1/model", &[], body.as_bytes());
    assert_eq!(told.status, 403);
    assert!(told.error().contains("[http]"), "{}", told.error());
    let served = with_token();
    for headers in [&[][..], &["Authorization: Bearer wrong"], &["Authorization: Bearer "]] {
        assert_eq!(served.post("/v1/model", headers, body.as_bytes()).status, 401);
    }
}

#[test]
fn model_with_the_token_is_changed_or_refused_with_the_reason() {
    let served = with_token();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let change = |body: &str| served.post("/v1/model", &[&bearer], body.as_bytes());
    served.folder.put("other.onnx", &std::fs::read(served.folder.path("tiny.onnx")).unwrap());
    served.folder.put("damaged.onnx", b"no model");
    let path = |file: &str| json!({ "path": served.folder.path(file) }).to_string();
    for body in ["", "{}", "[]", "{\"path\": 1}", "{\"path\": \"a\", \"sauce\": 1}"] {
        assert_eq!(change(body).status, 400, "{body}");
    }
    assert_eq!(change(&path("damaged.onnx")).status, 422);
    let missing = change(&path("missing.onnx"));
    assert_eq!(missing.status, 422);
    assert!(missing.error().contains("missing.onnx"), "{}", missing.error());
    assert_eq!(served.get("/v1/status").json()["model"]["name"], "tiny");
    let changed = change(&path("other.onnx"));
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("other")));
    assert_eq!(served.get("/v2/models/other/ready").status, 200);
    assert_eq!(served.get("/v2/models/tiny/ready").status, 404);
    let told = served.post("/v1/detect", &[], &super::served::png(7)).json();
    assert_eq!(told["detections"].as_array().unwrap().len(), super::served::expected(7).len());
}

#[test]
fn metrics_are_whole_and_count_what_was_done() {
    let served = Served::with_source();
    served.until("/readyz", 200);
    served.until("/v1/sources/front/latest.jpg", 200);
    served.post("/v1/detect", &[], b"no image");
    served.get("/no/such/path");
    let told = served.get("/metrics");
    assert!(told.headers.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let text = String::from_utf8(told.body).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let labelled = [
        "camera_fps{camera_name=\"front\"}",
        "process_fps{camera_name=\"front\"}",
        "detection_fps{camera_name=\"front\"}",
        "skipped_fps{camera_name=\"front\"}",
        "detector_inference_speed_seconds{name=\"tiny\"}",
        "yoloslim_frames_received_total{camera_name=\"front\"}",
        "yoloslim_frames_detected_total{camera_name=\"front\"}",
        "yoloslim_frames_dropped_total{camera_name=\"front\"}",
        "yoloslim_frames_rejected_total{camera_name=\"front\"} 0",
        "yoloslim_decoder_restarts_total{camera_name=\"front\"} 0",
        "yoloslim_messages_dropped_total{output=\"lines\"} 0",
        "yoloslim_source_state{camera_name=\"front\",state=\"live\"} 1",
        "yoloslim_source_state{camera_name=\"front\",state=\"down\"} 0",
        "yoloslim_latency_seconds{camera_name=\"front\",quantile=\"0.99\"}",
        "yoloslim_http_requests_total{route=\"/v1/detect\",code=\"400\"} 1",
        "yoloslim_http_requests_total{route=\"none\",code=\"404\"} 1",
        "yoloslim_model_info{name=\"tiny\",digest=\"",
    ];
    for line in labelled {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line}\n{text}");
    }
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(
        names.len(),
        names.iter().collect::<BTreeSet<_>>().len(),
        "a metric stands there twice"
    );
}

#[test]
fn page_comes_from_the_server_alone() {
    let served = Served::new();
    let page = served.get("/");
    assert!(page.headers.contains("content-type: text/html"));
    assert!(
        page.headers.contains("content-security-policy: default-src 'none'; script-src 'self'")
    );
    let html = String::from_utf8(page.body).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("style="));
    for part in
        html.split(['"']).filter(|part| part.starts_with("page.") || part.starts_with("icon."))
    {
        assert_eq!(served.get(&format!("/{part}")).status, 200, "{part}");
    }
    assert_eq!(served.get("/v1/machine?step=5").status, 200);
    assert_eq!(served.get("/v1/machine?step=-1").status, 400);
    assert_eq!(served.get("/openapi.json").json()["openapi"], "3.1.0");
}

#[test]
fn requests_that_are_no_good_are_refused_and_the_server_goes_on() {
    let served = Served::new();
    assert_eq!(served.get("/no/such/path").status, 404);
    let wrong = served.get("/v1/detect");
    assert_eq!(wrong.status, 405);
    assert!(wrong.headers.contains("allow: post"), "{}", wrong.headers);
    assert_eq!(served.post("/healthz", &[], b"").status, 405);
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    assert_eq!(served.send(long.as_bytes()).status, 431);
    assert_eq!(served.send(b"no http at all\r\n\r\n").status, 400);
    // A caller that goes in the middle of everything.
    for part in ["", "GET", "POST /v1/detect HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab"] {
        TcpStream::connect(served.address).unwrap().write_all(part.as_bytes()).unwrap();
    }
    // Two on one connection.
    let mut stream = TcpStream::connect(served.address).unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(read(&mut stream).status, 200);
    }
}

#[test]
fn start_on_an_address_that_is_taken_is_refused() {
    let served = Served::new();
    let mut settings = serve::Settings::new(served.folder.path("tiny.onnx"));
    settings.http.listen = served.address;
    let refused = serve::Server::start(settings, super::served::open(), Box::new(std::io::sink()));
    assert!(matches!(refused.err(), Some(serve::ServeError::Listen { .. })));
}

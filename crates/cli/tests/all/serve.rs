//! `serve` and `bench --video` as they are typed, on a video that ffmpeg makes, and `export --for frigate`.
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json, refuses};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A tiny detector beside a video of two seconds; none without ffmpeg.
fn with_video() -> Option<Tiny> {
    let tiny = Tiny::new(0, 0);
    let source = "testsrc2=size=160x120:rate=25:duration=2";
    let made = Command::new("ffmpeg")
        .args(["-v", "fatal", "-nostdin", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"])
        .arg(tiny.path("a.mp4"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: serve on a video (no ffmpeg)");
        return None;
    }
    Some(tiny)
}

#[test]
fn serve_of_a_video_prints_what_happens_and_ends_well_when_told_to() {
    let Some(tiny) = with_video() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(["serve", &tiny.arg("tiny.onnx"), "--source", &tiny.arg("a.mp4")])
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let live = lines.map(Result::unwrap).find(|line| line.contains("\"live\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&live).unwrap();
    assert_eq!([&line["kind"], &line["camera"]], ["source", "camera1"]);
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn bench_of_a_video_keeps_to_its_schema() {
    let Some(tiny) = with_video() else { return };
    let (model, video, out) = (tiny.arg("tiny.onnx"), tiny.arg("a.mp4"), tiny.arg("out.json"));
    let args = ["bench", &model, "--video", &video, "--streams", "2", "--seconds", "1"];
    accepts(&[&args[..], &["--json", &out]].concat());
    let record = json(&out);
    let breaches = breaches(&record, "bench-video.json");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let cameras = record["models"][0]["sources"].as_array().unwrap();
    assert_eq!(cameras.len(), 2);
    assert!(cameras.iter().all(|camera| camera["process_fps"].as_f64().unwrap() > 1.0), "{record}");
}

#[test]
fn serve_of_what_cannot_be_served_says_why() {
    let tiny = Tiny::new(0, 0);
    let model = tiny.arg("tiny.onnx");
    refuses(&["serve", &model, "--source", "gopher://u:secret@h/1"], &["gopher", "rtsp"]);
    refuses(&["serve", &model, "--source", &tiny.arg("no.mp4")], &["no.mp4"]);
    refuses(&["serve", &tiny.arg("no.onnx")], &["no.onnx"]);
    tiny.put("serve.toml", b"model = 'tiny.onnx'\n[[source]]\nname = 'a'\n");
    refuses(&["serve", "--config", &tiny.arg("serve.toml")], &["serve.toml", "line 2", "url"]);
    tiny.put(
        "serve.toml",
        b"model = 'tiny.onnx'\n[[source]]\nname = 'a'\nurl = '/dev/video9'\nclasses = ['cat']\n",
    );
    refuses(&["serve", "--config", &tiny.arg("serve.toml")], &["cat", "red, blue"]);
}

#[test]
fn export_for_frigate_writes_the_classes_or_says_which_way_to_go() {
    let tiny = Tiny::new(8, 0);
    let (network, out) = (tiny.arg("v8.onnx"), tiny.arg("out.onnx"));
    let train = ["train", "--arch", "v8", "--width", "0.25", "--depth", "0.33", "--imgsz", "64"];
    let few = ["--data", &tiny.arg("data.yaml"), "--epochs", "1", "-o", &network];
    accepts(&[&train[..], &few].concat());
    let told = accepts(&["export", &network, "-o", &out, "--for", "frigate"]);
    let told = String::from_utf8(told.stdout).unwrap();
    for line in
        ["model_type: yolo-generic", "width: 64", "labelmap_path: /config/model_cache/out.txt"]
    {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(std::fs::read_to_string(tiny.path("out.txt")).unwrap(), "red\nblue\n");
}

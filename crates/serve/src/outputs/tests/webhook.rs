use super::{believe, hub, settings, until};
use crate::hub::Hub;
use crate::outputs::Outputs;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

/// What was posted: the header in lower case, and the body.
struct Posted {
    head: String,
    body: Value,
}

/// An HTTP server that answers with these statuses, one after another, and then with 200.
fn server(statuses: &'static [u16]) -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=hidden", listener.local_addr().unwrap());
    let (posted, received) = channel();
    thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).unwrap() > 0);
            }
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let status = statuses.get(i).unwrap_or(&200);
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // Before it is known here, so that whoever sees it finds it answered.
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if posted.send(Posted { head, body: serde_json::from_slice(&body).unwrap() }).is_err() {
                return;
            }
        }
    });
    (url, received)
}

fn dropped(hub: &Hub) -> u64 {
    hub.outputs.webhook_dropped.load(Ordering::Relaxed)
}

fn next(posts: &Receiver<Posted>) -> Posted {
    posts.recv_timeout(super::PATIENCE).expect("a post")
}

#[test]
fn webhook_that_is_busy_at_first_gets_each_event_with_the_token() {
    let (url, posts) = server(&[503, 200]);
    let settings = settings(&format!("[webhook]\nurl = '{url}'\ntoken = 'letmein'\n"));
    let (hub, runtime) = (hub(&settings), Runtime::new().unwrap());
    let outputs = Outputs::start(runtime.handle(), &hub, &settings).unwrap();
    believe(&hub, 0, &["red"], 100.0);
    believe(&hub, 1, &["red"], 100.0);
    let all = [next(&posts), next(&posts), next(&posts)];
    let cameras: Vec<_> =
        all.iter().map(|post| post.body["after"]["camera"].as_str().unwrap()).collect();
    assert_eq!(cameras, ["front", "front", "back"]);
    assert_eq!((&all[0].body["kind"], &all[0].body["type"]), (&"object".into(), &"new".into()));
    for post in &all {
        assert!(post.head.starts_with("post /hook?key=hidden "), "{}", post.head);
        assert!(post.head.contains("authorization: bearer letmein"), "{}", post.head);
        assert!(post.head.contains("content-type: application/json"), "{}", post.head);
    }
    until("no trouble is left", || hub.outputs.webhook_trouble().is_none());
    hub.stop();
    runtime.block_on(outputs.finish());
    assert_eq!(dropped(&hub), 0);
}

#[test]
fn webhook_that_refuses_loses_the_event_and_tells_why_without_the_url() {
    let (url, posts) = server(&[404]);
    let settings = settings(&format!("[webhook]\nurl = '{url}'\n"));
    let (hub, runtime) = (hub(&settings), Runtime::new().unwrap());
    let _outputs = Outputs::start(runtime.handle(), &hub, &settings).unwrap();
    believe(&hub, 0, &["red"], 100.0);
    assert!(!next(&posts).head.contains("authorization"));
    until("it is counted", || dropped(&hub) == 1);
    let trouble = hub.outputs.webhook_trouble().unwrap();
    assert!(trouble.contains("404") && !trouble.contains("hidden"), "{trouble}");
    believe(&hub, 1, &["red"], 100.0);
    assert_eq!(next(&posts).body["after"]["camera"], "back");
    hub.stop();
}

#[test]
fn webhook_that_nobody_answers_ends_soon_after_everything_does() {
    // Connections are taken by the kernel, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let settings = settings(&format!("[webhook]\nurl = '{url}'\ntimeout_s = 0.2\n"));
    let (hub, runtime) = (hub(&settings), Runtime::new().unwrap());
    let outputs = Outputs::start(runtime.handle(), &hub, &settings).unwrap();
    believe(&hub, 0, &["red", "blue"], 100.0);
    until("the trouble is known", || hub.outputs.webhook_trouble().is_some());
    hub.stop();
    let ended =
        runtime.block_on(async { tokio::time::timeout(super::PATIENCE, outputs.finish()).await });
    assert!(ended.is_ok());
    assert_eq!(dropped(&hub), 2);
    runtime.shutdown_timeout(Duration::ZERO);
}

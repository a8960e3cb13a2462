//! What is sent to a registry that breaks off, forgets and lies.
use super::super::*;
use super::server::{Asked, Reply, Server};
use super::{access, registry};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A file of more than one chunk, that is the same nowhere.
fn file(folder: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> =
        (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = folder.path().join("blob");
    fs::write(&path, &bytes).expect("a file");
    (path, bytes)
}

/// An upload as a registry sees it.
#[derive(Default)]
struct Upload {
    received: Vec<u8>,
    requests: usize,
    /// Until the next one is begun.
    forgotten: bool,
}

/// A registry that takes uploads, and does what it is told with the n-th request with bytes.
fn taking(
    odd: impl Fn(usize, &mut Upload, &Asked) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Upload>>) {
    let upload = Arc::new(Mutex::new(Upload::default()));
    let state = Arc::clone(&upload);
    let server = Server::start(move |asked| {
        let mut upload = state.lock().expect("a state");
        let at = "/v2/factory/boards/blobs/uploads/1?state=x";
        let so_far = |upload: &Upload| format!("0-{}", upload.received.len().max(1) - 1);
        match asked.method.as_str() {
            "HEAD" => Reply::new(404, b""),
            "POST" => {
                upload.received.clear();
                upload.forgotten = false;
                Reply::new(202, b"").header("Location", at).header("Range", "0-0")
            }
            "GET" if upload.forgotten => Reply::new(404, b""),
            "GET" => Reply::new(204, b"").header("Location", at).header("Range", so_far(&upload)),
            _ => {
                upload.requests += 1;
                let number = upload.requests;
                if let Some(reply) = odd(number, &mut upload, asked) {
                    return reply;
                }
                upload.received.extend_from_slice(&asked.body);
                if asked.method == "PUT" {
                    return Reply::new(201, b"");
                }
                Reply::new(202, b"").header("Location", at).header("Range", so_far(&upload))
            }
        }
    });
    (server, upload)
}

#[test]
fn blob_is_sent_in_chunks_and_ended_with_its_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = file(&folder);
    let (server, upload) = taking(|_, _, _| None);
    registry(&server, &access()).push_blob(&Blob::of(&bytes), &path).expect("sent");
    assert!(upload.lock().expect("a state").received == bytes);
    let asked = server.asked();
    let sent: Vec<_> = asked.iter().map(|a| (a.method.as_str(), a.body.len())).collect();
    let chunk = 8 << 20;
    let rest = bytes.len() - 2 * chunk;
    assert_eq!(sent, [("HEAD", 0), ("POST", 0), ("PATCH", chunk), ("PATCH", chunk), ("PUT", rest)]);
    assert_eq!(asked[3].header("content-range"), "8388608-16777215");
    let digest = Digest::of(&bytes).to_string().replace(':', "%3A");
    assert!(asked[4].path.ends_with(&format!("?state=x&digest={digest}")), "{}", asked[4].path);
}

#[test]
fn blob_whose_sending_breaks_off_is_sent_on_from_what_arrived() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = file(&folder);
    let (server, upload) = taking(|number, upload, asked| {
        // Half of the second chunk arrives.
        (number == 2).then(|| {
            upload.received.extend_from_slice(&asked.body[..4 << 20]);
            Reply::new(502, b"")
        })
    });
    registry(&server, &access()).push_blob(&Blob::of(&bytes), &path).expect("sent");
    assert!(upload.lock().expect("a state").received == bytes);
    let asked = server.asked();
    let last = asked.last().expect("a request");
    assert_eq!((last.method.as_str(), last.body.len()), ("PUT", bytes.len() - (12 << 20)));
}

#[test]
fn upload_that_the_registry_forgot_is_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = file(&folder);
    for status in [500, 404, 416] {
        let (server, upload) = taking(move |number, upload, _| {
            (number == 2).then(|| {
                upload.forgotten = true;
                Reply::new(status, b"")
            })
        });
        registry(&server, &access()).push_blob(&Blob::of(&bytes), &path).expect("sent");
        assert!(upload.lock().expect("a state").received == bytes);
        let begun = server.asked().iter().filter(|asked| asked.method == "POST").count();
        assert_eq!(begun, 2, "{status}");
    }
}

#[test]
fn upload_that_always_breaks_at_the_same_place_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = file(&folder);
    let (server, _) = taking(|_, upload, _| {
        (!upload.received.is_empty()).then(|| {
            upload.forgotten = true;
            Reply::new(500, b"")
        })
    });
    let error = registry(&server, &access()).push_blob(&Blob::of(&bytes), &path);
    let error = error.expect_err("given up");
    assert!(matches!(error, DeliverError::Answer { status: 500, .. }), "{error}");
}

#[test]
fn blob_that_is_there_or_can_be_mounted_is_not_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blob");
    fs::write(&path, b"blob").expect("a file");
    let there = Server::start(|_| Reply::new(200, b""));
    registry(&there, &access()).push_blob(&Blob::of(b"blob"), &path).expect("there");
    assert_eq!(there.asked().len(), 1);
    let mounting = Server::start(|asked| match asked.method.as_str() {
        "POST" => Reply::new(201, b""),
        _ => Reply::new(404, b""),
    });
    let access = Access { mount_from: Some("factory/others".to_owned()), ..access() };
    registry(&mounting, &access).push_blob(&Blob::of(b"blob"), &path).expect("mounted");
    let asked = mounting.asked();
    assert_eq!(asked.len(), 2);
    let digest = Digest::of(b"blob").to_string().replace(':', "%3A");
    assert!(asked[1].path.contains(&format!("mount={digest}&from=factory%2Fothers")));
}

#[test]
fn upload_to_another_host_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blob");
    fs::write(&path, b"blob").expect("a file");
    let elsewhere = Server::start(|_| Reply::new(201, b""));
    let to = format!("http://{}/upload", elsewhere.address);
    let server = Server::start(move |asked| match asked.method.as_str() {
        "POST" => Reply::new(202, b"").header("Location", &to),
        _ => Reply::new(404, b""),
    });
    let error = registry(&server, &access()).push_blob(&Blob::of(b"blob"), &path);
    let error = error.expect_err("refused");
    assert!(matches!(error, DeliverError::Redirect { .. }), "{error}");
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn registry_that_stored_something_else_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blob");
    fs::write(&path, b"blob").expect("a file");
    let (server, _) = taking(|_, _, _| {
        Some(Reply::new(201, b"").header("Docker-Content-Digest", Digest::of(b"other")))
    });
    let registry = registry(&server, &access());
    let error = registry.push_blob(&Blob::of(b"blob"), &path).expect_err("refused");
    assert!(matches!(error, DeliverError::Lie { .. }), "{error}");
    let bytes = b"{}".to_vec();
    let manifest =
        StoredManifest { digest: Digest::of(&bytes), media_type: "a/b".to_owned(), bytes };
    let error = registry.push_manifest("a", &manifest).expect_err("refused");
    assert!(matches!(error, DeliverError::Lie { .. }), "{error}");
}

#[test]
fn file_that_became_shorter_is_not_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blob");
    fs::write(&path, b"blo").expect("a file");
    let (server, _) = taking(|_, _, _| None);
    let error = registry(&server, &access()).push_blob(&Blob::of(b"blob"), &path);
    let error = error.expect_err("refused");
    assert!(matches!(error, DeliverError::Size { .. }), "{error}");
}

//! Against a server that breaks, lies and never ends; tests/registries has a real one.
mod sending;
mod server;

use super::*;
use crate::store::{Credentials, Patience};
use server::{Asked, End, Reply, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(2),
        stall: Duration::from_millis(300),
        attempts: 3,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(5),
    }
}

fn access() -> Access {
    Access {
        user: Some(Credentials { user: "me".to_owned(), password: "secret".to_owned() }),
        patience: patience(),
        ..Access::default()
    }
}

fn registry(server: &Server, access: &Access) -> Registry {
    Registry::new(&server.address.to_string(), "factory/boards", access).expect("a registry")
}

/// A registry whose answers are those of a function.
fn answering(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Registry {
    registry(&Server::start(answer), &access())
}

fn manifest_reply(bytes: &[u8]) -> Reply {
    Reply::new(200, bytes).header("Content-Type", IMAGE)
}

fn read(registry: &Registry, content: &[u8], from: u64) -> Result<Vec<u8>, DeliverError> {
    let mut bytes = content[..usize::try_from(from).expect("small")].to_vec();
    registry.read_blob(&Blob::of(content), from, &mut bytes).map(|()| bytes)
}

#[test]
fn manifest_with_other_bytes_than_its_digest_is_refused() {
    let registry = answering(|_| manifest_reply(b"{}"));
    let digest = Digest::of(b"{ }");
    let error = registry.manifest(&digest).expect_err("refused");
    assert!(matches!(error, DeliverError::ManifestDigest { .. }), "{error}");
    assert!(registry.manifest(&Digest::of(b"{}")).expect("asked").is_some());
}

#[test]
fn registry_that_names_another_digest_than_its_bytes_have_is_refused() {
    let registry =
        answering(|_| manifest_reply(b"{}").header("Docker-Content-Digest", Digest::of(b"other")));
    let error = registry.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Lie { .. }), "{error}");
    let error = registry.manifest(&Digest::of(b"{}")).expect_err("refused");
    assert!(matches!(error, DeliverError::Lie { .. }), "{error}");
}

#[test]
fn manifest_too_large_is_refused_whether_its_size_is_declared_or_not() {
    let huge = MANIFEST_LIMIT_BYTES + 1;
    let declared = answering(move |_| manifest_reply(b"{").declare(huge));
    let endless = answering(|_| manifest_reply(&[b' '; 4096]).end(End::Never));
    for registry in [declared, endless] {
        let error = registry.manifest_of_tag("a").expect_err("refused");
        assert!(matches!(error, DeliverError::Oversized { .. }), "{error}");
    }
}

#[test]
fn blob_of_another_size_or_without_an_end_is_refused() {
    let longer = answering(|_| Reply::new(200, b"blobs"));
    let shorter = answering(|_| Reply::new(200, b"blo"));
    for registry in [longer, shorter] {
        let error = read(&registry, b"blob", 0).expect_err("refused");
        assert!(matches!(error, DeliverError::Size { .. }), "{error}");
    }
    let endless = answering(|_| Reply::new(200, b"blob").end(End::Never));
    let error = read(&endless, b"blob", 0).expect_err("refused");
    assert!(matches!(error, DeliverError::Endless { promised: 4, .. }), "{error}");
}

#[test]
fn blob_that_breaks_off_is_read_on_and_given_up_where_nothing_more_comes() {
    let content = b"a blob in three parts";
    let server = Server::start(move |asked| {
        let range = asked.header("range").trim_start_matches("bytes=").trim_end_matches('-');
        let from: usize = range.parse().unwrap_or(0);
        let rest = Reply::new(if from > 0 { 206 } else { 200 }, &content[from..]);
        let rest = rest.header("Content-Range", format!("bytes {from}-20/21"));
        rest.end(if from < 14 { End::Cut(7) } else { End::Whole })
    });
    let registry = registry(&server, &access());
    assert_eq!(read(&registry, content, 0).expect("read"), content);
    let ranges: Vec<_> = server.asked().iter().map(|a| a.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=7-", "bytes=14-"]);
    assert_eq!(read(&registry, content, 9).expect("read"), content);
    let stuck = answering(move |_| Reply::new(200, content).end(End::Cut(7)));
    let error = read(&stuck, content, 0).expect_err("refused");
    assert!(matches!(error, DeliverError::Truncated { .. }), "{error}");
}

#[test]
fn blob_of_a_registry_that_ignores_ranges_is_read_all_the_same() {
    let registry = answering(|_| Reply::new(200, b"0123456789"));
    assert_eq!(read(&registry, b"0123456789", 4).expect("read"), b"0123456789");
    let wrong = answering(|_| Reply::new(206, b"456").header("Content-Range", "bytes 3-9/10"));
    let error = read(&wrong, b"0123456789", 4).expect_err("refused");
    assert!(matches!(error, DeliverError::Answer { status: 206, .. }), "{error}");
}

#[test]
fn registry_that_stalls_is_left() {
    let body = answering(|_| Reply::new(200, b"0123456789").end(End::Stall(5)));
    let silent = answering(|_| Reply::new(200, b"").end(End::Silence));
    for registry in [body, silent] {
        let error = read(&registry, b"0123456789", 0).expect_err("refused");
        assert!(matches!(error, DeliverError::Stalled { .. }), "{error}");
    }
}

#[test]
fn blob_kept_elsewhere_is_fetched_there_without_credentials() {
    let elsewhere = Server::start(|_| Reply::new(200, b"blob"));
    let to = format!("http://{}/signed?by=registry", elsewhere.address);
    let server = Server::start(move |asked| {
        if asked.header("authorization").is_empty() {
            return Reply::new(401, b"").header("WWW-Authenticate", "Basic realm=\"r\"");
        }
        Reply::new(307, b"").header("Location", &to)
    });
    let registry = registry(&server, &access());
    assert_eq!(read(&registry, b"blob", 0).expect("read"), b"blob");
    assert!(server.asked()[1].header("authorization").starts_with("Basic "));
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), "");
}

#[test]
fn redirects_in_a_circle_to_files_and_of_manifests_to_other_hosts_are_refused() {
    let elsewhere = Server::start(|_| manifest_reply(b"{}"));
    let other = format!("http://{}/v2/x/manifests/a", elsewhere.address);
    for to in ["/again", "file:///etc/passwd", "ftp://example.com/x", "http://u:p@127.0.0.1/x"] {
        let registry = answering(move |_| Reply::new(302, b"").header("Location", to));
        let error = read(&registry, b"blob", 0).expect_err("refused");
        assert!(matches!(error, DeliverError::Redirect { .. }), "{to}: {error}");
    }
    let registry = answering(move |_| Reply::new(302, b"").header("Location", &other));
    let error = registry.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Redirect { .. }), "{error}");
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn status_that_is_final_is_asked_once_and_one_that_passes_again() {
    let cases = [(400, 1), (403, 1), (418, 1), (408, 3), (429, 3), (500, 3), (503, 3)];
    for (status, times) in cases {
        let server = Server::start(move |_| {
            let errors = r#"{"errors":[{"code":"ODD","message":"very odd"}]}"#;
            Reply::new(status, errors).header("Retry-After", "0")
        });
        let error = registry(&server, &access()).manifest_of_tag("a").expect_err("refused");
        assert_eq!(server.asked().len(), times, "{status}");
        assert!(error.to_string().contains("ODD: very odd"), "{error}");
        match error {
            DeliverError::Denied { status: found, .. } => assert_eq!((found, status), (403, 403)),
            DeliverError::Answer { status: found, .. } => assert_eq!(found, status),
            error => panic!("{error}"),
        }
    }
    let missing = answering(|_| Reply::new(404, b""));
    assert!(missing.manifest_of_tag("a").expect("asked").is_none());
    assert_eq!(missing.digest_of_tag("a").expect("asked"), None);
    assert!(missing.tags().expect("asked").is_empty());
    let error = read(&missing, b"blob", 0).expect_err("refused");
    assert!(matches!(error, DeliverError::Missing { .. }), "{error}");
}

#[test]
fn registry_that_recovers_is_asked_until_it_does() {
    let times = AtomicUsize::new(0);
    let registry = answering(move |_| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(503, b""),
        1 => manifest_reply(b"{}").end(End::Cut(1)),
        _ => manifest_reply(b"{}"),
    });
    assert!(registry.manifest_of_tag("a").expect("asked").is_some());
}

#[test]
fn registry_that_is_not_there_cannot_be_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let registry = Registry::new(&host, "a", &access()).expect("a registry");
    let error = registry.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Unreachable { .. }), "{error}");
}

#[test]
fn wrong_credentials_are_sent_once_and_named() {
    let server = Server::start(|_| Reply::new(401, b"").header("WWW-Authenticate", "Basic"));
    let error = registry(&server, &access()).manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Denied { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("asked as me"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(server.asked().len(), 2);
}

/// A registry that wants tokens which itself gives, to `me` alone.
fn token_server() -> Server {
    Server::start(|asked| {
        let host = asked.header("host").to_owned();
        if asked.path.starts_with("/token") {
            // "me:secret" in Base64.
            return match asked.header("authorization") {
                "Basic bWU6c2VjcmV0" => Reply::new(200, br#"{"token":"t0k3n"}"#),
                _ => Reply::new(401, b""),
            };
        }
        if asked.header("authorization") != "Bearer t0k3n" {
            let scope = "repository:factory/boards:pull";
            let wanted =
                format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"{scope}\"");
            return Reply::new(401, b"").header("WWW-Authenticate", wanted);
        }
        manifest_reply(b"{}")
    })
}

#[test]
fn token_is_fetched_with_the_scope_asked_for_and_used_again() {
    let server = token_server();
    let registry_with_token = registry(&server, &access());
    for _ in 0..2 {
        assert!(registry_with_token.manifest_of_tag("a").expect("asked").is_some());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked[1].path.contains("scope=repository%3Afactory%2Fboards%3Apull"));
    assert!(asked[1].path.contains("service=s"));
    assert_eq!(asked[3].header("authorization"), "Bearer t0k3n");
    let stranger = Credentials { user: "you".to_owned(), password: "guess".to_owned() };
    let stranger = Access { user: Some(stranger), ..access() };
    let error = registry(&server, &stranger).manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Denied { .. }), "{error}");
}

#[test]
fn password_is_not_sent_where_it_could_be_read_on_the_way() {
    let registry = answering(|_| {
        let wanted = "Bearer realm=\"http://tokens.example.com/token\"";
        Reply::new(401, b"").header("WWW-Authenticate", wanted)
    });
    let error = registry.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Redirect { .. }), "{error}");
}

#[test]
fn tags_of_all_pages_are_gathered_and_pages_without_end_are_left() {
    let pages = answering(|asked| match asked.path.as_str() {
        path if path.contains("last=b") => Reply::new(200, br#"{"tags":["c"]}"#),
        _ => Reply::new(200, br#"{"tags":["b","a"]}"#)
            .header("Link", "</v2/factory/boards/tags/list?last=b&n=2>; rel=\"next\""),
    });
    assert_eq!(pages.tags().expect("tags"), ["a", "b", "c"]);
    let endless = answering(|_| {
        Reply::new(200, br#"{"tags":["a"]}"#).header("Link", "</v2/more>; rel=\"next\"")
    });
    let error = endless.tags().expect_err("refused");
    assert!(matches!(error, DeliverError::Oversized { .. }), "{error}");
    let elsewhere = answering(|_| {
        Reply::new(200, br#"{"tags":["a"]}"#)
            .header("Link", "<http://127.0.0.2:1/v2/more>; rel=\"next\"")
    });
    let error = elsewhere.tags().expect_err("refused");
    assert!(matches!(error, DeliverError::Redirect { .. }), "{error}");
}

#[test]
fn digest_of_a_tag_is_asked_for_without_the_manifest() {
    let server =
        Server::start(|_| manifest_reply(b"{}").header("Docker-Content-Digest", Digest::of(b"{}")));
    let registry = registry(&server, &access());
    assert_eq!(registry.digest_of_tag("a").expect("asked"), Some(Digest::of(b"{}")));
    assert!(server.asked().iter().all(|asked| asked.method == "HEAD"));
    let silent = answering(|_| manifest_reply(b"{}"));
    assert_eq!(silent.digest_of_tag("a").expect("asked"), Some(Digest::of(b"{}")));
}

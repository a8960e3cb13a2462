use super::super::tests::seal;
use super::*;
use crate::bundle::Bundle;
use std::fs;
use tar::{Builder, Header};

/// An entry as it stands in the archive, whatever it is.
struct Made<'a> {
    name: &'a str,
    kind: EntryType,
    link: &'a str,
    bytes: &'a [u8],
}

impl<'a> Made<'a> {
    fn file(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, kind: EntryType::Regular, link: "", bytes }
    }

    fn link(name: &'a str, kind: EntryType, link: &'a str) -> Self {
        Self { name, kind, link, bytes: b"" }
    }
}

/// Written past what the library checks.
fn archive(entries: &[Made<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for Made { name, kind, link, bytes } in entries {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().expect("a header");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).expect("appended");
    }
    builder.into_inner().expect("an archive")
}

fn unpacked(bundle: &Bundle, folder: &Path, bytes: &[u8]) -> Result<(), DeliverError> {
    let path = folder.join("archive");
    fs::write(&path, bytes).expect("a file");
    let into = folder.join("into/deep");
    let _ = fs::remove_dir_all(folder.join("into"));
    fs::create_dir_all(&into).expect("a folder");
    unpack_files(&path, &bundle.manifest, &into, "the image")
}

#[test]
fn archive_with_names_that_leave_the_folder_is_refused_and_nothing_is_written_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = seal(&folder.path().join("a"), b"model");
    let names = [
        "models/../../evil",
        "../evil",
        "/evil",
        "models//evil",
        "models/./evil",
        "models/.hidden",
        "models/a\\..\\evil",
        "evil",
        "modelsevil",
    ];
    for name in names {
        let bytes = archive(&[Made::file(name, b"evil")]);
        let error = unpacked(&bundle, folder.path(), &bytes).expect_err(name);
        let known = matches!(error, DeliverError::Name { .. } | DeliverError::Unpack { .. });
        assert!(known, "{name}: {error}");
        assert!(!folder.path().join("evil").exists() && !folder.path().join("into/evil").exists());
        let error = unpack_seal(&bytes, "the image").expect_err(name);
        let known = matches!(error, DeliverError::Name { .. } | DeliverError::Unpack { .. });
        assert!(known, "{name}: {error}");
    }
}

#[test]
fn archive_with_links_devices_or_strangers_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = seal(&folder.path().join("a"), b"model");
    let name = "models/report.html";
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::Continuous,
    ];
    for kind in kinds {
        let bytes = archive(&[Made::link(name, kind, "/etc/passwd")]);
        let error = unpacked(&bundle, folder.path(), &bytes).expect_err("refused");
        assert!(matches!(error, DeliverError::Unpack { .. }), "{kind:?}: {error}");
    }
    // A link to a folder, and a file through it.
    let bytes = archive(&[
        Made::link("models/golden", EntryType::Symlink, "/tmp"),
        Made::file("models/golden/0.png", b"png"),
    ]);
    let error = unpacked(&bundle, folder.path(), &bytes).expect_err("refused");
    assert!(matches!(error, DeliverError::Unpack { .. }), "{error}");
    let bytes = archive(&[Made::file("models/stranger", b"x")]);
    let error = unpacked(&bundle, folder.path(), &bytes).expect_err("refused");
    assert!(matches!(error, DeliverError::Unpack { .. }), "{error}");
    let twice = [Made::file(name, b"<html>"), Made::file(name, b"<html>")];
    let error = unpacked(&bundle, folder.path(), &archive(&twice)).expect_err("refused");
    assert!(matches!(error, DeliverError::Write { .. }), "{error}");
}

#[test]
fn archive_whose_files_are_others_or_break_off_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = seal(&folder.path().join("a"), b"model");
    let name = "models/report.html";
    let error = unpacked(&bundle, folder.path(), &archive(&[Made::file(name, b"<HTML>")]));
    assert!(matches!(error, Err(DeliverError::Digest { .. })), "{error:?}");
    let error = unpacked(&bundle, folder.path(), &archive(&[Made::file(name, &[b' '; 9999])]));
    assert!(matches!(error, Err(DeliverError::Size { .. })), "{error:?}");
    let whole = archive(&[Made::file(name, b"<html>")]);
    let error = unpacked(&bundle, folder.path(), &whole[..514]);
    assert!(error.is_err());
    assert!(unpacked(&bundle, folder.path(), &[0xff; 700]).is_err());
    unpacked(&bundle, folder.path(), &whole).expect("unpacked");
    let mode = fs::metadata(folder.path().join("into/deep/report.html")).expect("a file");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o7111, 0);
}

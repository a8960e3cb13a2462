//! Archives of images, unpacked with suspicion: folders and regular files whose names are expected, and nothing else.
use super::PAPER_LIMIT_BYTES;
use crate::bundle::{self, check_name};
use crate::files::make_folder;
use crate::{DeliverError, DigestWriter};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

/// Where an image has its files.
pub(super) const FOLDER: &str = "models/";

/// The seal of an archive in memory.
pub(super) fn unpack_seal(
    bytes: &[u8],
    what: &str,
) -> Result<BTreeMap<String, Vec<u8>>, DeliverError> {
    let mut found = BTreeMap::new();
    each_file(bytes, what, &mut |name, size, entry| {
        let known = [bundle::MANIFEST, bundle::SIGNATURE, bundle::TIMINGS];
        if !known.contains(&name) || found.contains_key(name) {
            return Err(refused(what, name, "is no part of the seal of a bundle, or comes twice"));
        }
        let mut content = Vec::new();
        let limit = size.min(PAPER_LIMIT_BYTES);
        let read = entry.take(limit).read_to_end(&mut content);
        read.map_err(|e| refused(what, name, &e.to_string()))?;
        found.insert(name.to_owned(), content);
        Ok(())
    })?;
    Ok(found)
}

/// Unpacks the files that a bundle's manifest names, each of them compared with it, into a folder where none of them is yet.
pub(super) fn unpack_files(
    archive: &Path,
    manifest: &bundle::Manifest,
    into: &Path,
    what: &str,
) -> Result<(), DeliverError> {
    let file = File::open(archive).map_err(|e| DeliverError::read(archive, e))?;
    each_file(BufReader::new(file), what, &mut |name, size, entry| {
        let Some(expected) = manifest.files.get(name) else {
            return Err(refused(what, name, "is not named by bundle.json"));
        };
        let described = format!("{what}: {name}");
        if size != expected.size_bytes {
            let expected = expected.size_bytes;
            return Err(DeliverError::Size { what: described, expected, found: size });
        }
        let path = into.join(name);
        path.parent().map_or(Ok(()), make_folder)?;
        let written = File::create_new(&path).and_then(|file| {
            let mut writer = DigestWriter::new(&file);
            io::copy(entry, &mut writer)?;
            let found = writer.finish();
            file.sync_all().map(|()| found)
        });
        let (digest, size_bytes) = written.map_err(|e| DeliverError::write(&path, e))?;
        expected.expect(&described, digest, size_bytes)
    })
}

/// What is done with a file: its name below `models/`, its size, and what gives its bytes.
type OnFile<'a> = &'a mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<(), DeliverError>;

fn each_file(from: impl Read, what: &str, on_file: OnFile<'_>) -> Result<(), DeliverError> {
    let broken = |e: io::Error| refused(what, "", &format!("cannot be read: {e}"));
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = name_of(&entry, what)?;
        let kind = entry.header().entry_type();
        let size = entry.size();
        match kind {
            EntryType::Directory => {}
            EntryType::Regular => on_file(&name, size, &mut entry)?,
            _ => return Err(refused(what, &name, "is neither a file nor a folder")),
        }
    }
    Ok(())
}

/// The name of an entry below `models/`, which is empty for that folder itself.
fn name_of(entry: &Entry<'_, impl Read>, what: &str) -> Result<String, DeliverError> {
    let bytes = entry.path_bytes();
    let shown = || String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>();
    let name = std::str::from_utf8(&bytes).ok().and_then(|name| name.strip_prefix(FOLDER));
    let name = name.ok_or_else(|| refused(what, &shown(), "does not lie in models/"))?;
    let folder = entry.header().entry_type() == EntryType::Directory;
    let name = if folder { name.strip_suffix('/').unwrap_or(name) } else { name };
    if !(folder && name.is_empty()) {
        check_name(name)?;
    }
    Ok(name.to_owned())
}

fn refused(what: &str, name: &str, why: &str) -> DeliverError {
    DeliverError::Unpack { what: what.to_owned(), name: name.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests;

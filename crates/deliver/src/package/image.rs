//! Bundles as images of files below `/models`, for what mounts only images.
//!
//! *Kubernetes image volumes*: containerd mounts layers of other media types as an empty folder, without an error (its issue 11907),
//! and unpacks an image only where the architecture in its configuration is the node's (`core/unpack/unpacker.go`); CRI-O chooses
//! from an index by the node's architecture (its issue 8781). Data has none, and "no architecture" matches no node. So there is an
//! index with one small manifest an architecture, all with the same layers.
//!
//! *KServe*: `oci+native://` mounts `/models` of an image as such a volume. Its older `oci://` starts the image as a container that
//! runs `sh`, which this one has not: build on it (`FROM busybox`, `COPY --from=…:TAG /models /models`).
use super::oci::{Parsed, descriptor, stored};
use super::unpack::{FOLDER, unpack_seal};
use super::{Progress, Seal, Tell, push_bytes, seal_of, small_blob};
use crate::bundle::Bundle;
use crate::store::{Store, StoredManifest};
use crate::{Blob, DeliverError, DigestWriter};
use oci_spec::image::MediaType;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Where images can be mounted: what fleets of cameras consist of.
const PLATFORMS: [Platform; 4] = [
    Platform { architecture: "amd64", variant: None },
    Platform { architecture: "arm64", variant: None },
    Platform { architecture: "arm", variant: Some("v7") },
    Platform { architecture: "riscv64", variant: None },
];

/// As Go names it.
struct Platform {
    architecture: &'static str,
    variant: Option<&'static str>,
}

impl Platform {
    fn record(&self) -> Value {
        let mut record = json!({ "architecture": self.architecture, "os": "linux" });
        if let Some(variant) = self.variant {
            record["variant"] = json!(variant);
        }
        record
    }
}

/// Stores blobs and manifests, and gives the index that is to be stored. The seal has a layer of its own: it can be read and
/// the signature verified before the files are fetched, and a bundle that is signed anew has the same files.
pub(super) fn push(
    store: &dyn Store,
    bundle: &Bundle,
    tell: Tell<'_>,
) -> Result<StoredManifest, DeliverError> {
    let seal = seal_of(bundle);
    let files: Vec<&str> = bundle.manifest.files.keys().map(String::as_str).collect();
    let mut layers = Vec::new();
    for (name, files) in [("seal", seal), ("files", files)] {
        let archive = Archive::write(&bundle.path, &files)?;
        tell(Progress { name, size_bytes: archive.blob.size_bytes });
        store.push_blob(&archive.blob, archive.file.path())?;
        layers.push(archive.blob);
    }
    let mut manifests = Vec::new();
    for platform in &PLATFORMS {
        let manifest = manifest(store, platform, &layers)?;
        store.push_untagged(&manifest)?;
        let StoredManifest { digest, bytes, media_type } = manifest;
        let blob = Blob { digest, size_bytes: bytes.len() as u64 };
        let mut entry = descriptor(&media_type, &blob);
        entry["platform"] = platform.record();
        manifests.push(entry);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageIndex.to_string(),
        "manifests": manifests,
    });
    Ok(stored(&MediaType::ImageIndex, &index))
}

fn manifest(
    store: &dyn Store,
    platform: &Platform,
    layers: &[Blob],
) -> Result<StoredManifest, DeliverError> {
    // Layers are not compressed, so that their digests are those of their contents.
    let contents: Vec<_> = layers.iter().map(|blob| blob.digest).collect();
    let mut config = platform.record();
    config["config"] = json!({});
    config["rootfs"] = json!({ "type": "layers", "diff_ids": contents });
    let config = push_bytes(store, config.to_string().as_bytes())?;
    let layer = |blob| descriptor(MediaType::ImageLayer.as_ref(), blob);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": descriptor(MediaType::ImageConfig.as_ref(), &config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    Ok(stored(&MediaType::ImageManifest, &manifest))
}

/// An archive of files below `models/`.
struct Archive {
    file: NamedTempFile,
    blob: Blob,
}

impl Archive {
    /// Writes one; of the files only names and contents matter, so that it is the same everywhere.
    fn write(folder: &Path, names: &[&str]) -> Result<Self, DeliverError> {
        let failed = |e| DeliverError::write(&std::env::temp_dir(), e);
        let mut file = NamedTempFile::new().map_err(failed)?;
        let writer = DigestWriter::new(BufWriter::new(file.as_file_mut()));
        let mut builder = tar::Builder::new(writer);
        for part in folders(names) {
            let header = header(tar::EntryType::Directory, 0);
            append(&mut builder, header, &part, io::empty()).map_err(failed)?;
        }
        for name in names {
            let path = folder.join(name);
            let read = |e| DeliverError::read(&path, e);
            let from = File::open(&path).map_err(read)?;
            let size = from.metadata().map_err(read)?.len();
            let header = header(tar::EntryType::Regular, size);
            append(&mut builder, header, &format!("{FOLDER}{name}"), from).map_err(failed)?;
        }
        let mut writer = builder.into_inner().map_err(failed)?;
        writer.flush().map_err(failed)?;
        let (digest, size_bytes) = writer.finish();
        Ok(Self { file, blob: Blob { digest, size_bytes } })
    }
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    mut header: tar::Header,
    name: &str,
    from: impl io::Read,
) -> io::Result<()> {
    builder.append_data(&mut header, name, from)
}

/// All folders that files lie in, each after the one that it lies in.
fn folders(names: &[&str]) -> BTreeSet<String> {
    let mut folders = BTreeSet::from([FOLDER.to_owned()]);
    for name in names {
        for (at, _) in name.match_indices('/') {
            folders.insert(format!("{FOLDER}{}/", &name[..at]));
        }
    }
    folders
}

/// Fetches what is needed to know the bundle, and says where its files are.
pub(super) fn seal(
    store: &dyn Store,
    parsed: &Parsed,
    place: &str,
) -> Result<ImageSeal, DeliverError> {
    let wrong = |why: String| DeliverError::Package { store: place.to_owned(), why };
    let [seal, files] = &parsed.layers[..] else {
        let found = parsed.layers.len();
        return Err(wrong(format!("an image with {found} layers; those of bundles have two")));
    };
    let archive = MediaType::ImageLayer.to_string();
    if let Some(other) = [seal, files].into_iter().find(|layer| layer.media_type != archive) {
        return Err(wrong(format!("a layer is {}, not {archive}", other.media_type)));
    }
    let what = format!("{place}: the seal' layer");
    let bytes = small_blob(store, &seal.blob, &what)?;
    let seal = Seal { by_name: unpack_seal(&bytes, &what)? };
    Ok(ImageSeal { seal, files: files.blob })
}

/// What is fetched of an image at first.
pub(super) struct ImageSeal {
    pub(super) seal: Seal,
    /// The archive with the files.
    pub(super) files: Blob,
}

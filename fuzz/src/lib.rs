//! Data sets are read from folders: each target that needs one gets a folder of its own for as long as it runs.
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A data set of one grey image under `images/a.png`, labelled by `labels/a.txt` and described by `data.yaml`.
pub struct DataSet(TempDir);

impl DataSet {
    /// The data set of this process.
    ///
    /// # Panics
    /// Where the temporary folder cannot be written.
    pub fn shared() -> &'static DataSet {
        static SHARED: OnceLock<DataSet> = OnceLock::new();
        SHARED.get_or_init(|| {
            let data = DataSet(tempfile::tempdir().expect("a temporary folder"));
            data.write("images/a.png", PNG);
            data.write("labels/a.txt", b"0 0.5 0.5 0.5 0.5\n");
            data.write("data.yaml", b"train: images\nval: images\nnames: [a]\n");
            data
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes one file of the data set.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        let folder = path.parent().expect("it lies in the folder");
        fs::create_dir_all(folder).expect("the folder is writable");
        fs::write(path, bytes).expect("the folder is writable");
    }
}

/// One grey pixel.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0x9c, 0x63, 0x68, 0, 0, 0, 0x82, 0, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0, 0, 0, 0, 0x49, 0x45,
    0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

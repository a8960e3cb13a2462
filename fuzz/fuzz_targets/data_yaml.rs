//! The description of a data set.
#![no_main]
use fuzz_files::DataSet;
use libfuzzer_sys::fuzz_target;
use yolo::Dataset;

fuzz_target!(|bytes: &[u8]| {
    let data = DataSet::shared();
    data.write("data.yaml", bytes);
    let path = data.path().join("data.yaml");
    for split in ["train", "val"] {
        let _ = Dataset::open(&path, split);
    }
});

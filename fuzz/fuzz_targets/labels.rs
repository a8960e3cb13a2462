//! A label file of a data set that is otherwise in order.
#![no_main]
use fuzz_files::DataSet;
use libfuzzer_sys::fuzz_target;
use yolo::Dataset;

fuzz_target!(|bytes: &[u8]| {
    let data = DataSet::shared();
    data.write("labels/a.txt", bytes);
    let _ = Dataset::open(&data.path().join("data.yaml"), "val");
});

//! Dev-only: a tiny detector with its images, small graphs by hand, models made at random, and the rules that the whole workspace is tested
//! against.
#![forbid(unsafe_code)]

pub mod damage;
pub mod model;
pub mod net;
pub mod random_detector;
pub mod random_model;
pub mod tiny;
pub mod tiny_folder;
pub mod two_streams;

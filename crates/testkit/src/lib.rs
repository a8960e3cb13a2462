//! Dev-only: a tiny detector with its images, and the rules that the whole workspace is tested against.
#![forbid(unsafe_code)]

pub mod tiny;
pub mod two_streams;

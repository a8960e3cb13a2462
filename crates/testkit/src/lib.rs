//! Dev-only: the rules that the whole workspace is tested against.
#![forbid(unsafe_code)]

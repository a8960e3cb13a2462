//! The prune room of yoloslim.
#![forbid(unsafe_code)]

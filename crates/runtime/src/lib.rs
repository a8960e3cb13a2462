//! The runtime room of yoloslim.
#![forbid(unsafe_code)]

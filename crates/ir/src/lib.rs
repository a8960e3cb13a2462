//! The ir room of yoloslim.
#![forbid(unsafe_code)]

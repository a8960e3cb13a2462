//! The compress room of yoloslim.
#![forbid(unsafe_code)]

//! The yolo room of yoloslim.
#![forbid(unsafe_code)]

//! The onnx room of yoloslim.
#![forbid(unsafe_code)]

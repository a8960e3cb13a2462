//! The quant room of yoloslim.
#![forbid(unsafe_code)]

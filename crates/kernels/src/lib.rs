//! The kernels room of yoloslim.

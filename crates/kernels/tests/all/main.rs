//! Every kernel on every instruction set against its plain reference.
mod activations;
mod chain;
mod conv2d;
mod conv_weight_gradient;
mod int8;
mod isa;
mod qconv2d;
mod tensor_ops;
mod yuv;

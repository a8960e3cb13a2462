//! The engine against the interpreter and ONNX Runtime.
mod differential;
mod element_types;
mod engine;
mod hostile;
mod integer;
mod parameters;
mod quantized_models;
mod real_models;

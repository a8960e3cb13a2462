//! ONNX files in and out, judged by the ONNX backend tests and ONNX Runtime.
mod backend_nodes;
mod grids;
mod interface;
mod random_round_trip;
mod round_trip;

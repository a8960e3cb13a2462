//! Graphs, their edits and rewrites.
mod graph;
mod on_request;
mod quantized_forms;

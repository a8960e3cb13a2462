//! The pipeline of compression, called as a library.
mod lessons;
mod memory;
mod two_streams;

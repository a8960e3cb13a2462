//! Sources in, events out, over real sockets and pipes.
mod common;
mod ffmpeg;
mod fitted;
mod http;
mod sources;

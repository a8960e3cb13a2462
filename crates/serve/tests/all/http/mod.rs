//! The HTTP server, by requests on a real socket.
mod detect;
mod page;
mod served;
mod server;

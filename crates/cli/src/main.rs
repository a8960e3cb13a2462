//! The command line of yoloslim.
fn main() {}

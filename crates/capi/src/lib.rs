//! The C interface, as `include/yoloslim.h` declares it: load a detector, run it on pixels, get boxes.
//!
//! The second room with `unsafe`, for what C hands over: each pointer is checked for null and otherwise trusted to be what
//! the header asks for. Everything else is in [`detector`], which is safe.

mod boundary;
mod detector;

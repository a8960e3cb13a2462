//! Rules of the code base that a compiler does not check, one subject a file.

mod circles;
mod lists;
mod ranks;
mod signatures;
mod sizes;
mod source;

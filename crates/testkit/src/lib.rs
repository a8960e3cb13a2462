//! The testkit room of yoloslim.

#!/bin/sh
# Builds the kernels for aarch64 and runs their tests in an emulator that has both dotprod and i8mm.
# Needs a compiler with that target's standard library, in $RUSTC if it is not rustup's, and its linker, libc and emulator.
# Debian: dpkg --add-architecture arm64; apt-get install rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -eu
cd "$(dirname "$0")"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max"
export RUSTFLAGS="-D unused"
exec cargo test --release --locked --target aarch64-unknown-linux-gnu --lib --tests "$@"

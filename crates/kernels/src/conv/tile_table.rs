//! The functions of all tiles: generic in pixels and vectors, one for each number that any instruction set uses.

/// Most pixels of any tile.
pub(crate) const MOST_PIXELS: usize = 24;

/// `[vectors - 1][pixels - 1]`: the function with pixels and vectors as its last generic arguments.
macro_rules! tile_table {
    ($f:ident, $($T:ident),+) => {
        &[
            tile_table!(@ 1, $f, $($T),+),
            tile_table!(@ 2, $f, $($T),+),
            tile_table!(@ 3, $f, $($T),+),
            tile_table!(@ 4, $f, $($T),+),
        ]
    };
    (@ $vectors:literal, $f:ident, $($T:ident),+) => {
        [
            $f::<$($T),+, 1, $vectors>, $f::<$($T),+, 2, $vectors>, $f::<$($T),+, 3, $vectors>,
            $f::<$($T),+, 4, $vectors>, $f::<$($T),+, 5, $vectors>, $f::<$($T),+, 6, $vectors>,
            $f::<$($T),+, 7, $vectors>, $f::<$($T),+, 8, $vectors>, $f::<$($T),+, 9, $vectors>,
            $f::<$($T),+, 10, $vectors>, $f::<$($T),+, 11, $vectors>, $f::<$($T),+, 12, $vectors>,
            $f::<$($T),+, 13, $vectors>, $f::<$($T),+, 14, $vectors>, $f::<$($T),+, 15, $vectors>,
            $f::<$($T),+, 16, $vectors>, $f::<$($T),+, 17, $vectors>, $f::<$($T),+, 18, $vectors>,
            $f::<$($T),+, 19, $vectors>, $f::<$($T),+, 20, $vectors>, $f::<$($T),+, 21, $vectors>,
            $f::<$($T),+, 22, $vectors>, $f::<$($T),+, 23, $vectors>, $f::<$($T),+, 24, $vectors>,
        ]
    };
}
pub(crate) use tile_table;

//! Which blocks of four may be summed in i16 before anything else, two together or alone.

/// Largest sum of weights of one sign whose products with u8 values an i16 holds: `255 * 128 <= 32767`.
const MOST: u8 = 128;

/// Partners that are tried for a block of four.
const TRIES: usize = 64;

/// What a block of four adds at most to the i16 sums of its lanes, in products with 255: of each two neighbouring weights those
/// above zero, then those below.
fn loads(block4: &[[i8; 4]]) -> impl Iterator<Item = u8> + '_ {
    let above = |w: i8| w.max(0).unsigned_abs();
    let below = |w: i8| w.min(0).unsigned_abs();
    block4.iter().flat_map(move |&[a, b, c, d]| {
        [
            above(a).saturating_add(above(b)),
            above(c).saturating_add(above(d)),
            below(a).saturating_add(below(b)),
            below(c).saturating_add(below(d)),
        ]
    })
}

/// A panel's blocks of four by how they are summed.
pub(super) struct Order {
    /// Two in i16 together, whatever the values.
    pub(super) pairs: Vec<[usize; 2]>,
    /// Alone in i16.
    pub(super) singles: Vec<usize>,
    /// In i32.
    pub(super) others: Vec<usize>,
}

/// Sorts the blocks of four of a panel; the heaviest block of four that is left takes the heaviest that it may be paired with.
pub(super) fn sort(blocks4: &[&[[i8; 4]]]) -> Order {
    let width = 4 * blocks4.first().map_or(0, |block4| block4.len());
    let all: Vec<u8> = blocks4.iter().flat_map(|block4| loads(block4)).collect();
    let loads_of = |index: usize| &all[index * width..(index + 1) * width];
    let heaviest = |index: usize| loads_of(index).iter().copied().max().unwrap_or(0);
    let heaviest: Vec<u8> = (0..blocks4.len()).map(heaviest).collect();
    let (mut light, others): (Vec<usize>, Vec<usize>) =
        (0..blocks4.len()).partition(|&index| heaviest[index] <= MOST);
    light.sort_by_key(|&index| std::cmp::Reverse(heaviest[index]));
    let fits = |a: usize, b: usize| {
        let both = loads_of(a).iter().zip(loads_of(b));
        both.fold(0, |most, (a, b)| most.max(a.saturating_add(*b))) <= MOST
    };
    let mut taken = vec![false; blocks4.len()];
    let (mut pairs, mut singles) = (Vec::new(), Vec::new());
    for (i, &a) in light.iter().enumerate() {
        if taken[a] {
            continue;
        }
        let mut rest = light[i + 1..].iter().filter(|&&b| !taken[b]).take(TRIES);
        match rest.find(|&&b| fits(a, b)).copied() {
            Some(b) => {
                taken[b] = true;
                pairs.push([a.min(b), a.max(b)]);
            }
            None => singles.push(a),
        }
    }
    // Neighbours in memory follow each other.
    pairs.sort_unstable();
    singles.sort_unstable();
    Order { pairs, singles, others }
}

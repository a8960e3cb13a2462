//! Random numbers that a seed decides, the same on every machine.

/// A generator of random numbers: equal seeds give equal sequences, everywhere and in every version.
///
/// Source: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0 where that is 0; the bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number from -1 up to, and without, 1.
    pub fn signed(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_u64_of_a_known_seed_gives_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        let found = [(); 3].map(|()| rng.next_u64());
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(found, published);
    }

    #[test]
    fn below_and_signed_stay_within_their_bounds() {
        let mut rng = Rng::new(7);
        for bound in [1, 2, 17, 1000] {
            assert!((0..200).all(|_| rng.below(bound) < bound));
        }
        assert!((0..1000).all(|_| (-1.0..1.0).contains(&rng.signed())));
    }
}

//! Files that are damaged, for tests that nothing which reads them panics.
use numerics::Rng;

/// Archives and models keep at their end what everything else is found by: it is struck more often.
const TAIL_BYTES: usize = 70_000;

/// A copy of a file with some bytes changed, a piece moved or repeated, or the rest cut off.
pub fn damaged(original: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let len = bytes.len();
    let place = |rng: &mut Rng| match rng.below(4) {
        0 => len - 1 - rng.below(len.min(TAIL_BYTES)),
        _ => rng.below(len),
    };
    match rng.below(8) {
        0 => bytes.truncate(rng.below(len)),
        1 => {
            let (from, to) = (place(rng), place(rng));
            let piece = rng.below(64).min(len - from.max(to));
            bytes.copy_within(from..from + piece, to);
        }
        2 => {
            let from = place(rng);
            let piece = bytes[from..(from + rng.below(64)).min(len)].to_vec();
            let to = place(rng);
            bytes.splice(to..to, piece);
        }
        3 => {
            let from = place(rng);
            let end = (from + 4).min(len);
            bytes[from..end].fill(0xff);
        }
        _ => {
            for _ in 0..=rng.below(6) {
                let at = place(rng);
                bytes[at] = rng.below(256) as u8;
            }
        }
    }
    bytes
}

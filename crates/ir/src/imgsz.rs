//! Image sizes that networks take.

/// Height and width rounded up to multiples of the coarsest stride, since scales that are not whole do not meet again; and
/// what to tell where that changes them. Source: Ultralytics' `check_imgsz` rounds up too.
pub fn whole_imgsz(asked: [usize; 2], stride: usize) -> ([usize; 2], Option<String>) {
    let stride = stride.max(1);
    let whole = asked.map(|side| side.div_ceil(stride).saturating_mul(stride));
    let [height, width] = whole;
    let note = format!(
        "image size {}x{} is no multiple of the largest stride, {stride}: {height}x{width} is used",
        asked[0], asked[1]
    );
    (whole, (whole != asked).then_some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_imgsz_of_a_side_between_multiples_is_the_next_one_and_is_told() {
        let (size, note) = whole_imgsz([600, 640], 32);
        assert_eq!(size, [608, 640]);
        assert!(note.is_some_and(|n| n.contains("608x640")));
        assert_eq!(whole_imgsz([640, 320], 64), ([640, 320], None));
    }
}

use super::*;

#[test]
fn boards_have_defects_of_every_class_inside_the_picture() {
    let mut counts = [0; NAMES.len()];
    let mut faultless = 0;
    for seed in 0..60 {
        let board = board(seed);
        faultless += usize::from(board.defects.is_empty());
        for defect in board.defects {
            counts[defect.class] += 1;
            let [left, top, right, bottom] = defect.bbox;
            assert!(left >= 0.0 && top >= 0.0 && right <= 320.0 && bottom <= 320.0);
            assert!(right - left >= 12.0 && bottom - top >= 12.0);
        }
    }
    assert!(counts.iter().all(|&count| count >= 20), "{counts:?}");
    assert!((1..20).contains(&faultless), "{faultless}");
}

#[test]
fn a_defect_changes_the_picture_inside_its_box_only() {
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let artwork = layout::Layout::new(&mut rng).artwork();
        let view = raster::View::new(&mut rng);
        let mut damaged = artwork.clone();
        let defects = defects::damage(&mut damaged, &view, &mut rng);
        let [before, after] =
            [&artwork, &damaged].map(|a| photograph::photograph(a, &view, &mut rng.clone()));
        let near = |x: f32, y: f32, defect: &Defect| {
            let [left, top, right, bottom] = defect.bbox;
            (left - 3.0..=right + 3.0).contains(&x) && (top - 3.0..=bottom + 3.0).contains(&y)
        };
        let mut changed = vec![0; defects.len()];
        for (x, y, pixel) in before.enumerate_pixels() {
            let differs =
                pixel.0.iter().zip(after.get_pixel(x, y).0).any(|(a, b)| a.abs_diff(b) > 12);
            let at = defects.iter().position(|d| near(x as f32, y as f32, d));
            match at {
                Some(at) => changed[at] += usize::from(differs),
                None => assert!(!differs, "board {seed} at {x}, {y}"),
            }
        }
        assert!(changed.iter().all(|&pixels| pixels >= 5), "board {seed}: {changed:?}");
    }
}

//! Kernels that stand for several: chains of element-wise operations, the mean under a softmax.

use kernels::*;

const LEN: usize = 40_000;

fn filled() -> Arena {
    let mut arena = Arena::new(LEN).expect("a small arena");
    let values: Vec<f32> = (0..LEN).map(|i| (i * 37 % 101) as f32 / 25.0 + 0.25).collect();
    let all = View::contiguous(0, &[LEN]);
    arena.write(&all, &values).expect("the view is the arena");
    arena
}

fn with<T>(arena: &mut Arena, isa: Isa, f: impl FnOnce(&mut Context) -> T) -> T {
    f(&mut Context {
        f32_arena: arena,
        u8_arena: &mut Arena::new(0).expect("a small arena"),
        pool: &ThreadPool::new(2),
        isa,
    })
}

#[test]
fn chain_equals_its_operations_one_by_one() {
    // Pairs inside pixels of 7 channels, and a constant of its own for each pixel.
    let x = View { offset: 3, shape: [1, 3, 20, 30, 2].into(), strides: [0, 7, 630, 21, 1].into() };
    let y = View { offset: 20_000, ..x };
    let grid = View { offset: 36_000, shape: x.shape, strides: [0, 0, 60, 2, 1].into() };
    let two = View { offset: 39_990, shape: x.shape, strides: [0; 5].into() };
    let links = [
        Link::With(BinaryOp::Mul, two),
        Link::After(BinaryOp::Sub, grid),
        Link::Unary(UnaryOp::Activation(Activation::Sigmoid)),
        Link::With(BinaryOp::Pow, two),
    ];
    for isa in Isa::available() {
        let mut arena = filled();
        let two_alone = View::contiguous(39_990, &[1]);
        arena.write(&two_alone, &[2.0]).expect("in the arena");
        let expected = with(&mut arena, isa, |ctx| {
            binary(ctx, BinaryOp::Mul, &x, &two, &y).expect("runs");
            binary(ctx, BinaryOp::Sub, &grid, &y, &y).expect("runs");
            unary(ctx, UnaryOp::Activation(Activation::Sigmoid), &y, &y).expect("runs");
            binary(ctx, BinaryOp::Pow, &y, &two, &y).expect("runs");
            ctx.f32_arena.read(&y).expect("in the arena")
        });
        let found = with(&mut arena, isa, |ctx| {
            chain(ctx, &x, &y, &links).expect("runs");
            ctx.f32_arena.read(&y).expect("in the arena")
        });
        assert_eq!(found, expected, "{isa}");
        let in_place = with(&mut arena, isa, |ctx| {
            chain(ctx, &x, &x, &links).expect("runs");
            ctx.f32_arena.read(&x).expect("in the arena")
        });
        assert_eq!(in_place, expected, "{isa}, in place");
    }
}

#[test]
fn chain_constant_inside_the_output_is_an_error() {
    let y = View::contiguous(0, &[8]);
    let mut arena = filled();
    let done =
        with(&mut arena, Isa::scalar(), |ctx| chain(ctx, &y, &y, &[Link::With(BinaryOp::Add, y)]));
    assert!(matches!(done, Err(KernelError::Overlap { .. })), "{done:?}");
}

#[test]
fn copy_between_layouts_moves_every_element() {
    for (channels, pixels) in [(80, 700), (3, 130), (33, 64)] {
        let mut arena = filled();
        let x = View { offset: 0, shape: [channels, pixels].into(), strides: [1, channels].into() };
        let x = if channels * pixels * 2 > LEN {
            x.slice(1, 0, LEN / channels / 2).expect("shorter")
        } else {
            x
        };
        let y = View::contiguous(LEN - x.elements(), &x.shape);
        for isa in Isa::available() {
            let expected = arena.read(&x).expect("in the arena");
            with(&mut arena, isa, |ctx| copy(ctx, &x, &y)).expect("runs");
            assert_eq!(arena.read(&y).expect("in the arena"), expected, "{isa}");
        }
    }
}

#[test]
fn softmax_mean_equals_softmax_and_a_weighted_sum() {
    for bins in [16, 40] {
        // Bins side by side, as channels of pixels.
        let x = View {
            offset: 5,
            shape: [1, bins, 4, 50].into(),
            strides: [0, 1, bins, 4 * bins].into(),
        };
        let y = View::contiguous(30_000, &[1, 1, 4, 50]);
        let weights: Vec<f32> = (0..bins).map(|i| i as f32).collect();
        for isa in Isa::available() {
            let mut arena = filled();
            let values = arena.read(&x).expect("in the arena");
            with(&mut arena, isa, |ctx| softmax_mean(ctx, &x, &y, 1, &weights)).expect("runs");
            let found = arena.read(&y).expect("in the arena");
            for (position, found) in found.iter().enumerate() {
                let at = |i: usize| f64::from(values[i * 200 + position]).exp();
                let sum: f64 = (0..bins).map(at).sum();
                let mean: f64 = (0..bins).map(|i| i as f64 * at(i) / sum).sum();
                let off = (f64::from(*found) - mean).abs();
                assert!(off < 1e-5 * mean.max(1.0), "{isa}: {found} instead of {mean}");
            }
        }
    }
}

//! What is made of a photo-like image shows the condition, and boxes lie where their objects are.
use super::*;
use image::Rgb;

fn scene(seed: u64) -> Scene {
    let mut rng = Rng::new(seed);
    let mut image = RgbImage::from_fn(320, 240, |x, y| {
        let base = 60 + (x / 4) as u8 + (y / 8) as u8;
        Rgb([base, base.wrapping_add(20), base / 2 + ((x / 5 + y / 7) % 2 * 40) as u8])
    });
    let [left, top] = [rng.below(200) as u32, rng.below(150) as u32];
    for (x, y) in (left..left + 60).flat_map(|x| (top..top + 40).map(move |y| (x, y))) {
        image.put_pixel(x, y, Rgb([250, 40, 40]));
    }
    let bbox = [f64::from(left), f64::from(top), 60.0, 40.0];
    let object = GroundTruthObject { class: 2, bbox, area: 2400.0, crowd: false };
    Scene { image, objects: vec![object] }
}

#[test]
fn conditions_that_pixels_tell_are_shown() {
    for condition in CONDITIONS {
        for seed in 0..4 {
            let scenes: Vec<Scene> = (0..4).map(|i| scene(10 * seed + i)).collect();
            let made = synthesise(condition.name, &scenes, seed);
            let again = synthesise(condition.name, &scenes, seed);
            assert_eq!(made.scene.image, again.scene.image);
            assert_eq!(made.scene.image.dimensions(), (320, 240));
            if let How::Degraded(by) = made.how {
                let looks = Looks { measures: &made.measures, objects: None };
                assert!(
                    condition.is_beyond_limit(&looks),
                    "{}: {by:?} {:?}",
                    condition.name,
                    made.measures
                );
                assert_eq!(made.scene.objects, scenes[0].objects);
            }
        }
    }
}

#[test]
fn small_objects_lie_where_they_are_in_the_joined_image() {
    let scenes: Vec<Scene> = (0..4).map(scene).collect();
    let made = synthesise("small objects", &scenes, 0);
    assert_eq!((made.how, made.scene.objects.len()), (How::FourInOne, 4));
    for object in &made.scene.objects {
        let [left, top, w, h] = object.bbox.map(|v| v as u32);
        let pixel = made.scene.image.get_pixel(left + w / 2, top + h / 2);
        assert!(pixel[0] > 200 && pixel[1] < 90, "{object:?} {pixel:?}");
        assert_eq!((w, h), (30, 20));
    }
}

#[test]
fn occlusion_covers_a_part_of_an_object_and_keeps_its_label() {
    let scenes: Vec<Scene> = (0..2).map(scene).collect();
    let made = synthesise("occlusion", &scenes, 3);
    let How::Covered(patches) = &made.how else { panic!("{:?}", made.how) };
    assert_eq!(patches.len(), 1);
    let covered = f64::from(patches[0].covers_px[2] * patches[0].covers_px[3]) / 2400.0;
    assert!((0.25..0.55).contains(&covered), "{covered}");
    assert_eq!(made.scene.objects, scenes[0].objects);
    let unlabelled: Vec<Scene> =
        scenes.iter().map(|s| Scene { image: s.image.clone(), objects: vec![] }).collect();
    let How::Covered(patches) = synthesise("occlusion", &unlabelled, 3).how else { panic!() };
    assert_eq!(patches.len(), PATCHES);
}

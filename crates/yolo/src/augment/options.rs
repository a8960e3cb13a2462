//! How much training images are changed.
use crate::YoloError;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Share of a training after which no mosaics are made: the detector ends on images as it will see them.
/// Source: Ge et al., "YOLOX" (arXiv:2107.08430), section 2.1: the last 15 of 300 epochs.
const MOSAIC_UNTIL: f64 = 0.9;

/// How training images are changed. All is drawn anew for every image of every step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Share of inputs whose left and right are exchanged.
    pub flip_horizontal: f64,
    /// Share of inputs whose top and bottom are exchanged.
    pub flip_vertical: f64,
    /// By how much of themselves images grow or shrink at most, below 1.
    pub scale: f64,
    /// By how much of the input's width and height images are shifted at most, along x and y.
    pub translation: f64,
    /// By how much of a full turn hues are turned at most.
    pub hue: f64,
    /// By how much of itself saturation grows or falls at most.
    pub saturation: f64,
    /// By how much of itself brightness grows or falls at most.
    pub brightness: f64,
    /// Share of inputs that are made of four images; none at the end of a training.
    pub mosaic: f64,
}

/// By default left and right alone are exchanged: what changes images more costs steps, which a short training does not have.
impl Default for Augmentation {
    fn default() -> Self {
        Self { flip_horizontal: 0.5, ..Self::NONE }
    }
}

/// A field of an augmentation.
type Field = fn(&mut Augmentation) -> &mut f64;

/// All fields by name.
const FIELDS: &[(&str, Field)] = &[
    ("flip_horizontal", |a| &mut a.flip_horizontal),
    ("flip_vertical", |a| &mut a.flip_vertical),
    ("scale", |a| &mut a.scale),
    ("translation", |a| &mut a.translation),
    ("hue", |a| &mut a.hue),
    ("saturation", |a| &mut a.saturation),
    ("brightness", |a| &mut a.brightness),
    ("mosaic", |a| &mut a.mosaic),
];

impl Augmentation {
    /// Nothing is changed.
    pub const NONE: Self = Self {
        flip_horizontal: 0.0,
        flip_vertical: 0.0,
        scale: 0.0,
        translation: 0.0,
        hue: 0.0,
        saturation: 0.0,
        brightness: 0.0,
        mosaic: 0.0,
    };

    /// What holds at a step of so many: no mosaics at the end.
    pub fn at(self, step: usize, steps: usize) -> Self {
        let is_end = step as f64 >= MOSAIC_UNTIL * steps as f64;
        Self { mosaic: if is_end { 0.0 } else { self.mosaic }, ..self }
    }
}

/// Fields as `scale=0.4,mosaic=0.5`; those that are not named keep their defaults.
impl FromStr for Augmentation {
    type Err = YoloError;

    fn from_str(text: &str) -> Result<Self, YoloError> {
        let mut augmentation = Self::default();
        for part in text.split(',') {
            let refuse = || YoloError::Augmentation {
                found: part.to_owned(),
                known: FIELDS.iter().map(|(name, _)| *name).collect(),
            };
            let (name, value) = part.split_once('=').ok_or_else(refuse)?;
            let (_, field) = FIELDS.iter().find(|(known, _)| *known == name).ok_or_else(refuse)?;
            // An image cannot shrink to nothing.
            let is_share = |v: &f64| (0.0..=1.0).contains(v) && (name != "scale" || *v < 1.0);
            let value = value.parse().ok().filter(is_share).ok_or_else(refuse)?;
            *field(&mut augmentation) = value;
        }
        Ok(augmentation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_named_are_set_and_others_keep_their_defaults() {
        let found: Augmentation = "scale=0.4,mosaic=1,flip_horizontal=0".parse().unwrap();
        assert_eq!(found, Augmentation { scale: 0.4, mosaic: 1.0, ..Augmentation::NONE });
        let all: Vec<String> = FIELDS.iter().map(|(name, _)| format!("{name}=0.25")).collect();
        let all: Augmentation = all.join(",").parse().unwrap();
        let json = serde_json::to_value(all).unwrap();
        let values = json.as_object().unwrap().values();
        assert_eq!(values.filter(|v| **v == 0.25).count(), FIELDS.len());
        assert_eq!(json.as_object().unwrap().len(), FIELDS.len());
    }

    #[test]
    fn what_is_no_field_or_no_share_is_an_error_that_names_the_fields() {
        for text in ["", "scale", "size=1", "hue=-0.1", "hue=nan", "brightness=2", "scale=1"] {
            let told = text.parse::<Augmentation>().unwrap_err().to_string();
            assert!(told.contains("flip_vertical, scale"), "{text}: {told}");
        }
    }
}

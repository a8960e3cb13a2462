//! The number of channels of the image that a model reads, by its first convolution.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::module::{MODULE_BYTES, Module};

/// A hyperspectral image has some hundred channels; a file may state any number.
const MAX_CHANNELS: usize = 1 << 10;
/// How deep within a layer the first convolution lies at most.
const MAX_DEPTH: usize = 16;

/// The channels of the image: what the first convolution or normalisation reads, fewer by the blocks of pixels that
/// layers before it turn into channels.
///
/// # Errors
/// `Expected` where no layer states it, or states a number that no image has.
pub(crate) fn of_image(layers: &[Module<'_>], budget: &Budget) -> Result<usize, CheckpointError> {
    let mut pixels = 1;
    for layer in layers {
        let Some(found) = first(layer, &mut pixels, budget, 0)? else {
            continue;
        };
        let channels = Some(found).filter(|c| c.is_multiple_of(pixels));
        let channels = channels.map(|c| c / pixels);
        return channels.filter(|c| (1..=MAX_CHANNELS).contains(c)).ok_or_else(|| {
            CheckpointError::Expected {
                at: layer.path.clone(),
                expected: "an image of 1 to 1024 channels",
                found: format!("{found} channels in its first convolution"),
            }
        });
    }
    Err(CheckpointError::Expected {
        at: "model".to_owned(),
        expected: "a convolution among the layers",
        found: format!("{} layers without one", layers.len()),
    })
}

/// The input channels of the first module that states them; `pixels` grows by what becomes channels before it.
fn first(
    module: &Module<'_>,
    pixels: &mut usize,
    budget: &Budget,
    depth: usize,
) -> Result<Option<usize>, CheckpointError> {
    budget.charge(MODULE_BYTES, || module.path.clone())?;
    match module.class {
        "Focus" | "ReOrg" => *pixels = pixels.saturating_mul(4),
        "Contract" => {
            let gain = module.count("gain")?.max(1);
            *pixels = pixels.saturating_mul(gain).saturating_mul(gain);
        }
        _ => {}
    }
    for name in ["in_channels", "num_features"] {
        if module.attribute(name).is_some() {
            return module.count(name).map(Some);
        }
    }
    if depth >= MAX_DEPTH {
        return Ok(None);
    }
    for child in module.children()? {
        if let Some(found) = first(&child, pixels, budget, depth + 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

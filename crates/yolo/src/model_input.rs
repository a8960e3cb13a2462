//! How images become a network's inputs.

mod own_steps;

use std::fmt;

use image::RgbImage;
use ir::{Graph, ValueId};

use crate::{Letterbox, Preprocess, YoloError, letterbox};
use own_steps::OwnSteps;

/// Red, green and blue as they add up to brightness, in 2^-14.
/// Source: ITU-R BT.601, as OpenCV rounds it.
pub(crate) const LUMA: [u32; 3] = [4899, 9617, 1868];

/// How images are fed to a model, whatever it predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInput {
    /// How they are prepared, with regard to what the graph does to pixels itself.
    pub preprocess: Preprocess,
    /// Height and width of the network's inputs.
    pub size_px: [usize; 2],
    /// Channels of each of the network's inputs: three of an image's colours, as often as they fit; one that is left
    /// over takes the next image in gray.
    channels: Vec<usize>,
}

/// One input of a network as bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pixels {
    /// `[H, W, C]`.
    pub bytes: Vec<u8>,
    /// C.
    pub channels: usize,
}

impl Pixels {
    /// Planes `[1, C, H, W] f32`, each byte standing for `scale` times itself.
    pub fn planes(&self, scale: f32) -> Vec<f32> {
        let plane = self.bytes.len() / self.channels.max(1);
        let mut input = vec![0.0; self.channels * plane];
        for (channel, out) in input.chunks_exact_mut(plane.max(1)).enumerate() {
            for (o, pixel) in out.iter_mut().zip(self.bytes.chunks_exact(self.channels)) {
                *o = f32::from(pixel[channel]) * scale;
            }
        }
        input
    }
}

/// The inputs of a network, `[1, C, H, W] f32` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes(pub Vec<Vec<f32>>);

impl Planes {
    /// The inputs, as an engine takes them.
    pub fn slices(&self) -> Vec<&[f32]> {
        self.0.iter().map(Vec::as_slice).collect()
    }
}

impl ModelInput {
    /// The inputs of a model whose network expects pixels prepared in this way. What the graph does to them before the
    /// network begins (a division by 255, a normalisation, a change of the channels' order) is left to it.
    ///
    /// # Errors
    /// `ImageInput` where the model reads something else than images of one size: `[_, 3, H, W]`, in gray `[_, 1, H, W]`,
    /// or several of them, as inputs of their own or as channels of one; `InputPixels` where channels are mixed or ordered
    /// in another way than blue, green, red for red, green, blue.
    pub fn new(graph: &Graph, preprocess: Preprocess) -> Result<Self, YoloError> {
        let refuse = || YoloError::ImageInput { inputs: shapes(graph, graph.inputs()) };
        let image = |v: &ValueId| match graph.ty(*v).ok()?.shape[..] {
            [_, c, h, w] if c % 3 < 2 && c > 0 => Some((c, [h, w])),
            _ => None,
        };
        let all: Option<Vec<(usize, [usize; 2])>> = graph.inputs().iter().map(image).collect();
        let all = all.ok_or_else(refuse)?;
        match all.first() {
            Some(&(_, size_px)) if all.iter().all(|(_, size)| *size == size_px) => Ok(Self {
                preprocess: outside(graph, preprocess, &all)?,
                size_px,
                channels: all.into_iter().map(|(c, _)| c).collect(),
            }),
            _ => Err(refuse()),
        }
    }

    /// How many images of a scene the network reads at once.
    pub fn images(&self) -> usize {
        self.channels.iter().map(|c| c.div_ceil(3)).sum()
    }

    /// Whether it reads one image, in gray; then blue, green and red are one channel.
    pub(crate) fn is_gray(&self) -> bool {
        self.channels == [1]
    }

    /// The images of a scene as the network's inputs.
    ///
    /// # Errors
    /// `ImageCount` where they are not as many as the network reads.
    pub fn prepare(&self, images: &[RgbImage]) -> Result<Planes, YoloError> {
        let (pixels, _) = self.pixels(images)?;
        let planes = pixels.iter().map(|p| p.planes(self.preprocess.scale));
        Ok(Planes(planes.collect()))
    }

    /// The images of a scene as pixels of the network's inputs, and how the first of them was placed there.
    pub(crate) fn pixels(
        &self,
        images: &[RgbImage],
    ) -> Result<(Vec<Pixels>, Letterbox), YoloError> {
        let count = || YoloError::ImageCount { expected: self.images(), found: images.len() };
        let geometry = |image: &RgbImage| {
            let source = [image.width() as usize, image.height() as usize];
            let [height, width] = self.size_px;
            Letterbox::new(self.preprocess.placement, source, [width, height])
        };
        let first = images.first().map(geometry).ok_or_else(count)?;
        if images.len() != self.images() {
            return Err(count());
        }
        let boxed = images.iter().map(|i| letterbox(i, &geometry(i)));
        Ok((self.assemble(boxed.collect()), first))
    }

    /// The letterboxed images of a scene, RGB each, as pixels of the network's inputs.
    pub(crate) fn assemble(&self, images: Vec<Vec<u8>>) -> Vec<Pixels> {
        let mut boxed = images.into_iter();
        let mut input = |&channels: &usize| {
            // One image of three channels is the rule: its bytes are the input's.
            let mut bytes = match channels {
                3 => boxed.next().unwrap_or_default(),
                _ => {
                    let scene: Vec<Vec<u8>> = boxed.by_ref().take(channels.div_ceil(3)).collect();
                    join(&scene, channels)
                }
            };
            if self.preprocess.bgr {
                for pixel in bytes.chunks_exact_mut(channels) {
                    let colours = pixel.as_chunks_mut::<3>().0;
                    colours.iter_mut().for_each(|p| p.swap(0, 2));
                }
            }
            Pixels { bytes, channels }
        };
        self.channels.iter().map(&mut input).collect()
    }
}

/// How images are prepared for a graph whose network expects them as `inside` says.
fn outside(
    graph: &Graph,
    inside: Preprocess,
    inputs: &[(usize, [usize; 2])],
) -> Result<Preprocess, YoloError> {
    let mut found = None;
    for (&value, &(channels, _)) in graph.inputs().iter().zip(inputs) {
        let refuse = || YoloError::InputPixels { input: graph.value(value).name.clone() };
        let steps = OwnSteps::read(graph, value, channels).ok_or_else(refuse)?;
        let own = Preprocess {
            scale: match steps.takes_bytes() {
                None => inside.scale,
                Some(true) => 1.0,
                Some(false) => 1.0 / 255.0,
            },
            bgr: inside.bgr ^ steps.reverses().ok_or_else(refuse)?,
            ..inside
        };
        if *found.get_or_insert(own) != own {
            return Err(refuse());
        }
    }
    Ok(found.unwrap_or(inside))
}

impl fmt::Display for ModelInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preprocess { scale, bgr, .. } = self.preprocess;
        write!(f, "{} from 0 to {:.0}", if bgr { "BGR" } else { "RGB" }, 255.0 * scale)
    }
}

/// Pixels of several images side by side; where a channel is left for the last one, it is gray.
fn join(scene: &[Vec<u8>], channels: usize) -> Vec<u8> {
    let pixels = scene.first().map_or(0, |i| i.len() / 3);
    let mut joined = Vec::with_capacity(pixels * channels);
    for at in 0..pixels {
        for (i, image) in scene.iter().enumerate() {
            let rgb = &image[3 * at..3 * at + 3];
            match channels - 3 * i {
                1 => joined.push(gray(rgb)),
                _ => joined.extend_from_slice(rgb),
            }
        }
    }
    joined
}

pub(crate) fn gray(rgb: &[u8]) -> u8 {
    let sum: u32 = rgb.iter().zip(LUMA).map(|(&x, w)| u32::from(x) * w).sum();
    ((sum + (1 << 13)) >> 14) as u8
}

/// Shapes of values, for messages.
pub(crate) fn shapes(graph: &Graph, values: &[ValueId]) -> String {
    let shape = |v: &ValueId| format!("{:?}", graph.ty(*v).map_or(vec![], |t| t.shape.clone()));
    values.iter().map(shape).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LETTERBOX;
    use ir::{DataType, TensorType};

    fn input(channels: &[usize], bgr: bool) -> Result<ModelInput, YoloError> {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        for (i, &c) in channels.iter().enumerate() {
            edit.input(&format!("x{i}"), TensorType::new(DataType::F32, [1, c, 1, 1]));
        }
        graph.apply(edit).unwrap();
        ModelInput::new(&graph, Preprocess { bgr, ..LETTERBOX })
    }

    fn bytes(channels: &[usize], bgr: bool) -> Vec<Vec<u8>> {
        let input = input(channels, bgr).unwrap();
        let image = |at: usize| {
            RgbImage::from_pixel(1, 1, image::Rgb([10, 20, 30].map(|x| x + 100 * at as u8)))
        };
        let images: Vec<RgbImage> = (0..input.images()).map(image).collect();
        let (pixels, _) = input.pixels(&images).unwrap();
        pixels.into_iter().map(|p| p.bytes).collect()
    }

    #[test]
    fn pixels_of_several_streams_go_into_inputs_or_channels_in_their_order() {
        // 0.299, 0.587 and 0.114 of 110, 120 and 130.
        assert_eq!(bytes(&[3, 1], false), [vec![10, 20, 30], vec![118]]);
        assert_eq!(bytes(&[4], false), [[10, 20, 30, 118]]);
        assert_eq!(bytes(&[6], true), [[30, 20, 10, 130, 120, 110]]);
        assert_eq!(bytes(&[3, 3], true), [[30, 20, 10], [130, 120, 110]]);
    }

    #[test]
    fn prepare_of_too_few_images_is_an_error() {
        let input = input(&[3, 3], false).unwrap();
        let told = input.prepare(&[RgbImage::new(4, 4)]).unwrap_err().to_string();
        assert!(told.contains("reads 2 images of a scene") && told.contains('1'), "{told}");
    }

    #[test]
    fn new_of_inputs_that_are_no_images_is_an_error() {
        for channels in [&[5][..], &[3, 2], &[]] {
            assert!(input(channels, false).is_err(), "{channels:?}");
        }
    }
}

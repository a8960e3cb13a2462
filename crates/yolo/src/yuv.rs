//! Frames as video decoders give them, planar YUV 4:2:0, and what a network reads of them.

use image::RgbImage;
use kernels::{Isa, KernelError, YuvScaler, YuvScaling, chroma_px};
pub use kernels::{Plane as YuvPlane, Region, YuvColours, YuvMatrix, YuvRange};

use crate::preprocess::PADDING;
use crate::{Letterbox, ModelInput, Pixels, YoloError};

/// A frame, or a part of one: planes Y, U and V, the last two with half the samples along each axis, rounded up (I420).
///
/// Chroma samples lie where H.264 and H.265 have them unless told otherwise: in the column of every other luma sample,
/// halfway between two rows.
#[derive(Clone, Copy, Debug)]
pub struct YuvFrame<'a> {
    planes: [YuvPlane<'a>; 3],
    size_px: [usize; 2],
    colours: YuvColours,
    region: Region,
}

impl<'a> YuvFrame<'a> {
    /// A frame of `[width, height]` pixels, which may be odd.
    ///
    /// # Errors
    /// `Kernel` where a plane has fewer bytes than its rows need, its rows overlap, or the frame has no pixels.
    pub fn new(
        planes: [YuvPlane<'a>; 3],
        size_px: [usize; 2],
        colours: YuvColours,
    ) -> Result<Self, YoloError> {
        let sizes = [size_px, chroma_px(size_px), chroma_px(size_px)];
        let names = ["plane Y", "plane U", "plane V"];
        for ((name, plane), size_px) in names.into_iter().zip(&planes).zip(sizes) {
            let YuvPlane { bytes, stride_bytes } = *plane;
            let needed = YuvPlane::needed_bytes(stride_bytes, size_px);
            if size_px.contains(&0) || needed.is_none_or(|needed| bytes.len() < needed) {
                // Rows that overlap, or more bytes than can be counted, are asked for in vain.
                let expected = needed.unwrap_or(usize::MAX);
                let found = bytes.len();
                return Err(KernelError::Length { operand: name, expected, found }.into());
            }
        }
        let [width, height] = size_px;
        Ok(Self { planes, size_px, colours, region: Region { left: 0, top: 0, width, height } })
    }

    /// A frame of `[width, height]` pixels whose planes follow one another without gaps: Y, U, V.
    ///
    /// # Errors
    /// As [`YuvFrame::new`].
    pub fn contiguous(
        bytes: &'a [u8],
        size_px: [usize; 2],
        colours: YuvColours,
    ) -> Result<Self, YoloError> {
        let [width, height] = size_px;
        let [chroma_width, chroma_height] = chroma_px(size_px);
        let luma = width.saturating_mul(height).min(bytes.len());
        let (y, rest) = bytes.split_at(luma);
        let chroma = chroma_width.saturating_mul(chroma_height).min(rest.len());
        let (u, v) = rest.split_at(chroma);
        let plane = |bytes, stride_bytes| YuvPlane { bytes, stride_bytes };
        let planes = [plane(y, width), plane(u, chroma_width), plane(v, chroma_width)];
        Self::new(planes, size_px, colours)
    }

    /// A part of the frame, in pixels of the whole of it, wherever its edges lie.
    ///
    /// # Errors
    /// `Kernel` where the part is empty or leaves the frame.
    pub fn crop(&self, region: Region) -> Result<Self, YoloError> {
        if !region.lies_in(self.size_px) {
            let operand = "a frame";
            return Err(KernelError::Region {
                operand,
                region: Box::new(region),
                image_px: self.size_px,
            }
            .into());
        }
        Ok(Self { region, ..*self })
    }

    /// Width and height of the whole frame.
    pub fn size_px(&self) -> [usize; 2] {
        self.size_px
    }

    /// What is looked at as an image of `[width, height]` pixels, such as a smaller one to show.
    ///
    /// # Errors
    /// As [`ModelInput::pixels_of_yuv`].
    pub fn to_image(&self, size_px: [usize; 2]) -> Result<RgbImage, YoloError> {
        let [width, height] = size_px;
        let scaling = YuvScaling {
            frame_px: self.size_px,
            from: self.region,
            image_px: size_px,
            to: Region { left: 0, top: 0, width, height },
            colours: self.colours,
            bgr: false,
        };
        let mut image = RgbImage::new(width as u32, height as u32);
        YuvScaler::new(scaling)?.run(Isa::best(), &self.planes, &mut image)?;
        Ok(image)
    }

    /// The part of the frame that is looked at: all of it, or what was cropped.
    pub fn region(&self) -> Region {
        self.region
    }
}

/// The network's input made of a frame, and what is kept from frame to frame to make it: tables and memory.
#[derive(Default)]
pub struct YuvPixels {
    scaler: Option<YuvScaler>,
    pixels: Pixels,
    /// The same in colours, where the network reads gray.
    colours: Vec<u8>,
}

impl YuvPixels {
    /// The pixels that the last frame became; none before the first.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }
}

impl ModelInput {
    /// A frame as pixels of the network's input, and how it was placed there: scaled, converted and padded in one pass,
    /// without an image in between. Frames of one size, one after another, allocate nothing.
    ///
    /// The same, but for rounding, as the frame converted to an image, chroma interpolated, and letterboxed.
    ///
    /// # Errors
    /// `ImageCount` where the network reads several images of a scene.
    pub fn pixels_of_yuv(
        &self,
        frame: &YuvFrame<'_>,
        into: &mut YuvPixels,
    ) -> Result<Letterbox, YoloError> {
        if self.images() != 1 {
            return Err(YoloError::ImageCount { expected: self.images(), found: 1 });
        }
        let [height, width] = self.size_px;
        let image_px = [width, height];
        let from = frame.region;
        let geometry =
            Letterbox::new(self.preprocess.placement, [from.width, from.height], image_px);
        let Letterbox { left, top, new_w, new_h, .. } = geometry;
        let scaling = YuvScaling {
            frame_px: frame.size_px,
            from,
            image_px,
            to: Region { left, top, width: new_w, height: new_h },
            colours: frame.colours,
            bgr: self.preprocess.bgr,
        };
        let gray = self.is_gray();
        let channels = if gray { 1 } else { 3 };
        let YuvPixels { scaler, pixels, colours } = into;
        let image = if gray { &mut *colours } else { &mut pixels.bytes };
        let scaler = match scaler {
            Some(kept) if *kept.scaling() == scaling && pixels.channels == channels => kept,
            stale => {
                // What lies around the scaled frame is written once.
                image.clear();
                image.resize(width * height * 3, PADDING);
                pixels.channels = channels;
                stale.insert(YuvScaler::new(scaling)?)
            }
        };
        scaler.run(Isa::best(), &frame.planes, image)?;
        if gray {
            pixels.bytes.clear();
            pixels.bytes.extend(colours.chunks_exact(3).map(crate::model_input::gray));
        }
        Ok(geometry)
    }
}

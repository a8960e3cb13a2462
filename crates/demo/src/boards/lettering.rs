//! Letters of the silkscreen.
use super::raster::{Point, Shape};
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_5X8;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Drawable, Point as FontPoint};
use embedded_graphics::text::{Baseline, Text};
use std::convert::Infallible;

/// Height and width of a font's pixel.
const DOT_PX: f32 = 1.15;

/// The dots of a text whose top left corner is given; from top to bottom where it `stands`.
pub(super) fn letters(text: &str, at: Point, stands: bool) -> Vec<Shape> {
    let mut dots = Dots(Vec::new());
    let style = MonoTextStyle::new(&FONT_5X8, BinaryColor::On);
    let drawn = Text::with_baseline(text, FontPoint::zero(), style, Baseline::Top).draw(&mut dots);
    let Ok(_) = drawn;
    let shape = |&FontPoint { x, y }: &FontPoint| {
        let [across, down] = if stands { [-y, x] } else { [x, y] };
        let place = [at[0] + across as f32 * DOT_PX, at[1] + down as f32 * DOT_PX];
        Shape::rectangle(place, [DOT_PX * 0.6; 2])
    };
    dots.0.iter().map(shape).collect()
}

/// The pixels that a font sets.
struct Dots(Vec<FontPoint>);

impl OriginDimensions for Dots {
    fn size(&self) -> Size {
        Size::new(512, 512)
    }
}

impl DrawTarget for Dots {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let set = pixels.into_iter().filter(|Pixel(_, color)| color.is_on());
        self.0.extend(set.map(|Pixel(point, _)| point));
        Ok(())
    }
}

//! Charts as SVG, coloured by the page's variables so that they follow light and dark.

use maud::{Markup, html};

use super::{Channels, Spread};
use crate::LayerError;

/// A number with two decimals, which is fine enough for a coordinate.
pub(super) fn at(v: f64) -> String {
    format!("{v:.2}")
}

/// A layer's name without what all layers have in common; of a long one the end, where layers differ.
pub(super) fn short(name: &str) -> String {
    const LETTERS: usize = 28;
    // A part of a layer's channels is called `layer#2`.
    let (layer, part) = name.split_at(name.rfind('#').unwrap_or(name.len()));
    let layer = layer.trim_start_matches('/');
    let ends = ["/conv/Conv", "/Conv", "/act/Mul_output_0"];
    let layer = ends.iter().find_map(|e| layer.strip_suffix(e));
    let name = layer.map_or(name.trim_start_matches('/').to_owned(), |l| {
        format!("{l}{part}")
    });
    match name.chars().count().checked_sub(LETTERS) {
        Some(cut @ 1..) => std::iter::once('…').chain(name.chars().skip(cut)).collect(),
        _ => name,
    }
}

/// One row of a bar chart: a name, shares of the full width for the pale and the strong bar, and a number.
struct Bar<'a> {
    name: &'a str,
    pale: f64,
    strong: f64,
    number: String,
}

fn bars(rows: &[Bar<'_>]) -> Markup {
    let wide = |share: f64| format!("width:{} %", at(100.0 * share)).replace(' ', "");
    html! {
        div class="bars" {
            @for row in rows {
                span class="name" title=(row.name) { (short(row.name)) }
                div class="bar" {
                    @if row.pale > row.strong { div class="pale" style=(wide(row.pale)) {} }
                    div class="strong" style=(wide(row.strong)) {}
                }
                span class="number" { (row.number) }
            }
        }
    }
}

/// Channels kept of every layer.
pub(super) fn channels(layers: &[Channels]) -> Markup {
    let widest = layers.iter().map(|l| l.before).max().unwrap_or(1).max(1) as f64;
    let row = |l: &Channels| -> (f64, f64, String) {
        let number = match l.before == l.after {
            true => l.before.to_string(),
            false => format!("{} / {}", l.after, l.before),
        };
        (l.before as f64 / widest, l.after as f64 / widest, number)
    };
    let rows: Vec<Bar<'_>> = layers
        .iter()
        .map(|l| {
            let (pale, strong, number) = row(l);
            Bar {
                name: &l.layer,
                pale,
                strong,
                number,
            }
        })
        .collect();
    bars(&rows)
}

/// Relative error of layers, the worst first.
pub(super) fn errors(layers: &[LayerError]) -> Markup {
    let error = |l: &LayerError| l.relative_error.unwrap_or(0.0);
    let worst = layers.iter().map(error).fold(1e-12, f64::max);
    let rows: Vec<Bar<'_>> = layers
        .iter()
        .map(|l| Bar {
            name: &l.layer,
            pale: 0.0,
            strong: error(l) / worst,
            number: format!("{:.2} %", 100.0 * error(l)),
        })
        .collect();
    bars(&rows)
}

/// A histogram on a logarithmic scale, with the chosen range in front of it.
pub(super) fn spread(spread: &Spread) -> Markup {
    const W: f64 = 300.0;
    const H: f64 = 110.0;
    let h = &spread.histogram;
    let (low, high) = (h.min.min(spread.range.0), h.max.max(spread.range.1));
    let x = |v: f32| W * f64::from(v - low) / f64::from(high - low).max(1e-30);
    let most = h.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let tall = |n: u64| (H - 4.0) * (n as f64).ln_1p() / most.ln_1p();
    let bins = h.counts.len().max(1);
    let edge = |i: usize| h.min + (h.max - h.min) * i as f32 / bins as f32;
    let mut path = format!("M{} {}", at(x(h.min)), at(H));
    for (i, &n) in h.counts.iter().enumerate() {
        let y = at(H - tall(n));
        path += &format!("L{} {y}L{} {y}", at(x(edge(i))), at(x(edge(i + 1))));
    }
    path += &format!("L{} {}Z", at(x(h.max)), at(H));
    let (a, b) = spread.range;
    html! {
        svg viewBox=(format!("0 0 {W} {}", H + 16.0)) role="img" aria-label=(h.value) {
            rect x=(at(x(a))) y="0" width=(at(x(b) - x(a))) height=(at(H)) class="range" {}
            path d=(path) class="histogram" {}
            @for v in [a, b] { line x1=(at(x(v))) x2=(at(x(v))) y1="0" y2=(at(H)) class="edge" {} }
            line x1="0" x2=(at(W)) y1=(at(H)) y2=(at(H)) class="axis" {}
            text x="0" y=(at(H + 12.0)) class="label" { (number(f64::from(low), 2)) }
            text x=(at(W)) y=(at(H + 12.0)) class="label end" { (number(f64::from(high), 2)) }
        }
    }
}

/// A number with the minus sign of print.
pub(super) fn number(v: f64, decimals: usize) -> String {
    format!("{v:.decimals$}").replace('-', "−")
}

/// mAP of one class before and after, between 0 and 1.
pub(super) fn pair(before: f64, after: f64) -> Markup {
    html! {
        svg viewBox="0 0 160 16" class="pair" aria-hidden="true" {
            rect x="0" y="1" width=(at(160.0 * before.clamp(0.0, 1.0))) height="6" rx="2" class="pale" {}
            rect x="0" y="9" width=(at(160.0 * after.clamp(0.0, 1.0))) height="6" rx="2" class="strong" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_keep_what_tells_layers_apart() {
        for (name, expected) in [
            (
                "/model.22/cv3.2/cv3.2.1/conv/Conv",
                "model.22/cv3.2/cv3.2.1",
            ),
            ("/model.22/cv3.2/cv3.2.2/Conv", "model.22/cv3.2/cv3.2.2"),
            ("/model.9/cv2/act/Mul_output_0", "model.9/cv2"),
            ("/model.4/cv1/conv/Conv#2", "model.4/cv1#2"),
            ("Conv_283", "Conv_283"),
            (
                "/a_very_long_module_name/with/many_parts",
                "…_module_name/with/many_parts",
            ),
        ] {
            assert_eq!(short(name), expected);
        }
    }

    #[test]
    fn bars_nothing_removed_leaves_the_pale_bar_out() {
        let layer = |before, after| Channels {
            layer: "a".to_owned(),
            before,
            after,
        };
        let page = channels(&[layer(64, 64), layer(64, 24)]).into_string();
        assert_eq!(page.matches("class=\"pale\"").count(), 1);
        assert!(page.contains("24 / 64") && page.contains("width:37.50%"));
    }
}

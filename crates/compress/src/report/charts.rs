//! Charts as SVG, coloured by the page's variables so that they follow light and dark.

use maud::{Markup, html};

use super::{Channels, Spread};
use crate::LayerError;

const ROW: f64 = 18.0;
const LABEL: f64 = 190.0;
const BAR: f64 = 420.0;
const NUMBER: f64 = 90.0;
const WIDTH: f64 = LABEL + BAR + NUMBER;

/// A number with two decimals, which is fine enough for a coordinate.
pub(super) fn at(v: f64) -> String {
    format!("{v:.2}")
}

/// The end of a long name, where layers differ.
pub(super) fn tail(name: &str) -> String {
    const LETTERS: usize = 28;
    let letters: Vec<char> = name.chars().collect();
    match letters.len() > LETTERS {
        true => "…"
            .chars()
            .chain(letters[letters.len() - LETTERS..].iter().copied())
            .collect(),
        false => name.to_owned(),
    }
}

/// One row of a bar chart: a name, shares of the full width for the pale and the strong bar, and a number.
struct Bar<'a> {
    name: &'a str,
    pale: f64,
    strong: f64,
    number: String,
}

fn bars(rows: &[Bar<'_>], title: &str) -> Markup {
    let height = ROW * rows.len() as f64;
    html! {
        svg viewBox=(format!("0 0 {} {}", at(WIDTH), at(height))) role="img" aria-label=(title) {
            @for (i, row) in rows.iter().enumerate() {
                @let y = i as f64 * ROW;
                text x=(at(LABEL - 8.0)) y=(at(y + 13.0)) class="label end" { title { (row.name) } (tail(row.name)) }
                rect x=(at(LABEL)) y=(at(y + 4.0)) width=(at(BAR * row.pale)) height=(at(ROW - 8.0)) rx="2" class="pale" {}
                rect x=(at(LABEL)) y=(at(y + 4.0)) width=(at(BAR * row.strong)) height=(at(ROW - 8.0)) rx="2" class="strong" {}
                text x=(at(LABEL + BAR + 8.0)) y=(at(y + 13.0)) class="label" { (row.number) }
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
    bars(&rows, "channels kept by layer")
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
    bars(&rows, "relative error by layer")
}

/// A histogram on a logarithmic scale, with the chosen range in front of it.
pub(super) fn spread(spread: &Spread) -> Markup {
    const W: f64 = 300.0;
    const H: f64 = 110.0;
    let h = &spread.histogram;
    let (low, high) = match spread.range {
        Some((a, b)) => (h.min.min(a), h.max.max(b)),
        None => (h.min, h.max),
    };
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
    html! {
        svg viewBox=(format!("0 0 {W} {}", H + 16.0)) role="img" aria-label=(h.value) {
            @if let Some((a, b)) = spread.range {
                rect x=(at(x(a))) y="0" width=(at(x(b) - x(a))) height=(at(H)) class="range" {}
            }
            path d=(path) class="histogram" {}
            @if let Some((a, b)) = spread.range {
                @for v in [a, b] { line x1=(at(x(v))) x2=(at(x(v))) y1="0" y2=(at(H)) class="edge" {} }
            }
            line x1="0" x2=(at(W)) y1=(at(H)) y2=(at(H)) class="axis" {}
            text x="0" y=(at(H + 12.0)) class="label" { (format!("{low:.2}")) }
            text x=(at(W)) y=(at(H + 12.0)) class="label end" { (format!("{high:.2}")) }
        }
    }
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

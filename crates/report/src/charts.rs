//! Charts as SVG, coloured by the page's variables so that they follow light and dark.

use compress::{RecoveryPoint, RecoveryRecord};
use maud::{Markup, html};
use observe::LayerError;

use crate::contents::{Channels, Distribution};
use crate::figures::{number, short_layer_name};

/// Width of a chart in its own units.
const W: f64 = 300.0;

/// A number with two decimals, which is fine enough for a coordinate.
pub(crate) fn coordinate(v: f64) -> String {
    format!("{v:.2}")
}

/// One row of a bar chart: a name, shares of the full width for the pale and the strong bar, and a number.
struct Bar<'a> {
    name: &'a str,
    pale: f64,
    strong: f64,
    number: String,
}

fn bars(rows: &[Bar<'_>]) -> Markup {
    let wide = |share: f64| format!("width:{} %", coordinate(100.0 * share)).replace(' ', "");
    html! {
        div class="bars" {
            @for row in rows {
                span class="name" title=(row.name) { (short_layer_name(row.name)) }
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
pub(crate) fn channels(layers: &[Channels]) -> Markup {
    let widest = layers.iter().map(|l| l.before).max().unwrap_or(1).max(1) as f64;
    let number = |l: &Channels| {
        if l.before == l.after {
            l.before.to_string()
        } else {
            format!("{} / {}", l.after, l.before)
        }
    };
    let row = |l| bar(l, widest, number(l));
    bars(&layers.iter().map(row).collect::<Vec<_>>())
}

fn bar(layer: &Channels, widest: f64, number: String) -> Bar<'_> {
    Bar {
        name: &layer.layer,
        pale: layer.before as f64 / widest,
        strong: layer.after as f64 / widest,
        number,
    }
}

/// Relative error of layers, the worst first.
pub(crate) fn errors(layers: &[LayerError]) -> Markup {
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
pub(crate) fn distribution(distribution: &Distribution) -> Markup {
    const H: f64 = 110.0;
    let h = &distribution.histogram;
    let (low, high) = (h.min.min(distribution.range.0), h.max.max(distribution.range.1));
    let x = |v: f32| W * f64::from(v - low) / f64::from(high - low).max(1e-30);
    let most = h.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let tall = |n: u64| (H - 4.0) * (n as f64).ln_1p() / most.ln_1p();
    let bins = h.counts.len().max(1);
    let edge = |i: usize| h.min + (h.max - h.min) * i as f32 / bins as f32;
    let mut path = format!("M{} {}", coordinate(x(h.min)), coordinate(H));
    for (i, &n) in h.counts.iter().enumerate() {
        let y = coordinate(H - tall(n));
        path += &format!("L{} {y}L{} {y}", coordinate(x(edge(i))), coordinate(x(edge(i + 1))));
    }
    path += &format!("L{} {}Z", coordinate(x(h.max)), coordinate(H));
    let (a, b) = distribution.range;
    html! {
        svg viewBox=(format!("0 0 {W} {}", H + 16.0)) role="img" aria-label=(h.value) {
            rect x=(coordinate(x(a))) y="0" width=(coordinate(x(b) - x(a))) height=(coordinate(H)) class="range" {}
            path d=(path) class="histogram" {}
            @for v in [a, b] { line x1=(coordinate(x(v))) x2=(coordinate(x(v))) y1="0" y2=(coordinate(H)) class="edge" {} }
            line x1="0" x2=(coordinate(W)) y1=(coordinate(H)) y2=(coordinate(H)) class="axis" {}
            text x="0" y=(coordinate(H + 12.0)) class="label" { (number(f64::from(low), 2)) }
            text x=(coordinate(W)) y=(coordinate(H + 12.0)) class="label end" { (number(f64::from(high), 2)) }
        }
    }
}

/// The loss of the held-out images along a recovery, step by step; a dot where the weights are kept.
pub(crate) fn recovery(record: &RecoveryRecord) -> Markup {
    const H: f64 = 120.0;
    let steps = record.curve.last().map_or(1, |point| point.step).max(1) as f64;
    let most = record.curve.iter().map(|point| point.held_out).fold(f64::MIN_POSITIVE, f64::max);
    let x = |point: &RecoveryPoint| W * point.step as f64 / steps;
    let y = |point: &RecoveryPoint| H - (H - 14.0) * (point.held_out / most).clamp(0.0, 1.0);
    let mut path = String::new();
    for point in &record.curve {
        let verb = if path.is_empty() { 'M' } else { 'L' };
        path += &format!("{verb}{} {}", coordinate(x(point)), coordinate(y(point)));
    }
    let (first, best) = (record.curve.first(), &record.best);
    html! {
        svg viewBox=(format!("0 0 {W} {}", H + 16.0)) role="img" aria-label="loss of the held-out images" {
            line x1="0" x2=(coordinate(W)) y1=(coordinate(H)) y2=(coordinate(H)) class="axis" {}
            path d=(path) class="curve" {}
            circle cx=(coordinate(x(best))) cy=(coordinate(y(best))) r="3.5" class="strong" {}
            @if let Some(first) = first { text x="0" y="10" class="label" { (number(first.held_out, 3)) } }
            text x=(coordinate(W)) y="10" class="label end" { (number(best.held_out, 3)) }
            text x="0" y=(coordinate(H + 12.0)) class="label" { "0" }
            text x=(coordinate(W)) y=(coordinate(H + 12.0)) class="label end" { (steps) }
        }
    }
}

/// mAP of one class before and after, between 0 and 1.
pub(crate) fn pair(before: f64, after: f64) -> Markup {
    html! {
        svg viewBox="0 0 160 16" class="pair" aria-hidden="true" {
            rect x="0" y="1" width=(coordinate(160.0 * before.clamp(0.0, 1.0))) height="6" rx="2" class="pale" {}
            rect x="0" y="9" width=(coordinate(160.0 * after.clamp(0.0, 1.0))) height="6" rx="2" class="strong" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compress::LabelUse;

    #[test]
    fn recovery_draws_every_look_and_marks_the_best() {
        let point = |step, held_out| RecoveryPoint {
            step,
            steps: 20,
            loss: None,
            held_out,
            map_50_95: None,
        };
        let record = RecoveryRecord {
            rate: 0.01,
            labels: LabelUse::Off,
            curve: vec![point(0, 4.0), point(10, 1.0), point(20, 2.0)],
            best: point(10, 1.0),
        };
        let svg = recovery(&record).into_string();
        assert!(
            svg.contains(&format!(
                "M0.00 14.00L{} 93.50L{} 67.00",
                coordinate(W / 2.0),
                coordinate(W)
            )),
            "{svg}"
        );
        assert!(svg.contains(&format!("cx=\"{}\" cy=\"93.50\"", coordinate(W / 2.0))), "{svg}");
    }

    #[test]
    fn bars_nothing_removed_leaves_the_pale_bar_out() {
        let layer = |before, after| Channels { layer: "a".to_owned(), before, after };
        let page = channels(&[layer(64, 64), layer(64, 24)]).into_string();
        assert_eq!(page.matches("class=\"pale\"").count(), 1);
        assert!(page.contains("24 / 64") && page.contains("width:37.50%"));
    }
}

//! Sensitivity of groups as one SVG file that follows light and dark by itself.

use compress::GroupSensitivity;
use maud::{PreEscaped, html};

use crate::charts::coordinate;
use crate::figures::short_layer_name;

const ROW: f64 = 18.0;
const TOP: f64 = 88.0;
const LABEL: f64 = 230.0;
const PLOT: f64 = 480.0;
const MARGIN: f64 = 30.0;
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.end{text-anchor:end}.middle{text-anchor:middle}\
.bold{font-weight:600}.back{fill:#fff}.grid{stroke:#ddd}.way{stroke:#9bb8d8;stroke-width:2}.dot{fill:#1f5fa8}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#16181c}.grid{stroke:#3a3d44}.way{stroke:#47658a}.dot{fill:#7db4f0}}";

/// A dot for each share of each group, the output error from left to right; rows in the order given.
pub fn sensitivity_svg(groups: &[GroupSensitivity]) -> String {
    let points = || groups.iter().flat_map(|g| &g.points);
    let most = points().map(|p| p.output_error).fold(0.0, f64::max);
    let most = ((most * 10.0).ceil() / 10.0).max(0.1);
    let ticks = (most * 10.0).round() as usize;
    let x = |error: f64| LABEL + PLOT * error.max(0.0) / most;
    let (width, bottom) = (LABEL + PLOT + MARGIN, TOP + ROW * groups.len() as f64);
    let shares: Vec<f64> =
        groups.first().map_or(vec![], |g| g.points.iter().map(|p| p.share).collect());
    let strength = |i: usize| coordinate(0.3 + 0.7 * (i + 1) as f64 / shares.len().max(1) as f64);
    let drawing = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {} {}", coordinate(width), coordinate(bottom + 12.0))) role="img" {
            title { "Output error when one group alone loses channels" }
            style { (PreEscaped(STYLE)) }
            rect class="back" width="100%" height="100%" {}
            text x="12" y="20" class="bold" { "Output error when one group alone loses channels" }
            text x=(coordinate(LABEL - 24.0)) y="42" class="end" { "channels removed" }
            text x=(coordinate(LABEL - 24.0)) y=(coordinate(TOP - 10.0)) class="end" { "output error" }
            @for (i, share) in shares.iter().enumerate() {
                @let left = LABEL + 4.0 + 80.0 * i as f64;
                circle cx=(coordinate(left)) cy="38" r="4" class="dot" opacity=(strength(i)) {}
                text x=(coordinate(left + 10.0)) y="42" { (format!("{} %", 100.0 * share)) }
            }
            @for tick in 0..=ticks {
                @let error = tick as f64 / 10.0;
                line class="grid" x1=(coordinate(x(error))) x2=(coordinate(x(error))) y1=(coordinate(TOP - 6.0)) y2=(coordinate(bottom)) {}
                text class="middle" x=(coordinate(x(error))) y=(coordinate(TOP - 10.0)) { (format!("{error:.1}")) }
            }
            @for (row, g) in groups.iter().enumerate() {
                @let y = TOP + ROW * (row as f64 + 0.5);
                text class="end" x=(coordinate(LABEL - 10.0)) y=(coordinate(y + 4.0)) { title { (g.group) } (short_layer_name(&g.group)) }
                @if let (Some(first), Some(last)) = (g.points.first(), g.points.last()) {
                    line class="way" x1=(coordinate(x(first.output_error))) x2=(coordinate(x(last.output_error))) y1=(coordinate(y)) y2=(coordinate(y)) {}
                }
                @for (i, p) in g.points.iter().enumerate() {
                    circle class="dot" cx=(coordinate(x(p.output_error))) cy=(coordinate(y)) r="4" opacity=(strength(i)) {
                        title { (format!("{}: {} of {} channels removed, error {:.4}", g.group, p.removed, g.channels, p.output_error)) }
                    }
                }
            }
        }
    };
    drawing.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use compress::SensitivityPoint;

    #[test]
    fn sensitivity_svg_draws_a_dot_a_share_and_escapes_names() {
        let point =
            |share, removed, output_error| SensitivityPoint { share, removed, output_error };
        let group = GroupSensitivity {
            group: "a<b".to_owned(),
            channels: 8,
            depth: 0.5,
            macs: 1,
            points: vec![point(0.25, 2, 0.05), point(0.5, 4, 0.31)],
        };
        let svg = sensitivity_svg(&[group]);
        assert!(svg.starts_with("<svg") && svg.contains("prefers-color-scheme"));
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("0.4"), "the axis ends behind the last dot");
    }
}

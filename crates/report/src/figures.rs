//! Figures and names as text.

/// What is read where there is no figure.
pub(crate) const NOT_KNOWN: &str = "–";

/// A change in percent; one that rounds to nothing has no sign.
pub(crate) fn signed(percent: f64) -> String {
    match format!("{percent:+.1}").as_str() {
        "+0.0" | "-0.0" => "0.0 %".to_owned(),
        text => format!("{} %", text.replace('-', "−")),
    }
}

pub(crate) fn mb(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// A share in percent; only what is whole reads 100 %.
pub fn percent(of_one: f64) -> String {
    let percent = 100.0 * of_one;
    if percent == 100.0 || percent == 0.0 {
        return format!("{percent} %");
    }
    format!("{:.2} %", percent.clamp(0.01, 99.99))
}

pub(crate) fn count(n: u64) -> String {
    match n {
        0..100_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} G", n as f64 / 1e9),
    }
}

/// A number with the minus sign of print.
pub(crate) fn number(v: f64, decimals: usize) -> String {
    format!("{v:.decimals$}").replace('-', "−")
}

/// A layer's, group's or tensor's name without what all of an exported model have in common: `/model.2/cv1/conv/Conv#2` is
/// `model.2/cv1#2`.
pub fn layer_name(name: &str) -> String {
    // A part of a layer's channels is called `layer#2`.
    let (layer, part) = name.split_at(name.rfind('#').unwrap_or(name.len()));
    let layer = layer.trim_start_matches('/');
    let ends = ["/conv/Conv", "/Conv", "/act/Mul_output_0"];
    let stripped = ends.iter().find_map(|end| layer.strip_suffix(end));
    format!("{}{part}", stripped.unwrap_or(layer))
}

/// Of a long [`layer_name`] the end, where layers differ.
pub(crate) fn short_layer_name(name: &str) -> String {
    const LETTERS: usize = 28;
    let name = layer_name(name);
    match name.chars().count().checked_sub(LETTERS) {
        Some(cut @ 1..) => std::iter::once('…').chain(name.chars().skip(cut)).collect(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_keep_what_tells_layers_apart() {
        for (name, expected) in [
            ("/model.22/cv3.2/cv3.2.1/conv/Conv", "model.22/cv3.2/cv3.2.1"),
            ("/model.22/cv3.2/cv3.2.2/Conv", "model.22/cv3.2/cv3.2.2"),
            ("/model.9/cv2/act/Mul_output_0", "model.9/cv2"),
            ("/model.4/cv1/conv/Conv#2", "model.4/cv1#2"),
            ("Conv_283", "Conv_283"),
            ("/a_very_long_module_name/with/many_parts", "…_module_name/with/many_parts"),
        ] {
            assert_eq!(short_layer_name(name), expected);
        }
    }

    #[test]
    fn percent_only_the_whole_reads_100_percent() {
        for (of_one, expected) in
            [(0.0, "0 %"), (1.0, "100 %"), (0.999_99, "99.99 %"), (0.973, "97.30 %")]
        {
            assert_eq!(percent(of_one), expected);
        }
    }
}

//! What a calibration set covers, as one page with a picture of each condition.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use observe::calibset::Coverage;
use yolo::read_rgb;

use crate::ReportError;
use crate::page::{SCRIPT, STYLE};
use crate::pictures::thumbnail_base64;
use crate::text::t;

/// Pictures of one condition.
const SHOWN: usize = 6;

/// An image of the set.
pub struct CoveredImage<'a> {
    /// Below the set's folder.
    pub file: &'a str,
    /// Conditions that it shows.
    pub shows: &'a [&'static str],
    /// Whether it was made.
    pub is_synthetic: bool,
}

/// The page, with images of the set in `folder`; it opens offline.
///
/// # Errors
/// `Yolo` when an image of the set cannot be read, `Picture` when it cannot be encoded.
pub fn coverage_page(
    folder: &Path,
    coverage: &[Coverage],
    images: &[CoveredImage<'_>],
) -> Result<String, ReportError> {
    let mut pictures = Vec::new();
    for covered in coverage {
        let shows = images.iter().filter(|i| i.shows.contains(&covered.condition));
        pictures.push(row(folder, shows)?);
    }
    let plain = images.iter().filter(|i| i.shows.is_empty());
    let plain = row(folder, plain)?;
    let most = coverage.iter().map(|c| c.picked + c.synthetic).max().unwrap_or(0).max(1);
    let synthetic = images.iter().filter(|i| i.is_synthetic).count();
    let page = html! {
        (DOCTYPE)
        html lang="en" data-lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "calibration set · yoloslim" }
                style { (PreEscaped(STYLE)) (PreEscaped(OWN_STYLE)) }
            }
            body { main {
                header {
                    div {
                        h1 { (t("Calibration set", "校准集")) }
                        p {
                            span lang="en" { (images.len()) " images, " (synthetic) " of them synthetic" }
                            span lang="zh" { "共 " (images.len()) " 张图像，其中合成 " (synthetic) " 张" }
                        }
                    }
                    button id="lang" type="button" { span lang="en" { "中文" } span lang="zh" { "English" } }
                }
                @for (covered, pictures) in coverage.iter().zip(&pictures) { (section(covered, most, pictures)) }
                section {
                    h2 { (t("Representative images", "代表性图像")) }
                    (plain)
                }
            } script { (PreEscaped(SCRIPT)) } }
        }
    };
    Ok(page.into_string())
}

const OWN_STYLE: &str = ".row{display:flex;flex-wrap:wrap;gap:10px;align-items:flex-start}figure{margin:0;width:158px}\
figure img{width:100%;border-radius:6px;display:block}figcaption{font-size:12px;color:var(--soft);overflow-wrap:anywhere}\
.made img{outline:2px dashed var(--accent);outline-offset:-2px}.count{height:10px;display:flex;max-width:480px;margin:0 0 12px}\
.count div{background:var(--accent)}.count div+div{background:var(--pale)}";

fn section(c: &Coverage, most: usize, pictures: &Markup) -> Markup {
    let width = |n: usize| format!("width:{:.2}%", 100.0 * n as f64 / most as f64);
    let title = match c.condition {
        "darkness" => ("Darkness", "暗光"),
        "strong light" => ("Strong light", "强光"),
        "blur" => ("Blur", "模糊"),
        "noise" => ("Noise", "噪声"),
        "occlusion" => ("Occlusion", "遮挡"),
        "low contrast" => ("Low contrast", "低对比度"),
        "small objects" => ("Small objects", "小目标"),
        other => (other, other),
    };
    html! {
        section {
            h2 { (t(title.0, title.1)) }
            p {
                @if c.threshold.is_some() {
                    span lang="en" { (c.picked) " picked, " (c.synthetic) " synthetic; " (c.in_data) " in the data show it (" (c.rule) ")" }
                    span lang="zh" { "选取 " (c.picked) " 张，合成 " (c.synthetic) " 张；数据中有 " (c.in_data) " 张（" (c.rule) "）" }
                } @else {
                    span lang="en" { "not measured; " (c.synthetic) " synthetic" }
                    span lang="zh" { "未测量；合成 " (c.synthetic) " 张" }
                }
            }
            div class="count" { div style=(width(c.picked)) {} div style=(width(c.synthetic)) {} }
            (pictures)
        }
    }
}

/// A few pictures, those that were made among them.
fn row<'a>(
    folder: &Path,
    images: impl Iterator<Item = &'a CoveredImage<'a>>,
) -> Result<Markup, ReportError> {
    let (made, picked): (Vec<_>, Vec<_>) = images.partition(|i| i.is_synthetic);
    let few = |images: Vec<&'a CoveredImage<'a>>, n: usize| images.into_iter().take(n);
    let made_shown = made.len().min(SHOWN / 2).max(SHOWN.saturating_sub(picked.len()));
    let shown = few(picked, SHOWN - made_shown.min(made.len())).chain(few(made, made_shown));
    let mut figures = Vec::new();
    for image in shown {
        let picture = thumbnail_base64(&read_rgb(&folder.join(image.file))?)?;
        let name = image.file.rsplit('/').next().unwrap_or(image.file);
        let class = if image.is_synthetic { "made" } else { "" };
        figures.push(html! {
            figure class=(class) {
                img src=(format!("data:image/jpeg;base64,{picture}")) alt=(name);
                figcaption { (name) @if image.is_synthetic { " · " (t("synthetic", "合成")) } }
            }
        });
    }
    Ok(html! { div class="row" { @for figure in &figures { (figure) } } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    #[test]
    fn the_page_shows_each_condition_with_its_images_and_marks_what_was_made() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            yolo::save_image(&RgbImage::new(40, 30), &folder.path().join(name)).unwrap();
        }
        let coverage = Coverage {
            condition: "darkness",
            rule: "mean luminance of at most 60 of 255",
            threshold: Some(60.0),
            wanted: 2,
            in_data: 1,
            picked: 1,
            synthetic: 1,
        };
        let image = |file, is_synthetic| CoveredImage { file, shows: &["darkness"], is_synthetic };
        let images = [image("a.png", false), image("b.png", true)];
        let page = coverage_page(folder.path(), &[coverage], &images).unwrap();
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2);
        assert_eq!(page.matches("class=\"made\"").count(), 1);
        assert!(page.contains("1 picked, 1 synthetic") && !page.contains("http"), "{page}");
    }
}

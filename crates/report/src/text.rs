//! Texts of a page in both languages.

use maud::{Markup, html};

/// A text in both languages; the page shows one of them.
pub(crate) fn t(en: &str, zh: &str) -> Markup {
    html! { span lang="en" { (en) } span lang="zh" { (zh) } }
}

/// A part of the page: its title, what it shows, and that.
pub(crate) fn section(en: &str, zh: &str, about: Markup, body: Markup) -> Markup {
    html! { section { h2 { (t(en, zh)) } p { (about) } (body) } }
}

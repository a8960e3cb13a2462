//! What lies in the program itself: the page with its style and script, and the description of all calls.
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The description of all calls, OpenAPI 3.1.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

fn document(kind: &'static str, text: &'static str) -> Response {
    // With another version of the program comes another page.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

/// `GET /`.
pub(super) async fn page() -> Response {
    document("text/html; charset=utf-8", include_str!("page/page.html"))
}

/// `GET /page.css`.
pub(super) async fn style() -> Response {
    document("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `GET /page.js`.
pub(super) async fn script() -> Response {
    document("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// `GET /icon.svg`.
pub(super) async fn icon() -> Response {
    document("image/svg+xml", include_str!("page/icon.svg"))
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    document("application/json", OPENAPI)
}

//! The HTTP server: detection on posted images, what is known of everything, metrics, pictures and a page.
mod body;
mod detect;
mod documents;
mod health;
mod infer;
mod listen;
mod metrics;
mod model;
mod pictures;
mod refusal;
mod routes;
mod status;
mod tensor;

use crate::context::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
pub(crate) use listen::Listener;
use metrics::Requests;
use refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// Posted images and tensors that are held decoded at once; more wait. A session that is free finds the next one ready, and an image
/// of the largest size allowed takes 100 MB.
const DECODED_AT_ONCE: usize = 8;

/// Memory for all bodies that are being received or wait, unless a single one may be larger.
const BODIES_BYTES: usize = 256 << 20;

/// What all calls share.
struct Shared {
    context: Arc<Context>,
    /// How long a call may take.
    timeout: Duration,
    /// Permits to hold an image.
    decoded: Arc<Semaphore>,
    /// KiB of bodies that may still be held.
    bodies_kib: Arc<Semaphore>,
    /// Held while the model is changed.
    change: Mutex<()>,
    requests: Requests,
}

/// What all calls share.
type App = State<Arc<Shared>>;

impl Shared {
    fn new(context: Arc<Context>) -> Self {
        let http = &context.settings.http;
        let bodies_bytes = BODIES_BYTES.max(http.max_body_bytes);
        Self {
            timeout: Duration::from_secs_f64(http.timeout_s),
            decoded: Arc::new(Semaphore::new(DECODED_AT_ONCE)),
            bodies_kib: Arc::new(Semaphore::new(bodies_bytes.div_ceil(1024))),
            change: Mutex::new(()),
            requests: Requests::default(),
            context,
        }
    }

    /// Waits for something, but not longer than a call may take.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::time::timeout(self.timeout, work).await.map_err(|_| Refusal::timeout())
    }
}

/// Answers until everything ends.
pub(crate) async fn serve(listener: Listener, context: Arc<Context>) {
    let shared = Arc::new(Shared::new(context));
    listener.serve(&shared, router(&shared)).await;
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(|| async {
            Refusal::not_found("nothing is here; /openapi.json lists what there is")
        })
        .method_not_allowed_fallback(|| async { Refusal::method() })
        // Bodies are limited while they are read, and what they hold together as well.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(shared), observe))
        .with_state(Arc::clone(shared))
}

/// What a browser may do with the answers. Scripts, styles and pictures come from here alone; that the page stands in another one's
/// frame is allowed, as dashboards do it and there is nothing on it to click that changes anything.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Counts answers, and adds what is said in each of them.
async fn observe(State(shared): App, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    // Paths that do not exist are one label, or anybody could make as many as he likes.
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    shared.requests.count(route, response.status());
    let headers = response.headers_mut();
    let add = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in add {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

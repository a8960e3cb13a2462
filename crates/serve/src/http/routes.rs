//! All routes, each with its method and who answers. `openapi.json` describes them; a test compares the two.
use super::{Shared, detect, documents, health, infer, metrics, model, pictures, status};
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use std::sync::Arc;

/// A path, a method, and who answers.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// In small letters, as OpenAPI has it.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "axum does not tell the methods of its routes to the test of the document"
        )
    )]
    pub(super) method: &'static str,
    pub(super) handler: MethodRouter<Arc<Shared>>,
}

fn get<H: Handler<T, Arc<Shared>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, method: "get", handler: on(MethodFilter::GET, handler) }
}

fn post<H: Handler<T, Arc<Shared>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, method: "post", handler: on(MethodFilter::POST, handler) }
}

/// All routes.
pub(super) fn all() -> Vec<Route> {
    vec![
        get("/", documents::page),
        get("/page.css", documents::style),
        get("/page.js", documents::script),
        get("/icon.svg", documents::icon),
        get("/openapi.json", documents::openapi),
        get("/healthz", health::alive),
        get("/readyz", health::ready),
        get("/metrics", metrics::metrics),
        post("/v1/detect", detect::detect),
        get("/v1/status", status::status),
        get("/v1/machine", status::machine),
        get("/v1/sources/{name}/latest.jpg", pictures::latest),
        get("/v1/sources/{name}/stream.mjpeg", pictures::stream),
        post("/v1/model", model::change),
        post("/v1/vision/detection", detect::deepstack),
        get("/v2", infer::server),
        get("/v2/health/live", infer::live),
        get("/v2/health/ready", infer::ready),
        get("/v2/models/{model}", infer::model),
        get("/v2/models/{model}/ready", infer::model_ready),
        post("/v2/models/{model}/infer", infer::infer),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn openapi_document_describes_each_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(documents::OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
            })
            .collect();
        let served =
            all().into_iter().map(|route| (route.path.to_owned(), route.method.to_owned()));
        assert_eq!(described, served.collect());
        for (path, methods) in paths {
            for operation in methods.as_object().unwrap().values() {
                assert!(operation["summary"].is_string(), "{path}");
                let parameters = operation["parameters"].as_array();
                let named = |name: &str| {
                    parameters.is_some_and(|all| {
                        all.iter().any(|p| p["name"] == name && p["in"] == "path")
                    })
                };
                for name in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
                    assert!(named(name), "{path}: {name}");
                }
            }
        }
    }

    #[test]
    fn openapi_document_refers_only_to_what_it_defines() {
        let document: serde_json::Value = serde_json::from_str(documents::OPENAPI).unwrap();
        let mut waiting = vec![&document];
        let mut references = 0;
        while let Some(value) = waiting.pop() {
            if let Some(reference) = value.get("$ref").and_then(|r| r.as_str()) {
                references += 1;
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            match value {
                serde_json::Value::Array(items) => waiting.extend(items),
                serde_json::Value::Object(fields) => waiting.extend(fields.values()),
                _ => {}
            }
        }
        assert!(references > 10);
    }
}

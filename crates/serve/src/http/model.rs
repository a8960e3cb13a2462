//! Another model in the place of the one that is used. Who asks for it must bear the token of the settings.
use super::body::Posted;
use super::{App, Refusal, status};
use crate::settings::Secret;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Which model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    path: PathBuf,
    golden: Option<PathBuf>,
}

/// `POST /v1/model`.
pub(super) async fn change(State(shared): App, request: Request) -> Result<Json<Value>, Refusal> {
    authorise(shared.context.settings.http.token.as_ref(), request.headers())?;
    let posted = Posted::receive(&shared, request).await?;
    let wanted: Wanted = serde_json::from_slice(&posted.bytes).map_err(|error| {
        Refusal::bad(format!("the body must be {{\"path\": …, \"golden\": …}}: {error}"))
    })?;
    // It goes on when the caller has gone, and nobody may begin another one meanwhile.
    let work = {
        let shared = Arc::clone(&shared);
        move || {
            let _change = shared.change.try_lock().map_err(|_| {
                Refusal::new(StatusCode::CONFLICT, "the model is being changed by another call")
            })?;
            let swapped = shared.context.swap(&wanted.path, wanted.golden.as_deref());
            swapped
                .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.whole()))?;
            Ok(status::describe(&shared.context.hub.model.get()))
        }
    };
    // However long it takes: it is no request that could be made again.
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?.map(Json)
}

/// Refuses who does not bear the token. It is compared in constant time, so that its letters cannot be guessed one by one.
fn authorise(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = token else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "calls that change something need a token, and none is set: set `token` in [http] of serve.toml, such as token = \"${YOLOSLIM_TOKEN}\"",
        ));
    };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| {
        let (scheme, given) = value.split_at_checked(b"Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(given)
    });
    if given.is_some_and(|given| bool::from(given.ct_eq(token.reveal().as_bytes()))) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "this call needs the header `Authorization: Bearer` with the server's token",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorise_lets_only_the_whole_token_in() {
        let token = Secret::try_from("a token".to_owned()).unwrap();
        let asked = |value: Option<&str>, token: Option<&Secret>| {
            let value = value.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            authorise(token, &value.into_iter().collect())
                .err()
                .map(|refusal| refusal.status.as_u16())
        };
        assert_eq!(asked(Some("Bearer a token"), Some(&token)), None);
        assert_eq!(asked(Some("bearer a token"), Some(&token)), None);
        for wrong in [
            "Bearer a toke",
            "Bearer a token2",
            "Bearer ",
            "Bearer",
            "a token",
            "Basic a token",
            "",
        ] {
            assert_eq!(asked(Some(wrong), Some(&token)), Some(401), "{wrong}");
        }
        assert_eq!(asked(None, Some(&token)), Some(401));
        assert_eq!(asked(Some("Bearer a token"), None), Some(403));
        assert_eq!(asked(Some("Bearer "), None), Some(403));
    }
}

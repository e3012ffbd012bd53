//! The admin API: its paths, who may call them, and what they answer.

mod answer;
mod apps;
mod caller;
mod lists;
mod observe;
mod uploads;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::get};
use dhow_api::{Code, Problem};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{control::Control, readiness::Readiness};
use answer::Refused;

/// The longest JSON that is read: a manifest has 1 MiB at most.
const MAX_JSON: usize = 2 << 20;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) control: Arc<Control>,
    pub(crate) readiness: Arc<Readiness>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dhow's admin API",
        description = "Deploys apps, shares their traffic, and says how they are.",
        license(name = "Apache-2.0 WITH LLVM-exception")
    ),
    modifiers(&Bearer)
)]
struct Description;

/// The tokens by which callers are known.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", scheme);
    }
}

fn documented() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(observe::healthz))
        .routes(routes!(observe::readyz))
        .routes(routes!(observe::metrics))
        .routes(routes!(observe::status))
        .routes(routes!(observe::logs))
        .routes(routes!(lists::whoami))
        .routes(routes!(uploads::has_blob, uploads::put_blob))
        .routes(routes!(apps::deploy, apps::revisions))
        .routes(routes!(apps::set_traffic))
        .routes(routes!(apps::rollback))
        .routes(routes!(apps::delete))
        .routes(routes!(lists::secrets))
        .routes(routes!(lists::set_secret, lists::remove_secret))
        .routes(routes!(lists::tokens, lists::make_token))
        .routes(routes!(lists::revoke_token))
        .split_for_parts()
}

/// The API as OpenAPI describes it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().1
}

pub(crate) fn router(shared: Shared) -> Router {
    let (router, description) = documented();
    router
        .route("/openapi.json", get(move || async move { axum::Json(description) }))
        .fallback(async || Refused(Problem::new(Code::NotFound, "there is no such path")))
        .method_not_allowed_fallback(async || Refused::method())
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .with_state(shared)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_api_is_the_one_that_is_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (kept, found) = (root.join("docs/admin-api.json"), root.join("target/admin-api.json"));
        let text = super::openapi().to_pretty_json().unwrap() + "\n";
        if fs::read_to_string(&kept).ok().as_ref() != Some(&text) {
            fs::write(&found, text).unwrap();
            panic!("the API has changed. If that is meant: cp target/admin-api.json docs/");
        }
    }
}

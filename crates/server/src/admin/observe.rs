//! How the server and its apps are.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use dhow_api::{LogLine, Problem, Scope, Status};
use futures_util::stream;
use serde::Deserialize;

use super::{
    Shared,
    answer::{Path, Query, Refused},
    caller::{Acting, For},
};
use crate::{
    control::no_app,
    logs::{TenantLog, Wanted},
    metrics, status,
    traffic::check_name,
};

/// Whether the server runs.
#[utoipa::path(get, path = "/healthz", tag = "status",
    responses((status = 200, body = String, description = "It does.")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the server wants requests.
#[utoipa::path(get, path = "/readyz", tag = "status",
    responses((status = 200, body = String, description = "It does."),
        (status = 503, body = String, description = "It starts, or comes to its end.")))]
pub(super) async fn readyz(
    State(Shared { readiness, .. }): State<Shared>,
) -> (StatusCode, &'static str) {
    if readiness.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// What Prometheus collects. It is for everybody who reaches the admin listener, as collectors expect, and
/// has nothing in it but names and numbers.
#[utoipa::path(get, path = "/metrics", tag = "status",
    responses((status = 200, body = String, description = "In the text format of OpenMetrics.",
        content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(
    State(Shared { control, .. }): State<Shared>,
) -> Result<Response, Refused> {
    let text = metrics::text(&control)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only this app.
    #[param(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    app: Option<String>,
}

/// How the tenant's apps are; with a token of scope admin, and without a tenant, everybody's.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", security(("token" = [])), params(For, Which),
    responses((status = 200, body = Status, description = "So they are."),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app."))
)]
pub(super) async fn status(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Query(Which { app }): Query<Which>,
) -> Result<Json<Status>, Refused> {
    acting.need(Scope::Read)?;
    let app = app.as_deref().map(check_name).transpose()?;
    let everybody = acting.caller.may(Scope::Admin) && !acting.is_named;
    let tenant = (!everybody).then_some(&acting.tenant);
    Ok(Json(status::of(&control, tenant, app.as_ref())?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Lines {
    /// Only this component's.
    #[param(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    component: Option<String>,
    /// So many at most: 100 where it is not said.
    lines: Option<u32>,
    /// Whether to go on with what comes.
    #[serde(default)]
    follow: bool,
}

const DEFAULT_LINES: u32 = 100;

/// What an app's components have written, one JSON object in each line.
#[utoipa::path(
    get, path = "/v1/apps/{app}/logs", tag = "status", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For, Lines),
    responses((status = 200, body = LogLine, description = "The last lines, the newest last.",
            content_type = "application/x-ndjson"),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app."))
)]
pub(super) async fn logs(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
    Query(Lines { component, lines, follow }): Query<Lines>,
) -> Result<Response, Refused> {
    acting.need(Scope::Read)?;
    let key = acting.app(&app)?;
    control.app(&key).ok_or_else(|| no_app(&key.1))?;
    let component = component.as_deref().map(check_name).transpose()?;
    let wanted = Wanted { app: key.1, component };
    let most = lines.unwrap_or(DEFAULT_LINES) as usize;
    let log = control.logs.log(&key.0);
    let last = log.last(&wanted, 0, most);
    let after = last.last().map_or(0, |line| line.number);
    let first = text(&last);
    let body = if follow {
        let first = stream::iter([Ok::<_, Infallible>(first)]);
        let later = stream::unfold((log, wanted, after), async |(log, wanted, after)| {
            let (lines, after) = next(&log, &wanted, after).await;
            Some((Ok(lines), (log, wanted, after)))
        });
        Body::from_stream(futures_util::StreamExt::chain(first, later))
    } else {
        Body::from(first)
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The lines that are sent together, at most.
const BATCH: usize = 1_000;

/// What comes after the line with the number `after`.
async fn next(log: &Arc<TenantLog>, wanted: &Wanted, after: u64) -> (String, u64) {
    loop {
        // Before the look, so that nothing comes unseen between the two.
        let changed = log.changed();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        let lines = log.next(wanted, after, BATCH);
        if let Some(last) = lines.last() {
            return (text(&lines), last.number);
        }
        changed.await;
    }
}

fn text(lines: &[Arc<LogLine>]) -> String {
    let lines = lines.iter().filter_map(|line| serde_json::to_string(&**line).ok());
    lines.map(|line| line + "\n").collect()
}

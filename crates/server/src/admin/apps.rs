//! Deploying, and what is done with revisions.

use axum::{Json, extract::State, http::StatusCode};
use dhow_api::{Deploy, Deployed, Problem, Revision, Revisions, Scope, Traffic};
use dhow_manifest::App;

use super::{
    Shared,
    answer::{Body, Path, Refused},
    caller::{Acting, For},
};
use crate::{
    clock,
    control::{Control, MANIFEST, no_app},
    registry::AppKey,
};

/// Makes a revision of an app, whose components were uploaded before. The first makes the app.
#[utoipa::path(
    post, path = "/v1/apps/{app}/revisions", tag = "deploy", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 201, body = Deployed, description = "It is there."),
        (status = 200, body = Deployed, description = "It could be: nothing was changed."),
        (status = 400, body = Problem, description = "The request makes no sense."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that; more than the tenant may have; or new grants."),
        (status = 404, body = Problem, description = "There is no revision to begin from."),
        (status = 409, body = Problem, description = "Somebody else changes the app, or has."),
        (status = 413, body = Problem, description = "Longer than any request."),
        (status = 415, body = Problem, description = "Not JSON."),
        (status = 422, body = Problem, description = "It does not fit, or is not well."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn deploy(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
    Body(request): Body<Deploy>,
) -> Result<(StatusCode, Json<Deployed>), Refused> {
    acting.need(Scope::Deploy)?;
    let key = acting.app(&app)?;
    let deployed = control.deploy(&key, request).await?;
    let status = if deployed.revision.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(deployed)))
}

/// The revisions of an app, the newest first.
#[utoipa::path(
    get, path = "/v1/apps/{app}/revisions", tag = "revisions", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 200, body = Revisions, description = "They are."),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app."))
)]
pub(super) async fn revisions(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
) -> Result<Json<Revisions>, Refused> {
    acting.need(Scope::Read)?;
    Ok(Json(list(&control, &acting.app(&app)?)?))
}

/// Shares the traffic of an app among its revisions.
#[utoipa::path(
    put, path = "/v1/apps/{app}/traffic", tag = "revisions", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 200, body = Revisions, description = "It is shared."),
        (status = 400, body = Problem, description = "The shares are not 100 % together."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app, or revision."),
        (status = 409, body = Problem, description = "Somebody else changes the app."),
        (status = 413, body = Problem, description = "Longer than any request."),
        (status = 415, body = Problem, description = "Not JSON."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn set_traffic(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
    Body(traffic): Body<Traffic>,
) -> Result<Json<Revisions>, Refused> {
    acting.need(Scope::Deploy)?;
    let key = acting.app(&app)?;
    control.share_traffic(&key, traffic)?;
    Ok(Json(list(&control, &key)?))
}

/// Gives all traffic of an app to the last revision that had all of it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/rollback", tag = "revisions", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 200, body = Revisions, description = "It has it."),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app, or nothing to go back to."),
        (status = 409, body = Problem, description = "Somebody else changes the app."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn rollback(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
) -> Result<Json<Revisions>, Refused> {
    acting.need(Scope::Deploy)?;
    let key = acting.app(&app)?;
    control.roll_back(&key)?;
    Ok(Json(list(&control, &key)?))
}

/// Removes an app with all of its revisions. What its components have stored stays.
#[utoipa::path(
    delete, path = "/v1/apps/{app}", tag = "deploy", security(("token" = [])),
    params(("app" = String, Path, description = "The app's name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 204, description = "It is gone."),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such app."),
        (status = 409, body = Problem, description = "Somebody else changes the app."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn delete(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(app): Path<String>,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Deploy)?;
    let key = acting.app(&app)?;
    control.remove(&control.change_existing(&key)?)?;
    Ok(StatusCode::NO_CONTENT)
}

fn list(control: &Control, key: &AppKey) -> Result<Revisions, Problem> {
    let record = control.registry.app(key)?.filter(|record| record.newest > 0);
    let (app, record) = control.app(key).zip(record).ok_or_else(|| no_app(&key.1))?;
    let live = app.site.revisions();
    let revisions = control.registry.revisions(key)?.into_iter().rev().map(|(number, it)| {
        let stats = live.get(&number).map(|revision| revision.stats());
        let app = App::parse(MANIFEST, &it.manifest).ok();
        let digests = it.components.into_iter().map(|(name, component)| (name, component.digest));
        Revision {
            number,
            created: clock::rfc3339(it.created),
            tag: it.tag,
            version: app.and_then(|app| app.version().map(str::to_owned)),
            percent: record.traffic.get(&number).copied().unwrap_or(0),
            components: digests.collect(),
            preview_url: control.preview_url(key, number),
            requests: stats.map_or(0, |stats| stats.requests()),
            errors: stats.map_or(0, |stats| stats.errors()),
        }
    });
    Ok(Revisions {
        app: key.1.to_string(),
        url: control.url(key),
        revisions: revisions.collect(),
        rolled_back: record.rolled_back.clone(),
        is_rolling_out: record.rollout.is_some(),
    })
}

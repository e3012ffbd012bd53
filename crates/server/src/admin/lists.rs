//! Who one is, secrets and tokens.

use axum::{Json, extract::State, http::StatusCode};
use dhow_api::{Code, MadeToken, NewToken, Problem, Scope, SecretValue, Token, Whoami};
use dhow_capabilities::SecretError;

use super::{
    Shared,
    answer::{Body, Path, Refused},
    caller::{Acting, For},
};
use crate::{
    clock,
    control::{internal, of_disk},
    traffic::check_name,
};

/// Whose the token is, and what it is for.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "tokens", security(("token" = [])), params(For),
    responses((status = 200, body = Whoami, description = "You are."),
        (status = 400, body = Problem, description = "That is no tenant."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that tenant."))
)]
pub(super) async fn whoami(acting: Acting) -> Json<Whoami> {
    Json(Whoami { tenant: acting.tenant.to_string(), scopes: acting.caller.scopes })
}

/// The names of the tenant's secrets that were set by this API.
#[utoipa::path(
    get, path = "/v1/secrets", tag = "secrets", security(("token" = [])), params(For),
    responses((status = 200, body = Vec<String>, description = "They are."),
        (status = 400, body = Problem, description = "That is no tenant."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."))
)]
pub(super) async fn secrets(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
) -> Result<Json<Vec<String>>, Refused> {
    acting.need(Scope::Read)?;
    let names = control.tenants.secrets(&acting.tenant).list().map_err(problem)?;
    Ok(Json(names.iter().map(ToString::to_string).collect()))
}

/// Sets a secret of the tenant's. What runs reads it from then on.
#[utoipa::path(
    put, path = "/v1/secrets/{name}", tag = "secrets", security(("token" = [])),
    params(("name" = String, Path, description = "The name by which manifests grant it",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 204, description = "It is set."),
        (status = 400, body = Problem, description = "That is no name, or no value."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 413, body = Problem, description = "Longer than any secret."),
        (status = 415, body = Problem, description = "Not JSON."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn set_secret(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(name): Path<String>,
    Body(SecretValue { value }): Body<SecretValue>,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Deploy)?;
    let name = check_name(&name)?;
    control.tenants.secrets(&acting.tenant).set(&name, &value).map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret.
#[utoipa::path(
    delete, path = "/v1/secrets/{name}", tag = "secrets", security(("token" = [])),
    params(("name" = String, Path, description = "Its name",
        pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"), For),
    responses((status = 204, description = "It is gone."),
        (status = 400, body = Problem, description = "That is no name."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such secret."))
)]
pub(super) async fn remove_secret(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Deploy)?;
    let name = check_name(&name)?;
    if !control.tenants.secrets(&acting.tenant).remove(&name).map_err(problem)? {
        let message = format!("no secret is called `{name}`");
        return Err(Problem::new(Code::NotFound, message).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

fn problem(error: SecretError) -> Problem {
    match error {
        SecretError::Length => Problem::new(Code::Invalid, error.to_string()),
        SecretError::Key(_, error) | SecretError::File(_, error) => of_disk(&error),
        error => internal(&error),
    }
}

/// All tokens, but for themselves.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", security(("token" = [])), params(For),
    responses((status = 200, body = Vec<Token>, description = "They are."),
        (status = 400, body = Problem, description = "That is no tenant."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."))
)]
pub(super) async fn tokens(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
) -> Result<Json<Vec<Token>>, Refused> {
    acting.need(Scope::Admin)?;
    let tokens = control.registry.tokens().map_err(Problem::from)?;
    let tokens = tokens.into_iter().map(|(id, record)| Token {
        id,
        tenant: record.tenant,
        scopes: record.scopes,
        label: record.label,
        created: clock::rfc3339(record.created),
    });
    Ok(Json(tokens.collect()))
}

/// Makes a token. It is shown this once.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", security(("token" = [])), params(For),
    responses((status = 201, body = MadeToken, description = "This is it."),
        (status = 400, body = Problem, description = "That is no tenant, or it is for nothing."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 413, body = Problem, description = "Longer than any request."),
        (status = 415, body = Problem, description = "Not JSON."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn make_token(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Refused> {
    acting.need(Scope::Admin)?;
    let tenant = check_name(&new.tenant)?;
    if new.scopes.is_empty() {
        return Err(Problem::new(Code::Invalid, "a token is for something: scopes").into());
    }
    // What is configured for it is wrong, if anything is: better now than at its first deploy.
    control.tenants.get(&tenant).map_err(|error| internal(&error))?;
    let made =
        control.tokens.make(&control.registry, &tenant, new).map_err(|error| match error {
            crate::tokens::TokenError::Registry(error) => Problem::from(error),
            error => internal(&error),
        })?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a token: from then on nobody knows it.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", security(("token" = [])),
    params(("id" = String, Path, description = "What it is known by"), For),
    responses((status = 204, description = "It is gone."),
        (status = 400, body = Problem, description = "That is no tenant."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that."),
        (status = 404, body = Problem, description = "There is no such token."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn revoke_token(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Admin)?;
    if !control.tokens.revoke(&control.registry, &id).map_err(Problem::from)? {
        return Err(Problem::new(Code::NotFound, "there is no such token").into());
    }
    Ok(StatusCode::NO_CONTENT)
}

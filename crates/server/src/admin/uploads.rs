//! Uploading components.

use axum::{body::Body, extract::State, http::StatusCode};
use dhow_api::{Code, Problem, Scope};
use dhow_package::{Digest, MAX_BYTES};

use super::{
    Shared,
    answer::{Path, Refused},
    caller::{Acting, For},
};
use crate::{blobs::PutError, clock, control::of_disk, registry::UploadRecord};

fn parse(digest: &str) -> Result<Digest, Refused> {
    Digest::parse(digest).ok_or_else(|| {
        let message = "a digest is sha256: and 64 hexadecimal digits in lower case";
        Problem::new(Code::Invalid, message).into()
    })
}

/// Whether the tenant has uploaded a file.
#[utoipa::path(
    head, path = "/v1/blobs/{digest}", tag = "deploy", security(("token" = [])),
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits",
        pattern = "^sha256:[0-9a-f]{64}$"), For),
    responses((status = 200, description = "It has."), (status = 404, description = "It has not."),
        (status = 400, description = "That is no digest."),
        (status = 401, description = "No token."), (status = 403, description = "Not for that."))
)]
pub(super) async fn has_blob(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(digest): Path<String>,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Deploy)?;
    let digest = parse(&digest)?;
    let upload = control.registry.upload(&acting.tenant, &digest).map_err(Problem::from)?;
    let Some(upload) = upload.filter(|_| control.blobs.has(&digest)) else {
        return Ok(StatusCode::NOT_FOUND);
    };
    // Whoever asks is about to deploy it.
    control.keep_upload(&acting.tenant, &digest, &upload)?;
    Ok(StatusCode::OK)
}

/// Uploads a file under its digest. What breaks off is not kept.
#[utoipa::path(
    put, path = "/v1/blobs/{digest}", tag = "deploy", security(("token" = [])),
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits",
        pattern = "^sha256:[0-9a-f]{64}$"), For),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "It is there."),
        (status = 400, body = Problem, description = "That is no digest, or the upload broke off."),
        (status = 401, body = Problem, description = "No token."),
        (status = 403, body = Problem, description = "Not for that, or more than the tenant may store."),
        (status = 413, body = Problem, description = "Longer than any component."),
        (status = 415, body = Problem, description = "Not application/octet-stream."),
        (status = 422, body = Problem, description = "The file has another digest."),
        (status = 507, body = Problem, description = "The disk is full."))
)]
pub(super) async fn put_blob(
    State(Shared { control, .. }): State<Shared>,
    acting: Acting,
    Path(digest): Path<String>,
    body: Body,
) -> Result<StatusCode, Refused> {
    acting.need(Scope::Deploy)?;
    let digest = parse(&digest)?;
    let tenant = &acting.tenant;
    let quota = control.tenants.operator().quota_of(tenant).stored.bytes();
    let stored = || -> Result<u64, Problem> {
        let uploads = control.registry.uploads()?;
        let others = uploads
            .iter()
            .filter(|(owner, other, _)| owner == tenant.as_str() && *other != digest.to_string());
        Ok(others.map(|(_, _, record)| record.size).sum())
    };
    let mut claim = control.uploading.begin(tenant, quota, MAX_BYTES, stored)?;
    let put = control.blobs.put(digest, body.into_data_stream(), &mut claim).await;
    put.map_err(|error| problem(error, quota))?;
    let record = UploadRecord { size: claim.bytes(), created: clock::now() };
    claim
        .finish(|| control.registry.add_upload(tenant, &digest, &record))
        .map_err(Problem::from)?;
    Ok(StatusCode::CREATED)
}

fn problem(error: PutError, quota: u64) -> Problem {
    match error {
        PutError::Mismatch(_) => Problem::new(Code::DigestMismatch, error.to_string())
            .help("the file was changed on its way, or while it was read: deploy again"),
        PutError::Quota => {
            let message = format!("the tenant may store {quota} bytes, and would have more");
            Problem::new(Code::Quota, message).help("remove an app: dhow delete APP")
        }
        PutError::TooLarge => Problem::new(Code::TooLarge, error.to_string()),
        PutError::BrokenOff(_) => Problem::new(Code::Invalid, error.to_string()),
        PutError::Disk(error) => of_disk(&error),
    }
}

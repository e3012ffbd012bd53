//! `dhow secret --server`: the secrets of a tenant.

use dhow_api::SecretValue;
use dhow_manifest::Name;
use http::Method;

use super::{args::ServerArgs, client::Client};
use crate::error::CliError;

pub(crate) async fn set(server: &ServerArgs, name: &Name, value: String) -> Result<(), CliError> {
    let client = Client::new(server)?;
    client.put(&format!("/v1/secrets/{name}"), &SecretValue { value }).await?;
    Ok(())
}

pub(crate) async fn list(server: &ServerArgs) -> Result<Vec<String>, CliError> {
    Ok(Client::new(server)?.get("/v1/secrets", &[]).await?)
}

pub(crate) async fn remove(server: &ServerArgs, name: &Name) -> Result<(), CliError> {
    Ok(Client::new(server)?.command(Method::DELETE, &format!("/v1/secrets/{name}")).await?)
}

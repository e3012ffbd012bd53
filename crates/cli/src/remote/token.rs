//! `dhow token`: who may do what on a server.

use std::process::ExitCode;

use dhow_api::{MadeToken, NewToken, Scope, Token};
use http::Method;
use serde::Serialize;

use super::{
    args::{CreateTokenArgs, Format, ListTokensArgs, RevokeTokenArgs, TokenCommand},
    client::Client,
    show::{self, NONE},
};
use crate::{error::CliError, output};

pub(crate) async fn token(command: TokenCommand) -> Result<ExitCode, CliError> {
    match command {
        TokenCommand::Create(args) => create(args).await?,
        TokenCommand::List(args) => list(args).await?,
        TokenCommand::Revoke(RevokeTokenArgs { id, server }) => {
            let client = Client::new(&server)?;
            client.command(Method::DELETE, &format!("/v1/tokens/{id}")).await?;
            output::progress(format_args!("The token {id} is revoked."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The token alone is data, so that it can be put where it is needed: `$(dhow token create …)`.
async fn create(
    CreateTokenArgs { scopes, label, server }: CreateTokenArgs,
) -> Result<(), CliError> {
    let Some(tenant) = &server.tenant else {
        return Err(CliError::usage("whose token is it to be?", "say it: --tenant NAME"));
    };
    let token = NewToken { tenant: tenant.to_string(), scopes, label };
    let client = Client::new(&server)?;
    let made: MadeToken = client.change(Method::POST, "/v1/tokens", &token).await?;
    let id = output::visible(&made.id);
    output::progress(format_args!("The token {id} of {tenant} is shown this once."));
    output::text(&made.token);
    Ok(())
}

/// The shape of `--output json`. Fields are added in time; a change of meaning changes `schema`.
#[derive(Serialize)]
struct Tokens<'a> {
    schema: &'static str,
    tokens: &'a [Token],
}

async fn list(ListTokensArgs { server, output }: ListTokensArgs) -> Result<(), CliError> {
    let tokens: Vec<Token> = Client::new(&server)?.get("/v1/tokens", &[]).await?;
    match output.output {
        Format::Json => output::json(&Tokens { schema: "dhow.tokens/1", tokens: &tokens })?,
        Format::Text if tokens.is_empty() => output::progress("There is no token."),
        Format::Text => {
            let rows = tokens.iter().map(|token| {
                let scopes: Vec<_> = token.scopes.iter().copied().map(name).collect();
                [
                    token.id.clone(),
                    token.tenant.clone(),
                    scopes.join(", "),
                    token.created.clone(),
                    token.label.clone().unwrap_or_else(|| NONE.to_owned()),
                ]
            });
            let headings = ["ID", "TENANT", "FOR", "CREATED", "LABEL"];
            output::text(&show::table(headings, &[], rows));
        }
    }
    Ok(())
}

fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Deploy => "deploy",
        Scope::Admin => "admin",
    }
}

//! Who calls: known by a token, and for one tenant.

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};
use dhow_api::{Code, Problem, Scope};
use dhow_manifest::Name;
use serde::Deserialize;

use super::{
    Shared,
    answer::{Query, Refused},
};
use crate::{registry::AppKey, tokens::Caller, traffic::check_name};

/// Somebody with a token, who acts for a tenant.
pub(crate) struct Acting {
    pub(crate) caller: Caller,
    pub(crate) tenant: Name,
    /// Whether the tenant was named, and is not just the token's.
    pub(crate) is_named: bool,
}

/// For whom somebody acts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct For {
    /// The tenant, for tokens of scope admin: otherwise the token's own.
    #[param(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    tenant: Option<String>,
}

impl FromRequestParts<Shared> for Acting {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Refused> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let unauthorized = |message: &str| {
            Problem::new(Code::Unauthorized, message)
                .help("show the token that the server's operator gave you: export DHOW_TOKEN=…")
        };
        let token = token.ok_or_else(|| unauthorized("no token was shown"))?;
        let caller = state.control.tokens.find(token);
        let caller =
            caller.ok_or_else(|| unauthorized("the token is not known, or not any more"))?;
        let Query(For { tenant }) = Query::from_request_parts(parts, state).await?;
        let is_named = tenant.is_some();
        let tenant = match tenant {
            Some(text) => check_name(&text)?,
            None => caller.tenant.clone(),
        };
        if tenant != caller.tenant && !caller.may(Scope::Admin) {
            let message = format!("the token is not for tenant `{tenant}`");
            return Err(Problem::new(Code::Forbidden, message).into());
        }
        Ok(Self { caller, tenant, is_named })
    }
}

impl Acting {
    /// Whether the token is for that.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Refused> {
        if self.caller.may(scope) {
            return Ok(());
        }
        let name = match scope {
            Scope::Read => "read",
            Scope::Deploy => "deploy",
            Scope::Admin => "admin",
        };
        let message = format!("the token is not for that: it needs the scope {name}");
        Err(Problem::new(Code::Forbidden, message).into())
    }

    /// The app `name` of the tenant.
    pub(crate) fn app(&self, name: &str) -> Result<AppKey, Refused> {
        Ok((self.tenant.clone(), check_name(name)?))
    }
}

//! Who is logged in. A token says who somebody is, and the store whether they still are: without it,
//! nobody could log out before their token expires.

use crate::{
    dhow::keyvalue::{store::Store, types::SetOptions},
    http,
    token::{self, Claims},
    wasi::http::types::Request,
};

const LIFETIME_SECONDS: u64 = 8 * 60 * 60;
/// The label that `grants.keyvalue` has for the store.
const STORE: &str = "sessions";

/// Begins a session and gives its token.
pub async fn begin(user: &str) -> Result<String, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let claims = Claims::new(user, u128::from_ne_bytes(random), LIFETIME_SECONDS);
    let token = token::sign(&claims)?;
    let options = SetOptions { ttl_ms: Some(LIFETIME_SECONDS * 1000), condition: None };
    store().await?.set(claims.jti, user.into(), options).await.map_err(failed)?;
    Ok(token)
}

/// Who has sent the request, if they are logged in.
pub async fn user(request: &Request) -> Result<Option<String>, String> {
    let Some(claims) = claims(request)? else { return Ok(None) };
    let user = store().await?.get(claims.jti).await.map_err(failed)?;
    Ok(user.is_some_and(|user| user == claims.sub.as_bytes()).then_some(claims.sub))
}

/// Ends the session of the request, if there is one.
pub async fn end(request: &Request) -> Result<(), String> {
    let Some(claims) = claims(request)? else { return Ok(()) };
    store().await?.delete(claims.jti, None).await.map_err(failed)
}

/// `SameSite` keeps other sites from ordering in somebody's name. Behind TLS, add `Secure`.
pub fn cookie(token: &str) -> String {
    format!("session={token}; Path=/; Max-Age={LIFETIME_SECONDS}; HttpOnly; SameSite=Strict")
}

pub const NO_COOKIE: &str = "session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";

/// What the request's token says, from `authorization: Bearer …` or the cookie.
fn claims(request: &Request) -> Result<Option<Claims>, String> {
    let bearer = http::header(request, "authorization")
        .and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let cookie = || {
        let cookies = http::header(request, "cookie")?;
        cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=").map(str::to_owned))
    };
    bearer.or_else(cookie).map_or(Ok(None), |token| token::verify(&token))
}

async fn store() -> Result<Store, String> {
    Store::open(STORE.to_owned()).await.map_err(failed)
}

fn failed(error: impl std::fmt::Debug) -> String {
    format!("the store of sessions: {error:?}")
}

//! JSON Web Tokens (RFC 7519), signed by HMAC with SHA-256. No other kind is understood: what a token
//! says of its own signature is nothing to go by.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::wasi::config::store;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// What it is signed with, as `dhow secret set` calls it.
const KEY: &str = "jwt-key";
/// A shorter key could be guessed (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The session.
    pub jti: String,
    /// When it ends, in seconds since 1970.
    exp: u64,
}

impl Claims {
    pub fn new(user: &str, session: u128, seconds: u64) -> Self {
        Self { sub: user.to_owned(), jti: format!("{session:032x}"), exp: now() + seconds }
    }
}

pub fn sign(claims: &Claims) -> Result<String, String> {
    let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
    let signed = format!("{HEADER}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(&signed)?.finalize().into_bytes();
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says, if we have signed it and it has not expired.
pub fn verify(token: &str) -> Result<Option<Claims>, String> {
    let Some((signed, signature)) = token.rsplit_once('.') else { return Ok(None) };
    let Some((HEADER, claims)) = signed.split_once('.') else { return Ok(None) };
    let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return Ok(None) };
    if mac(signed)?.verify_slice(&signature).is_err() {
        return Ok(None);
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    Ok(serde_json::from_slice(&claims).ok().filter(|claims: &Claims| claims.exp > now()))
}

fn mac(text: &str) -> Result<Hmac<Sha256>, String> {
    // Read each time: it may be replaced while the shop runs, which logs everybody out.
    let key = store::get(KEY)
        .map_err(|error| format!("the secret {KEY}: {error:?}"))?
        .filter(|key| key.len() >= MIN_KEY_BYTES)
        .ok_or_else(|| {
            format!("the secret {KEY} is not set, or has less than {MIN_KEY_BYTES} bytes")
        })?;
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|error| error.to_string())?;
    Ok(mac.chain_update(text))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

//! Stands in front of the shop: whoever has logged in is let through, with their name in a header
//! that nobody else can set.

mod http;
mod sessions;
mod token;

wit_bindgen::generate!({ path: "../wit", world: "auth", generate_all });

use exports::wasi::http::handler::Guest;
use wasi::http::{
    handler,
    types::{ErrorCode, Method, Request, Response},
};

/// The header that tells the shop who asks.
const USER: &str = "x-user";

/// Who may log in. It is an example: a shop has customers, and keeps no passwords, but what a slow
/// function makes of them.
const USERS: [(&str, &str); 2] = [("ada", "analytical"), ("grace", "compiler")];

struct Auth;

export!(Auth);

impl Guest for Auth {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match (request.get_method(), path) {
            (Method::Post, "/login") => log_in(request).await,
            (Method::Post, "/logout") => log_out(&request).await,
            _ => {
                let user = sessions::user(&request).await.map_err(internal)?;
                if user.is_none() && path.starts_with("/api/") {
                    return Ok(http::error(401, "log in first: POST /login"));
                }
                handler::handle(http::with_header(request, USER, user.as_deref())).await
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Login {
    user: String,
    password: String,
}

async fn log_in(request: Request) -> Result<Response, ErrorCode> {
    let Some(body) = http::body(request).await else {
        return Ok(http::error(413, "that is more than a name and a password"));
    };
    let Ok(Login { user, password }) = serde_json::from_slice(&body) else {
        return Ok(http::error(400, r#"expected {"user": "…", "password": "…"}"#));
    };
    if !USERS.contains(&(&user, &password)) {
        return Ok(http::error(401, "there is no such user with this password"));
    }
    let token = sessions::begin(&user).await.map_err(internal)?;
    // For browsers, where no script of the page can read it, and for programs.
    let cookie = sessions::cookie(&token);
    let answer = serde_json::json!({ "user": user, "token": token });
    Ok(http::json(200, &answer, &[("set-cookie", &cookie)]))
}

async fn log_out(request: &Request) -> Result<Response, ErrorCode> {
    sessions::end(request).await.map_err(internal)?;
    let answer = serde_json::json!({ "user": null });
    Ok(http::json(200, &answer, &[("set-cookie", sessions::NO_COOKIE)]))
}

/// The client gets a status, and the log the reason.
fn internal(reason: String) -> ErrorCode {
    eprintln!("{reason}");
    ErrorCode::InternalError(Some(reason))
}

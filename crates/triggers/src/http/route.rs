//! From a request to an invocation: who is meant, and is the request one that can be passed on.

use std::sync::Arc;

use dhow_host::{Failure, Host, Invocation, RequestId, Revision};
use http::{
    HeaderMap, Request, Uri,
    header::{HOST, HeaderValue},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use thiserror::Error;

use super::respond::Problem;

/// A request that no component gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("no route matches the path")]
    NoRoute,
    #[error("no app answers at this host")]
    NoApp,
    #[error("the app has no revision to answer")]
    NoRevision,
    /// RFC 9112, section 3.2: none or several in HTTP/1.1, or one that is no authority.
    #[error("the request has no valid host")]
    BadHost,
    /// RFC 9113, section 8.3.1, and RFC 9112, section 3.2.2.
    #[error("the host header differs from the target")]
    HostMismatch,
    #[error("the method is not served")]
    Method,
}

/// A request that somebody is to answer.
pub(super) struct Routed {
    pub(super) revision: Arc<Revision>,
    pub(super) invocation: Invocation,
}

/// Finds who answers `request`, with one read of the live table. A revision that was not called yet is
/// linked first.
pub(super) async fn route(
    host: &Host,
    id: RequestId,
    scheme: Scheme,
    request: Request<Incoming>,
) -> Result<Routed, Problem> {
    let (mut parts, body) = request.into_parts();
    if parts.method == http::Method::CONNECT {
        return Err(Refusal::Method.into());
    }
    parts.uri = absolute(scheme, &parts.uri, &parts.headers)?;
    let name = parts.uri.host().ok_or(Refusal::BadHost)?;
    let (_, revision) = host.table().find(name, id, &parts.headers).ok_or(Refusal::NoApp)?;
    let revision = revision.ok_or(Refusal::NoRevision)?;
    let app = host.live(&revision).await.map_err(Failure::Load)?;
    let callee = app.route(parts.uri.path()).ok_or(Refusal::NoRoute)?;
    let body = body.map_err(Into::into).boxed_unsync();
    let invocation = Invocation { id, callee, request: Request::from_parts(parts, body) };
    Ok(Routed { revision, invocation })
}

/// The request's target with scheme and authority, which stand in the URI or in the host header.
/// Where both do they must agree: whoever guesses lets one tenant be taken for another
/// (CVE-2024-32980).
fn absolute(scheme: Scheme, uri: &Uri, headers: &HeaderMap) -> Result<Uri, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next().map(parse_host).transpose()?;
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let authority = match (uri.authority(), header) {
        (Some(target), Some(header)) if *target != header => return Err(Refusal::HostMismatch),
        (Some(target), _) => check_authority(target.clone())?,
        (None, Some(header)) => header,
        (None, None) => return Err(Refusal::BadHost),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    // `OPTIONS *` is about the server as a whole; there is no such thing here but its root.
    parts.path_and_query = Some(match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        _ => PathAndQuery::from_static("/"),
    });
    Uri::from_parts(parts).map_err(|_| Refusal::BadHost)
}

fn parse_host(value: &HeaderValue) -> Result<Authority, Refusal> {
    let text = value.to_str().map_err(|_| Refusal::BadHost)?;
    check_authority(text.parse().map_err(|_| Refusal::BadHost)?)
}

fn check_authority(authority: Authority) -> Result<Authority, Refusal> {
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(Refusal::BadHost);
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, hosts: &[&str]) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        absolute(Scheme::HTTP, &uri.parse().unwrap(), &headers).map(|uri| uri.to_string())
    }

    #[test]
    fn the_authority_comes_from_the_target_or_the_host_header() {
        assert_eq!(target("/a?b", &["h:1"]).unwrap(), "http://h:1/a?b");
        assert_eq!(target("http://h/a", &[]).unwrap(), "http://h/a");
        assert_eq!(target("http://h/a", &["H"]).unwrap(), "http://h/a");
        assert_eq!(target("*", &["h"]).unwrap(), "http://h/");
    }

    #[test]
    fn a_doubtful_authority_is_refused() {
        assert_eq!(target("/", &[]), Err(Refusal::BadHost));
        assert_eq!(target("/", &["a", "a"]), Err(Refusal::BadHost));
        assert_eq!(target("/", &["a@b"]), Err(Refusal::BadHost));
        assert_eq!(target("/", &[""]), Err(Refusal::BadHost));
        assert_eq!(target("/", &["a b"]), Err(Refusal::BadHost));
        assert_eq!(target("http://a/", &["b"]), Err(Refusal::HostMismatch));
        assert_eq!(target("http://a/", &["a:81"]), Err(Refusal::HostMismatch));
    }
}

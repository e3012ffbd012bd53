//! From an outcome to a response: the one table of statuses, and the line in the log.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use dhow_host::{CallError, Callee, Failure, RequestId, ResponseBody, Revision};
use dhow_telemetry::span::{self, Answerer};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{Either, Full};
use thiserror::Error;
use tracing::{Span, field::display};

use super::{
    access_log::{Logged, Record},
    crowd::UnderWay,
    route::Refusal,
};

/// The body of a response: the guest's, or a line of our own.
pub(super) type Body = Logged<Either<ResponseBody, Full<Bytes>>>;

/// Why a request has no response of a guest's.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] Failure),
    /// RFC 9110, section 15.2: what is informational is followed by another response.
    #[error("the handler answered with the informational status {0}")]
    Informational(StatusCode),
}

/// What a client is told of a problem: a status and a few words. The detail goes to the log, where
/// the request's id leads to it.
struct Public {
    status: StatusCode,
    text: &'static str,
    /// Whether the guest or its manifest is to blame, rather than the client.
    is_fault: bool,
}

impl Problem {
    fn public(&self) -> Public {
        let (status, text, is_fault) = match self {
            Self::Refused(Refusal::NoRoute) => (StatusCode::NOT_FOUND, "not found", false),
            Self::Refused(Refusal::Method) => {
                (StatusCode::METHOD_NOT_ALLOWED, "method not allowed", false)
            }
            // The client's own mistakes, which it may know.
            Self::Refused(Refusal::BadHost) => {
                (StatusCode::BAD_REQUEST, "bad request: no valid host", false)
            }
            Self::Refused(Refusal::HostMismatch) => {
                (StatusCode::BAD_REQUEST, "bad request: host header and target differ", false)
            }
            Self::Failed(Failure::Call(CallError::SilentClient(_))) => {
                (StatusCode::REQUEST_TIMEOUT, "timed out", false)
            }
            Self::Refused(Refusal::NoApp) => {
                (StatusCode::NOT_FOUND, "no app answers at this host", false)
            }
            Self::Refused(Refusal::NoRevision) => {
                (StatusCode::NOT_FOUND, "the app has no revision here", false)
            }
            Self::Failed(
                Failure::Busy(_)
                | Failure::AppBusy(..)
                | Failure::TenantBusy(..)
                | Failure::Full(_)
                | Failure::Call(CallError::NoRoom | CallError::AccountMemory { .. }),
            ) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", true),
            // RFC 6585, section 4.
            Self::Failed(Failure::AppRate(..) | Failure::TenantRate(..)) => {
                (StatusCode::TOO_MANY_REQUESTS, "too many requests", false)
            }
            Self::Failed(Failure::Call(CallError::Deadline(_))) => {
                (StatusCode::GATEWAY_TIMEOUT, "timed out", true)
            }
            Self::Informational(_)
            | Self::Failed(
                Failure::Load(_)
                | Failure::Call(
                    CallError::Failed(_)
                    | CallError::Memory { .. }
                    | CallError::NoResponse
                    | CallError::Panicked
                    | CallError::Instance(_)
                    | CallError::ErrorCode(_),
                ),
            ) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error", true),
        };
        Public { status, text, is_fault }
    }

    /// Whether there was no room for it because of others. A component's own limit is not among it, nor the
    /// memory of all instances: both may be full by what this very revision does.
    fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::Failed(
                Failure::AppBusy(..)
                    | Failure::AppRate(..)
                    | Failure::TenantBusy(..)
                    | Failure::TenantRate(..)
                    | Failure::Full(_)
                    | Failure::Call(CallError::NoRoom)
            )
        )
    }

    fn retry_after(&self) -> Option<HeaderValue> {
        let is_full = matches!(
            self,
            Self::Failed(Failure::Busy(_) | Failure::Call(CallError::AccountMemory { .. }))
        );
        (is_full || self.is_refused()).then_some(HeaderValue::from_static("1"))
    }
}

/// A request and what will be answered.
pub(super) struct Exchange {
    id: RequestId,
    is_head: bool,
    span: Span,
    record: Record,
}

impl Exchange {
    pub(super) fn begin<B>(request: &mut Request<B>, under_way: UnderWay) -> Self {
        let id = RequestId::next();
        let (method, path) = (request.method().clone(), request.uri().clone());
        let span = span::request(&method, path.path(), request.headers_mut());
        let record = Record::new(id, Instant::now(), request, under_way);
        Self { id, is_head: method == Method::HEAD, span, record }
    }

    /// In which the request is answered.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    pub(super) fn is_for(&mut self, callee: &Callee, revision: Arc<Revision>) {
        let answerer = Answerer {
            tenant: callee.tenant(),
            app: callee.app(),
            revision: Some(revision.number()),
            component: callee.component(),
        };
        span::is_for(&self.span, &self.id, answerer);
        self.record.callee = Some((callee.clone(), revision));
    }

    pub(super) fn respond(
        mut self,
        outcome: Result<Response<ResponseBody>, Problem>,
    ) -> Response<Body> {
        let is_refused = outcome.as_ref().is_err_and(Problem::is_refused);
        let response = match outcome {
            Ok(response) if response.status().is_informational() => {
                let problem = Problem::Informational(response.status());
                response.into_body().discard();
                self.problem_response(&problem)
            }
            Ok(response) => self.guest_response(response),
            Err(problem) => self.problem_response(&problem),
        };
        span::answered(&self.span, response.status());
        self.record.begin_response(&response, is_refused);
        response.map(|body| Logged::new(body, self.record))
    }

    fn guest_response(
        &self,
        response: Response<ResponseBody>,
    ) -> Response<Either<ResponseBody, Full<Bytes>>> {
        let status = response.status();
        // RFC 9110, sections 6.4.1 and 15: no content follows, so nobody will read the body.
        let has_no_content =
            self.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let (parts, body) = response.into_parts();
        let body = if has_no_content {
            body.discard();
            Either::Right(Full::default())
        } else {
            Either::Left(body)
        };
        Response::from_parts(parts, body)
    }

    fn problem_response(&self, problem: &Problem) -> Response<Either<ResponseBody, Full<Bytes>>> {
        let Public { status, text, is_fault } = problem.public();
        let id = self.id;
        if is_fault {
            let component = self.record.component().map(display);
            tracing::error!(component, %id, "{problem}");
        }
        let text = if self.is_head { String::new() } else { format!("{text} (request {id})\n") };
        let mut response = Response::new(Either::Right(Full::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert("x-request-id", id);
        }
        if let Some(value) = problem.retry_after() {
            headers.insert(RETRY_AFTER, value);
        }
        response
    }
}

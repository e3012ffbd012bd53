//! From what a server says can't be done to an error for people.

use dhow_api::{Change, Code, Problem};
use http::StatusCode;
use serde::Deserialize;

use crate::error::{self, CliError, Message};

/// Why a server did not do what was asked.
pub(super) enum Refusal {
    /// It says why.
    Problem(Box<Problem>),
    /// Nothing of it can be read, or it can't be reached.
    Other(CliError),
}

impl Refusal {
    /// The problem, if it is one of this kind.
    pub(super) fn problem(&self, code: Code) -> Option<&Problem> {
        match self {
            Self::Problem(problem) if problem.code == code => Some(problem),
            Self::Problem(_) | Self::Other(_) => None,
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<CliError> for Refusal {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Problem(problem) => (*problem).into(),
            Refusal::Other(error) => error,
        }
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        // What would newly be granted is asked about, not reported as a fault.
        let Problem { code, message, help, details, changes: _ } = problem;
        let help = help.or_else(|| default_help(code).map(str::to_owned));
        let details =
            details.into_iter().map(|detail| Message { what: detail.message, help: detail.help });
        let messages = [Message { what: message, help }].into_iter().chain(details);
        Self::Plain { messages: messages.collect(), exit: exit(code) }
    }
}

/// What a component may do now, or may not do any more.
pub(super) fn describe(Change { component, gains, what }: &Change) -> String {
    let may = if *gains { "may now" } else { "may no longer" };
    format!("{component} {may} {what}")
}

/// The problem that a body is, of an answer that is no success.
pub(super) fn read(server: &str, status: StatusCode, body: &[u8]) -> Refusal {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return problem.into();
    }
    if let Ok(Unknown { message, help }) = serde_json::from_slice(body) {
        return CliError::with_exit(error::FAILURE, message, help).into();
    }
    let what = format!("{server} answered {status}, and not as Dhow's admin API does");
    CliError::failure_with_help(what, "name the admin API of a server: --server URL").into()
}

/// What an answer that can have no body says by its status.
pub(super) fn of_status(status: StatusCode) -> Problem {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    };
    Problem::new(code, format!("the server answered {status}"))
}

/// A problem of a kind that only newer clients know.
#[derive(Deserialize)]
struct Unknown {
    message: String,
    help: Option<String>,
}

/// The one table from a problem to an exit code.
fn exit(code: Code) -> u8 {
    match code {
        Code::Invalid | Code::Manifest => error::USAGE,
        Code::Unlinkable
        | Code::DigestMismatch
        | Code::NewGrants
        | Code::Quota
        | Code::TooLarge => error::POLICY,
        Code::NotFound | Code::MissingBlobs => error::NOT_FOUND,
        Code::Unauthorized | Code::Forbidden => error::AUTHENTICATION,
        Code::Unhealthy => error::TIMEOUT,
        Code::Conflict => error::CONFLICT,
        Code::DiskFull | Code::Unavailable | Code::Internal => error::FAILURE,
    }
}

fn default_help(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthorized => Some(super::client::TOKEN_HELP),
        Code::NewGrants => Some(ALLOW_NEW_GRANTS),
        Code::Conflict | Code::MissingBlobs => Some("run the command again"),
        _ => None,
    }
}

/// The command that allows what a new revision would be granted.
pub(super) const ALLOW_NEW_GRANTS: &str = "dhow deploy --allow-new-grants";

#[cfg(test)]
mod tests {
    use dhow_api::Detail;

    use super::*;

    #[test]
    fn each_kind_of_problem_has_its_exit_code() {
        for (code, expected) in [
            (Code::Internal, 1),
            (Code::Unavailable, 1),
            (Code::DiskFull, 1),
            (Code::Invalid, 2),
            (Code::Manifest, 2),
            (Code::Unlinkable, 4),
            (Code::DigestMismatch, 4),
            (Code::NewGrants, 4),
            (Code::Quota, 4),
            (Code::TooLarge, 4),
            (Code::NotFound, 5),
            (Code::MissingBlobs, 5),
            (Code::Unauthorized, 6),
            (Code::Forbidden, 6),
            (Code::Unhealthy, 7),
            (Code::Conflict, 8),
        ] {
            assert_eq!(exit(code), expected, "{code:?}");
        }
    }

    #[test]
    fn each_detail_is_a_message_with_its_help() {
        let detail = Detail { message: "b".to_owned(), help: Some("c".to_owned()) };
        let error = CliError::from(Problem::new(Code::Manifest, "a").details([detail]));
        let CliError::Plain { messages, exit: 2 } = error else { panic!("another error") };
        let texts: Vec<_> = messages.iter().map(|it| (&*it.what, it.help.as_deref())).collect();
        assert_eq!(texts, [("a", None), ("b", Some("c"))]);
    }

    #[test]
    fn a_problem_of_a_kind_that_is_not_known_is_shown() {
        let body = br#"{"code":"moonlight","message":"not at night","help":"wait"}"#;
        let refusal = read("http://a", StatusCode::IM_A_TEAPOT, body);
        let CliError::Plain { messages, exit: 1 } = refusal.into() else { panic!("another") };
        assert_eq!(messages.first().map(|it| &*it.what), Some("not at night"));
    }
}

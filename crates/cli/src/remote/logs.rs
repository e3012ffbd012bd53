//! `dhow logs`: what the components of an app have written.

use std::{io, process::ExitCode};

use dhow_api::LogLine;
use http_body_util::BodyExt as _;

use super::{
    args::{Format, LogsArgs},
    client::Client,
};
use crate::{error::CliError, output};

/// The longest line that is read: twenty times what a guest's longest, of 8 KiB, takes where each of
/// its bytes is escaped.
const MAX_LINE: usize = 1 << 20;

pub(crate) async fn logs(args: LogsArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args.server)?;
    let lines = args.lines.to_string();
    let mut query = vec![("lines", lines.as_str())];
    query.extend(args.component.as_ref().map(|name| ("component", name.as_str())));
    query.extend(args.follow.then_some(("follow", "true")));
    let mut body = client.stream(&format!("/v1/apps/{}/logs", args.app), &query).await?;
    let mut lines = Lines::default();
    let format = args.output.output;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| client.broken_off(error))?;
        let Ok(data) = frame.into_data() else { continue };
        lines.waiting.extend_from_slice(&data);
        while let Some(line) = lines.next()? {
            if !print(&client, &line, format)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    // The last line may have no end.
    print(&client, &lines.waiting, format)?;
    Ok(ExitCode::SUCCESS)
}

/// What has come and was not printed yet.
#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') else {
            if self.waiting.len() > MAX_LINE {
                return Err(CliError::failure("the server sends a line that does not end"));
            }
            return Ok(None);
        };
        let mut line: Vec<u8> = self.waiting.drain(..=end).collect();
        line.pop();
        Ok(Some(line))
    }
}

/// Prints `line`, and says whether anybody reads on.
fn print(client: &Client, line: &[u8], format: Format) -> Result<bool, CliError> {
    // An empty line tells that the server is still there.
    if line.trim_ascii().is_empty() {
        return Ok(true);
    }
    let read: LogLine = serde_json::from_slice(line).map_err(|error| client.unreadable(&error))?;
    let printed = match format {
        Format::Text => output::server_line(&read),
        // As it came: it may say more than this client knows.
        Format::Json => output::raw_line(&String::from_utf8_lossy(line)),
    };
    match printed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::failure(format!("the log can't be printed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in [&b"on"[..], b"e\ntwo\n\nth", b"ree"] {
            lines.waiting.extend_from_slice(chunk);
            while let Ok(Some(line)) = lines.next() {
                found.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(
            (found, lines.waiting),
            (vec!["one".into(), "two".into(), String::new()], b"three".to_vec())
        );
    }

    #[test]
    fn a_line_that_does_not_end_is_an_error() {
        let mut lines = Lines { waiting: vec![b'x'; MAX_LINE + 1] };
        assert!(lines.next().is_err());
    }
}

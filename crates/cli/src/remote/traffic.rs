//! `dhow revisions`, `dhow traffic` and `dhow rollback`: the revisions of an app, and who of them
//! answers.

use std::{collections::BTreeMap, process::ExitCode};

use dhow_api::{Revision, Revisions, Traffic};
use dhow_manifest::Name;
use http::Method;

use super::{
    Report,
    args::{Format, ShownAppArgs, TrafficArgs},
    client::Client,
    problem::Refusal,
    show::{self, NONE},
};
use crate::{error::CliError, output};

/// The shape of `--output json` of each of these commands.
const SCHEMA: &str = "dhow.revisions/1";

pub(crate) async fn revisions(args: ShownAppArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args.server)?;
    let revisions = read(&client, &args.app).await?;
    match args.output.output {
        Format::Json => output::json(&Report { schema: SCHEMA, report: &revisions })?,
        Format::Text => print_revisions(&revisions),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn traffic(args: TrafficArgs) -> Result<ExitCode, CliError> {
    let wanted = if args.shares.is_empty() {
        None
    } else {
        let sticky = args.sticky_header.or(args.sticky_cookie);
        Some(Traffic { shares: together(&args.shares)?, sticky })
    };
    let client = Client::new(&args.server)?;
    let revisions = match wanted {
        Some(traffic) => {
            let path = format!("/v1/apps/{}/traffic", args.app);
            client.change(Method::PUT, &path, &traffic).await?
        }
        None => read(&client, &args.app).await?,
    };
    print_traffic(&revisions, args.output.output)
}

pub(crate) async fn rollback(args: ShownAppArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args.server)?;
    let path = format!("/v1/apps/{}/rollback", args.app);
    let revisions = client.post(&path).await?;
    print_traffic(&revisions, args.output.output)
}

/// The revisions of `app`.
pub(super) async fn read(client: &Client, app: &Name) -> Result<Revisions, Refusal> {
    client.get(&format!("/v1/apps/{app}/revisions"), &[]).await
}

/// Who has a part of the traffic.
pub(super) fn shares(revisions: &Revisions) -> BTreeMap<u32, u8> {
    revisions.revisions.iter().map(|revision| (revision.number, revision.percent)).collect()
}

fn together(shares: &[(u32, u8)]) -> Result<BTreeMap<u32, u8>, CliError> {
    let mut by_revision = BTreeMap::new();
    for (revision, percent) in shares {
        if by_revision.insert(*revision, *percent).is_some() {
            let what = format!("r{revision} has more than one share");
            return Err(CliError::usage(what, "name each revision once: r12=90 r13=10"));
        }
    }
    let sum: u64 = by_revision.values().map(|percent| u64::from(*percent)).sum();
    if sum != 100 {
        let what = format!("the shares are {sum}% together, not 100%");
        return Err(CliError::usage(what, "share all of the traffic: r12=90 r13=10"));
    }
    Ok(by_revision)
}

fn print_revisions(revisions: &Revisions) {
    output::text(&format!("{}: {}", revisions.app, revisions.url));
    print_rollout(revisions);
    let headings =
        ["REVISION", "CREATED", "TAG", "VERSION", "TRAFFIC", "REQUESTS", "ERRORS", "PREVIEW"];
    output::text(&show::table(headings, &[4, 5, 6], revisions.revisions.iter().map(row)));
}

fn row(revision: &Revision) -> [String; 8] {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| NONE.to_owned());
    [
        format!("r{}", revision.number),
        revision.created.clone(),
        word(&revision.tag),
        word(&revision.version),
        format!("{}%", revision.percent),
        revision.requests.to_string(),
        revision.errors.to_string(),
        revision.preview_url.clone(),
    ]
}

fn print_traffic(revisions: &Revisions, format: Format) -> Result<ExitCode, CliError> {
    match format {
        Format::Json => output::json(&Report { schema: SCHEMA, report: revisions })?,
        Format::Text => {
            let traffic = show::traffic(&shares(revisions));
            output::text(&format!("{}: {traffic}", revisions.app));
            print_rollout(revisions);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_rollout(Revisions { is_rolling_out, rolled_back, .. }: &Revisions) {
    if *is_rolling_out {
        output::text("A rollout is under way.");
    }
    if let Some(reason) = rolled_back {
        output::text(&format!("The last rollout was ended: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_100_together() {
        assert!(together(&[(12, 90), (13, 10)]).is_ok());
        assert!(together(&[(12, 0), (13, 100)]).is_ok());
        for bad in [&[(12, 90)][..], &[(12, 90), (13, 11)], &[(12, 50), (12, 50)], &[]] {
            assert!(matches!(together(bad), Err(CliError::Plain { exit: 2, .. })), "{bad:?}");
        }
    }
}

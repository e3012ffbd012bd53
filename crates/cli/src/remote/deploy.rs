//! `dhow deploy`: an app, or some of its components, as a new revision on a server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use dhow_api::{Change, Code, Deploy, Deployed, DeployedComponent, Problem, Revisions};
use dhow_manifest::Name;
use dhow_package::{Artifact, ReadError};
use http::Method;

use super::{
    Report,
    args::{DeployArgs, Format},
    ask, can_ask,
    client::Client,
    problem::{self, Refusal},
    show, traffic,
    upload::upload,
};
use crate::{
    app::LocalApp,
    args::HERE,
    build,
    error::{self, CliError},
    output,
};

pub(crate) async fn deploy(args: DeployArgs) -> Result<ExitCode, CliError> {
    // First of all: who can't deploy need not wait for a build.
    let client = Client::new(&args.server)?;
    let local = Local::read(&args)?;
    let base = base(&client, &local).await?;
    let deploy = Deploy {
        components: upload(&client, local.artifacts).await?,
        manifest: local.manifest,
        base,
        tag: args.tag,
        allow_new_grants: args.allow_new_grants,
        dry_run: args.dry_run,
        no_traffic: args.no_traffic,
    };
    let deployed = send(&client, &local.name, deploy, ask_about).await?;
    match args.output.output {
        Format::Json => {
            output::json(&Report { schema: "dhow.deployed/1", report: &deployed })?;
        }
        Format::Text => output::text(&describe(&deployed)),
    }
    if let (true, Some(revision)) = (args.wait, deployed.revision) {
        wait(&client, &local.name, revision).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be deployed.
struct Local {
    name: Name,
    /// None where that of the newest revision stays.
    manifest: Option<String>,
    artifacts: BTreeMap<Name, Artifact>,
}

impl Local {
    fn read(args: &DeployArgs) -> Result<Self, CliError> {
        if !args.components.is_empty() {
            let name = app_name(&args.path)?;
            return Ok(Self { name, manifest: None, artifacts: replacements(&args.components)? });
        }
        let local = LocalApp::read(&args.path)?;
        if !args.no_build {
            build::build(&local)?;
        }
        let artifacts = local.artifacts()?;
        Ok(Self { name: local.app.name().clone(), manifest: Some(local.manifest), artifacts })
    }
}

/// With `--component` an app is named as the server knows it.
fn app_name(path: &Path) -> Result<Name, CliError> {
    let help = "name the app on the server: dhow deploy --component cart=cart.wasm shop";
    if path == Path::new(HERE) {
        return Err(CliError::usage("a component of which app?", help));
    }
    let text = path.to_string_lossy();
    Name::new(&text).map_err(|error| CliError::usage(format!("`{text}`: {error}"), help))
}

fn replacements(files: &[(Name, PathBuf)]) -> Result<BTreeMap<Name, Artifact>, CliError> {
    let mut artifacts = BTreeMap::new();
    let mut errors: Vec<(Name, ReadError)> = Vec::new();
    for (name, file) in files {
        let artifact = match Artifact::read(file) {
            Ok(artifact) => artifact,
            Err(error) => {
                errors.push((name.clone(), error));
                continue;
            }
        };
        if artifacts.insert(name.clone(), artifact).is_some() {
            let what = format!("component `{name}` is replaced more than once");
            return Err(CliError::usage(what, "name each component once"));
        }
    }
    if errors.is_empty() { Ok(artifacts) } else { Err(errors.into()) }
}

/// The newest revision that is known before anything is changed; 0 at the first.
async fn base(client: &Client, local: &Local) -> Result<Option<u32>, CliError> {
    match traffic::read(client, &local.name).await {
        Ok(revisions) => Ok(revisions.revisions.iter().map(|revision| revision.number).max()),
        // What is made from the revision before needs one.
        Err(refusal) if local.manifest.is_some() && refusal.problem(Code::NotFound).is_some() => {
            Ok(Some(0))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Sends `deploy`, and once more where `allows` allows what components would newly be granted.
pub(super) async fn send(
    client: &Client,
    app: &Name,
    deploy: Deploy,
    allows: impl FnOnce(&[Change]) -> Result<bool, CliError>,
) -> Result<Deployed, CliError> {
    let path = format!("/v1/apps/{app}/revisions");
    let refusal: Refusal = match client.change(Method::POST, &path, &deploy).await {
        Ok(deployed) => return Ok(deployed),
        Err(refusal) => refusal,
    };
    match refusal.problem(Code::NewGrants) {
        Some(Problem { changes, .. }) if allows(changes)? => {
            let allowed = Deploy { allow_new_grants: true, ..deploy };
            Ok(client.change(Method::POST, &path, &allowed).await?)
        }
        _ => Err(refusal.into()),
    }
}

/// Shows what components would newly be granted, and asks where somebody is there to answer.
fn ask_about(changes: &[Change]) -> Result<bool, CliError> {
    for change in changes {
        output::progress(output::visible(&problem::describe(change)));
    }
    Ok(can_ask() && ask("Allow it?")?)
}

fn describe(deployed: &Deployed) -> String {
    let Deployed { app, revision, url, preview_url, components, changes, percent, link_ms } =
        deployed;
    let mut lines = match revision {
        Some(revision) => vec![format!("Deployed {app} r{revision}: {url}")],
        None => vec![format!("{app} can be deployed: {url}")],
    };
    lines.extend(preview_url.iter().map(|url| format!("  preview  {url}")));
    if revision.is_some() {
        lines.push(format!("  traffic  {percent}%"));
    }
    lines.push(format!("  linked   in {link_ms} ms"));
    let rows = components.iter().map(|component| {
        [component.name.clone(), show::bytes(component.size), what_changed(component)]
    });
    lines.push(show::table(["COMPONENT", "SIZE", "CHANGE"], &[1], rows));
    lines.extend(changes.iter().map(problem::describe));
    lines.join("\n")
}

fn what_changed(component: &DeployedComponent) -> String {
    match component.size_before {
        None => "new".to_owned(),
        Some(_) if !component.is_changed => "same".to_owned(),
        Some(before) => {
            format!("changed {}", show::difference(component.size, before)).trim_end().to_owned()
        }
    }
}

/// How often a rollout is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Waits until the rollout has come to its end, and fails if that was not with `revision`.
async fn wait(client: &Client, app: &Name, revision: u32) -> Result<(), CliError> {
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    let mut shown = None;
    loop {
        // What it waits for happens on another machine.
        interval.tick().await;
        let revisions = traffic::read(client, app).await?;
        let shares = traffic::shares(&revisions);
        let percent = shares.get(&revision).copied().unwrap_or(0);
        if shown.replace(percent) != Some(percent) {
            output::progress(format_args!("r{revision} has {percent}% of the traffic"));
        }
        if !revisions.is_rolling_out {
            return outcome(&revisions, revision, percent);
        }
    }
}

fn outcome(revisions: &Revisions, revision: u32, percent: u8) -> Result<(), CliError> {
    let app = &revisions.app;
    if let Some(reason) = &revisions.rolled_back {
        let what = format!("r{revision} of {app} was rolled back: {reason}");
        let help = format!("see what it has written: dhow logs {app}");
        return Err(CliError::with_exit(error::TIMEOUT, what, Some(help)));
    }
    if percent == 0 {
        let traffic = show::traffic(&traffic::shares(revisions));
        let what = format!("r{revision} of {app} has no traffic any more: {traffic}");
        let help = format!("somebody else has changed it: dhow revisions {app}");
        return Err(CliError::with_exit(error::CONFLICT, what, Some(help)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(size_before: Option<u64>, is_changed: bool) -> DeployedComponent {
        let (name, digest) = ("cart".to_owned(), String::new());
        DeployedComponent { name, digest, size: 2048, size_before, is_changed }
    }

    #[test]
    fn what_became_of_a_component() {
        for (before, is_changed, text) in [
            (None, true, "new"),
            (Some(2048), false, "same"),
            (Some(2048), true, "changed"),
            (Some(1024), true, "changed +1.00 KiB"),
            (Some(2050), true, "changed -2 B"),
        ] {
            assert_eq!(what_changed(&component(before, is_changed)), text);
        }
    }

    #[test]
    fn a_deployment_is_described() {
        let change = Change {
            component: "cart".to_owned(),
            gains: true,
            what: "connect to 10.0.0.0/8:5432".to_owned(),
        };
        let deployed = Deployed {
            app: "shop".to_owned(),
            revision: Some(13),
            url: "http://shop.localhost:8080".to_owned(),
            preview_url: Some("http://r13.shop.localhost:8080".to_owned()),
            components: vec![component(Some(1024), true)],
            changes: vec![change],
            percent: 10,
            link_ms: 42,
        };
        let expected = "Deployed shop r13: http://shop.localhost:8080\n\
            \x20 preview  http://r13.shop.localhost:8080\n\
            \x20 traffic  10%\n\
            \x20 linked   in 42 ms\n\
            COMPONENT      SIZE  CHANGE\n\
            cart       2.00 KiB  changed +1.00 KiB\n\
            cart may now connect to 10.0.0.0/8:5432";
        assert_eq!(describe(&deployed), expected);
    }

    #[test]
    fn a_rollout_that_ended_otherwise_is_an_error() {
        let revisions = |rolled_back: Option<&str>| Revisions {
            app: "shop".to_owned(),
            url: String::new(),
            revisions: Vec::new(),
            rolled_back: rolled_back.map(str::to_owned),
            is_rolling_out: false,
        };
        assert!(outcome(&revisions(None), 13, 100).is_ok());
        for (rolled_back, expected) in [(Some("5% errors"), 7), (None, 8)] {
            let result = outcome(&revisions(rolled_back), 13, 0);
            assert!(matches!(result, Err(CliError::Plain { exit, .. }) if exit == expected));
        }
    }

    #[test]
    fn with_components_the_app_is_named_as_on_the_server() {
        assert!(app_name(Path::new("shop")).is_ok());
        for path in [".", "./shop", "shop/dhow.toml", "Shop"] {
            assert!(matches!(app_name(Path::new(path)), Err(CliError::Plain { exit: 2, .. })));
        }
    }
}

//! How a new revision comes to be.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dhow_api::{Change, Code, Deploy, Deployed, DeployedComponent, Detail, Problem};
use dhow_host::{Body, Invocation, LiveApp, RequestId, preview_of};
use dhow_manifest::{App, ChangeKind, Name};
use dhow_package::Digest;
use http_body_util::{BodyExt as _, Empty};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    clock,
    control::{Changing, Control, MANIFEST, internal, manifest, no_revision},
    registry::{AppKey, AppRecord, ComponentRecord, RevisionRecord, UploadRecord},
    sweep::UNUSED_UPLOAD,
    traffic,
};

/// How long a new revision may take to say that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest word by which a revision is found.
const MAX_TAG: usize = 63;

/// An app that is to get a revision. One that was not made is not there, also where whoever asked for it
/// has gone, and nobody waits for the end.
struct Making<'a> {
    control: &'a Control,
    changing: Changing,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.control.forget_unmade(&self.changing);
    }
}

impl Control {
    /// Makes a revision: all of it, or none.
    pub(crate) async fn deploy(
        self: &Arc<Self>,
        key: &AppKey,
        request: Deploy,
    ) -> Result<Deployed, Problem> {
        let mut making = Making { control: self, changing: self.change(key)? };
        self.deploy_to(&mut making.changing, request).await
    }

    async fn deploy_to(
        self: &Arc<Self>,
        changing: &mut Changing,
        request: Deploy,
    ) -> Result<Deployed, Problem> {
        let key = changing.app.key.clone();
        check_request(&key.1, &changing.record, &request)?;
        self.check_app_quota(changing)?;
        let before = self.current(changing)?;
        let (record, app) = self.revision_of(&key, before.as_ref(), &request)?;
        let before_app =
            before.as_ref().and_then(|record| App::parse(MANIFEST, &record.manifest).ok());
        let changes = changes(&app, before_app.as_ref());
        if !request.allow_new_grants
            && before.is_some()
            && changes.iter().any(|change| change.gains)
        {
            return Err(new_grants(changes));
        }
        let start = Instant::now();
        let live = self.link_in_background(changing, record.clone()).await?;
        let link_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(path) = app.health() {
            self.check_health(&key, &live, path).await?;
        }
        let mut deployed = Deployed {
            app: key.1.to_string(),
            revision: None,
            url: self.url(&key),
            preview_url: None,
            components: components(&record, before.as_ref()),
            changes,
            percent: 0,
            link_ms,
        };
        if request.dry_run {
            return Ok(deployed);
        }
        let number = changing.record.newest + 1;
        let mut next = AppRecord { newest: number, ..changing.record.clone() };
        if !request.no_traffic {
            traffic::begin(&mut next, number, app.rollout(), clock::now());
        }
        deployed.percent = next.traffic.get(&number).copied().unwrap_or(0);
        let is_rollout = next.rollout.is_some();
        self.commit(changing, next, Some((number, &record, live)))?;
        if is_rollout {
            self.watch_rollout(&changing.app);
        }
        let (tenant, app) = &key;
        tracing::info!(%tenant, %app, revision = number, "deployed, with {} % of the traffic", deployed.percent);
        deployed.revision = Some(number);
        deployed.preview_url = Some(self.preview_url(&key, number));
        Ok(deployed)
    }

    fn check_app_quota(&self, changing: &Changing) -> Result<(), Problem> {
        let tenant = &changing.app.key.0;
        let quota = self.tenants.operator().quota_of(tenant).apps as usize;
        // This one is counted already.
        if changing.record.newest == 0 && self.count_apps(tenant) > quota {
            let message = format!("tenant `{tenant}` has {quota} apps, and may not have more");
            return Err(Problem::new(Code::Quota, message).help("remove one: dhow delete APP"));
        }
        Ok(())
    }

    /// The revision that what is new is held against: the one with the most traffic, or the newest.
    fn current(&self, changing: &Changing) -> Result<Option<RevisionRecord>, Problem> {
        let AppRecord { newest, traffic, .. } = &changing.record;
        if *newest == 0 {
            return Ok(None);
        }
        let most = traffic.iter().max_by_key(|(_, percent)| **percent);
        let number = most.map_or(*newest, |(number, _)| *number);
        Ok(self.registry.revision(&changing.app.key, number)?)
    }

    /// What the new revision is made of: what was sent, and for the rest what `before` has.
    fn revision_of(
        &self,
        (tenant, name): &AppKey,
        before: Option<&RevisionRecord>,
        request: &Deploy,
    ) -> Result<(RevisionRecord, App), Problem> {
        let text = match (&request.manifest, before) {
            (Some(text), _) => text,
            (None, Some(before)) => &before.manifest,
            (None, None) => {
                let message =
                    format!("`{name}` has no revision yet, and the first needs a manifest");
                return Err(Problem::new(Code::NotFound, message));
            }
        };
        let app = App::parse(MANIFEST, text).map_err(|faults| manifest(&faults))?;
        if app.name() != name {
            let message = format!("the manifest is that of `{}`, and not of `{name}`", app.name());
            return Err(Problem::new(Code::Invalid, message));
        }
        let mut digests = match (&request.manifest, before) {
            (None, Some(before)) => before
                .components
                .iter()
                .map(|(name, it)| (name.clone(), it.digest.clone()))
                .collect(),
            _ => BTreeMap::new(),
        };
        digests.extend(request.components.clone());
        check_names(&app, &digests)?;
        let (mut components, mut missing) = (BTreeMap::new(), Vec::new());
        for (component, text) in digests {
            let digest = Digest::parse(&text).ok_or_else(|| {
                let message = format!("the digest of `{component}` is none: sha256: and 64 digits");
                Problem::new(Code::Invalid, message)
            })?;
            match self.registry.upload(tenant, &digest)?.filter(|_| self.blobs.has(&digest)) {
                Some(upload) => {
                    self.keep_upload(tenant, &digest, &upload)?;
                    let record = ComponentRecord { digest: text, size: upload.size };
                    components.insert(component, record);
                }
                None => missing.push(Detail { message: text, help: None }),
            }
        }
        if !missing.is_empty() {
            let message = "not all components were uploaded";
            return Err(Problem::new(Code::MissingBlobs, message).details(missing));
        }
        let record = RevisionRecord {
            created: clock::now(),
            tag: request.tag.clone(),
            manifest: text.clone(),
            components,
        };
        Ok((record, app))
    }

    /// Has an upload that is old, and about to be used, stay until it is.
    pub(crate) fn keep_upload(
        &self,
        tenant: &Name,
        digest: &Digest,
        upload: &UploadRecord,
    ) -> Result<(), Problem> {
        let now = clock::now();
        if upload.created.saturating_add(UNUSED_UPLOAD / 2) < now {
            let record = UploadRecord { created: now, ..upload.clone() };
            self.registry.add_upload(tenant, digest, &record)?;
        }
        Ok(())
    }

    /// Compiles and links: in a thread of its own, since it takes long.
    async fn link_in_background(
        self: &Arc<Self>,
        changing: &Changing,
        record: RevisionRecord,
    ) -> Result<Arc<LiveApp>, Problem> {
        let (control, tenant) = (self.clone(), changing.app.site.tenant().clone());
        let link = move || control.link(&tenant, &record).map(|app| control.host.start(app));
        spawn_blocking(link).await.map_err(|error| internal(&error))?
    }

    /// Asks a revision that nobody finds yet whether it is well.
    async fn check_health(
        &self,
        key: &AppKey,
        live: &Arc<LiveApp>,
        path: &str,
    ) -> Result<(), Problem> {
        let unhealthy = |why: String| {
            let message = format!("GET {path} of the new revision {why}, and nothing was changed");
            Problem::new(Code::Unhealthy, message).help("look at what it wrote: dhow logs APP")
        };
        let callee = live.route(path).ok_or_else(|| unhealthy("has no route".to_owned()))?;
        let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::builder()
            .uri(format!("http://{}{path}", self.stable_host(key)))
            .body(body)
            .map_err(|error| unhealthy(format!("can't be asked: {error}")))?;
        let invocation = Invocation { id: RequestId::next(), callee, request };
        let host = self.host.clone();
        let asked = async move {
            let response =
                host.dispatch(invocation).await.map_err(|failure| failure.to_string())?;
            let status = response.status();
            response.into_body().discard();
            Ok::<_, String>(status)
        };
        // Where requests are answered, as any other.
        let asked = self.tasks.spawn_on(timeout(HEALTH_TIMEOUT, asked), &self.data_plane);
        match asked.await.map_err(|error| internal(&error))? {
            Ok(Ok(status)) if status.is_success() || status.is_redirection() => Ok(()),
            Ok(Ok(status)) => Err(unhealthy(format!("answers {status}"))),
            Ok(Err(failure)) => Err(unhealthy(format!("fails: {failure}"))),
            Err(_) => Err(unhealthy(format!("does not answer within {HEALTH_TIMEOUT:?}"))),
        }
    }
}

fn check_request(app: &Name, record: &AppRecord, request: &Deploy) -> Result<(), Problem> {
    if preview_of(app.as_str()).is_some() {
        let message = format!("`{app}` is what the host of a revision is called");
        return Err(Problem::new(Code::Invalid, message).help("give the app another name"));
    }
    let is_word = |tag: &String| {
        !tag.is_empty() && tag.len() <= MAX_TAG && !tag.chars().any(char::is_control)
    };
    if request.tag.as_ref().is_some_and(|tag| !is_word(tag)) {
        let message = format!("a tag has from 1 to {MAX_TAG} bytes, and no control characters");
        return Err(Problem::new(Code::Invalid, message));
    }
    match request.base {
        Some(base) if base != record.newest => {
            let message = match (record.newest, base) {
                (0, _) => format!("`{app}` has no revision r{base}: it was removed"),
                (newest, 0) => format!("`{app}` is there by now, with the revision r{newest}"),
                (newest, _) => {
                    format!("`{app}` has the revision r{newest} by now, and not r{base}")
                }
            };
            Err(Problem::new(Code::Conflict, message)
                .help("look at what is new: dhow revisions APP, and deploy again"))
        }
        _ => Ok(()),
    }
}

/// Whether there is a file for each component, and none for what is no component.
fn check_names(app: &App, digests: &BTreeMap<String, String>) -> Result<(), Problem> {
    let mut details = Vec::new();
    for name in app.components().keys().filter(|name| !digests.contains_key(name.as_str())) {
        let message = format!("component `{name}` of the manifest has no file");
        details.push(Detail { message, help: None });
    }
    for name in digests.keys().filter(|name| !app.components().contains_key(name.as_str())) {
        let known: Vec<_> = app.components().keys().map(Name::as_str).collect();
        let message = format!("the manifest has no component `{name}`");
        let help = Some(format!("it has {}", known.join(", ")));
        details.push(Detail { message, help });
    }
    if details.is_empty() {
        return Ok(());
    }
    let message = "the components are not those of the manifest";
    Err(Problem::new(Code::Invalid, message).details(details))
}

fn changes(app: &App, before: Option<&App>) -> Vec<Change> {
    let changes = app.changes_since(before).into_iter().map(|change| Change {
        component: change.component.to_string(),
        gains: change.kind == ChangeKind::Gains,
        what: change.what,
    });
    changes.collect()
}

fn new_grants(changes: Vec<Change>) -> Problem {
    let message = "the revision would be granted what the one before was not";
    let mut problem = Problem::new(Code::NewGrants, message)
        .help("look at it, and allow it: dhow deploy --allow-new-grants");
    problem.changes = changes;
    problem
}

fn components(record: &RevisionRecord, before: Option<&RevisionRecord>) -> Vec<DeployedComponent> {
    let of = |(name, component): (&String, &ComponentRecord)| {
        let before = before.and_then(|before| before.components.get(name));
        DeployedComponent {
            name: name.clone(),
            digest: component.digest.clone(),
            size: component.size,
            size_before: before.map(|before| before.size),
            is_changed: before.is_none_or(|before| before.digest != component.digest),
        }
    };
    record.components.iter().map(of).collect()
}

impl Control {
    /// The record of revision `number`, which the traffic is to go to.
    pub(crate) fn existing(&self, key: &AppKey, number: u32) -> Result<RevisionRecord, Problem> {
        self.registry.revision(key, number)?.ok_or_else(|| no_revision(&key.1, number))
    }
}

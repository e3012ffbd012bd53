//! Which revisions have how much of the traffic: by hand, by a rollout, and back again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dhow_api::{Code, Problem, Sticky, Traffic};
use dhow_host::Summary;
use dhow_manifest::{App, Name, Rollout};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    clock,
    control::{Control, KnownApp, MANIFEST},
    registry::{AppKey, AppRecord, RolloutRecord},
};

/// The revisions that had all the traffic that are remembered.
const MAX_WHOLE: usize = 10;

/// How often it is looked how a new revision does.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Fewer requests say nothing about a revision while more may come.
const MIN_REQUESTS: u64 = 20;

/// Gives the new revision `number` its first part of the traffic: all of it, unless there is a rollout and
/// somebody else who has it.
pub(crate) fn begin(record: &mut AppRecord, number: u32, rollout: Option<&Rollout>, now: u64) {
    record.rolled_back = None;
    // One that has not come to its end is none any more.
    let before = match record.rollout.take() {
        Some(rollout) => rollout.before,
        None => record.traffic.clone(),
    };
    match rollout {
        Some(rollout) if !before.is_empty() => {
            record.traffic = scaled(&before, 100 - rollout.canary.min(99));
            record.traffic.insert(number, rollout.canary);
            let until = now.saturating_add(rollout.time.as_secs());
            record.rollout = Some(RolloutRecord { revision: number, before, until });
        }
        _ => give_all(record, number),
    }
}

/// Gives `number` all the traffic, and remembers that it had it.
fn give_all(record: &mut AppRecord, number: u32) {
    record.traffic = BTreeMap::from([(number, 100)]);
    record.whole.retain(|earlier| *earlier != number);
    record.whole.push(number);
    if record.whole.len() > MAX_WHOLE {
        record.whole.remove(0);
    }
}

/// Percentages that are `whole` together, in the same proportions.
fn scaled(shares: &BTreeMap<u32, u8>, whole: u8) -> BTreeMap<u32, u8> {
    let mut scaled: BTreeMap<u32, u8> = shares
        .iter()
        .map(|(number, percent)| {
            (*number, u8::try_from(u16::from(*percent) * u16::from(whole) / 100).unwrap_or(0))
        })
        .collect();
    let sum: u8 = scaled.values().sum();
    // What was rounded off goes to the largest.
    if let Some(most) = scaled.values_mut().max() {
        *most += whole.saturating_sub(sum);
    }
    scaled.retain(|_, percent| *percent > 0);
    scaled
}

/// Where a rollback of `record` leads.
fn rollback_target(record: &AppRecord) -> Option<u32> {
    let last = *record.whole.last()?;
    if record.traffic == BTreeMap::from([(last, 100)]) {
        record.whole.iter().rev().nth(1).copied()
    } else {
        Some(last)
    }
}

fn roll_back(record: &mut AppRecord, target: u32) {
    while record.whole.last().is_some_and(|last| *last != target) {
        record.whole.pop();
    }
    (record.rollout, record.rolled_back) = (None, None);
    give_all(record, target);
}

impl Control {
    /// Shares the traffic of an app as it was asked for.
    pub(crate) fn share_traffic(&self, key: &AppKey, traffic: Traffic) -> Result<(), Problem> {
        let mut changing = self.change_existing(key)?;
        let Traffic { mut shares, sticky } = traffic;
        shares.retain(|_, percent| *percent > 0);
        let sum: u32 = shares.values().map(|percent| u32::from(*percent)).sum();
        if sum != 100 {
            let message = format!("the shares are {sum} % together, and not 100");
            return Err(Problem::new(Code::Invalid, message).help("dhow traffic APP r12=90 r13=10"));
        }
        check_sticky(sticky.as_ref())?;
        for number in shares.keys() {
            self.existing(key, *number)?;
        }
        let mut record =
            AppRecord { rollout: None, rolled_back: None, sticky, ..changing.record.clone() };
        match shares.iter().next() {
            Some((number, 100)) => give_all(&mut record, *number),
            _ => record.traffic = shares,
        }
        self.commit(&mut changing, record, None)
    }

    /// Gives all the traffic to the last revision that had it.
    pub(crate) fn roll_back(&self, key: &AppKey) -> Result<(), Problem> {
        let mut changing = self.change_existing(key)?;
        let mut record = changing.record.clone();
        let target = rollback_target(&record).ok_or_else(|| {
            let message = format!("no earlier revision of `{}` had all the traffic", key.1);
            Problem::new(Code::NotFound, message).help(
                "share it by hand: dhow traffic APP r12=100; which there are: dhow revisions APP",
            )
        })?;
        self.existing(key, target)?;
        roll_back(&mut record, target);
        self.commit(&mut changing, record, None)?;
        let (tenant, app) = key;
        tracing::info!(%tenant, %app, revision = target, "rolled back");
        Ok(())
    }

    /// Watches the rollouts that were under way when the server ended.
    pub(crate) fn watch_rollouts(self: &Arc<Self>) -> Result<(), Problem> {
        for (key, record, _) in self.registry.apps()? {
            if let (Some(_), Some(app)) = (record.rollout, self.app(&key)) {
                self.watch_rollout(&app);
            }
        }
        Ok(())
    }

    /// Looks how the new revision of `app` does, until it has all the traffic or none.
    pub(crate) fn watch_rollout(self: &Arc<Self>, app: &Arc<KnownApp>) {
        let (control, app) = (Arc::downgrade(self), app.clone());
        self.tasks.spawn(async move {
            let mut ticks = interval(WATCH_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(control) = control.upgrade() else { return };
                match control.look_at_rollout(&app) {
                    Ok(true) => {}
                    Ok(false) => return,
                    // Somebody changes it just now, or the disk is full: the next look is soon.
                    Err(problem) => tracing::debug!("{problem}"),
                }
            }
        });
    }

    /// Whether the rollout goes on.
    fn look_at_rollout(&self, app: &KnownApp) -> Result<bool, Problem> {
        let Some(record) = self.registry.app(&app.key)? else { return Ok(false) };
        let Some(RolloutRecord { revision, until, .. }) = record.rollout else { return Ok(false) };
        let is_over = clock::now() >= until;
        let failure = self.failure_of(app, revision, is_over)?;
        if failure.is_none() && !is_over {
            return Ok(true);
        }
        let mut changing = self.change_existing(&app.key)?;
        let mut record = changing.record.clone();
        let Some(rollout) = record.rollout.take().filter(|it| it.revision == revision) else {
            return Ok(false);
        };
        let (tenant, name) = &app.key;
        match failure {
            Some(reason) => {
                tracing::warn!(%tenant, app = %name, revision, "rolled back: {reason}");
                record.rolled_back = Some(format!("r{revision}: {reason}"));
                record.traffic = rollout.before;
            }
            None => {
                tracing::info!(%tenant, app = %name, revision, "rolled out");
                give_all(&mut record, revision);
            }
        }
        self.commit(&mut changing, record, None)?;
        Ok(false)
    }

    /// What is wrong with a new revision, by the bounds of its own manifest: of the last minute,
    /// or when the rollout is over of all of it.
    fn failure_of(
        &self,
        app: &KnownApp,
        number: u32,
        is_over: bool,
    ) -> Result<Option<String>, Problem> {
        let Some(revision) = app.site.revisions().get(&number).cloned() else {
            return Ok(Some("it is gone".to_owned()));
        };
        let manifest = self.existing(&app.key, number)?.manifest;
        let Some(bounds) =
            App::parse(MANIFEST, &manifest).ok().and_then(|it| it.rollout().cloned())
        else {
            return Ok(None);
        };
        let mut summary = Summary::default();
        let stats = revision.stats();
        stats.add_to(&mut summary);
        if is_over {
            // No more will come: whatever there was says something.
            (summary.requests, summary.errors) = (stats.requests(), stats.errors());
        }
        Ok(excess(&bounds, &summary, if is_over { 1 } else { MIN_REQUESTS }))
    }
}

/// By what `summary` is beyond `bounds`, if it is of `least` requests.
fn excess(bounds: &Rollout, summary: &Summary, least: u64) -> Option<String> {
    if summary.requests < least {
        return None;
    }
    let Summary { requests, errors, .. } = summary;
    if let Some(bound) = bounds.errors.filter(|bound| bound.is_exceeded_by(*errors, *requests)) {
        return Some(format!("{errors} of {requests} requests failed, and {bound} may"));
    }
    let latency = summary.percentile(0.99)?;
    let bound = bounds.latency.filter(|bound| latency > *bound)?;
    Some(format!("its 99th percentile was {latency:.1?}, and {bound:?} are allowed"))
}

fn check_sticky(sticky: Option<&Sticky>) -> Result<(), Problem> {
    let is_token = |name: &str| name.parse::<http::HeaderName>().is_ok();
    match sticky {
        Some(Sticky::Header(name) | Sticky::Cookie(name)) if !is_token(name) => {
            Err(Problem::new(Code::Invalid, format!("`{}` is no name", name.escape_debug())))
        }
        _ => Ok(()),
    }
}

/// The name of a revision as people write it.
pub(crate) fn check_name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|error| {
        let message = format!("`{}` is no name: {error}", text.escape_debug());
        Problem::new(Code::Invalid, message)
    })
}

#[cfg(test)]
mod tests {
    use dhow_host::Stats;
    use http::StatusCode;

    use super::*;

    fn rollout() -> Rollout {
        let text = "name = 'a'\n[component.a]\nsource = 'a.wasm'\n\
                    [rollout]\ncanary = 10\nerrors = 5\nlatency = '1s'\n";
        App::parse("dhow.toml", text).unwrap().rollout().unwrap().clone()
    }

    #[test]
    fn the_first_revision_has_all_the_traffic_and_later_ones_begin_with_a_part() {
        let mut record = AppRecord::default();
        begin(&mut record, 1, Some(&rollout()), 0);
        assert_eq!(record.traffic, BTreeMap::from([(1, 100)]));
        assert_eq!((&record.rollout, &record.whole), (&None, &vec![1]));
        begin(&mut record, 2, Some(&rollout()), 100);
        assert_eq!(record.traffic, BTreeMap::from([(1, 90), (2, 10)]));
        assert_eq!(record.rollout.as_ref().unwrap().until, 160);
        // Another one before it has come to its end takes its place.
        begin(&mut record, 3, Some(&rollout()), 100);
        assert_eq!(record.traffic, BTreeMap::from([(1, 90), (3, 10)]));
        begin(&mut record, 4, None, 100);
        assert_eq!(record.traffic, BTreeMap::from([(4, 100)]));
        assert_eq!((&record.rollout, &record.whole), (&None, &vec![1, 4]));
    }

    #[test]
    fn a_rollback_goes_to_the_last_that_had_it_all_and_then_further() {
        let mut record = AppRecord::default();
        for number in 1..=3 {
            begin(&mut record, number, None, 0);
        }
        for target in [2, 1] {
            assert_eq!(rollback_target(&record), Some(target));
            roll_back(&mut record, target);
            assert_eq!(record.traffic, BTreeMap::from([(target, 100)]));
        }
        assert_eq!(rollback_target(&record), None);
        // From what is shared, to the one that had it all.
        record.traffic = BTreeMap::from([(1, 50), (3, 50)]);
        assert_eq!(rollback_target(&record), Some(1));
        assert_eq!(rollback_target(&AppRecord::default()), None);
    }

    #[test]
    fn what_is_scaled_is_whole() {
        for shares in [&[(1, 100)][..], &[(1, 33), (2, 33), (3, 34)], &[(1, 1), (2, 99)]] {
            for whole in [1, 10, 50, 67, 99] {
                let scaled = scaled(&shares.iter().copied().collect(), whole);
                assert_eq!(scaled.values().sum::<u8>(), whole, "{shares:?}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds() {
        let summary = |requests: u32, errors: u32, time| {
            let stats = Stats::default();
            for number in 0..requests {
                let is_error = number < errors;
                let status = if is_error { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
                stats.record(status, time);
            }
            let mut summary = Summary::default();
            stats.add_to(&mut summary);
            summary
        };
        let (brief, long) = (Duration::from_millis(1), Duration::from_secs(2));
        let excess = |summary, least| excess(&rollout(), &summary, least);
        assert_eq!(excess(summary(100, 5, brief), MIN_REQUESTS), None);
        let failed = excess(summary(100, 6, brief), MIN_REQUESTS).unwrap();
        assert!(failed.starts_with("6 of 100 requests failed"), "{failed}");
        let slow = excess(summary(100, 0, long), MIN_REQUESTS).unwrap();
        assert!(
            slow.contains("its 99th percentile was ") && slow.contains("1s are allowed"),
            "{slow}"
        );
        // A few say nothing yet, and something where there are no more to come.
        assert_eq!(excess(summary(3, 3, brief), MIN_REQUESTS), None);
        assert!(excess(summary(3, 3, brief), 1).is_some());
        assert_eq!(excess(summary(0, 0, brief), 1), None);
    }
}

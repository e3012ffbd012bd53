//! Removing what nobody needs any more.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use dhow_package::Digest;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock,
    control::{Control, StartError},
};

/// How long an upload waits for its deploy, in seconds: longer than anybody takes from one to the other.
pub(crate) const UNUSED_UPLOAD: u64 = 60 * 60;

/// How often it is looked what nobody needs.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

impl Control {
    /// Removes uploads that are in no revision and have waited for one for long; and files that nobody has
    /// uploaded, but those that were written since `before`, whose upload may not be recorded yet.
    pub(crate) fn sweep(&self, before: SystemTime) -> Result<(), StartError> {
        let used = self.registry.in_use()?;
        let now = clock::now();
        let (mut kept, mut gone) = (HashSet::new(), Vec::new());
        for (tenant, digest, record) in self.registry.uploads()? {
            let is_new = record.created.saturating_add(UNUSED_UPLOAD) > now;
            let key = (tenant, digest);
            if is_new || used.contains(&key) {
                kept.extend(Digest::parse(&key.1).map(|digest| self.blobs.path(&digest)));
            } else {
                gone.push(key);
            }
        }
        if !gone.is_empty() {
            self.registry.remove_uploads(&gone)?;
        }
        let removed = self.blobs.sweep(&kept, before).map_err(StartError::Blobs)?;
        if removed > 0 {
            tracing::info!("{removed} files that nobody needs were removed");
        }
        Ok(())
    }

    /// Does so now and then, until the server ends.
    pub(crate) async fn sweep_often(self: Arc<Self>) {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // At the start it was done.
        looks.tick().await;
        loop {
            looks.tick().await;
            let control = self.clone();
            let before = SystemTime::now() - Duration::from_secs(UNUSED_UPLOAD);
            let swept = spawn_blocking(move || control.sweep(before)).await;
            if let Ok(Err(error)) = swept {
                tracing::error!("what nobody needs is not removed: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::blobs::Blobs;

    #[test]
    fn what_is_new_or_needed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let (needed, other) = (Digest::of(b"a"), Digest::of(b"b"));
        for digest in [&needed, &other] {
            fs::write(blobs.path(digest), "").unwrap();
        }
        let keep = HashSet::from([blobs.path(&needed)]);
        let hour = Duration::from_secs(3_600);
        assert_eq!(blobs.sweep(&keep, SystemTime::now() - hour).unwrap(), 0);
        assert!(blobs.has(&other));
        assert_eq!(blobs.sweep(&keep, SystemTime::now() + hour).unwrap(), 1);
        assert!(blobs.has(&needed) && !blobs.has(&other));
    }
}

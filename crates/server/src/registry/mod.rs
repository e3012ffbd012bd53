//! What a server knows of apps, revisions, uploads and tokens: one file, in which each change is whole
//! or not at all.

mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use dhow_manifest::Name;
use dhow_package::Digest;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

pub(crate) use records::{
    AppRecord, ComponentRecord, RevisionRecord, RolloutRecord, TokenRecord, UploadRecord,
};

/// By tenant and app.
const APPS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("apps");
/// By tenant, app and number.
const REVISIONS: TableDefinition<'_, (&str, &str, u32), &[u8]> = TableDefinition::new("revisions");
/// By tenant and digest.
const UPLOADS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("uploads");
/// By id.
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");

/// The file, open.
pub(crate) struct Registry {
    path: PathBuf,
    /// Opened anew after the disk has failed: redb goes on only then. None where that has failed as well.
    database: RwLock<Option<Database>>,
}

/// An app by the name of its tenant and its own.
pub(crate) type AppKey = (Name, Name);

/// Why the registry can't be read or written.
#[derive(Debug, Error)]
#[error("the registry: {0}")]
pub struct RegistryError(Box<redb::Error>);

impl RegistryError {
    /// Whether it is for want of space.
    pub(crate) fn is_disk_full(&self) -> bool {
        let redb::Error::Io(error) = &*self.0 else { return false };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl<E: Into<redb::Error>> From<E> for RegistryError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

type Result<T> = std::result::Result<T, RegistryError>;

impl Registry {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let database = create(&path)?;
        Ok(Self { path, database: RwLock::new(Some(database)) })
    }

    /// Every app, with the numbers of its revisions.
    pub(crate) fn apps(&self) -> Result<Vec<(AppKey, AppRecord, BTreeSet<u32>)>> {
        self.read(|transaction| {
            let mut numbers: BTreeMap<(String, String), BTreeSet<u32>> = BTreeMap::new();
            for entry in transaction.open_table(REVISIONS)?.iter()? {
                let (key, _) = entry?;
                let (tenant, app, number) = key.value();
                numbers.entry((tenant.to_owned(), app.to_owned())).or_default().insert(number);
            }
            let mut apps = Vec::new();
            for entry in transaction.open_table(APPS)?.iter()? {
                let (key, value) = entry?;
                let (tenant, app) = key.value();
                let Some(key) = names(tenant, app) else { continue };
                let numbers = numbers.remove(&(tenant.to_owned(), app.to_owned()));
                apps.push((key, decode(value.value())?, numbers.unwrap_or_default()));
            }
            Ok(apps)
        })
    }

    pub(crate) fn app(&self, (tenant, app): &AppKey) -> Result<Option<AppRecord>> {
        self.read(|transaction| {
            let value = transaction.open_table(APPS)?.get((tenant.as_str(), app.as_str()))?;
            value.map(|value| decode(value.value())).transpose()
        })
    }

    pub(crate) fn revision(
        &self,
        (tenant, app): &AppKey,
        number: u32,
    ) -> Result<Option<RevisionRecord>> {
        self.read(|transaction| {
            let key = (tenant.as_str(), app.as_str(), number);
            let value = transaction.open_table(REVISIONS)?.get(key)?;
            value.map(|value| decode(value.value())).transpose()
        })
    }

    pub(crate) fn revisions(
        &self,
        (tenant, app): &AppKey,
    ) -> Result<BTreeMap<u32, RevisionRecord>> {
        self.read(|transaction| {
            let (tenant, app) = (tenant.as_str(), app.as_str());
            let table = transaction.open_table(REVISIONS)?;
            let mut revisions = BTreeMap::new();
            for entry in table.range((tenant, app, 0)..=(tenant, app, u32::MAX))? {
                let (key, value) = entry?;
                revisions.insert(key.value().2, decode(value.value())?);
            }
            Ok(revisions)
        })
    }

    /// Writes what has changed of an app: all of it, or nothing.
    pub(crate) fn save(
        &self,
        (tenant, app): &AppKey,
        record: &AppRecord,
        new: Option<(u32, &RevisionRecord)>,
        gone: &BTreeSet<u32>,
    ) -> Result<()> {
        let (tenant, app) = (tenant.as_str(), app.as_str());
        self.write(|transaction| {
            transaction.open_table(APPS)?.insert((tenant, app), &*encode(record)?)?;
            let mut revisions = transaction.open_table(REVISIONS)?;
            for number in gone {
                revisions.remove((tenant, app, *number))?;
            }
            if let Some((number, record)) = new {
                revisions.insert((tenant, app, number), &*encode(record)?)?;
            }
            Ok(())
        })
    }

    /// Forgets an app and all of its revisions.
    pub(crate) fn remove(&self, (tenant, app): &AppKey) -> Result<()> {
        let (tenant, app) = (tenant.as_str(), app.as_str());
        self.write(|transaction| {
            transaction.open_table(APPS)?.remove((tenant, app))?;
            let mut revisions = transaction.open_table(REVISIONS)?;
            let all = (tenant, app, 0)..=(tenant, app, u32::MAX);
            revisions.retain_in(all, |_, _| false)?;
            Ok(())
        })
    }

    /// Says that `tenant` has uploaded the file with `digest`.
    pub(crate) fn add_upload(
        &self,
        tenant: &Name,
        digest: &Digest,
        record: &UploadRecord,
    ) -> Result<()> {
        let digest = digest.to_string();
        self.write(|transaction| {
            let mut uploads = transaction.open_table(UPLOADS)?;
            uploads.insert((tenant.as_str(), &*digest), &*encode(record)?)?;
            Ok(())
        })
    }

    pub(crate) fn upload(&self, tenant: &Name, digest: &Digest) -> Result<Option<UploadRecord>> {
        let digest = digest.to_string();
        self.read(|transaction| {
            let value = transaction.open_table(UPLOADS)?.get((tenant.as_str(), &*digest))?;
            value.map(|value| decode(value.value())).transpose()
        })
    }

    /// Everything that was uploaded, by tenant and digest.
    pub(crate) fn uploads(&self) -> Result<Vec<(String, String, UploadRecord)>> {
        self.read(|transaction| {
            let mut uploads = Vec::new();
            for entry in transaction.open_table(UPLOADS)?.iter()? {
                let (key, value) = entry?;
                let (tenant, digest) = key.value();
                uploads.push((tenant.to_owned(), digest.to_owned(), decode(value.value())?));
            }
            Ok(uploads)
        })
    }

    /// Forgets uploads.
    pub(crate) fn remove_uploads(&self, uploads: &[(String, String)]) -> Result<()> {
        self.write(|transaction| {
            let mut table = transaction.open_table(UPLOADS)?;
            for (tenant, digest) in uploads {
                table.remove((&**tenant, &**digest))?;
            }
            Ok(())
        })
    }

    /// The digests of all components of all revisions, by tenant.
    pub(crate) fn in_use(&self) -> Result<BTreeSet<(String, String)>> {
        self.read(|transaction| {
            let mut used = BTreeSet::new();
            for entry in transaction.open_table(REVISIONS)?.iter()? {
                let (key, value) = entry?;
                let tenant = key.value().0.to_owned();
                let record: RevisionRecord = decode(value.value())?;
                let digests = record.components.into_values().map(|component| component.digest);
                used.extend(digests.map(|digest| (tenant.clone(), digest)));
            }
            Ok(used)
        })
    }

    pub(crate) fn tokens(&self) -> Result<BTreeMap<String, TokenRecord>> {
        self.read(|transaction| {
            let mut tokens = BTreeMap::new();
            for entry in transaction.open_table(TOKENS)?.iter()? {
                let (key, value) = entry?;
                tokens.insert(key.value().to_owned(), decode(value.value())?);
            }
            Ok(tokens)
        })
    }

    pub(crate) fn add_token(&self, id: &str, record: &TokenRecord) -> Result<()> {
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.insert(id, &*encode(record)?)?;
            Ok(())
        })
    }

    pub(crate) fn remove_token(&self, id: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.remove(id)?;
            Ok(())
        })
    }

    fn read<T>(&self, read: impl Fn(&redb::ReadTransaction) -> Result<T>) -> Result<T> {
        self.again(|database| read(&database.begin_read()?))
    }

    fn write(&self, write: impl Fn(&redb::WriteTransaction) -> Result<()>) -> Result<()> {
        self.again(|database| {
            let transaction = database.begin_write()?;
            write(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Does `work`; a second time where all that was wrong is that the disk had failed before.
    fn again<T>(&self, work: impl Fn(&Database) -> Result<T>) -> Result<T> {
        let result = match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(redb::Error::PreviousIo.into()),
        };
        match result {
            Err(error) if matches!(*error.0, redb::Error::PreviousIo) => {
                let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
                // Two can't have the file open at a time.
                *database = None;
                work(database.insert(create(&self.path)?))
            }
            result => result,
        }
    }
}

fn create(path: &Path) -> Result<Database> {
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(APPS)?;
    transaction.open_table(REVISIONS)?;
    transaction.open_table(UPLOADS)?;
    transaction.open_table(TOKENS)?;
    transaction.commit()?;
    Ok(database)
}

fn names(tenant: &str, app: &str) -> Option<AppKey> {
    Some((Name::new(tenant).ok()?, Name::new(app).ok()?))
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(corrupted)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(corrupted)
}

fn corrupted(error: serde_json::Error) -> RegistryError {
    StorageError::Corrupted(error.to_string()).into()
}

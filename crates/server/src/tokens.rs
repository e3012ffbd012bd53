//! Who may do what by the admin API.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{PoisonError, RwLock},
};

use dhow_api::{MadeToken, NewToken, Scope};
use dhow_manifest::Name;
use dhow_package::Digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;

use crate::{
    clock,
    registry::{Registry, RegistryError, TokenRecord},
};

/// The tokens of a server. What is kept of one is its hash.
pub(crate) struct Tokens(RwLock<HashMap<String, Known>>);

struct Known {
    id: String,
    caller: Caller,
}

/// Whoever has shown a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) tenant: Name,
    pub(crate) scopes: Vec<Scope>,
}

/// What every token begins with, so that it is recognised where it should not be.
const PREFIX: &str = "dhow_";

const RANDOM_BYTES: usize = 32;

/// A token can't be made.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the system gives no random numbers")]
    Random,
}

impl Caller {
    /// Whether it may do what `scope` is for.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        // In the order of their power.
        self.scopes.iter().any(|own| *own >= scope)
    }
}

impl Tokens {
    /// The tokens in `registry`.
    pub(crate) fn read(registry: &Registry) -> Result<Self, RegistryError> {
        let known = registry.tokens()?.into_iter().filter_map(|(id, record)| {
            let TokenRecord { hash, tenant, scopes, .. } = record;
            let tenant = Name::new(&tenant).ok()?;
            Some((hash, Known { id, caller: Caller { tenant, scopes } }))
        });
        Ok(Self(RwLock::new(known.collect())))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Who has `token`. It is found by its hash, whose time says nothing about it.
    pub(crate) fn find(&self, token: &str) -> Option<Caller> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&hash(token)).map(|known| known.caller.clone())
    }

    /// Makes a token.
    pub(crate) fn make(
        &self,
        registry: &Registry,
        tenant: &Name,
        new: NewToken,
    ) -> Result<MadeToken, TokenError> {
        let mut random = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| TokenError::Random)?;
        let mut token = PREFIX.to_owned();
        for byte in random {
            let _ = write!(token, "{byte:02x}");
        }
        let id = self.keep(registry, tenant, new, &token)?;
        Ok(MadeToken { id, token })
    }

    /// Keeps a token that was made elsewhere, and says what it is known by.
    pub(crate) fn keep(
        &self,
        registry: &Registry,
        tenant: &Name,
        new: NewToken,
        token: &str,
    ) -> Result<String, RegistryError> {
        let hash = hash(token);
        let id: String = hash.chars().skip("sha256:".len()).take(12).collect();
        let NewToken { mut scopes, label, .. } = new;
        scopes.sort();
        scopes.dedup();
        let record = TokenRecord {
            hash: hash.clone(),
            tenant: tenant.to_string(),
            scopes: scopes.clone(),
            label,
            created: clock::now(),
        };
        registry.add_token(&id, &record)?;
        let known = Known { id: id.clone(), caller: Caller { tenant: tenant.clone(), scopes } };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(hash, known);
        Ok(id)
    }

    /// Forgets a token; whether there was one.
    pub(crate) fn revoke(&self, registry: &Registry, id: &str) -> Result<bool, RegistryError> {
        registry.remove_token(id)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|_, known| known.id != id);
        Ok(known.len() < before)
    }
}

fn hash(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_it_is_revoked_and_is_nowhere_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry");
        let registry = Registry::open(file.clone()).unwrap();
        let tokens = Tokens::read(&registry).unwrap();
        assert!(tokens.is_empty());
        let tenant = Name::new("acme").unwrap();
        let new = NewToken {
            tenant: "acme".to_owned(),
            scopes: vec![Scope::Deploy],
            label: Some("ci".to_owned()),
        };
        let MadeToken { id, token } = tokens.make(&registry, &tenant, new).unwrap();
        let caller = Tokens::read(&registry).unwrap().find(&token).unwrap();
        assert_eq!(caller.tenant, tenant);
        assert!(caller.may(Scope::Read) && caller.may(Scope::Deploy) && !caller.may(Scope::Admin));
        assert_eq!(tokens.find(&token[1..]), None);
        let on_disk = std::fs::read(file).unwrap();
        let secret = token.as_bytes();
        assert!(!on_disk.windows(secret.len()).any(|part| part == secret));
        assert!(tokens.revoke(&registry, &id).unwrap());
        assert!(!tokens.revoke(&registry, &id).unwrap());
        assert_eq!(tokens.find(&token), None);
        assert!(Tokens::read(&registry).unwrap().is_empty());
    }
}

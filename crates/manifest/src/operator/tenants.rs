//! Those who share a server without seeing each other.

use std::{collections::BTreeMap, ops::Range};

use super::{
    AppQuota, Backend, Domain, Operator, Quota, Secret, quota, read_backends, read_secrets,
};
use crate::{
    Fault, Name,
    raw::{self, Table, Value},
};

/// What the operator says about one tenant. Its name is a [`Name`], and so a DNS label: it stands
/// in the host names of its apps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantSettings {
    /// What it may use: the quota of all, with what is said for this one.
    pub quota: Quota,
    /// What single apps of it may use of that.
    pub apps: BTreeMap<Name, AppQuota>,
    /// Further hosts that its apps answer at; none is within the server's own domain, and none is
    /// that of another tenant.
    pub hosts: BTreeMap<Domain, Name>,
    /// What its apps call by these names. Those of tenant `default` are the operator's.
    pub backends: BTreeMap<Name, Backend>,
    /// The secrets that its apps may be granted, by name. Those of tenant `default` are the
    /// operator's.
    pub secrets: BTreeMap<Name, Secret>,
}

impl Operator {
    /// The tenant whose apps answer at `APP.DOMAIN`, and whose backends and secrets stand at the
    /// top of the configuration.
    pub const DEFAULT_TENANT: &'static str = "default";

    /// What `tenant` may use.
    pub fn quota_of(&self, tenant: &Name) -> Quota {
        self.tenants.get(tenant).map_or(self.quota, |settings| settings.quota)
    }

    /// The configuration as it is for `tenant` alone: its backends, secrets and quota, and nothing
    /// of other tenants. One that is not named has no backends and no secrets.
    #[must_use]
    pub fn of_tenant(&self, tenant: &Name) -> Self {
        let (backends, secrets) = if tenant.as_str() == Self::DEFAULT_TENANT {
            (self.backends.clone(), self.secrets.clone())
        } else {
            let settings = self.tenants.get(tenant);
            settings.map(|own| (own.backends.clone(), own.secrets.clone())).unwrap_or_default()
        };
        Self {
            backends,
            secrets,
            egress: self.egress.clone(),
            limits: self.limits,
            server: self.server.clone(),
            telemetry: self.telemetry.clone(),
            quota: self.quota_of(tenant),
            tenants: BTreeMap::new(),
        }
    }
}

const EXAMPLE: &str = "[tenant.acme]\nhosts = { \"shop.example.com\" = \"shop\" }";
const HOSTS_EXAMPLE: &str = r#"hosts = { "shop.example.com" = "shop" }"#;

/// The tenants, whose quotas begin from `base`; `domain` is the server's own.
pub(super) fn read(
    value: Value<'_>,
    base: Quota,
    domain: &Domain,
    faults: &mut Vec<Fault>,
) -> BTreeMap<Name, TenantSettings> {
    let mut tenants = BTreeMap::new();
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", EXAMPLE));
        return tenants;
    };
    let mut hosts = Vec::new();
    for (key, value) in entries {
        let Some(table) = raw::table(value, "a tenant", EXAMPLE, faults) else { continue };
        let text: &str = key.get_ref();
        let settings = read_tenant(text, table, base, &mut hosts, faults);
        match Name::new(text) {
            Ok(name) => {
                tenants.insert(name, settings);
            }
            Err(error) => faults.push(
                Fault::new(key.span(), format!("`{text}` is no name: {error}"))
                    .help(format!("write: [tenant.{}]", Name::nearest(text, "acme"))),
            ),
        }
    }
    check_hosts(&hosts, domain, faults);
    for Host { tenant, domain, app, .. } in hosts {
        if let Some(settings) = tenants.get_mut(tenant) {
            settings.hosts.insert(domain, app);
        }
    }
    tenants
}

fn read_tenant<'a>(
    tenant: &'a str,
    mut table: Table<'a>,
    base: Quota,
    hosts: &mut Vec<Host<'a>>,
    faults: &mut Vec<Fault>,
) -> TenantSettings {
    let quota = table.get("quota").map_or(base, |value| quota::read(value, base, faults));
    let apps = table.get("app").map(|value| read_apps(value, faults));
    if let Some(value) = table.get("hosts") {
        read_hosts(tenant, value, hosts, faults);
    }
    let (backends, secrets) = (table.get("backend"), table.get("secrets"));
    table.finish(faults);
    if tenant == Operator::DEFAULT_TENANT {
        for (value, what, top) in
            [(backends, "backends", "[backend.main]"), (secrets, "secrets", "[secrets]")]
        {
            faults.extend(value.map(|value| {
                Fault::new(
                    value.span(),
                    format!(
                        "the {what} of tenant `{tenant}` stand at the top of the configuration"
                    ),
                )
                .help(format!("write: {top}"))
            }));
        }
    }
    TenantSettings {
        quota,
        apps: apps.unwrap_or_default(),
        hosts: BTreeMap::new(),
        backends: backends.map(|value| read_backends(value, faults)).unwrap_or_default(),
        secrets: secrets.map(|value| read_secrets(value, faults)).unwrap_or_default(),
    }
}

fn read_apps(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<Name, AppQuota> {
    const EXAMPLE: &str = "[tenant.acme.app.shop]";
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", EXAMPLE));
        return BTreeMap::new();
    };
    let mut apps = BTreeMap::new();
    for (key, value) in entries {
        let quota = quota::read_app(value, faults);
        match Name::new(key.get_ref()) {
            Ok(name) => drop(apps.insert(name, quota)),
            Err(error) => faults.push(
                Fault::new(key.span(), format!("`{}` is no name: {error}", key.get_ref()))
                    .help(format!("write: {EXAMPLE}")),
            ),
        }
    }
    apps
}

/// A host of a tenant's, as it stands in the configuration.
struct Host<'a> {
    tenant: &'a str,
    domain: Domain,
    app: Name,
    span: Range<usize>,
}

fn read_hosts<'a>(
    tenant: &'a str,
    value: Value<'a>,
    hosts: &mut Vec<Host<'a>>,
    faults: &mut Vec<Fault>,
) {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", HOSTS_EXAMPLE));
        return;
    };
    for (key, value) in entries {
        let domain = Domain::parse(key.get_ref()).map_err(|error| {
            faults.push(
                Fault::new(key.span(), format!("`{}` is no host: {error}", key.get_ref()))
                    .help(format!("write: {HOSTS_EXAMPLE}")),
            );
        });
        let app = raw::parsed(value, HOSTS_EXAMPLE, faults, Name::new);
        if let (Ok(domain), Some(app)) = (domain, app) {
            hosts.push(Host { tenant, domain, app, span: key.span() });
        }
    }
}

/// A host leads to one app, and those within the server's own domain lead to the apps that they
/// name.
fn check_hosts(hosts: &[Host<'_>], own: &Domain, faults: &mut Vec<Fault>) {
    let mut by_domain: BTreeMap<&Domain, Vec<&Host<'_>>> = BTreeMap::new();
    for host in hosts {
        by_domain.entry(&host.domain).or_default().push(host);
        if own.contains(&host.domain) {
            faults.push(
                Fault::new(
                    host.span.clone(),
                    format!("`{}` is within the server's own domain, `{own}`", host.domain),
                )
                .help("remove it: apps have names there without being given them"),
            );
        }
    }
    for same in by_domain.values() {
        for (index, host) in same.iter().enumerate() {
            let other = same.iter().enumerate().find(|(other, _)| *other != index);
            let Some((_, Host { tenant, app, domain, .. })) = other else { continue };
            faults.push(
                Fault::new(
                    host.span.clone(),
                    format!("`{domain}` leads to app `{app}` of tenant `{tenant}` as well"),
                )
                .help("remove one of the two"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::tests::messages;

    #[test]
    fn tenants_have_what_is_theirs() {
        let text = r#"
            [backend.main]
            keyvalue = "memory"
            [secrets]
            jwt-key = "top"
            [limits]
            concurrency = 7
            [egress]
            deny = ["10.0.0.0/8:*"]
            [tenant.default]
            hosts = { "www.example.com" = "site" }
            quota.apps = 3
            [tenant.acme]
            hosts = { "Shop.Example.com" = "shop", "example.org" = "shop" }
            [tenant.acme.backend.main]
            sql = "sqlite"
            [tenant.acme.secrets]
            api-key = "${KEY}""#;
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let tenant = |name: &str| operator.of_tenant(&Name::new(name).unwrap());
        assert_eq!(operator.tenants["acme"].hosts["shop.example.com"].as_str(), "shop");
        assert_eq!(operator.tenants["acme"].hosts.len(), 2);
        assert_eq!(operator.tenants["default"].hosts["www.example.com"].as_str(), "site");

        let default = tenant("default");
        assert!(default.backends["main"].keyvalue.is_some());
        assert!(default.secrets.contains_key("jwt-key"));
        assert_eq!(default.quota.apps, 3);

        let acme = tenant("acme");
        assert!(acme.backends["main"].sql.is_some() && acme.backends["main"].keyvalue.is_none());
        assert!(acme.secrets.contains_key("api-key") && acme.secrets.len() == 1);

        let other = tenant("unheard-of");
        assert!(other.backends.is_empty() && other.secrets.is_empty());
        for view in [default, acme, other] {
            assert!(view.tenants.is_empty());
            assert_eq!((view.limits, &view.egress), (operator.limits, &operator.egress));
        }
    }

    #[test]
    fn a_host_leads_to_one_app() {
        let text = "[tenant.a]\nhosts = { \"example.com\" = \"one\" }\n\
                    [tenant.b]\nhosts = { \"EXAMPLE.com\" = \"two\" }";
        let faults = Operator::parse("dhow-server.toml", text).unwrap_err();
        assert_eq!(
            faults.to_string(),
            "dhow-server.toml:2:11: `example.com` leads to app `two` of tenant `b` as well\n\
             dhow-server.toml:4:11: `example.com` leads to app `one` of tenant `a` as well"
        );
    }

    #[test]
    fn what_is_no_tenant() {
        let hosts =
            |hosts: &str| format!("server.domain = 'example.com'\ntenant.a.hosts = {hosts}");
        for (text, expected) in [
            ("tenant = 1".to_owned(), "expected a table, found an integer"),
            ("tenant.a = 1".to_owned(), "expected a table, found an integer"),
            ("tenant.a.domain = 'a'".to_owned(), "unknown key `domain` in a tenant"),
            (
                "[tenant.Acme]".to_owned(),
                "`Acme` is no name: a name is 1 to 63 lower-case letters, digits and dashes, and \
                 begins with a letter",
            ),
            (
                "tenant.default.backend.a.sql = 'sqlite'".to_owned(),
                "the backends of tenant `default` stand at the top of the configuration",
            ),
            (
                "tenant.default.secrets.a = ''".to_owned(),
                "the secrets of tenant `default` stand at the top of the configuration",
            ),
            ("tenant.a.backend.a.sql = 'x'".to_owned(), "no SQL database is called that"),
            ("tenant.a.secrets.a = 1".to_owned(), "expected a table, found an integer"),
            (hosts("[]"), "expected a table, found an array"),
            (
                hosts("{ '*.example.org' = 'a' }"),
                "`*.example.org` is no host: a domain is names of letters, digits and dashes with \
                 dots between them, and no address",
            ),
            (
                hosts("{ 'example.org' = 'A' }"),
                "`A`: a name is 1 to 63 lower-case letters, digits and dashes, and begins with a \
                 letter",
            ),
            (hosts("{ 'example.org' = 1 }"), "expected a string, found an integer"),
            (
                hosts("{ 'Example.com' = 'a' }"),
                "`example.com` is within the server's own domain, `example.com`",
            ),
            (
                hosts("{ 'a.b.example.com' = 'a' }"),
                "`a.b.example.com` is within the server's own domain, `example.com`",
            ),
            (
                "tenant.a.hosts = { 'a.localhost' = 'a' }".to_owned(),
                "`a.localhost` is within the server's own domain, `localhost`",
            ),
        ] {
            assert_eq!(messages(&text), expected, "{text}");
        }
    }
}

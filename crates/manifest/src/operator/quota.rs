//! What one tenant may use at most, over all of its apps.

use std::fmt;

use crate::{
    Fault, MemorySize,
    raw::{self, Table, Value},
};

/// What one tenant may use at most, over all of its apps. A tenant that asks for more is refused;
/// others do not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Apps.
    pub apps: u32,
    /// Bytes of the artifacts and revisions that the server keeps for it.
    pub stored: MemorySize,
    /// Bytes of the memory of its instances.
    pub memory: MemorySize,
    /// CPU time per second.
    pub cpu: CpuShare,
    /// Requests at the same time.
    pub concurrency: u32,
    /// Requests per second.
    pub requests: u32,
    /// Connections that its apps open per second; 0 is none.
    pub connections: u32,
    /// Bytes of its guests' logs per second.
    pub log: MemorySize,
    /// Instances that nobody else gets, so that it always has these.
    pub reserve: u32,
}

impl Quota {
    /// More than one team keeps in mind.
    pub const DEFAULT_APPS: u32 = 100;
    /// A hundred apps with several revisions of the tens of megabytes that the largest guests have.
    pub const DEFAULT_STORED: MemorySize = MemorySize::from_bytes(10 << 30);
    /// Sixty-four instances with all that a component gets where nothing is said.
    pub const DEFAULT_MEMORY: MemorySize = MemorySize::from_bytes(8 << 30);
    /// In practice what the machine has.
    pub const DEFAULT_CPU: CpuShare = CpuShare(64_000);
    /// Ten components with all that one gets where nothing is said.
    pub const DEFAULT_CONCURRENCY: u32 = 10_000;
    /// About what a machine answers: to stop loops, not use.
    pub const DEFAULT_REQUESTS: u32 = 100_000;
    /// Far above what pools of connections need, and below what wears out the ports of a machine in
    /// less than half a minute (there are 28,232 of them: Linux, `ip_local_port_range`).
    pub const DEFAULT_CONNECTIONS: u32 = 1_000;
    /// Thousands of lines, which nobody reads.
    pub const DEFAULT_LOG: MemorySize = MemorySize::from_bytes(1 << 20);
    /// The most for every number: above what one machine does.
    pub const MAX_COUNT: u32 = 10_000_000;
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            apps: Self::DEFAULT_APPS,
            stored: Self::DEFAULT_STORED,
            memory: Self::DEFAULT_MEMORY,
            cpu: Self::DEFAULT_CPU,
            concurrency: Self::DEFAULT_CONCURRENCY,
            requests: Self::DEFAULT_REQUESTS,
            connections: Self::DEFAULT_CONNECTIONS,
            log: Self::DEFAULT_LOG,
            reserve: 0,
        }
    }
}

/// What one app may use of what is its tenant's; of what is not said, as much as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppQuota {
    /// Bytes of the memory of its instances.
    pub memory: Option<MemorySize>,
    /// CPU time per second.
    pub cpu: Option<CpuShare>,
    /// Requests at the same time.
    pub concurrency: Option<u32>,
    /// Requests per second.
    pub requests: Option<u32>,
}

/// CPU time per time, in thousandths of a core; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuShare(u32);

impl CpuShare {
    /// The smallest: a millisecond in every second.
    pub const MIN: Self = Self(1);
    /// As many cores as the largest machines have.
    pub const MAX: Self = Self(1_024_000);

    /// A share of so many thousandths of a core, where it is within the bounds.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        Some(Self(thousandths)).filter(|share| (Self::MIN..=Self::MAX).contains(share))
    }

    /// The thousandths of a core, which are milliseconds of CPU time per second.
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        raw::fmt_thousandths(self.0, f)
    }
}

const EXAMPLE: &str = "[quota]\nmemory = \"4GiB\"\ncpu = 1.5";

/// A quota that is `base` where it says nothing.
pub(super) fn read(value: Value<'_>, base: Quota, faults: &mut Vec<Fault>) -> Quota {
    let Some(table) = raw::table(value, "a quota", EXAMPLE, faults) else { return base };
    let mut reader = Reader { table, faults };
    let quota = Quota {
        apps: reader.count("apps", 1).unwrap_or(base.apps),
        stored: reader.size("stored").unwrap_or(base.stored),
        memory: reader.size("memory").unwrap_or(base.memory),
        cpu: reader.cpu().unwrap_or(base.cpu),
        concurrency: reader.count("concurrency", 1).unwrap_or(base.concurrency),
        requests: reader.count("requests", 1).unwrap_or(base.requests),
        connections: reader.count("connections", 0).unwrap_or(base.connections),
        log: reader.size("log").unwrap_or(base.log),
        reserve: reader.count("reserve", 0).unwrap_or(base.reserve),
    };
    reader.table.finish(faults);
    quota
}

const APP_EXAMPLE: &str = "[tenant.acme.app.shop]\nmemory = \"1GiB\"\ncpu = 0.5";

pub(super) fn read_app(value: Value<'_>, faults: &mut Vec<Fault>) -> AppQuota {
    let Some(table) = raw::table(value, "an app's quota", APP_EXAMPLE, faults) else {
        return AppQuota::default();
    };
    let mut reader = Reader { table, faults };
    let quota = AppQuota {
        memory: reader.size("memory"),
        cpu: reader.cpu(),
        concurrency: reader.count("concurrency", 1),
        requests: reader.count("requests", 1),
    };
    reader.table.finish(faults);
    quota
}

struct Reader<'a, 'f> {
    table: Table<'a>,
    faults: &'f mut Vec<Fault>,
}

impl Reader<'_, '_> {
    fn count(&mut self, key: &'static str, min: u32) -> Option<u32> {
        let value = self.table.get(key)?;
        let example = format!("{key} = 100");
        let number = raw::integer(value, &example, self.faults)?;
        let range = min..=Quota::MAX_COUNT;
        let count = u32::try_from(number).ok().filter(|number| range.contains(number));
        if count.is_none() {
            let max = Quota::MAX_COUNT;
            self.faults.push(
                Fault::new(value.span(), format!("{key} is at least {min} and at most {max}"))
                    .help(format!("write: {example}")),
            );
        }
        count
    }

    fn size(&mut self, key: &'static str) -> Option<MemorySize> {
        let value = self.table.get(key)?;
        raw::parsed(value, &format!("{key} = \"1GiB\""), self.faults, |text| {
            match text.parse::<MemorySize>() {
                Ok(size) if size.bytes() > 0 => Ok(size),
                Ok(_) => Err(format!("{key} is more than nothing")),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn cpu(&mut self) -> Option<CpuShare> {
        const EXAMPLE: &str = "cpu = 1.5";
        let value = self.table.get("cpu")?;
        let thousandths = raw::thousandths(value, EXAMPLE, self.faults)?;
        let share = u32::try_from(thousandths).ok().and_then(CpuShare::from_thousandths);
        if share.is_none() {
            let (min, max) = (CpuShare::MIN, CpuShare::MAX);
            self.faults.push(
                Fault::new(value.span(), format!("cpu is at least {min} and at most {max} cores"))
                    .help(format!("write: {EXAMPLE}")),
            );
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Operator, operator::tests::messages};

    #[test]
    fn a_tenants_quota_begins_from_that_of_all() {
        let text = r#"
            [tenant.acme.quota]
            cpu = 2
            connections = 0
            [tenant.zeta]
            [quota]
            apps = 5
            stored = "1GiB"
            memory = "2GiB"
            cpu = 0.5
            concurrency = 10
            requests = 20
            connections = 30
            log = "1KiB"
            reserve = 1"#;
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let all = Quota {
            apps: 5,
            stored: MemorySize::from_bytes(1 << 30),
            memory: MemorySize::from_bytes(2 << 30),
            cpu: CpuShare(500),
            concurrency: 10,
            requests: 20,
            connections: 30,
            log: MemorySize::from_bytes(1 << 10),
            reserve: 1,
        };
        let quota = |name: &str| operator.quota_of(&Name::new(name).unwrap());
        assert_eq!(operator.quota, all);
        assert_eq!(quota("acme"), Quota { cpu: CpuShare(2_000), connections: 0, ..all });
        assert_eq!(quota("zeta"), all);
        assert_eq!(quota("unheard-of"), all);
        assert_eq!(Operator::default().quota, Quota::default());
    }

    #[test]
    fn an_app_may_have_less_than_its_tenant() {
        let text = "[tenant.acme.app.shop]\nmemory = '1GiB'\ncpu = 0.5\nconcurrency = 10\n\
                    requests = 20\n[tenant.default.app.blog]\nrequests = 5";
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let quota = |tenant: &str, app: &str| operator.tenants[tenant].apps[app];
        let shop = AppQuota {
            memory: Some(MemorySize::from_bytes(1 << 30)),
            cpu: Some(CpuShare(500)),
            concurrency: Some(10),
            requests: Some(20),
        };
        assert_eq!(quota("acme", "shop"), shop);
        let blog = AppQuota { requests: Some(5), ..AppQuota::default() };
        assert_eq!(quota("default", "blog"), blog);
        for (text, expected) in [
            ("[tenant.a.app.b]\nstored = '1GiB'", "unknown key `stored` in an app's quota"),
            (
                "[tenant.a.app.B]",
                "`B` is no name: a name has lower-case letters, digits and dashes",
            ),
            ("tenant.a.app = 1", "expected a table, found an integer"),
        ] {
            assert!(messages(text).starts_with(expected.get(..20).unwrap()), "{}", messages(text));
        }
    }

    #[test]
    fn shares_print_as_they_are_written() {
        for (thousandths, text) in [(500, "0.5"), (1_000, "1"), (1_250, "1.25"), (1, "0.001")] {
            assert_eq!(CpuShare(thousandths).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_quota() {
        let counts = "is at least 1 and at most 10000000";
        let (no_cores, no_unit) = (
            "cpu is at least 0.001 and at most 1024 cores",
            "a size is a whole number with a unit: KiB, MiB or GiB",
        );
        for (text, expected) in [
            ("quota = 1", "expected a table, found an integer".to_owned()),
            ("quota.time = '1s'", "unknown key `time` in a quota".to_owned()),
            ("quota.apps = 0", format!("apps {counts}")),
            ("quota.apps = '5'", "expected an integer, found a string".to_owned()),
            ("quota.concurrency = 0", format!("concurrency {counts}")),
            ("quota.requests = 10000001", format!("requests {counts}")),
            ("quota.connections = -1", "connections is at least 0 and at most 10000000".to_owned()),
            ("quota.reserve = 1.5", "expected an integer, found a float".to_owned()),
            ("quota.stored = '0KiB'", "`0KiB`: stored is more than nothing".to_owned()),
            ("quota.memory = '4'", format!("`4`: {no_unit}")),
            ("quota.log = 4", "expected a string, found an integer".to_owned()),
            ("quota.cpu = 0", no_cores.to_owned()),
            ("quota.cpu = 0.0001", no_cores.to_owned()),
            ("quota.cpu = -1.5", no_cores.to_owned()),
            ("quota.cpu = nan", no_cores.to_owned()),
            ("quota.cpu = inf", no_cores.to_owned()),
            ("quota.cpu = 1024.001", no_cores.to_owned()),
            ("quota.cpu = '1'", "expected a number, found a string".to_owned()),
            ("[tenant.a.quota]\ncpu = 0", no_cores.to_owned()),
        ] {
            assert_eq!(messages(text), expected, "{text}");
        }
    }
}

//! Changing the operator's configuration while a server runs.

use std::sync::Arc;

use dhow_manifest::Operator;

use crate::control::Control;

/// Changes what the operator says of a server that runs.
#[derive(Clone)]
pub struct Reloader(pub(crate) Arc<Control>);

impl Reloader {
    /// Makes `operator` what counts from now on: quotas, the hosts of apps, what apps may ask for, and the
    /// times of the end. Gives the keys of what is changed in the file and counts only after a restart.
    pub fn reload(&self, operator: Operator) -> Vec<&'static str> {
        let control = &self.0;
        let before = control.tenants.operator();
        let waiting = waiting_for_restart(&before, &operator);
        // What waits stays as it is, for tenants that come too.
        let next = Operator {
            server: dhow_manifest::ServerSettings {
                grace: operator.server.grace,
                linger: operator.server.linger,
                ..before.server.clone()
            },
            egress: before.egress.clone(),
            telemetry: before.telemetry.clone(),
            backends: before.backends.clone(),
            secrets: before.secrets.clone(),
            ..operator
        };
        control.tenants.set_operator(next);
        control.show_hosts();
        waiting
    }
}

/// What differs and is part of what runs: ports, connections to backends, and what was granted.
fn waiting_for_restart(before: &Operator, after: &Operator) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    let mut check = |key, differs: bool| {
        if differs {
            waiting.push(key);
        }
    };
    check("server.listen", before.server.listen != after.server.listen);
    check("server.domain", before.server.domain != after.server.domain);
    check("server.admin", before.server.admin != after.server.admin);
    check("backend", before.backends != after.backends);
    check("secrets", before.secrets != after.secrets);
    check("egress", before.egress != after.egress);
    check("telemetry", before.telemetry != after.telemetry);
    let of_tenants = |operator: &Operator| {
        let tenants = operator.tenants.iter();
        let own = tenants.map(|(name, it)| (name.clone(), it.backends.clone(), it.secrets.clone()));
        own.filter(|(_, backends, secrets)| !backends.is_empty() || !secrets.is_empty())
            .collect::<Vec<_>>()
    };
    check("tenant.*.backend or tenant.*.secrets", of_tenants(before) != of_tenants(after));
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_part_of_what_runs_waits_for_a_restart() {
        let parse = |text: &str| Operator::parse("dhow-server.toml", text).unwrap();
        let before = parse("[server]\ndomain = 'a.example'\n[quota]\napps = 1\n");
        let waiting = |text: &str| waiting_for_restart(&before, &parse(text));
        assert!(
            waiting("[server]\ndomain = 'a.example'\ngrace = '1s'\n[quota]\napps = 2").is_empty()
        );
        assert_eq!(waiting("[server]\ndomain = 'b.example'"), ["server.domain"]);
        assert_eq!(
            waiting(
                "[server]\ndomain = 'a.example'\n[backend.a]\nsql = 'sqlite'\n\
                 [tenant.b.backend.a]\nsql = 'sqlite'\n"
            ),
            ["backend", "tenant.*.backend or tenant.*.secrets"]
        );
    }
}

//! The pool that instances are made from.

use std::fs;

use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Where neither the machine nor the configuration says more, for example in a container that
/// hides its memory.
const FALLBACK_INSTANCES: u32 = 1_000;

/// What a called instance of a small guest takes, of memory and of mappings: its stack and the guard
/// before it, which the pool maps when it is made; its memory's image and what is beyond; its tables.
const BYTES_FOR_EACH: u64 = 256 << 10;
const MAPPINGS_FOR_EACH: u64 = 8;

/// Making the pool takes 3 us for each, and a process that starts for one app should not take long:
/// 46 ms of 62 went there with 10,000.
const MAX_INSTANCES: u64 = 2_000;

/// The memories, tables and core instances that a component has, as the toolchains of Rust, Go,
/// Python, JavaScript and C make them: one memory; a few tables and core instances for adapters, and three
/// of those for bytes that it hands over and takes, where it exports one interface with such
/// (`dhow-compose`). They are counted, and take nothing before they are there.
const MEMORIES_FOR_EACH: u32 = 1;
const TABLES_FOR_EACH: u32 = 3;
const CORE_INSTANCES_FOR_EACH: u32 = 9;

/// For components that are made of more, in a small pool.
const SPARE: u32 = 32;

/// Kept when an instance is dropped, and cleared by hand instead of given back: with the scan of
/// what was touched this makes a new instance twice as fast, without it slower than not at all.
const KEPT_RESIDENT: usize = 1 << 20;

/// The largest table, in elements: Python's and JavaScript's interpreters have some 10,000
/// functions that are called by index.
const TABLE_ELEMENTS: usize = 100_000;

/// Each memory reserves 4 GiB of addresses and a guard, so that no access needs a check, and all of a pool
/// stand in one row. Linux on x86-64 gives a process 128 TiB, and puts the program itself 85 TiB
/// from the beginning: that is room for 21,000.
pub(crate) const MAX_MEMORIES: u32 = 20_000;

/// What wasmtime keeps for an instance besides its memories and tables.
const INSTANCE_BYTES: usize = 4 << 20;

/// How many instances there can be at a time, each of so many parts: what the machine has room for.
pub(crate) fn default_instances(parts: u32) -> u32 {
    let bytes = BYTES_FOR_EACH * u64::from(parts);
    let memory = first_number("/proc/meminfo", "MemTotal:").map(|kib| (kib << 10) / bytes);
    let mappings = max_mappings().map(|mappings| mappings / mappings_for_each(parts));
    let bounds = [memory, mappings, Some(MAX_INSTANCES)];
    match (memory, bounds.into_iter().flatten().min()) {
        (Some(_), Some(least)) => u32::try_from(least).unwrap_or(FALLBACK_INSTANCES).max(1),
        _ => FALLBACK_INSTANCES,
    }
}

/// Says so where the system may refuse to map the last of so many instances.
pub(crate) fn warn_of_few_mappings(instances: u32, parts: u32) {
    let needed = u64::from(instances).saturating_mul(mappings_for_each(parts));
    if let Some(allowed) = max_mappings().filter(|allowed| *allowed < needed) {
        tracing::warn!(
            "{instances} instances can take {needed} mappings of memory, and this system allows a \
             process {allowed}: sysctl -w vm.max_map_count={needed}"
        );
    }
}

fn mappings_for_each(parts: u32) -> u64 {
    MAPPINGS_FOR_EACH * u64::from(parts)
}

/// The most mappings that the system allows a process.
fn max_mappings() -> Option<u64> {
    first_number("/proc/sys/vm/max_map_count", "")
}

/// The first number after `label` in a file of the kernel's.
fn first_number(file: &str, label: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.split_once(label).map_or(text.as_str(), |(_, rest)| rest);
    rest.split_whitespace().next()?.parse().ok()
}

/// A pool for so many instances at a time, each of so many parts at most.
pub(crate) fn strategy(instances: u32, parts: u32) -> InstanceAllocationStrategy {
    let room = |for_each: u32| {
        let all = instances.saturating_mul(for_each).saturating_mul(parts);
        all.saturating_add(SPARE.min(instances))
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(room(CORE_INSTANCES_FOR_EACH))
        .total_memories(room(MEMORIES_FOR_EACH).min(MAX_MEMORIES))
        .total_tables(room(TABLES_FOR_EACH))
        .total_stacks(instances)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_RESIDENT)
        .table_keep_resident(KEPT_RESIDENT)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(instances);
    InstanceAllocationStrategy::Pooling(pool)
}

//! How many files and connections the process may have open.

use std::fs::File;

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// For so many the kernel makes room at once, which takes it half a MiB.
const ROOM: usize = 1 << 16;

/// Raises the limit of open descriptors as far as it may be, and has the kernel make room for them. Called
/// before the process has threads: with them, the kernel stops the one that needs more room for some ten
/// milliseconds, at the 256th descriptor and whenever their number has doubled again (`expand_fdtable` of
/// Linux's fs/file.c waits for all processors).
pub fn make_room_for_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it may not be raised, it stays.
    let _ = setrlimit(Resource::Nofile, raised);
    let highest = limit_of_descriptors().min(ROOM).saturating_sub(1);
    if let (Ok(file), Ok(highest)) = (File::open("/dev/null"), highest.try_into()) {
        // Closed at once: the room stays.
        let _ = fcntl_dupfd_cloexec(file, highest);
    }
}

/// How many descriptors the process may have.
pub(crate) fn limit_of_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

//! Compiling, here or in a child process with limits.
//!
//! Compiling takes memory and time in proportion to the component, and an author who means ill can
//! make the proportion a bad one. What is not built here is therefore compiled by a child, which
//! limits itself before it reads anything, and is killed when its time is over.

use std::{
    io::{self, Read, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, setpriority_process, setrlimit};
use thiserror::Error;
use wasmtime::Config;

/// The program that compiles: this one, told to be a compiler.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
    arguments: Vec<String>,
    limits: CompileLimits,
    children: Arc<Children>,
}

/// How many children there may be at a time: as many as the machine has cores, since each takes one, and
/// memory by the gigabyte where somebody means ill.
#[derive(Debug)]
struct Children {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A child that there may be, for as long as this is.
struct Place<'a>(&'a Children);

impl Children {
    /// Waits until there may be another.
    fn enter(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.freed.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// What compiling one component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of address space.
    pub memory: u64,
    /// Processor time, over all threads, and as long by the clock.
    pub time: Duration,
}

impl Default for CompileLimits {
    /// The largest component seen in the wild, a Python interpreter of 22 MB, is compiled with a
    /// quarter of the memory and in a tenth of the time.
    fn default() -> Self {
        Self { memory: 6 << 30, time: Duration::from_secs(240) }
    }
}

/// Code that a child of this process has compiled.
pub(crate) struct Compiled(Vec<u8>);

impl Compiled {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How much less of a core the system gives to a compiler than to who answers requests, where it has not
/// enough for both: a third (sched(7)).
const NICE: i32 = 5;

/// A byte that a child writes before what follows.
const CODE: u8 = b'c';
const INVALID: u8 = b'i';

/// A component is compiled to about three times its size.
const MAX_COMPILED: u64 = 2 << 30;

impl Compiler {
    /// One that starts `program` with `arguments`, which the limits follow: by them it calls
    /// [`compile_as_child`].
    pub fn new(program: PathBuf, arguments: Vec<String>, limits: CompileLimits) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let children = Children { free: Mutex::new(cores), freed: Condvar::new() };
        Self { program, arguments, limits, children: Arc::new(children) }
    }

    /// Has a child compile `wasm`, a component or a core module. Where there are as many as there may be it
    /// waits for one of them to end.
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Compiled, ChildError> {
        let _place = self.children.enter();
        let CompileLimits { memory, time } = self.limits;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args([memory.to_string(), time.as_secs().max(1).to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let result = exchange(&mut child, wasm, time);
        let _ = child.kill();
        let status = child.wait()?;
        let mut output = match result {
            Ok(output) => output,
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(ChildError::Time(time)),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ChildError::Died(status)),
        };
        match output.first() {
            Some(&CODE) => {
                output.remove(0);
                Ok(Compiled(output))
            }
            Some(&INVALID) => {
                let text = output.get(1..).unwrap_or_default();
                Err(ChildError::Invalid(String::from_utf8_lossy(text).into_owned()))
            }
            _ if is_out_of_time(status) => Err(ChildError::Time(time)),
            _ => Err(ChildError::Memory(memory)),
        }
    }
}

/// Writes `wasm` to the child and reads what it answers, within `time`.
fn exchange(
    child: &mut Child,
    wasm: &[u8],
    time: Duration,
) -> Result<Vec<u8>, mpsc::RecvTimeoutError> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(mpsc::RecvTimeoutError::Disconnected);
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        // A child that reads no further fails for a reason that it says.
        scope.spawn(move || stdin.write_all(wasm).is_ok());
        scope.spawn(move || {
            let mut output = Vec::new();
            if stdout.take(MAX_COMPILED).read_to_end(&mut output).is_ok() {
                let _ = sender.send(output);
            }
        });
        let output = receiver.recv_timeout(time);
        // Ends both threads, which hold its pipes.
        let _ = child.kill();
        output
    })
}

fn is_out_of_time(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(Signal::XCPU.as_raw())
}

/// The child's side: limits itself, reads a component or a core module, writes its code.
///
/// # Errors
/// When the limits can't be set, or the other end is gone.
pub fn compile_as_child(
    limits: CompileLimits,
    mut input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let limit = |resource, current, maximum| {
        setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    let seconds = limits.time.as_secs().max(1);
    limit(Resource::As, limits.memory, limits.memory)?;
    limit(Resource::Cpu, seconds, seconds + 1)?; // SIGXCPU, which says why, then SIGKILL.
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?; // Pipes are no files.
    // Before it has threads, which have its priority from then on.
    setpriority_process(None, NICE)?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm)?;
    match compile(&wasm) {
        Ok(code) => {
            output.write_all(&[CODE])?;
            output.write_all(&code)
        }
        Err(error) => {
            output.write_all(&[INVALID])?;
            output.write_all(error.root_cause().to_string().as_bytes())
        }
    }
}

fn compile(wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let config: Config = crate::config();
    #[expect(clippy::disallowed_methods, reason = "configured as all others")]
    let engine = wasmtime::Engine::new(&config)?;
    if wasmparser::Parser::is_component(wasm) {
        engine.precompile_component(wasm)
    } else {
        engine.precompile_module(wasm)
    }
}

/// Why a child compiled nothing.
#[derive(Debug, Error)]
pub(crate) enum ChildError {
    #[error("the compiler does not start: {0}")]
    Start(#[from] io::Error),
    #[error("{0}")]
    Invalid(String),
    #[error("compiling it takes more than {0:?}")]
    Time(Duration),
    #[error("compiling it takes more than {} MiB", .0 >> 20)]
    Memory(u64),
    #[error("the compiler ended: {0}")]
    Died(ExitStatus),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn there_are_no_more_children_than_there_may_be() {
        let children = Children { free: Mutex::new(2), freed: Condvar::new() };
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _place = children.enter();
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, SeqCst);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
        assert_eq!(*children.free.lock().unwrap(), 2);
    }
}

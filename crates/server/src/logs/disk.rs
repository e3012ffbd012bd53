//! The last lines of each tenant in files, so that they are there after the process.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use dhow_api::LogLine;

use crate::data;

/// Writes lines in a thread of its own: guests don't wait for the disk.
pub(super) struct Writer {
    lines: Option<SyncSender<Entry>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A line, and the folder that it goes to.
type Entry = (Arc<Path>, Arc<LogLine>);

/// What waits for the disk at most; more is in memory only.
const WAITING: usize = 4_096;
/// Lines that are written together.
const BATCH: usize = 256;
/// When the file is that long, the one before it goes and it takes its place.
const MAX_FILE: u64 = 2 << 20;
/// Files that are open at a time.
const MAX_OPEN: usize = 64;

const CURRENT: &str = "current.jsonl";
const PREVIOUS: &str = "previous.jsonl";

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let builder = thread::Builder::new().name("logs".to_owned());
        let thread = builder.spawn(move || write_all(&waiting))?;
        Ok(Self { lines: Some(lines), thread: Mutex::new(Some(thread)) })
    }

    /// Has `line` written to `folder`; whether it will be.
    pub(super) fn write(&self, folder: &Arc<Path>, line: &Arc<LogLine>) -> bool {
        let Some(lines) = &self.lines else { return false };
        match lines.try_send((folder.clone(), line.clone())) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Writes what comes, until nothing can come any more.
fn write_all(waiting: &Receiver<Entry>) {
    let mut files = HashMap::new();
    let mut has_failed = false;
    while let Ok(first) = waiting.recv() {
        // What has come meanwhile is written at once.
        let batch = std::iter::once(first).chain(waiting.try_iter());
        let mut by_folder: HashMap<Arc<Path>, Vec<u8>> = HashMap::new();
        for (folder, line) in batch.take(BATCH) {
            let text = by_folder.entry(folder).or_default();
            if serde_json::to_writer(&mut *text, &*line).is_ok() {
                text.push(b'\n');
            }
        }
        for (folder, text) in by_folder {
            let written = append(&mut files, &folder, &text);
            let failed_before = std::mem::replace(&mut has_failed, written.is_err());
            if let Err(error) = written {
                files.remove(&folder);
                if !failed_before {
                    tracing::error!(folder = %folder.display(), "logs are not written: {error}");
                }
            }
        }
    }
}

/// An open file, and how long it is.
type Open = (File, u64);

fn append(files: &mut HashMap<Arc<Path>, Open>, folder: &Arc<Path>, text: &[u8]) -> io::Result<()> {
    if files.len() >= MAX_OPEN && !files.contains_key(folder) {
        files.clear();
    }
    if files.get(folder).is_some_and(|(_, length)| *length >= MAX_FILE) {
        files.remove(folder);
        fs::rename(folder.join(CURRENT), folder.join(PREVIOUS))?;
    }
    let (file, length) = match files.entry(folder.clone()) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(open(folder)?),
    };
    file.write_all(text)?;
    *length += text.len() as u64;
    Ok(())
}

fn open(folder: &Path) -> io::Result<Open> {
    data::make(folder)?;
    let path = folder.join(CURRENT);
    let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let length = file.metadata()?.len();
    // The process may have been killed within a line.
    let mut last = *b"\n";
    if let Some(place) = length.checked_sub(1) {
        file.read_exact_at(&mut last, place)?;
    }
    let mut open = (file, length);
    if last != *b"\n" {
        open.0.write_all(b"\n")?;
        open.1 += 1;
    }
    Ok(open)
}

/// The lines in `folder`, in their order. What is no line is passed by.
pub(super) fn read(folder: &Path) -> Vec<LogLine> {
    let files = [PREVIOUS, CURRENT].map(|name| File::open(folder.join(name)));
    let lines = files.into_iter().flatten().flat_map(|file| BufReader::new(file).split(b'\n'));
    let lines = lines.map_while(Result::ok);
    let mut lines: Vec<LogLine> =
        lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect();
    // Of two that were written at once the later may have come first.
    lines.sort_by_key(|line| line.number);
    lines
}

/// Where the lines of a tenant are whose data is in `folder`.
pub(super) fn folder(folder: PathBuf) -> Arc<Path> {
    folder.join("logs").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, text: &str) -> Arc<LogLine> {
        let (app, component) = ("shop".to_owned(), "cart".to_owned());
        let (time, stream) = ("2026-01-01T00:00:00Z".to_owned(), "stdout".to_owned());
        Arc::new(LogLine { number, time, app, component, stream, text: text.to_owned() })
    }

    #[test]
    fn lines_outlive_the_writer_and_are_bounded() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path().to_owned());
        let write = |numbers: std::ops::Range<u64>, text: &str| {
            let writer = Writer::start().unwrap();
            for number in numbers {
                while !writer.write(&folder, &line(number, text)) {
                    thread::yield_now();
                }
            }
        };
        write(0..3, "a");
        write(3..5, "b\nc");
        let found: Vec<_> =
            read(&folder).into_iter().map(|line| (line.number, line.text)).collect();
        let expected = [(0, "a"), (1, "a"), (2, "a"), (3, "b\nc"), (4, "b\nc")];
        assert_eq!(found, expected.map(|(number, text)| (number, text.to_owned())));
        // Killed within a line.
        OpenOptions::new()
            .append(true)
            .open(folder.join(CURRENT))
            .unwrap()
            .write_all(b"{\"number\":9,\"text\":\"\xc3")
            .unwrap();
        write(5..6, "d");
        assert_eq!(read(&folder).last().unwrap().number, 5);
        write(6..2_000, &"x".repeat(4 << 10));
        let bytes: u64 =
            fs::read_dir(&*folder).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
        // A batch is written as a whole.
        assert!((2 << 20..8 << 20).contains(&bytes), "{bytes}");
        assert_eq!(read(&folder).last().unwrap().number, 1_999);
    }
}

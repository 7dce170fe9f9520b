//! Writes the lines of the log on a thread of its own, so that no step and no request waits for a reader of the log.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that wait to be written at most: 16 MiB. Further lines are lost.
const MOST_WAITING: usize = 16 * 1024 * 1024;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Takes lines and never waits. Its clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) struct LineWriter(Arc<Shared>);

/// Writes the remaining lines when it is dropped.
#[derive(Debug)]
pub(crate) struct LastLines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines for which there was no room since this was last said.
    lost: u64,
    stopping: bool,
    /// The thread has written everything and ended.
    ended: bool,
}

impl LineWriter {
    /// Starts the thread that writes to `writer`, one line in each call.
    pub(crate) fn start(writer: impl Write + Send + 'static) -> io::Result<(Self, LastLines)> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || of_thread.write_all(writer))?;
        Ok((Self(Arc::clone(&shared)), LastLines(shared)))
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > MOST_WAITING {
            waiting.lost += 1;
        } else {
            waiting.lines.extend_from_slice(line);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut writer: impl Write) {
        let mut lines = Vec::new();
        loop {
            let lost = {
                let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.stopping;
                let waited = self.changed.wait_while(self.lock(), idle);
                let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
                if waiting.lines.is_empty() {
                    waiting.ended = true;
                    self.changed.notify_all();
                    return;
                }
                lines.clear();
                std::mem::swap(&mut lines, &mut waiting.lines);
                std::mem::take(&mut waiting.lost)
            };
            // A failure to write the log cannot be reported anywhere.
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let _ = writer.write_all(line);
            }
            let _ = writer.flush();
            if lost > 0 {
                tracing::warn!(lost, "log lines were lost: they were read or written too slowly");
            }
        }
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.stopping = true;
        self.0.changed.notify_all();
        // A reader that reads nothing must not keep the process alive.
        drop(self.0.changed.wait_timeout_while(waiting, LAST_LINES, |waiting| !waiting.ended));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A pipe whose reader decides when a line is taken.
    struct Pipe {
        allowed: Receiver<()>,
        lines: Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().ok();
            self.lines.send(line.to_owned()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_is_not_read_blocks_no_line_and_the_lost_ones_are_counted() {
        let ((allow, allowed), (lines, read)) = (channel(), channel());
        let (mut writer, last_lines) = LineWriter::start(Pipe { allowed, lines }).unwrap();
        let line = [vec![b'x'; 1024 * 1024 - 1], vec![b'\n']].concat();
        writer.write_all(&line).unwrap();
        // The thread has taken it and waits for the reader.
        while !last_lines.0.lock().lines.is_empty() {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            writer.write_all(&line).unwrap();
        }
        assert_eq!(last_lines.0.lock().lost, 4);
        drop(allow);
        drop(last_lines);
        assert_eq!(read.try_iter().filter(|read| *read == line).count(), 17, "no line is lost at the end");
    }
}

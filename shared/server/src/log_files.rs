//! The log in files of a folder that a platform collects: their place, their names, their rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bk_plugin_service::settings::Reader;

/// Where the log's files are and how large they may become.
#[derive(Debug, Clone)]
pub struct LogFiles {
    /// BKPAAS_APP_LOG_PATH: the folder.
    pub folder: PathBuf,
    /// The prefix of the file names of all processes of this kind.
    pub prefix: String,
    /// BK_PLUGIN_LOG_FILE_SIZE: bytes a file may have.
    pub largest: u64,
    /// BK_PLUGIN_LOG_FILES_KEPT: how many full files are kept besides the current one.
    pub kept: u32,
}

/// The log cannot be written to files.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; set BKPAAS_APP_LOG_PATH to a folder that this user can write to")]
pub(crate) struct LogFilesError {
    path: PathBuf,
    source: io::Error,
}

impl LogFiles {
    /// Reads the settings; `None` if no folder is set.
    pub(crate) fn read(reader: &mut Reader<'_>, app_id: &str) -> Option<Self> {
        let largest = reader.number("BK_PLUGIN_LOG_FILE_SIZE", 10 * 1024 * 1024, 64 * 1024..=1 << 40);
        let kept = reader.number("BK_PLUGIN_LOG_FILES_KEPT", 5, 0..=1000);
        let folder = reader.text("BKPAAS_APP_LOG_PATH")?;
        let process = reader.text("BKPAAS_PROCESS_TYPE");
        let prefix = reader
            .text("BKPAAS_LOG_NAME_PREFIX")
            .unwrap_or_else(|| process.map_or_else(|| app_id.to_owned(), |kind| format!("{app_id}-{kind}")));
        if prefix.contains(['/', '\\']) {
            reader
                .wrong("BKPAAS_LOG_NAME_PREFIX", "is the beginning of a file's name and has no slash in it");
        }
        Some(Self { folder: folder.into(), prefix, largest, kept })
    }

    /// Opens this process's file. Processes share the folder, across containers too, but never a file: the file's
    /// name contains the machine and the process.
    pub(crate) fn open(&self) -> Result<RotatingFile, LogFilesError> {
        let (host, process) = (crate::hostname::hostname(), std::process::id());
        let path = self.folder.join(format!("{}-{host}-{process}-server.log", self.prefix));
        let opened = fs::create_dir_all(&self.folder)
            .and_then(|()| RotatingFile::open(path.clone(), self.largest, self.kept));
        opened.map_err(|source| LogFilesError { path, source })
    }
}

/// A rotated log file. Before it would become too large, it is moved to `<name>.1`, the file there to `<name>.2`,
/// and so on.
///
/// Writing never fails: lines that cannot be written are lost, because the code that logs cannot do anything about
/// a full disk. Standard error gets one message when lines begin to be lost and one when writing works again.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    largest: u64,
    kept: u32,
    file: BufWriter<File>,
    size: u64,
    /// Whether the last line was lost.
    failing: bool,
}

impl RotatingFile {
    fn open(path: PathBuf, largest: u64, kept: u32) -> io::Result<Self> {
        let file = appending(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, largest, kept, file: buffered(file), size, failing: false })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.largest {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for number in (0..self.kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.kept == 0 {
            fs::remove_file(&self.path)?;
        }
        self.file = buffered(appending(&self.path)?);
        self.size = 0;
        Ok(())
    }

    /// The path of the `number`th latest full file; for 0 that of the current file.
    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    /// The message about the result `went` of a write, if it differs from the result before.
    fn changed(&mut self, went: &io::Result<()>) -> Option<String> {
        let path = self.path.display();
        let said = match went {
            Err(error) if !self.failing => {
                format!("the log cannot be written to {path}, lines are lost there until it can: {error}")
            }
            Ok(()) if self.failing => format!("the log is written to {path} again"),
            _ => return None,
        };
        self.failing = went.is_err();
        Some(said)
    }

    fn note(&mut self, went: &io::Result<()>) {
        if let Some(said) = self.changed(went) {
            // Not logged, because this file is the log.
            let _ = writeln!(io::stderr(), "{said}");
        }
    }
}

fn appending(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Collects lines in memory, so that many are written at a time.
fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(64 * 1024, file)
}

impl Write for RotatingFile {
    /// Writes one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let went = self.append(line);
        if went.is_err() {
            self.note(&went);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let went = self.file.flush();
        self.note(&went);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, largest: u64, kept: u32) -> RotatingFile {
        RotatingFile::open(folder.join("a.log"), largest, kept).unwrap()
    }

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn full_files_are_moved_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = file(folder.path(), 8, 2);
        for line in ["1111\n", "22\n", "3333\n", "4444\n", "5555\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
        let expected = owned(&[("a.log", "5555\n"), ("a.log.1", "4444\n"), ("a.log.2", "3333\n")]);
        assert_eq!(contents(folder.path()), expected);
    }

    #[test]
    fn a_line_that_is_larger_than_a_file_has_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = file(folder.path(), 4, 1);
        for line in ["0123456789\n", "1\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
        assert_eq!(contents(folder.path()), owned(&[("a.log", "1\n"), ("a.log.1", "0123456789\n")]));
    }

    #[test]
    fn a_process_that_is_started_again_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for line in ["1111\n", "22\n", "3333\n"] {
            let mut file = file(folder.path(), 8, 0);
            file.write_all(line.as_bytes()).unwrap();
            file.flush().unwrap();
        }
        assert_eq!(contents(folder.path()), owned(&[("a.log", "3333\n")]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_loses_lines_and_is_said_once() {
        let mut file = RotatingFile::open("/dev/full".into(), 1 << 20, 0).unwrap();
        file.write_all(b"line\n").unwrap();
        let full = file.file.flush();
        assert!(full.is_err());
        let said = file.changed(&full).unwrap();
        assert!(said.contains("/dev/full"), "{said}");
        assert_eq!(file.changed(&full), None);
        file.write_all(&vec![b'x'; 100_000]).unwrap();
        file.flush().unwrap();
        assert!(file.changed(&Ok(())).unwrap().contains("again"));
        assert_eq!(file.changed(&Ok(())), None);
    }

    #[test]
    fn names_are_the_platforms() {
        let read = |variables: &[(&str, &str)]| {
            let variables = variables.to_vec();
            let lookup = move |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let mut reader = Reader::new(&lookup);
            let files = LogFiles::read(&mut reader, "demo");
            reader.finish(files.map(|files| files.prefix))
        };
        let path = ("BKPAAS_APP_LOG_PATH", "/app/v3logs");
        let kind = ("BKPAAS_PROCESS_TYPE", "web");
        assert_eq!(read(&[kind]).unwrap(), None);
        assert_eq!(read(&[path]).unwrap().unwrap(), "demo");
        assert_eq!(read(&[path, kind]).unwrap().unwrap(), "demo-web");
        let prefix = ("BKPAAS_LOG_NAME_PREFIX", "default-bkapp-demo-prod-web");
        assert_eq!(read(&[path, kind, prefix]).unwrap().unwrap(), prefix.1);
        let said = read(&[path, ("BKPAAS_LOG_NAME_PREFIX", "../x")]).unwrap_err().to_string();
        assert!(said.contains("BKPAAS_LOG_NAME_PREFIX"), "{said}");
    }
}

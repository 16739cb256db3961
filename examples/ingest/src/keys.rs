//! Who may publish: a file of names and stream keys, read again when it changes.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use subtle::ConstantTimeEq;

/// Names become file names and parts of the page.
const MAX_NAME: usize = 64;

pub struct Keys {
    path: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    /// Of the file as it was read, or could not be.
    stamp: Option<Stamp>,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    key: String,
}

/// By what a changed file is known. An editor that replaces the file changes the inode.
type Stamp = (std::time::SystemTime, u64, u64);

impl Keys {
    /// Reads the file, which has to be there and right.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let stamp = stamp(path);
        let entries = read(path)?;
        warn_of_permissions(path);
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new(Read { stamp, entries }),
        })
    }

    /// The name of who has this key.
    pub fn name_of(&self, key: &str) -> Option<String> {
        let read = self.read();
        // All of them, and each in the same time: how long it takes tells nothing of a key.
        let mut found = None;
        for entry in &read.entries {
            if entry.key.as_bytes().ct_eq(key.as_bytes()).into() {
                found = Some(&entry.name);
            }
        }
        found.cloned()
    }

    /// All names, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        let read = self.read();
        read.entries
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// The entries, read again if the file has changed. One that can't be read changes nothing: half a file, while it is
    /// being written, would shut everybody out.
    fn read(&self) -> MutexGuard<'_, Read> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != read.stamp {
            read.stamp = stamp;
            match self::read(&self.path) {
                Ok(entries) => {
                    tracing::info!("keys read again: {} may publish", entries.len());
                    read.entries = entries;
                }
                Err(error) => tracing::error!("the keys stay as they were: {error:#}"),
            }
        }
        read
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), inode(&metadata)))
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(unix)]
fn warn_of_permissions(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!("{} can be read by everybody: chmod o= it", path.display());
    }
}

#[cfg(not(unix))]
fn warn_of_permissions(_: &Path) {}

fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "can't read the keys file {}: write one line \"NAME KEY\" per publisher there",
            path.display()
        )
    })?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// Errors name lines and names, and never a key.
fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[name, key] = words.as_slice() else {
            bail!("line {number} is not a name and a key");
        };
        if !is_usable(name) {
            bail!(
                "line {number}: a name has 1 to {MAX_NAME} of a-z, A-Z, 0-9, '-', '_' and '.', \
                 and begins with none of the last three"
            );
        }
        if !names.insert(name) {
            bail!("line {number}: {name} was there before");
        }
        if let Some(other) = entries.iter().find(|entry| entry.key == key) {
            bail!("line {number}: {name} has the key of {}", other.name);
        }
        entries.push(Entry {
            name: name.to_owned(),
            key: key.to_owned(),
        });
    }
    Ok(entries)
}

fn is_usable(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_right() {
        let entries = parse("# all\n\n one  k1 \ntwo\tk2\n").unwrap();
        let read: Vec<_> = entries.iter().map(|e| (&*e.name, &*e.key)).collect();
        assert_eq!(read, [("one", "k1"), ("two", "k2")]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn files_that_are_wrong_say_where_and_no_key() {
        for (text, line) in [
            ("one", "line 1 "),
            ("a k1\nb k2 k3secret", "line 2 "),
            ("../etc k1secret", "line 1:"),
            ("a/b k1secret", "line 1:"),
            (".hidden k1secret", "line 1:"),
            ("a k1secret\na k2secret", "line 2:"),
            ("a k1secret\nb k1secret", "line 2:"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(line), "{text:?}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(parse(&format!("{} k", "x".repeat(65))).is_err());
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        assert!(Keys::open(&path).is_err());
        fs::write(&path, "one k1").unwrap();
        let keys = Keys::open(&path).unwrap();
        assert_eq!(keys.name_of("k1").as_deref(), Some("one"));
        assert_eq!(keys.name_of("k2"), None);
        // Each has another length, so that the clock of the file system does not matter.
        fs::write(&path, "one k1\ntwo k2").unwrap();
        assert_eq!(keys.name_of("k2").as_deref(), Some("two"));
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(keys.names(), ["one", "two"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(keys.names(), ["one", "two"]);
        fs::write(&path, "three k2").unwrap();
        assert_eq!(keys.name_of("k2").as_deref(), Some("three"));
        assert_eq!(keys.name_of("k1"), None);
    }
}

//! Files that were read, and whether they have changed since.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// A file that was written less than this ago may be written again without its time telling.
const TELLS_AFTER: Duration = Duration::from_secs(2);

/// A file, and what it held when it was read. Two are the same if they held the same.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which file.
    pub path: PathBuf,
    /// A hash of what it held.
    hash: [u8; 32],
    /// What the file system said of it before it was read; none where that would tell nothing.
    stamp: Option<Stamp>,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.hash == other.hash
    }
}

impl Eq for Seen {}

/// What changes with a file. Links are followed: another file in the old one's place is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: SystemTime,
    #[cfg(unix)]
    inode: (u64, u64),
    /// Set by every change, also by one that sets the other time back.
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?;
        if modified.elapsed().ok()? < TELLS_AFTER {
            return None;
        }
        Some(Self {
            bytes: metadata.len(),
            modified,
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Seen {
    /// A file that held this.
    pub(crate) fn holding(path: &Path, content: &[u8]) -> Self {
        // It was read already: what the file system says now may be of another content.
        Self { path: path.to_owned(), hash: Sha256::digest(content).into(), stamp: None }
    }

    /// A file as it is now; one that cannot be read holds nothing.
    #[must_use]
    pub fn now(path: &Path) -> Self {
        let stamp = Stamp::of(path);
        Self { stamp, ..Self::holding(path, &std::fs::read(path).unwrap_or_default()) }
    }

    /// The same file as it is now; read only if the file system says that it is another.
    #[must_use]
    pub fn again(&self) -> Self {
        match (&self.stamp, Stamp::of(&self.path)) {
            (Some(before), Some(now)) if *before == now => self.clone(),
            _ => Self::now(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_however_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        };
        write(&path, "one");
        let first = Seen::holding(&path, b"one").again();
        assert!(first.stamp.is_some() && first == Seen::now(&path));
        assert_eq!(first.again(), first);
        // The same length and the same time.
        write(&path, "two");
        let second = first.again();
        assert_ne!(second, first);
        // Another file in its place, by name and by link.
        let other = folder.path().join("other");
        write(&other, "six");
        std::fs::rename(&other, &path).unwrap();
        let third = second.again();
        assert_ne!(third, second);
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            let linked = Seen::now(&link);
            write(&other, "ten");
            std::fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(&other, &link).unwrap();
            assert_ne!(linked.again(), linked);
        }
        std::fs::remove_file(&path).unwrap();
        assert_ne!(third.again(), third);
    }

    #[test]
    fn what_has_not_changed_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let stamp =
            Stamp { modified: SystemTime::UNIX_EPOCH, ..Stamp::of(Path::new("/proc/self/exe")).unwrap() };
        // What a file holds that is said to be the same is believed, right or wrong.
        let old = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let believed = Seen { stamp: Stamp::of(&path), ..Seen::holding(&path, b"another") };
        assert_eq!(believed.again(), believed);
        let doubted = Seen { stamp: Some(stamp), ..Seen::holding(&path, b"another") };
        assert_eq!(doubted.again(), Seen::now(&path));
    }
}

//! Where the keys of sessions come from when they stand in a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::auth::session::{KeyRing, KeyRingError};
use jiff::Timestamp;

/// Why there is no key ring. Nothing of what stands in it is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error("{file}: {source}", file = .file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{file}: {source}", file = .file.display())]
    Ring { file: PathBuf, source: KeyRingError },
}

/// Reads the ring in `file`, makes it if it is not there, and rotates it when its time has come. Other processes may do the
/// same with the same file: whoever comes late takes what is there.
pub(crate) fn from_file(file: &Path, now: Timestamp) -> Result<KeyRing, RingError> {
    let io = |source| RingError::File { file: file.to_owned(), source };
    let bad = |source| RingError::Ring { file: file.to_owned(), source };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let ring = KeyRing::new(now).map_err(bad)?;
            match write_new_file(file, &ring.to_text()) {
                Ok(()) => return Ok(ring),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::fs::read_to_string(file).map_err(io)?
                }
                Err(error) => return Err(io(error)),
            }
        }
        Err(error) => return Err(io(error)),
    };
    let ring = KeyRing::parse(&text).map_err(bad)?;
    match ring.rotated(now).map_err(bad)? {
        Some(rotated) => {
            replace_file(file, &rotated.to_text()).map_err(io)?;
            Ok(rotated)
        }
        None => Ok(ring),
    }
}

/// Writes a file that only its owner can read: complete or not at all, by a link, which fails where one is there.
pub(crate) fn write_new_file(file: &Path, text: &str) -> std::io::Result<()> {
    let draft = draft(file, text)?;
    let linked = std::fs::hard_link(&draft, file);
    let removed = std::fs::remove_file(&draft);
    linked.and(removed)
}

/// Puts a file that only its owner can read in the place of another.
pub(crate) fn replace_file(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::rename(draft(file, text)?, file)
}

/// A file beside it that nobody else can read.
fn draft(file: &Path, text: &str) -> std::io::Result<PathBuf> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(name);
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    Ok(draft)
}

//! Opening the files of a model's folder, and nothing else.
//!
//! A model comes from somewhere else: from an archive, from a hub. What it refers to must lie in its own folder, or a
//! bundle that is published would carry whatever file of its maker's machine the model named. So a path is a list of plain
//! names, and is walked folder by folder, each opened relative to the one above, without following links: no moment lies
//! between a check and its use. (On systems that are no Unix the components are looked at before the file is opened.)
//!
//! - *Symbolic links* are not followed, with one exception. The cache of the Hugging Face hub consists of links: a file
//!   `<model>/snapshots/<revision>/...` is a link to `<model>/blobs/<hash>`. Such a link is followed when it leads to a
//!   plain name in the `blobs` of the same model, which is opened without following links again.
//! - *Hard links* cannot be told from the file itself, only that a file has several names. One that has a name outside
//!   of its folder may be anybody's file that an unpacked archive linked to, and is refused. Files of checkouts and
//!   downloads have one name, and archives that keep two names for equal files put both into the folder, which is accepted.
//! - *Pipes, devices and folders* are refused, and opening them does not block.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Longest path that a model may state, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Names in a folder that are looked at to account for hard links.
const MAX_FOLDER_ENTRIES: usize = 4096;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a list of plain names.
    #[error("it must be a relative path inside the model's folder; save the model with plain file names")]
    Path,
    /// Nothing is there.
    #[error("`{}` does not exist; it must lie beside the model", .0.display())]
    Missing(PathBuf),
    /// A part of the path is a file.
    #[error("`{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    /// A part of the path is a link.
    #[error("`{}` is a symbolic link, which is not followed; copy the file into the folder (cp -L)", .0.display())]
    Link(PathBuf),
    /// A file with a name outside of its folder.
    #[error("`{}` is a hard link to a file outside the folder, which is not followed; copy the file", .0.display())]
    HardLink(PathBuf),
    /// A folder, a pipe or a device.
    #[error("`{}` is no regular file", .0.display())]
    NoFile(PathBuf),
    /// The system refused.
    #[error("`{}` cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Opens `location`, a path that a model states or that its layout gives, inside of `folder`. The path of the folder
/// itself is the user's, who may have links in it.
pub fn open(folder: &Path, location: &str) -> Result<File, Refusal> {
    let names = components(location)?;
    let mut path = folder.to_owned();
    path.extend(&names);
    match system::open(folder, &names, &path) {
        Err(Refusal::Link(link)) if link == path => match hub_blob(folder, &names, &path) {
            Some((blobs, name)) => system::open(&blobs, &[&name], &blobs.join(&name)),
            None => Err(Refusal::Link(link)),
        },
        other => other,
    }
}

/// The plain names that a location consists of.
fn components(location: &str) -> Result<Vec<&str>, Refusal> {
    let drive = location.as_bytes().get(1) == Some(&b':');
    if location.len() > MAX_PATH_BYTES || drive || location.contains(['\\', '\0']) {
        return Err(Refusal::Path);
    }
    let mut names = Vec::new();
    for component in Path::new(location).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(Refusal::Path)?),
            _ => return Err(Refusal::Path),
        }
    }
    if names.is_empty() { Err(Refusal::Path) } else { Ok(names) }
}

/// Where a link in a hub's cache leads: the folder of blobs of the same model, and a name in it.
fn hub_blob(folder: &Path, names: &[&str], link: &Path) -> Option<(PathBuf, String)> {
    // The folder as it really is: above it must be `snapshots/<revision>`.
    let real = folder.canonicalize().ok()?;
    let revision = real
        .ancestors()
        .find(|above| above.parent().and_then(Path::file_name).is_some_and(|name| name == "snapshots"))?;
    let model = revision.parent()?.parent()?;
    let target = std::fs::read_link(link).ok()?;
    let mut parts = target.components();
    // As many steps up as the file lies below the model's folder, then `blobs`, then a name.
    let inside = real.strip_prefix(model).ok()?.components().count() + names.len() - 1;
    if !(0..inside).all(|_| parts.next() == Some(Component::ParentDir)) {
        return None;
    }
    let (Some(Component::Normal(blobs)), Some(Component::Normal(name)), None) =
        (parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    (blobs == "blobs").then(|| Some((model.join("blobs"), name.to_str()?.to_owned())))?
}

#[cfg(unix)]
mod system {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};

    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open as open_path, openat, statat};
    use rustix::io::Errno;

    use super::{MAX_FOLDER_ENTRIES, Refusal};

    pub(super) fn open(folder: &Path, names: &[&str], path: &Path) -> Result<File, Refusal> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = folder.to_owned();
        let mut above: OwnedFd =
            open_path(folder, directory, Mode::empty()).map_err(|error| refusal(error, &at, None))?;
        let Some((file_name, folders)) = names.split_last() else { return Err(Refusal::Path) };
        for name in folders {
            at.push(name);
            above = openat(&above, *name, directory | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
                refusal(error, &at, statat(&above, *name, AtFlags::SYMLINK_NOFOLLOW).ok())
            })?;
        }
        // Opening a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&above, *file_name, flags, Mode::empty()).map_err(|error| {
            refusal(error, path, statat(&above, *file_name, AtFlags::SYMLINK_NOFOLLOW).ok())
        })?;
        let facts = fstat(&file).map_err(|error| refusal(error, path, None))?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(Refusal::NoFile(path.to_owned()));
        }
        if has_name_outside(&above, &facts) {
            return Err(Refusal::HardLink(path.to_owned()));
        }
        Ok(File::from(file))
    }

    /// The system reports a link in several ways; `found` is what lies there, for the words.
    fn refusal(error: Errno, path: &Path, found: Option<Stat>) -> Refusal {
        let path: PathBuf = path.to_owned();
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Some(FileType::Symlink) => Refusal::Link(path),
            Some(_) if error == Errno::NOTDIR => Refusal::NoFolder(path),
            // A socket, or a device without a driver.
            Some(_) if error == Errno::NXIO => Refusal::NoFile(path),
            _ if error == Errno::NOENT => Refusal::Missing(path),
            _ => Refusal::Io { path, source: error.into() },
        }
    }

    /// True when a file has more names than can be found in its folder.
    fn has_name_outside(folder: &OwnedFd, facts: &Stat) -> bool {
        if facts.st_nlink <= 1 {
            return false;
        }
        let Ok(entries) = Dir::read_from(folder) else { return true };
        let same = |entry: &rustix::fs::DirEntry| {
            let found = statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            found.is_ok_and(|found| found.st_dev == facts.st_dev && found.st_ino == facts.st_ino)
        };
        let names = entries.take(MAX_FOLDER_ENTRIES).filter_map(Result::ok).filter(same).count();
        usize::try_from(facts.st_nlink).map_or(true, |links| names < links)
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::File;
    use std::path::Path;

    use super::Refusal;

    /// Links are looked for before the file is opened. The standard library does not count hard links here.
    pub(super) fn open(folder: &Path, names: &[&str], path: &Path) -> Result<File, Refusal> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source: std::io::Error| match source.kind() {
                std::io::ErrorKind::NotFound => Refusal::Missing(path),
                _ => Refusal::Io { path, source },
            }
        };
        let mut at = folder.to_owned();
        for (index, name) in names.iter().enumerate() {
            at.push(name);
            let facts = at.symlink_metadata().map_err(io(&at))?;
            if facts.is_symlink() {
                return Err(Refusal::Link(at));
            }
            if index + 1 < names.len() && !facts.is_dir() {
                return Err(Refusal::NoFolder(at));
            }
            if index + 1 == names.len() && !facts.is_file() {
                return Err(Refusal::NoFile(at));
            }
        }
        File::open(path).map_err(io(path))
    }
}

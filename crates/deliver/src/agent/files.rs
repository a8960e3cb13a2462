//! What the agent does to files, one operation at a time, so that a test can cut the power after any of them.
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Operations on files. None but `sync` promises to outlast a power loss; reading goes past this interface.
pub(crate) trait Files: fmt::Debug + Send {
    /// Makes a folder, where there is none.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Opens a file to be written: from its end on, or anew.
    fn write<'a>(&'a self, path: &Path, from_end: bool) -> io::Result<Box<dyn Write + 'a>>;

    /// Waits until a file's bytes, or a folder's names, would outlast a power loss.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name; a file of that name is replaced, at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a link.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;

    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written below a folder.
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        crate::files::free_bytes(path)
    }
}

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl Files for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let made = fs::create_dir(path);
        made.or_else(|e| if path.is_dir() { Ok(()) } else { Err(e) })
    }

    fn write<'a>(&'a self, path: &Path, from_end: bool) -> io::Result<Box<dyn Write + 'a>> {
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(from_end).truncate(!from_end);
        Ok(Box::new(options.open(path)?))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // Of a file that is opened anew all bytes are written out, whoever wrote them; a folder can be opened for reading only.
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlink(target, path)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// Writes a file under a temporary name and renames it: what reads it, now or after a power loss, finds the old or the new.
pub(crate) fn write_whole(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.partial"));
    let mut file = files.write(&partial, false)?;
    file.write_all(bytes)?;
    drop(file);
    files.sync(&partial)?;
    files.rename(&partial, path)?;
    files.sync(folder)
}

/// Removes a folder and all that is in it, where there is one.
pub(crate) fn remove_tree(files: &dyn Files, path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // Of the entry itself: what a link leads to is not touched.
        if entry.file_type()?.is_dir() {
            remove_tree(files, &entry.path())?;
        } else {
            files.remove_file(&entry.path())?;
        }
    }
    files.remove_folder(path)
}

/// Gives a file a second name, or copies it where the file system has no such names. What is copied is synced.
pub(crate) fn link_or_copy(files: &dyn Files, from: &Path, to: &Path) -> io::Result<()> {
    let linked = files.hard_link(from, to);
    let kinds = [io::ErrorKind::Unsupported, io::ErrorKind::PermissionDenied];
    let no_links = |e: &io::Error| {
        kinds.contains(&e.kind()) || e.kind() == io::ErrorKind::TooManyLinks || crosses(e)
    };
    match linked {
        Err(e) if no_links(&e) => {
            let mut copy = files.write(to, false)?;
            io::copy(&mut File::open(from)?, &mut copy)?;
            drop(copy);
            files.sync(to)
        }
        linked => linked,
    }
}

fn crosses(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::CrossesDevices
}

//! Folders that others may write, too: an app mounts its own. They are held open, and what is in them is reached name by name from
//! there without following a link, so that nobody can lead what root does to another place, at no moment.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

/// How often a name beside a file is tried while somebody else takes it.
const TRIES: u32 = 8;

/// A folder that is held open.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder, or makes it. Its parents are ours; itself it may not be a link.
    pub fn make(path: &Path) -> io::Result<Folder> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let parent = Folder(rustix::fs::open(parent, flags, Mode::empty())?);
        parent.sub(path.file_name().unwrap_or(OsStr::new(".")))
    }

    /// A folder in it, made where there is none.
    pub fn sub(&self, name: &OsStr) -> io::Result<Folder> {
        match self.open(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => self.open(name),
                    Err(e) => Err(e.into()),
                }
            }
            other => other,
        }
    }

    /// The folder that has `path`, which is relative, with the folders on the way to it.
    pub fn parent_of(&self, path: &Path) -> io::Result<Folder> {
        let mut at = Folder(self.0.try_clone()?);
        for part in path.parent().unwrap_or(Path::new("")).components() {
            let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            at = at.sub(name).map_err(|e| through(e, name))?;
        }
        Ok(at)
    }

    /// Whether `name` is a folder itself.
    pub fn has_folder(&self, name: &OsStr) -> bool {
        let found = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
    }

    /// Makes a folder with this mode; one that is there stays as it is.
    pub fn make_folder(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        if self.has_folder(name) {
            return Ok(());
        }
        let made = self.sub(name).map_err(|e| through(e, name))?;
        Ok(rustix::fs::fchmod(&made.0, Mode::from_raw_mode(mode))?)
    }

    /// A file under `name` with what `fill` writes, the old one or the new one whatever happens.
    pub fn write(
        &self,
        name: &OsStr,
        mode: u32,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let (new, mut file) = self.create_beside(name)?;
        let written = fill(&mut file).and_then(|()| {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.sync_all()?;
            Ok(rustix::fs::renameat(&self.0, &new, &self.0, name)?)
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.0, &new, AtFlags::empty());
        }
        written?;
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// A symbolic link in the place of a file.
    pub fn link(&self, to: &str, name: &OsStr) -> io::Result<()> {
        self.remove(name)?;
        Ok(rustix::fs::symlinkat(to, &self.0, name)?)
    }

    /// Removes a file or a link; none is not an error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether a path stays in this folder whatever links are on it. One that is not there yet, does.
    pub fn keeps(&self, path: &Path) -> bool {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::BENEATH) {
            Ok(_) | Err(rustix::io::Errno::NOENT) => true,
            // Kernels before 5.6 cannot tell; then no link is taken at all.
            Err(rustix::io::Errno::NOSYS) => self.has_no_link_on(path),
            Err(_) => false,
        }
    }

    fn has_no_link_on(&self, path: &Path) -> bool {
        let Ok(mut at) = self.0.try_clone().map(Folder) else { return false };
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            match rustix::fs::statat(&at.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => return true,
                Ok(s) if FileType::from_raw_mode(s.st_mode) == FileType::RegularFile => return true,
                Ok(s) if FileType::from_raw_mode(s.st_mode) == FileType::Directory => {}
                _ => return false,
            }
            match at.open(name) {
                Ok(next) => at = next,
                Err(_) => return false,
            }
        }
        true
    }

    fn open(&self, name: &OsStr) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Folder(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A new file that nobody else made, beside `name`.
    fn create_beside(&self, name: &OsStr) -> io::Result<(OsString, File)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut last = io::ErrorKind::AlreadyExists.into();
        for number in 0..TRIES {
            let mut new = name.to_os_string();
            new.push(if number == 0 { ".new".to_string() } else { format!(".new{number}") });
            let _ = rustix::fs::unlinkat(&self.0, &new, AtFlags::empty());
            match rustix::fs::openat(&self.0, &new, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok((new, File::from(file))),
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => last = e.into(),
            }
        }
        Err(last)
    }
}

/// What is no folder, where one should be.
fn through(error: io::Error, name: &OsStr) -> io::Error {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("would write through {}, which is no folder", name.display()),
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("rust-ota-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("host")).unwrap();
        path
    }

    #[test]
    fn links_of_an_app_lead_nowhere() {
        let dir = scratch("links");
        fs::write(dir.join("host/file"), "the host's").unwrap();
        let app = Folder::make(&dir.join("app")).unwrap();
        for name in ["out", "out.new", "out.new1"] {
            symlink(dir.join("host/file"), dir.join("app").join(name)).unwrap();
        }
        app.write(OsStr::new("out"), 0o640, &mut |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("host/file")).unwrap(), "the host's");
        assert_eq!(fs::read_to_string(dir.join("app/out")).unwrap(), "new");
        assert!(dir.join("app/out").symlink_metadata().unwrap().is_file());

        symlink(dir.join("host"), dir.join("app/sub")).unwrap();
        let error = app.parent_of(Path::new("sub/deeper/x")).unwrap_err();
        assert!(error.to_string().contains("through sub"), "{error}");
        assert!(Folder::make(&dir.join("app/sub")).is_err());
        for (path, stays) in
            [("sub", false), ("sub/file", false), ("out", true), ("not-there/x", true), ("", true)]
        {
            assert_eq!(app.keeps(Path::new(path)), stays, "{path}");
        }
        fs::create_dir(dir.join("app/data")).unwrap();
        symlink("data", dir.join("app/inner")).unwrap();
        assert!(app.keeps(Path::new("inner")));
        assert!(!app.has_no_link_on(Path::new("inner/x")) && app.has_no_link_on(Path::new("data/x")));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn folders_that_are_swapped_meanwhile() {
        let dir = scratch("swaps");
        let done = AtomicBool::new(false);
        let app = Folder::make(&dir.join("app")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (sub, aside) = (dir.join("app/sub"), dir.join("app/aside"));
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::rename(&sub, &aside);
                    let _ = symlink(dir.join("host"), &sub);
                    let _ = fs::remove_file(&sub);
                    let _ = fs::rename(&aside, &sub);
                }
            });
            for number in 0..2000 {
                let path = format!("sub/{number}");
                let Ok(parent) = app.parent_of(Path::new(&path)) else { continue };
                let name = number.to_string();
                let _ = parent.write(OsStr::new(&name), 0o644, &mut |file| file.write_all(b"x"));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(dir.join("host")).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A link that comes between the look for a free name and the new file is not written through.
    #[test]
    fn a_link_that_is_put_in_the_way_of_a_new_file() {
        let dir = scratch("way");
        fs::write(dir.join("host/file"), "the host's").unwrap();
        let done = AtomicBool::new(false);
        let app = Folder::make(&dir.join("app")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = symlink(dir.join("host/file"), dir.join("app/out.new"));
                }
            });
            for _ in 0..300 {
                let _ = app.write(OsStr::new("out"), 0o644, &mut |file| file.write_all(b"x"));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_to_string(dir.join("host/file")).unwrap(), "the host's");
        fs::remove_dir_all(&dir).unwrap();
    }
}

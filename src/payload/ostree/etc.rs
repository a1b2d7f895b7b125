//! /etc of the running system, looked at before libostree merges it into a new one.
//!
//! What the device changed wins, file by file. That has no answer where the new tree has a folder in place of a changed file, or
//! something else in place of a folder in which something was changed: libostree fails at it each time, or follows a link
//! out of /etc. And a libostree before 2024.2 opens what it finds in a folder of the device's own: a FIFO waits for a writer
//! for ever, a device node is read to its end.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::OstreeError;
use super::object::{ObjectId, ObjectKind};
use super::parse;

/// What the device has in /etc that its own tree has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// Each folder before what is in it.
    changes: Vec<Change>,
    /// Sockets, FIFOs and device nodes. They belong to what runs, and no tree can have them.
    pub specials: Vec<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// Relative to /etc.
    path: PathBuf,
    /// What it is now; none where it was removed.
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Folder,
    Special,
}

/// Compares /etc of a deployment with the /usr/etc that it came from.
pub(super) fn local(deployment: &Path) -> Result<Local, OstreeError> {
    let (orig, etc) = (deployment.join("usr/etc"), deployment.join("etc"));
    let mut local = Local::default();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let failed = |e: io::Error| OstreeError::etc(&folder, &format!("cannot be read: {e}"));
        for name in names(&etc.join(&folder)).map_err(failed)? {
            let path = folder.join(name);
            let (was, is) = (orig.join(&path), etc.join(&path));
            let unreadable = |e: io::Error| OstreeError::etc(&path, &format!("cannot be read: {e}"));
            // It may have gone away since.
            let Some(kind) = kind_of(&is).map_err(unreadable)? else { continue };
            if kind == Kind::Special {
                local.specials.push(path);
                continue;
            }
            if !same(&was, &is, kind).map_err(unreadable)? {
                local.changes.push(Change { path: path.clone(), kind: Some(kind) });
            }
            if kind == Kind::Folder {
                open.push(path);
            }
        }
        for name in names(&orig.join(&folder)).unwrap_or_default() {
            let path = folder.join(name);
            if kind_of(&etc.join(&path)).is_ok_and(|kind| kind.is_none()) {
                local.changes.push(Change { path, kind: None });
            }
        }
    }
    Ok(local)
}

impl Local {
    /// Nothing that a new tree could be at odds with.
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }

    /// Refuses a tree into which the changes cannot be merged.
    pub fn require_merge(&self, tree: &mut Tree<'_>) -> Result<(), OstreeError> {
        self.changes.iter().try_for_each(|change| self.require_one(change, tree))
    }

    fn require_one(&self, change: &Change, tree: &mut Tree<'_>) -> Result<(), OstreeError> {
        let above: Vec<&Path> =
            change.path.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).collect();
        for folder in above.into_iter().rev() {
            match tree.kind(folder)? {
                Some(Kind::Folder) => {}
                // A folder that was changed itself takes the place of the new file, and all in it comes along.
                Some(_) if change.kind.is_some() && self.has_folder(folder) => return Ok(()),
                Some(_) => return Err(OstreeError::etc(folder, IN_A_FOLDER)),
                None => return Ok(()),
            }
        }
        let is_folder = matches!(change.kind, None | Some(Kind::Folder));
        if !is_folder && tree.kind(&change.path)? == Some(Kind::Folder) {
            return Err(OstreeError::etc(&change.path, FOR_A_FOLDER));
        }
        Ok(())
    }

    fn has_folder(&self, path: &Path) -> bool {
        self.changes.iter().any(|change| change.path == path && change.kind == Some(Kind::Folder))
    }
}

const FOR_A_FOLDER: &str = "is a file or link of this device, and a folder in the new system";
const IN_A_FOLDER: &str =
    "is a folder in which this device changed something, and no folder in the new system";

/// /etc of a commit, as far as its objects can be had.
pub(super) struct Tree<'a> {
    /// The bytes of a dirtree; none where they are not there.
    bytes: &'a dyn Fn(ObjectId) -> Result<Option<Vec<u8>>, OstreeError>,
    folders: HashMap<PathBuf, Names>,
}

/// None: not known.
type Names = Option<HashMap<OsString, ObjectId>>;

impl<'a> Tree<'a> {
    /// `root` is the commit's dirtree.
    pub fn new(
        root: ObjectId,
        bytes: &'a dyn Fn(ObjectId) -> Result<Option<Vec<u8>>, OstreeError>,
    ) -> Result<Tree<'a>, OstreeError> {
        let mut tree = Tree { bytes, folders: HashMap::new() };
        let mut etc = Some(root);
        for name in ["usr", "etc"] {
            let names = match etc {
                Some(id) => tree.names(id)?,
                None => None,
            };
            etc = names.and_then(|names| names.get(OsStr::new(name)).copied());
        }
        let names = match etc {
            Some(id) => tree.names(id)?,
            None => None,
        };
        tree.folders.insert(PathBuf::new(), names);
        Ok(tree)
    }

    fn kind(&mut self, path: &Path) -> Result<Option<Kind>, OstreeError> {
        Ok(self.find(path)?.map(|id| match id.kind {
            ObjectKind::DirTree => Kind::Folder,
            _ => Kind::File,
        }))
    }

    fn find(&mut self, path: &Path) -> Result<Option<ObjectId>, OstreeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        if !self.folders.contains_key(parent) {
            let names = match self.find(parent)? {
                Some(id) => self.names(id)?,
                None => None,
            };
            self.folders.insert(parent.to_path_buf(), names);
        }
        Ok(self.folders.get(parent).and_then(|names| names.as_ref()?.get(name).copied()))
    }

    fn names(&self, id: ObjectId) -> Result<Names, OstreeError> {
        if id.kind != ObjectKind::DirTree {
            return Ok(None);
        }
        let Some(bytes) = (self.bytes)(id)? else { return Ok(None) };
        Ok(Some(parse::children(id, &bytes)?.into_iter().map(|(name, id)| (name.into(), id)).collect()))
    }
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn kind_of(path: &Path) -> io::Result<Option<Kind>> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_file() => Ok(Some(Kind::File)),
        Ok(file) if file.is_dir() => Ok(Some(Kind::Folder)),
        Ok(file) if file.is_symlink() => Ok(Some(Kind::Link)),
        Ok(_) => Ok(Some(Kind::Special)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether libostree sees no difference: kind, owner, mode and content.
fn same(was: &Path, is: &Path, kind: Kind) -> io::Result<bool> {
    if kind_of(was)? != Some(kind) {
        return Ok(false);
    }
    let (old, new) = (fs::symlink_metadata(was)?, fs::symlink_metadata(is)?);
    let key = |file: &Metadata| (file.uid(), file.gid(), file.mode());
    if key(&old) != key(&new) {
        return Ok(false);
    }
    match kind {
        Kind::Link => Ok(fs::read_link(was)? == fs::read_link(is)?),
        Kind::File => Ok(old.len() == new.len() && same_content(File::open(was)?, File::open(is)?)?),
        _ => Ok(true),
    }
}

fn same_content(a: File, b: File) -> io::Result<bool> {
    const PIECE: u64 = 64 << 10;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        (&a).take(PIECE).read_to_end(&mut one)?;
        (&b).take(PIECE).read_to_end(&mut other)?;
        if one != other || one.is_empty() {
            return Ok(one == other);
        }
    }
}

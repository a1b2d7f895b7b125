//! Takes the objects that a static delta brought into the device's repository. What the process that applied it left
//! behind is as foreign as what a server sends: each object has the right hash, or it is not taken.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::ostree::glib::{Bytes, Variant, VariantTy};
use ::ostree::prelude::*;
use ::ostree::{gio, glib};

use super::PullOptions;
use super::fetcher::verified_names;
use super::transaction::Transaction;
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::{ObjectId, ObjectKind};
use crate::payload::ostree::parse;
use crate::payload::ostree::plan::Walk;
use crate::payload::ostree::space::Space;
use crate::payload::ostree::sysroot::KEEP_REF;

/// How a repository of this mode keeps owner, mode and extended attributes of a file.
const ATTRIBUTE: &str = "user.ostreemeta";
const ATTRIBUTE_SHAPE: &str = "(uuua(ayay))";
/// The kernel keeps no longer ones.
const LONGEST_ATTRIBUTE: usize = 64 << 10;
const LONGEST_LINK: u64 = 4096;

/// From the repository in `from` to the device's.
pub struct Import<'a> {
    pub repo: &'a ::ostree::Repo,
    pub from: &'a Path,
    pub space: &'a Space,
    pub options: &'a PullOptions,
}

impl Import<'_> {
    /// Takes what the commit needs and the delta brought. The rest is left to the walk that follows.
    pub fn take(&self, commit: &str) -> Result<(), OstreeError> {
        let transaction = Transaction::begin(self.repo)?;
        let mut walk = Walk::default();
        let mut open = walk.visit(self.space.path(), vec![ObjectId::commit(commit)?])?;
        while let Some(id) = open.pop() {
            if self.options.is_stopped() {
                return Err(OstreeError::Stopped);
            }
            let named = self.take_one(id)?;
            open.extend(walk.visit(self.space.path(), named)?);
        }
        transaction.commit()
    }

    /// Returns the objects that it names.
    fn take_one(&self, id: ObjectId) -> Result<Vec<ObjectId>, OstreeError> {
        let path = self.path(id);
        // The other process might have put anything there: a pipe would never end.
        let Ok(length) = regular(&path) else { return Ok(Vec::new()) };
        let failed = |e: io::Error| OstreeError::repo(format!("reading {}", path.display()), e);
        if id.is_metadata() && length > self.options.limits.of(&id) {
            return Err(OstreeError::TooLarge { url: path.display().to_string(), limit: length });
        }
        let named = if id.is_metadata() {
            self.metadata(id, &fs::read(&path).map_err(failed)?)?
        } else {
            self.file(id, File::open(&path).map_err(failed)?, length)?;
            Vec::new()
        };
        // So that no object is on the disk twice for long.
        let _ = fs::remove_file(&path);
        Ok(named)
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        let path = id.path();
        // File objects are not compressed here.
        self.from.join(path.strip_suffix("z").unwrap_or(&path))
    }

    fn metadata(&self, id: ObjectId, bytes: &[u8]) -> Result<Vec<ObjectId>, OstreeError> {
        let named = verified_names(id, bytes)?;
        let value = parse::metadata(id, bytes);
        let written = self
            .repo
            .write_metadata(id.ostree_type(), Some(&id.hex()), &value, gio::Cancellable::NONE)
            .map_err(|e| wrong(id, e))?;
        expect(id, &written.to_hex())?;
        if id.kind == ObjectKind::Commit {
            self.repo.transaction_set_ref(None, KEEP_REF, Some(&id.hex()));
        }
        Ok(named)
    }

    fn file(&self, id: ObjectId, mut file: File, length: u64) -> Result<(), OstreeError> {
        const KIND: u32 = 0o170_000;
        const SYMLINK: u32 = 0o120_000;
        self.space.require(length)?;
        let Attributes { uid, gid, mode, xattrs } = attributes(id, &file)?;
        let sum = id.hex();
        let none = gio::Cancellable::NONE;
        let written = if mode & KIND == SYMLINK {
            let target = link(file).map_err(|e| wrong(id, e))?;
            self.repo.write_symlink(Some(&sum), uid, gid, Some(&xattrs), &target, none)
        } else {
            let writer = self.repo.write_regfile(Some(&sum), uid, gid, mode, length, Some(&xattrs));
            let writer = writer.map_err(|e| wrong(id, e))?;
            copy(&mut file, length, &writer).map_err(|e| wrong(id, e))?;
            writer.finish(none)
        };
        expect(id, &written.map_err(|e| wrong(id, e))?)
    }
}

struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    xattrs: Variant,
}

fn attributes(id: ObjectId, file: &File) -> Result<Attributes, OstreeError> {
    let mut bytes = vec![0; LONGEST_ATTRIBUTE];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut bytes[..]).map_err(|e| wrong(id, e))?;
    bytes.truncate(length);
    let shape = VariantTy::new(ATTRIBUTE_SHAPE).map_err(|e| wrong(id, e))?;
    let variant = Variant::from_bytes_with_type(&Bytes::from_owned(bytes), shape);
    if !variant.is_normal_form() {
        return Err(wrong(id, "its attributes are not in normal form"));
    }
    let number = |index| variant.child_value(index).get::<u32>().map(u32::from_be).unwrap_or(0);
    Ok(Attributes { uid: number(0), gid: number(1), mode: number(2), xattrs: variant.child_value(3) })
}

/// Where a symbolic link points: libostree keeps it as the text of a file, with its final zero byte. The binding panics at
/// any other.
fn link(file: File) -> io::Result<String> {
    let mut target = String::new();
    file.take(LONGEST_LINK).read_to_string(&mut target)?;
    let target = target.strip_suffix('\0').unwrap_or(&target);
    if target.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it points to a name with a zero byte"));
    }
    Ok(target.to_string())
}

fn copy(file: &mut File, length: u64, to: &::ostree::ContentWriter) -> Result<(), glib::Error> {
    let mut buffer = vec![0; 64 << 10];
    let mut from = file.take(length);
    loop {
        let read =
            from.read(&mut buffer).map_err(|e| glib::Error::new(gio::IOErrorEnum::Failed, &e.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        let (_, partial) = to.write_all(&buffer[..read], gio::Cancellable::NONE)?;
        if let Some(error) = partial {
            return Err(error);
        }
    }
}

fn regular(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if found.is_file() { Ok(found.len()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
}

fn expect(id: ObjectId, written: &str) -> Result<(), OstreeError> {
    if written == id.hex() {
        return Ok(());
    }
    Err(wrong(id, format!("its content has {written}")))
}

fn wrong(object: ObjectId, reason: impl std::fmt::Display) -> OstreeError {
    OstreeError::Checksum { object, reason: reason.to_string() }
}

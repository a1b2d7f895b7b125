//! What is known to fail later is told before the download: where /boot is a volume of its own, the kernel, its initramfs
//! and its device trees have to fit there.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::OstreeError;
use super::loose::{self, Loose};
use super::object::{ObjectId, ObjectKind};
use super::parse::{self, ObjectSize};
use super::pull::Alone;
use super::space;
use super::sysroot::Sysroot;

/// Names in a kernel's folder that libostree copies to /boot, beside the folder `dtb`.
const COPIED: [&str; 5] = ["vmlinuz", "initramfs.img", "initramfs", "devicetree", "aboot.img"];

/// What files take on a volume.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub bytes: u64,
    pub files: u64,
}

impl Room {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files += u64::from(bytes > 0);
    }
}

/// The menu's folders and entries, written anew beside the old ones.
const MENU_FILES: u64 = 8;

/// Refuses a commit whose kernel will not fit. `missing` are the objects with their signed sizes, if the commit has any; a kernel
/// that is in the repository is taken for one that is in /boot too.
pub(super) fn require_boot(
    sysroot: &Sysroot,
    alone: &Alone<'_>,
    root: ObjectId,
    missing: &HashMap<ObjectId, &ObjectSize>,
) -> Result<(), OstreeError> {
    let boot = sysroot.boot();
    if !is_other_volume(&boot, alone.repo_path) {
        return Ok(());
    }
    let asked = Cell::new(0);
    let size = |id: &ObjectId| match missing.get(id) {
        Some(size) => size.unpacked,
        None if loose::is_there(alone.repo_path, *id) => 0,
        None => asked_size(alone, *id, &asked),
    };
    let needed = kernel_room(&|id| alone.fetch(id), &size, alone.repo_path, root)?;
    let back = sysroot.boot_room_given_back(&boot);
    let path = space::mount_point(&boot);
    let available = space::free(&boot)?.saturating_add(back.bytes);
    if needed.bytes > available {
        return Err(OstreeError::NoSpace { path, needed: Some(needed.bytes), available, reserved: 0 });
    }
    let files = needed.files + MENU_FILES;
    match space::free_files(&boot)?.map(|free| free.saturating_add(back.files)) {
        Some(available) if available < files => Err(OstreeError::NoInodes { path, needed: files, available }),
        _ => Ok(()),
    }
}

/// What a kernel that was fetched takes in /boot.
pub(super) fn boot_bytes(repo_path: &Path, commit: ObjectId) -> Result<u64, OstreeError> {
    let bytes = |id| match loose::read(repo_path, id)? {
        Loose::Sound(bytes) => Ok(bytes),
        Loose::Absent | Loose::Damaged => Err(OstreeError::NotPulled { commit: commit.hex() }),
    };
    let size = |id: &ObjectId| loose::length(repo_path, *id);
    let root = parse::commit(commit, &bytes(commit)?)?.root[0];
    Ok(kernel_room(&bytes, &size, repo_path, root)?.bytes)
}

/// The size in the head of a file that is not here, where no signed size tells it.
fn asked_size(alone: &Alone<'_>, id: ObjectId, asked: &Cell<usize>) -> u64 {
    const MOST_ASKED: usize = 64;
    if asked.replace(asked.get() + 1) >= MOST_ASKED { 0 } else { alone.size(id).unwrap_or(0) }
}

pub(super) fn is_other_volume(boot: &Path, repo_path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    device(boot).is_some_and(|boot| Some(boot) != device(repo_path))
}

/// What is below a folder.
pub(super) fn room_below(folder: &Path) -> Room {
    let mut room = Room::default();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(file) if file.is_dir() => open.push(entry.path()),
                Ok(file) => room.add(file.len()),
                Err(_) => {}
            }
        }
    }
    room
}

type Bytes<'a> = &'a dyn Fn(ObjectId) -> Result<Vec<u8>, OstreeError>;
type Size<'a> = &'a dyn Fn(&ObjectId) -> u64;

fn kernel_room(
    bytes: Bytes<'_>,
    size: Size<'_>,
    repo_path: &Path,
    root: ObjectId,
) -> Result<Room, OstreeError> {
    let children = |id| children(bytes, repo_path, id);
    let mut folder = root;
    for name in ["usr", "lib", "modules"] {
        match children(folder)?.into_iter().find(|(n, id)| n == name && id.kind == ObjectKind::DirTree) {
            Some((_, id)) => folder = id,
            None => return Ok(Room::default()),
        }
    }
    // libostree takes the first that has a kernel.
    const MOST_KERNELS: usize = 8;
    for (_, kernel) in children(folder)?.into_iter().take(MOST_KERNELS) {
        let inside = children(kernel)?;
        if inside.iter().any(|(name, _)| name == "vmlinuz") {
            return copied(&children, size, inside);
        }
    }
    Ok(Room::default())
}

fn copied(
    children: &dyn Fn(ObjectId) -> Result<Names, OstreeError>,
    size: Size<'_>,
    inside: Names,
) -> Result<Room, OstreeError> {
    const MOST_FOLDERS: usize = 64;
    let mut room = Room::default();
    let mut folders = Vec::new();
    for (name, id) in &inside {
        match id.kind {
            ObjectKind::File if COPIED.contains(&name.as_str()) => room.add(size(id)),
            ObjectKind::DirTree if name == "dtb" => folders.push(*id),
            _ => {}
        }
    }
    for _ in 0..MOST_FOLDERS {
        let Some(folder) = folders.pop() else { break };
        for (_, id) in children(folder)? {
            match id.kind {
                ObjectKind::DirTree => folders.push(id),
                _ => room.add(size(&id)),
            }
        }
    }
    Ok(room)
}

type Names = Vec<(String, ObjectId)>;

/// The names in a folder. What is not here is asked for, and asked for again by the walk: a few small objects.
fn children(bytes: Bytes<'_>, repo_path: &Path, id: ObjectId) -> Result<Names, OstreeError> {
    if id.kind != ObjectKind::DirTree {
        return Ok(Vec::new());
    }
    let bytes = match loose::read(repo_path, id)? {
        Loose::Sound(bytes) => bytes,
        Loose::Absent | Loose::Damaged => bytes(id)?,
    };
    parse::children(id, &bytes)
}

//! What a process gives up before it applies a static delta. Limits always hold; the rest as far as the system lets it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::process::{self, Resource, Rlimit, Signal};
use rustix::thread::{self, CapabilitySet, CapabilitySets, UnshareFlags};

/// Memory that is written to. libostree's unpacker takes 33 MiB for its dictionary; an object that is patched by
/// bsdiff is in memory as a whole, so a delta with larger ones ends here, and the objects are fetched.
const MEMORY: u64 = 48 << 20;
/// Room for the program, its libraries, and files that are mapped to be read.
const ADDRESS_SPACE: u64 = 1 << 30;
const OPEN_FILES: u64 = 256;

/// Ends with its parent, writes no file above `file` bytes, and takes at most `seconds` of a processor.
pub fn limit(file: u64, seconds: u64) -> io::Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let limits = [
        (Resource::Core, 0),
        (Resource::Fsize, file),
        (Resource::Cpu, seconds),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Data, MEMORY),
        (Resource::As, ADDRESS_SPACE.saturating_add(file.saturating_mul(2))),
    ];
    for (resource, value) in limits {
        let most = process::getrlimit(resource).maximum.map_or(value, |most| most.min(value));
        process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Takes a root folder without anything but `scratch` to write in, and no network. Returns where `repo` is then.
/// Where the system refuses (no root, or a unit without namespaces), `repo` stays where it is.
pub fn isolate(scratch: &Path, repo: &Path) -> PathBuf {
    match separate().and_then(|()| change_root(scratch, repo)) {
        Ok(()) => PathBuf::from("/parent"),
        Err(_) => repo.to_path_buf(),
    }
}

/// Gives up all privileges but to read the files of every owner: an object has the owner of its file.
pub fn drop_privileges() -> io::Result<()> {
    thread::set_no_new_privs(true)?;
    let held = thread::capabilities(None)?.permitted;
    let kept = held & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(thread::set_capabilities(None, sets)?)
}

fn separate() -> io::Result<()> {
    // A unit may allow the one and not the other.
    let _ = unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC);
    unshare(UnshareFlags::NEWNS)
}

/// rustix calls it unsafe since a shared table of open files may be parted by it; namespaces part none, and there is
/// one thread.
#[allow(deprecated)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(thread::unshare(flags)?)
}

fn change_root(scratch: &Path, repo: &Path) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // libostree gives files without a name one through /proc/self/fd.
    for (source, name) in [(repo, "parent"), (Path::new("/proc"), "proc")] {
        let target = scratch.join(name);
        fs::create_dir_all(&target)?;
        mount_bind(source, &target)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(&target, flags, "")?;
    }
    process::chroot(scratch)?;
    std::env::set_current_dir("/")
}

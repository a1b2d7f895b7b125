//! What libostree cannot open a sysroot without: the repository's `config`, its folders, the origin files of deployments, and a menu
//! whose entries all lead to one. A power cut may leave them empty, cut or full of zeros; without a remedy no command would work again, not even the one that
//! confirms a boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::ostree::glib::{KeyFile, KeyFileFlags};
use rustix::mount::{MountFlags, mount_remount};

use super::error::OstreeError;
use super::sysroot::Sysroot;
use crate::store::atomic;

/// A copy of `config` as it was when this client last changed the repository.
const COPY: &str = "config.copy";
const FOLDERS: [&str; 6] = ["objects", "refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp"];

/// Those of a repository that deployments are made from, and those that others of its tools may have set.
const MODES: [&str; 6] =
    ["bare", "bare-user", "bare-user-only", "bare-split-xattrs", "archive", "archive-z2"];

/// Puts right what is damaged. Tells whether there was anything.
pub(super) fn heal(sysroot: &Path) -> Result<bool, OstreeError> {
    let repo = sysroot.join("ostree/repo");
    if !repo.join("objects").is_dir() {
        return Ok(false);
    }
    let mut healed = heal_config(sysroot, &repo)?;
    healed |= make_folders(&repo).unwrap_or(false);
    for origin in origins(sysroot) {
        if key_file(&origin).is_none() {
            healed |= set_aside(&origin).is_ok();
        }
    }
    Ok(healed | heal_menu(sysroot))
}

/// Without the entries that lead to no deployment. One that does has to stay.
fn heal_menu(sysroot: &Path) -> bool {
    // libostree reads no other entries: what else is in the menu belongs to somebody else.
    let is_ours =
        |entry: &PathBuf| entry.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ostree-"));
    let entries: Vec<_> =
        files(&sysroot.join("boot/loader/entries"), "conf").into_iter().filter(is_ours).collect();
    let (sound, damaged): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| leads_to_a_deployment(sysroot, entry));
    if sound.is_empty() {
        return false;
    }
    let mut healed = false;
    for entry in damaged {
        make_writable(&entry, &sysroot.join("boot"));
        healed |= set_aside(&entry).is_ok();
    }
    healed
}

fn leads_to_a_deployment(sysroot: &Path, entry: &Path) -> bool {
    let bytes = fs::read(entry).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let options =
        text.lines().filter_map(|line| line.strip_prefix("options")).flat_map(str::split_whitespace);
    let mut paths = options.filter_map(|option| option.strip_prefix("ostree="));
    // Of a path that is cut, the folder may be there; the link is not.
    let is_link = |path: PathBuf| path.is_symlink() && path.is_dir();
    paths.next().is_some_and(|path| is_link(sysroot.join(path.trim_start_matches('/'))))
}

impl Sysroot {
    /// For a repository that is about to be changed: its folders, and a copy of the configuration that it worked with.
    pub(super) fn keep_healthy(&self) -> Result<(), OstreeError> {
        let repo = self.repo_path()?;
        let failed = |e: io::Error| OstreeError::repo(format!("making the folders of {}", repo.display()), e);
        make_folders(&repo).map_err(failed)?;
        let (config, copy) = (repo.join("config"), repo.join(COPY));
        if is_config(&config) && fs::read(&config).ok() != fs::read(&copy).ok() {
            let bytes = fs::read(&config).map_err(failed)?;
            if let Err(error) = atomic::write(&copy, &bytes) {
                log::warn!("keeping a copy of the repository's configuration: {error}");
            }
        }
        Ok(())
    }
}

/// From the copy; without one, from what can be read of it. An image's repository is bare.
fn heal_config(sysroot: &Path, repo: &Path) -> Result<bool, OstreeError> {
    let (config, copy) = (repo.join("config"), repo.join(COPY));
    if is_config(&config) {
        return Ok(false);
    }
    let bytes = match fs::read(&copy) {
        Ok(bytes) if is_config(&copy) => bytes,
        _ => rescued(&fs::read(&config).unwrap_or_default()).into_bytes(),
    };
    make_writable(&config, &sysroot.join("sysroot"));
    let _ = set_aside(&config);
    let doing = format!("{} is damaged; writing it anew", config.display());
    atomic::write(&config, &bytes).map_err(|e| OstreeError::repo(doing, e))?;
    Ok(true)
}

/// libostree mounts a volume for writing only once the sysroot is open. This process has a mount namespace of its own by now.
fn make_writable(file: &Path, volume: &Path) {
    let open = fs::File::options().append(true).open(file);
    if open.is_err_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem) {
        let _ = mount_remount(volume, MountFlags::SILENT, "");
    }
}

/// The lines that can be read of a damaged configuration, and those that none can be without.
fn rescued(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let file = KeyFile::new();
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.contains(['\0', '\u{fffd}'])) {
        match (line.strip_prefix('[').and_then(|l| l.strip_suffix(']')), line.split_once('=')) {
            (Some(name), _) => section = name,
            (None, Some((key, value))) if !section.is_empty() && !line.starts_with('#') => {
                file.set_value(section, key.trim(), value.trim());
            }
            _ => {}
        }
    }
    file.set_value("core", "repo_version", "1");
    if !has_mode(&file) {
        file.set_value("core", "mode", "bare");
    }
    file.to_data().to_string()
}

fn is_config(path: &Path) -> bool {
    key_file(path)
        .is_some_and(|file| file.value("core", "repo_version").is_ok_and(|v| v == "1") && has_mode(&file))
}

fn has_mode(file: &KeyFile) -> bool {
    file.value("core", "mode").is_ok_and(|mode| MODES.contains(&mode.as_str()))
}

fn key_file(path: &Path) -> Option<KeyFile> {
    // The binding panics at a zero byte.
    let text = fs::read_to_string(path).ok().filter(|text| !text.contains('\0'))?;
    let file = KeyFile::new();
    file.load_from_data(&text, KeyFileFlags::NONE).ok()?;
    Some(file)
}

fn make_folders(repo: &Path) -> io::Result<bool> {
    let mut made = false;
    for folder in FOLDERS.map(|folder| repo.join(folder)) {
        if !folder.is_dir() {
            log::warn!("{}: not there, making it", folder.display());
            fs::create_dir_all(folder)?;
            made = true;
        }
    }
    Ok(made)
}

fn origins(sysroot: &Path) -> Vec<PathBuf> {
    let systems = fs::read_dir(sysroot.join("ostree/deploy")).into_iter().flatten().flatten();
    systems.flat_map(|os| files(&os.path().join("deploy"), "origin")).collect()
}

/// The files of a folder whose names end so.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension) && path.is_file()).collect()
}

fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    log::error!("{}: damaged, moving it to {}", path.display(), Path::new(&name).display());
    fs::rename(path, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_configuration_keeps_what_can_be_read() {
        let whole =
            "[core]\nrepo_version=1\nmode=bare-user\nmin-free-space-percent=0\n[sysroot]\nreadonly=true\n";
        for (damaged, kept) in [
            (&b""[..], vec!["mode=bare\n"]),
            (&[0; 60], vec!["mode=bare\n"]),
            (&whole.as_bytes()[..25], vec!["mode=bare\n"]),
            (&whole.as_bytes()[..60], vec!["mode=bare-user\n"]),
            (
                whole.as_bytes(),
                vec!["mode=bare-user\n", "min-free-space-percent=0\n", "[sysroot]\nreadonly=true\n"],
            ),
            (b"garbage\n[core]\nmode=arch\nfsync=false\n", vec!["mode=bare\n", "fsync=false\n"]),
        ] {
            let text = rescued(damaged);
            assert!(text.contains("[core]\n") && text.contains("repo_version=1\n"), "{text}");
            assert!(kept.iter().all(|line| text.contains(line)), "{text}");
        }
    }
}

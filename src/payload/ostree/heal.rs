//! What libostree cannot open a sysroot without: the repository's `config`, its folders, and the origin files of deployments.
//! A power cut may leave them empty, cut or full of zeros; without a remedy no command would work again, not even the one that
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
    Ok(healed)
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
    if fs::File::options()
        .append(true)
        .open(&config)
        .is_err_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem)
    {
        // libostree mounts it for writing only once it is open. This process has a mount namespace of its own by now.
        let _ = mount_remount(sysroot.join("sysroot"), MountFlags::SILENT, "");
    }
    let _ = set_aside(&config);
    let doing = format!("{} is damaged; writing it anew", config.display());
    atomic::write(&config, &bytes).map_err(|e| OstreeError::repo(doing, e))?;
    Ok(true)
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
    let below =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below(sysroot.join("ostree/deploy")).flat_map(|os| below(os.join("deploy")));
    files.filter(|path| path.extension().is_some_and(|e| e == "origin") && path.is_file()).collect()
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

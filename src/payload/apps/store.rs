//! Apps and their blobs on disk, in the layout that composectl and offline bundles have:
//!
//! ```text
//! blobs/sha256/HEX                  manifests, configs, layers, archives
//! apps/NAME/HEX/uri                 an app that is whole; HEX is its manifest's digest
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::app::App;
use super::error::AppsError;
use super::reference::Digest;
use crate::store::atomic;
use crate::tuf::to_hex;

/// A folder of apps and blobs. What is in it under its name was checked as it was written.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// In this folder, which is made when something is written.
    pub fn at(root: &Path) -> Store {
        Store { root: root.to_path_buf() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether it is there, and of the right length where that is known.
    pub fn has(&self, digest: &Digest, size: Option<u64>) -> bool {
        self.path(digest).metadata().is_ok_and(|m| m.is_file() && size.is_none_or(|s| s == m.len()))
    }

    /// A blob that is looked into: hashed again, since it may be older than this program.
    pub fn verified(&self, digest: &Digest) -> Result<PathBuf, AppsError> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(AppsError::io("open", &path))?;
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(AppsError::io("read", &path))?;
        let found = to_hex(&hash.finalize());
        if found == digest.hex() {
            return Ok(path);
        }
        // Gone, so that the next download brings it again.
        atomic::remove(&path)?;
        Err(AppsError::Digest {
            url: path.display().to_string(),
            reason: format!("has become sha256:{found}; run download again"),
        })
    }

    /// The bytes of a small blob, verified.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, AppsError> {
        let path = self.verified(digest)?;
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(AppsError::io("open", &path))?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(AppsError::io("read", &path))?;
        if bytes.len() as u64 > limit {
            return Err(AppsError::Manifest {
                name: path.display().to_string(),
                reason: format!("has more than the {limit} bytes that are allowed"),
            });
        }
        Ok(bytes)
    }

    /// Puts bytes under their own name.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, AppsError> {
        let hex = to_hex(&Sha256::digest(bytes));
        let path = self.root.join("blobs/sha256").join(&hex);
        atomic::write(&path, bytes)?;
        Digest::from_hex(&hex).ok_or(AppsError::Stopped)
    }

    /// Begins, or goes on with, a blob that is being fetched.
    pub fn incoming(&self, digest: &Digest) -> Result<Incoming, AppsError> {
        let path = self.path(digest).with_extension("partial");
        atomic::make_parent(&path)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(AppsError::io("open", &path))?;
        let mut hash = Sha256::new();
        let length = io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(AppsError::io("read", &path))?;
        Ok(Incoming { file, path, to: self.path(digest), digest: digest.clone(), hash, length })
    }

    /// Notes that an app is whole.
    pub fn note(&self, app: &App) -> Result<(), AppsError> {
        let folder = self.app_folder(&app.name, &app.uri.digest);
        let uri = app.uri.to_string();
        if fs::read_to_string(folder.join("uri")).is_ok_and(|present| present == uri) {
            return Ok(());
        }
        let manifest = fs::read(self.path(&app.uri.digest)).map_err(AppsError::io("read", &folder))?;
        atomic::write(&folder.join("manifest.json"), &manifest)?;
        Ok(atomic::write(&folder.join("uri"), uri.as_bytes())?)
    }

    /// The apps that were noted: name, and URI.
    pub fn noted(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for app in folders(&self.root.join("apps")) {
            for version in folders(&app) {
                let name = app.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if let Ok(uri) = fs::read_to_string(version.join("uri")) {
                    found.push((name, uri.trim().to_string()));
                }
            }
        }
        found
    }

    /// Removes every app and blob that none of `keep` needs; gives the bytes that were freed.
    pub fn prune(&self, keep: &[App]) -> Result<u64, AppsError> {
        let kept: BTreeSet<PathBuf> = keep.iter().map(|a| self.app_folder(&a.name, &a.uri.digest)).collect();
        for app in folders(&self.root.join("apps")) {
            for version in folders(&app).into_iter().filter(|v| !kept.contains(v)) {
                fs::remove_dir_all(&version).map_err(AppsError::io("remove", &version))?;
            }
            // Stays where it still has versions.
            let _ = fs::remove_dir(&app);
        }
        let needed: BTreeSet<String> =
            keep.iter().flat_map(App::digests).map(|d| d.hex().to_string()).collect();
        let mut freed = 0;
        let blobs = self.root.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
                freed += entry.metadata().map_or(0, |m| m.len());
                let path = entry.path();
                fs::remove_file(&path).map_err(AppsError::io("remove", &path))?;
            }
        }
        Ok(freed)
    }

    fn app_folder(&self, name: &str, digest: &Digest) -> PathBuf {
        self.root.join("apps").join(name).join(digest.hex())
    }
}

/// A blob on its way into the store.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    path: PathBuf,
    to: PathBuf,
    digest: Digest,
    hash: Sha256,
    length: u64,
}

impl Incoming {
    /// Bytes that are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), AppsError> {
        self.file.write_all(bytes).map_err(AppsError::io("write", &self.path))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Starts over.
    pub fn clear(&mut self) -> Result<(), AppsError> {
        use std::io::Seek;
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(AppsError::io("write", &self.path))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Puts it in its place if it is what was named; what is not is thrown away. Gives what came instead.
    pub fn finish(mut self) -> Result<Option<String>, AppsError> {
        let found = to_hex(&std::mem::take(&mut self.hash).finalize());
        if found != self.digest.hex() {
            atomic::remove(&self.path)?;
            return Ok(Some(format!("sha256:{found}")));
        }
        self.file.sync_all().map_err(AppsError::io("sync", &self.path))?;
        atomic::rename(&self.path, &self.to)?;
        Ok(None)
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_into_is_what_its_name_says() {
        let folder = std::env::temp_dir().join(format!("rust-ota-store-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let store = Store::at(&folder);
        let digest = store.put(b"a manifest").unwrap();
        assert_eq!(store.read(&digest, 10).unwrap(), b"a manifest");
        assert!(store.read(&digest, 9).unwrap_err().to_string().contains("more than the 9 bytes"));
        for (size, there) in [(None, true), (Some(10), true), (Some(9), false), (Some(11), false)] {
            assert_eq!(store.has(&digest, size), there, "{size:?}");
        }
        fs::write(store.path(&digest), b"a manifesT").unwrap();
        assert!(matches!(store.read(&digest, 10), Err(AppsError::Digest { .. })));
        assert!(!store.has(&digest, None), "the next download brings it again");
        fs::remove_dir_all(folder).unwrap();
    }
}

//! One at a time. The file is never removed: who removes a locked file lets two in.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::StoreError;

/// Held while its value lives; the kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock or says who holds it. `holder` is what others are told about us.
    pub fn take(path: &Path, holder: &str) -> Result<Lock, StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| StoreError::io("open", path, e))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.take(256).read_to_string(&mut holder);
            return Err(StoreError::Locked { path: path.to_path_buf(), holder: holder.trim().to_string() });
        }
        let line = format!("{holder}, process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(|e| StoreError::io("write", path, e))?;
        Ok(Lock { _file: file })
    }
}

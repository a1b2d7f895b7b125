//! GRUB's environment block: the file that `load_env` and `save_env` of a grub.cfg share with the system.
//!
//! A fixed number of bytes: a first line, `name=value` lines in which a backslash escapes a backslash and a line's end,
//! and `#` up to the end. The grub.cfg counts as the U-Boot script does: `bootcount` while `upgrade_available` is 1, and
//! `rollback` when it gave up.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{BootError, BootState, Bootloader};
use crate::store::atomic;

const HEADER: &[u8] = b"# GRUB Environment Block\n";
/// What `grub-editenv create` makes, and what GRUB 2 reads at least.
const SIZE: usize = 1024;
const LARGEST: usize = 64 * 1024;
const VARIABLES: [&str; 4] = ["bootcount", "bootlimit", "upgrade_available", "rollback"];

/// A GRUB that counts boots.
#[derive(Debug)]
pub struct Grub {
    path: PathBuf,
}

/// The lines of a block, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Name and value as raw bytes: GRUB knows no encoding.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// Remarks that end in a line's end, as grub-editenv writes one.
    pub remarks: Vec<Vec<u8>>,
    size: usize,
}

/// Why a file is no environment block, or cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockFault {
    /// The first line is another one.
    Header,
    /// It is shorter or longer than GRUB reads.
    Size(usize),
    /// A line has no `=`, or no end.
    Line(usize),
    /// The variables do not fit any more.
    Full(usize),
}

impl Block {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Block, BlockFault> {
        if !(HEADER.len()..=LARGEST).contains(&bytes.len()) {
            return Err(BlockFault::Size(bytes.len()));
        }
        let mut rest = bytes.strip_prefix(HEADER).ok_or(BlockFault::Header)?;
        let mut block = Block { variables: Vec::new(), remarks: Vec::new(), size: bytes.len() };
        while let Some(first) = rest.first() {
            let bad = BlockFault::Line(bytes.len() - rest.len());
            let end = line_end(rest);
            if *first == b'#' {
                // The padding has no end of its own.
                let Some(end) = rest.iter().position(|b| *b == b'\n') else { break };
                block.remarks.push(rest[..end].to_vec());
                rest = &rest[end + 1..];
                continue;
            }
            let end = end.ok_or(bad.clone())?;
            let equals = rest[..end].iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or(bad)?;
            block.variables.push((rest[..equals].to_vec(), unescaped(&rest[equals + 1..end])));
            rest = &rest[end + 1..];
        }
        Ok(block)
    }

    /// The file, of the size that it had.
    pub fn format(&self) -> Result<Vec<u8>, BlockFault> {
        let mut bytes = HEADER.to_vec();
        for remark in &self.remarks {
            bytes.extend(remark);
            bytes.push(b'\n');
        }
        for (name, value) in &self.variables {
            bytes.extend(name);
            bytes.push(b'=');
            for byte in value {
                if matches!(byte, b'\\' | b'\n') {
                    bytes.push(b'\\');
                }
                bytes.push(*byte);
            }
            bytes.push(b'\n');
        }
        let size = self.size.max(SIZE);
        if bytes.len() > size {
            return Err(BlockFault::Full(bytes.len()));
        }
        bytes.resize(size, b'#');
        Ok(bytes)
    }

    /// A value as text, where it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(n, _)| n == name.as_bytes());
        std::str::from_utf8(&found?.1).ok()
    }

    /// Sets a variable in its place, or at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.variables.iter_mut().find(|(n, _)| n == name.as_bytes()) {
            Some((_, old)) => *old = value.as_bytes().to_vec(),
            None => self.variables.push((name.into(), value.into())),
        }
    }
}

/// The first line's end that is not escaped.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain
}

impl Grub {
    /// By the file, or a link to it.
    pub fn new(path: PathBuf) -> Grub {
        Grub { path }
    }

    fn read(&self) -> Result<(PathBuf, Block), BootError> {
        // Often a symbolic link to the EFI system partition; what is replaced is the file, not the link.
        let path = fs::canonicalize(&self.path).map_err(|e| self.fault(&e))?;
        let bytes = fs::read(&path).map_err(|e| self.fault(&e))?;
        let block = Block::parse(&bytes).map_err(|e| self.fault(&e))?;
        Ok((path, block))
    }

    /// All in one file that replaces the old one, so that a power cut leaves all or nothing.
    fn write(&self, variables: &[(&str, &str)]) -> Result<(), BootError> {
        let (path, mut block) = self.read()?;
        if variables.iter().all(|(name, value)| block.get(name) == Some(value)) {
            return Ok(());
        }
        for (name, value) in variables {
            block.set(name, value);
        }
        let bytes = block.format().map_err(|e| self.fault(&e))?;
        replace(&path, &bytes).map_err(|e| self.fault(&e))
    }

    fn fault(&self, reason: &dyn fmt::Display) -> BootError {
        BootError::Environment { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// Where there is no room for a second file, the first one is written over, as GRUB itself does: it keeps its size.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Err(error) = atomic::write(path, bytes) else { return Ok(()) };
    if fs::metadata(path)?.len() != bytes.len() as u64 {
        return Err(io::Error::other(error.to_string()));
    }
    log::warn!("{error}; writing over it in its place");
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl Bootloader for Grub {
    fn name(&self) -> &'static str {
        "grub"
    }

    fn state(&self) -> Result<BootState, BootError> {
        let (_, block) = self.read()?;
        let known = VARIABLES.iter().filter_map(|n| Some((n.to_string(), block.get(n)?.to_string())));
        Ok(BootState::of(known.collect()))
    }

    fn arm(&self) -> Result<(), BootError> {
        self.write(&[("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "1")])
    }

    fn confirm(&self) -> Result<(), BootError> {
        self.write(&[("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "0")])
    }
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockFault::Header => f.write_str("it is no GRUB environment block"),
            BlockFault::Size(size) => write!(f, "it has {size} bytes, and GRUB's block has {SIZE}"),
            BlockFault::Line(at) => write!(f, "what stands at byte {at} is no name=value line"),
            BlockFault::Full(size) => write!(f, "the variables need {size} bytes and do not fit any more"),
        }
    }
}

#[cfg(test)]
mod tests;

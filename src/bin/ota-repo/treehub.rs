//! The published OSTree archive repository, through libostree.

use std::path::{Path, PathBuf};

use ostree::gio::Cancellable;
use ostree::glib::{self, Variant, VariantDict};
use ostree::{Repo, RepoCommitState, RepoMode};

use crate::deltas;
use crate::error::Error;

const NOT_CANCELLABLE: Option<&Cancellable> = None;

/// The folder of the OSTree repository.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join("treehub")
}

/// Makes the empty archive repository.
pub fn create(dir: &Path) -> Result<(), Error> {
    let path = folder(dir);
    let repo = Repo::new_for_path(&path);
    crate::files::create_folder(&path)?;
    repo.create(RepoMode::Archive, NOT_CANCELLABLE).map_err(failed("create the archive repository", &path))
}

/// Which commit of a source repository is meant.
#[derive(Debug)]
pub enum Wanted {
    /// The newest commit of a ref.
    Ref(String),
    /// A commit by its full checksum.
    Commit(String),
}

/// A commit in another repository, complete and ready to be copied.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    pub commit: String,
}

impl Source {
    /// Finds the commit, and checks that the source has all of it.
    pub fn find(path: &Path, wanted: &Wanted) -> Result<Self, Error> {
        let repo = open(path)?;
        let commit = match wanted {
            Wanted::Commit(commit) => commit.clone(),
            Wanted::Ref(name) => repo
                .resolve_rev(name, false)
                .map_err(failed("find the ref", path))?
                .map(String::from)
                .ok_or_else(|| Error::option("--ref", format!("{name} is not in {}", path.display())))?,
        };
        let (_, state) = repo.load_commit(&commit).map_err(failed("load the commit", path))?;
        if state.contains(RepoCommitState::PARTIAL) {
            return Err(Error::Ostree {
                operation: "copy the commit",
                path: path.to_path_buf(),
                detail: format!("only a part of {commit} is there: pull it whole first"),
            });
        }
        Ok(Self { path: path.to_path_buf(), commit })
    }

    /// Copies the commit into the published repository, under a ref of the Target's name that keeps it from pruning.
    pub fn copy(&self, dir: &Path, target: &str) -> Result<(), Error> {
        let path = folder(dir);
        let repo = open(&path)?;
        let source = self.path.canonicalize().map_err(Error::io("resolve", &self.path))?;
        let published = path.canonicalize().map_err(Error::io("resolve", &path))?;
        if source != published {
            let url = glib::filename_to_uri(&source, None).map_err(failed("read", &source))?;
            repo.pull_with_options(&url, &self.pull_options(), None, NOT_CANCELLABLE)
                .map_err(failed("copy the commit", &self.path))?;
            deltas::copy(&source, dir, &self.commit)?;
        }
        self.check(&repo, &path)?;
        repo.set_ref_immediate(None, &ref_name(target), Some(&self.commit), NOT_CANCELLABLE)
            .map_err(failed("write the ref", &path))
    }

    fn pull_options(&self) -> Variant {
        let options = VariantDict::new(None);
        options.insert("refs", [self.commit.as_str()].as_slice());
        options.end()
    }

    /// A pull that says it went well is not believed: the commit must be there and whole.
    fn check(&self, repo: &Repo, path: &Path) -> Result<(), Error> {
        let (_, state) = repo.load_commit(&self.commit).map_err(failed("load the copied commit", path))?;
        if state.contains(RepoCommitState::PARTIAL) {
            return Err(Error::Ostree {
                operation: "copy the commit",
                path: path.to_path_buf(),
                detail: format!("{} arrived in part only", self.commit),
            });
        }
        Ok(())
    }
}

/// Forgets a Target's ref; its objects stay until the repository is pruned.
pub fn forget(dir: &Path, target: &str) -> Result<(), Error> {
    let path = folder(dir);
    open(&path)?
        .set_ref_immediate(None, &ref_name(target), None, NOT_CANCELLABLE)
        .map_err(failed("remove the ref", &path))
}

fn ref_name(target: &str) -> String {
    format!("targets/{target}")
}

pub fn open(path: &Path) -> Result<Repo, Error> {
    let repo = Repo::new_for_path(path);
    repo.open(NOT_CANCELLABLE).map_err(failed("open the OSTree repository", path))?;
    Ok(repo)
}

pub fn failed(operation: &'static str, path: &Path) -> impl FnOnce(glib::Error) -> Error {
    let path = path.to_path_buf();
    move |error| Error::Ostree { operation, path, detail: error.message().to_string() }
}

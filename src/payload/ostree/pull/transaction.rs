//! libostree's transactions, ended on every path.

use std::path::Path;

use ::ostree::gio;

use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::space::repo_failed;

/// An open transaction. Dropped without commit, its objects stay staged until the next boot.
pub struct Transaction<'a> {
    repo: &'a ::ostree::Repo,
    resumed: bool,
    open: bool,
}

impl<'a> Transaction<'a> {
    pub fn begin(repo: &'a ::ostree::Repo) -> Result<Transaction<'a>, OstreeError> {
        // libostree looks through the staging folders of all that use the repository, and fails at one that goes away meanwhile.
        const TRIES: usize = 3;
        let mut tried = 1;
        loop {
            let error = match repo.prepare_transaction(gio::Cancellable::NONE) {
                Ok(resumed) => return Ok(Transaction { repo, resumed, open: true }),
                Err(error) => error,
            };
            // A transaction that could not begin is open all the same.
            let _ = repo.abort_transaction(gio::Cancellable::NONE);
            if tried == TRIES || !error.matches(gio::IOErrorEnum::NotFound) {
                return Err(repo_failed(repo, "beginning a transaction", error));
            }
            tried += 1;
        }
    }

    /// Makes all objects of the transaction durable, then visible.
    pub fn commit(mut self) -> Result<(), OstreeError> {
        self.repo
            .commit_transaction(gio::Cancellable::NONE)
            .map_err(|e| repo_failed(self.repo, "committing a transaction", e))?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open
            && let Err(error) = self.repo.abort_transaction(gio::Cancellable::NONE)
        {
            log::warn!("ending a transaction: {error}");
        }
    }
}

/// Takes over what killed pulls of this boot left staged. libostree staged only verified objects, and keeps one
/// folder for each transaction that was open.
pub fn recover(repo: &::ostree::Repo, repo_path: &Path) -> Result<(), OstreeError> {
    for _ in 0..staged(repo_path) {
        let transaction = Transaction::begin(repo)?;
        let resumed = transaction.resumed;
        transaction.commit()?;
        if !resumed {
            break;
        }
    }
    Ok(())
}

fn staged(repo_path: &Path) -> usize {
    let entries = std::fs::read_dir(repo_path.join("tmp")).into_iter().flatten().flatten();
    let staging = |entry: &std::fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b"staging-")
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    entries.filter(staging).count()
}

//! libostree's transactions, ended on every path.

use std::path::Path;

use ::ostree::gio;

use crate::payload::ostree::error::OstreeError;

/// An open transaction. Dropped without commit, its objects stay staged until the next boot.
pub struct Transaction<'a> {
    repo: &'a ::ostree::Repo,
    resumed: bool,
    open: bool,
}

impl<'a> Transaction<'a> {
    pub fn begin(repo: &'a ::ostree::Repo) -> Result<Transaction<'a>, OstreeError> {
        let resumed = repo
            .prepare_transaction(gio::Cancellable::NONE)
            .map_err(|e| OstreeError::repo("beginning a transaction", e))?;
        Ok(Transaction { repo, resumed, open: true })
    }

    /// Makes all objects of the transaction durable, then visible.
    pub fn commit(mut self) -> Result<(), OstreeError> {
        self.repo
            .commit_transaction(gio::Cancellable::NONE)
            .map_err(|e| OstreeError::repo("committing a transaction", e))?;
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

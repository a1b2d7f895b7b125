//! One writing thread: libostree checks each fetched object and puts it into the repository.
//!
//! libostree's objects belong to one thread, so each writer opens the repository for itself, with a transaction
//! of its own. A transaction costs one sync of the volume, not one for each object. It is committed now and then:
//! what is committed survives a power cut, what is staged survives only a killed process.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ::ostree::prelude::FileExt;
use ::ostree::prelude::*;
use ::ostree::{gio, glib};

use super::fetcher::{Body, Fetched, reading};
use super::jobs::Job;
use super::queue::lock;
use super::shared::{Event, Shared};
use super::transaction::Transaction;
use crate::payload::ostree::error::{OstreeError, is_no_space};
use crate::payload::ostree::object::{ObjectId, ObjectKind};
use crate::payload::ostree::parse::{self, FILE_PREFIX};
use crate::payload::ostree::space::Space;
use crate::payload::ostree::sysroot::{KEEP_REF, open_repo};

/// Commit a transaction after this many bytes, so that a power cut costs no more.
const BATCH_BYTES: u64 = 128 << 20;
/// Or after this time, for slow links.
const BATCH_TIME: Duration = Duration::from_secs(60);

/// Works until there are no bodies any more, then makes what it wrote durable.
pub fn run(shared: &Shared<'_>) -> Result<(), OstreeError> {
    let repo = open_repo(shared.repo_path)?;
    let mut transaction = Transaction::begin(&repo)?;
    let (mut since, mut bytes) = (Instant::now(), 0);
    while let Some(fetched) = shared.fetched.pop() {
        bytes += fetched.body.length();
        let begun = Instant::now();
        match write_one(shared, &repo, fetched) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                shared.send(Event::Failed(error));
                break;
            }
        }
        shared.write_time.add(begun.elapsed());
        if bytes > BATCH_BYTES || since.elapsed() > BATCH_TIME {
            transaction.commit()?;
            transaction = Transaction::begin(&repo)?;
            (since, bytes) = (Instant::now(), 0);
        }
    }
    // Also after a failure: what was verified is kept.
    transaction.commit()
}

/// Gives whether to go on.
fn write_one(shared: &Shared<'_>, repo: &::ostree::Repo, fetched: Fetched) -> Result<bool, OstreeError> {
    let Fetched { job, body } = fetched;
    let result = match &body {
        Body::Memory(bytes) if job.id.is_metadata() => {
            write_metadata(shared, repo, job.id, &parse::metadata(job.id, bytes))
        }
        Body::Part { path, .. } if job.id.is_metadata() => write_heavy(shared, repo, job.id, path),
        Body::Memory(bytes) => write_file(shared, repo, job.id, &Source::Memory(bytes)),
        Body::Part { path, length, .. } => write_file(shared, repo, job.id, &Source::Part(path, *length)),
    };
    if let Body::Part { path, .. } = &body {
        // Right or wrong, the part has done its work; on a full volume it would only be in the way.
        let _ = fs::remove_file(path);
    }
    match result {
        Ok(()) => shared.send(Event::Written),
        Err(error @ (OstreeError::Checksum { .. } | OstreeError::Malformed { .. })) => {
            // A beginning from an earlier attempt says nothing about the server.
            let resumed = matches!(body, Body::Part { resumed: true, .. });
            let wrong = if resumed { 0 } else { job.wrong };
            return Ok(shared.ask_again(Job { wrong, ..job }, error));
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Its hash was right when it was fetched; libostree takes it once more.
fn write_heavy(
    shared: &Shared<'_>,
    repo: &::ostree::Repo,
    id: ObjectId,
    path: &Path,
) -> Result<(), OstreeError> {
    let _one_at_a_time = lock(&shared.heavy);
    let bytes = fs::read(path).map_err(|e| reading(path, e))?;
    write_metadata(shared, repo, id, &parse::metadata_of(id, bytes))
}

fn write_metadata(
    shared: &Shared<'_>,
    repo: &::ostree::Repo,
    id: ObjectId,
    value: &glib::Variant,
) -> Result<(), OstreeError> {
    put_metadata(repo, id, value, |e| explain(shared.space, id, e))?;
    if id.kind == ObjectKind::Commit {
        // Takes effect with the transaction: from then on a prune spares what was pulled.
        repo.transaction_set_ref(None, KEEP_REF, Some(&id.hex()));
    }
    Ok(())
}

/// Writes a metadata object within the transaction that is open, and nothing else in its place.
pub fn put_metadata(
    repo: &::ostree::Repo,
    id: ObjectId,
    value: &glib::Variant,
    failed: impl FnOnce(glib::Error) -> OstreeError,
) -> Result<(), OstreeError> {
    let none = gio::Cancellable::NONE;
    let written = repo.write_metadata(id.ostree_type(), Some(&id.hex()), value, none).map_err(failed)?;
    expect_hash(id, &written.to_hex())
}

enum Source<'a> {
    Memory(&'a [u8]),
    Part(&'a Path, u64),
}

fn write_file(
    shared: &Shared<'_>,
    repo: &::ostree::Repo,
    id: ObjectId,
    source: &Source<'_>,
) -> Result<(), OstreeError> {
    let header = read_header(id, source)?;
    // The commit is signed, so its sizes are right.
    let unpacked = shared.sizes.get(&id).map_or(header.size, |size| size.unpacked);
    if header.symlink.is_none() && unpacked != header.size {
        let reason = format!("it claims {} bytes, the commit says {unpacked}", header.size);
        return Err(OstreeError::Malformed { object: id, reason });
    }
    let limit = shared.options.limits.file;
    if header.size > limit {
        return Err(OstreeError::Malformed {
            object: id,
            reason: format!("{} bytes are over {limit}", header.size),
        });
    }
    // Without sizes in the commit the header is all that tells it.
    shared.space.require(header.size)?;
    let sum = id.hex();
    let none = gio::Cancellable::NONE;
    let written = match &header.symlink {
        // libostree's stream functions give no stream for a symbolic link, which the binding cannot express.
        Some(target) => repo
            .write_symlink(Some(&sum), header.uid, header.gid, Some(&header.xattrs), target, none)
            .map_err(|e| explain(shared.space, id, e))?
            .to_string(),
        None => write_regular(shared, repo, id, source)?,
    };
    expect_hash(id, &written)
}

fn write_regular(
    shared: &Shared<'_>,
    repo: &::ostree::Repo,
    id: ObjectId,
    source: &Source<'_>,
) -> Result<String, OstreeError> {
    let none = gio::Cancellable::NONE;
    let (input, length): (gio::InputStream, u64) = match source {
        Source::Memory(bytes) => {
            (gio::MemoryInputStream::from_bytes(&glib::Bytes::from(bytes)).upcast(), bytes.len() as u64)
        }
        Source::Part(path, length) => {
            let file = gio::File::for_path(path).read(none);
            let file = file.map_err(|e| OstreeError::repo(format!("reading {}", path.display()), e))?;
            (file.upcast(), *length)
        }
    };
    let malformed = |e: glib::Error| OstreeError::Malformed { object: id, reason: e.message().to_string() };
    let (content, info, xattrs) =
        ::ostree::content_stream_parse(true, &input, length, false, none).map_err(malformed)?;
    let (stream, length) =
        ::ostree::raw_file_to_content_stream(&content, &info, Some(&xattrs), none).map_err(malformed)?;
    let written = repo.write_content(Some(&id.hex()), &stream, length, none);
    Ok(written.map_err(|e| explain(shared.space, id, e))?.to_hex())
}

fn read_header(id: ObjectId, source: &Source<'_>) -> Result<parse::FileHeader, OstreeError> {
    let mut storage = Vec::new();
    let bytes: &[u8] = match source {
        Source::Memory(bytes) => bytes,
        Source::Part(path, _) => {
            storage = read_head(id, path)?;
            &storage
        }
    };
    let length = parse::file_header_length(id, bytes)?;
    let header = bytes.get(FILE_PREFIX..FILE_PREFIX + length).ok_or_else(|| OstreeError::Malformed {
        object: id,
        reason: "it ends inside its header".to_string(),
    })?;
    let header = parse::file_header(id, header);
    drop(storage);
    header
}

/// The prefix and the header of a part.
fn read_head(id: ObjectId, path: &Path) -> Result<Vec<u8>, OstreeError> {
    let mut file = fs::File::open(path).map_err(|e| reading(path, e))?;
    let mut head = Vec::new();
    let mut read = |head: &mut Vec<u8>, length: usize| {
        file.by_ref().take(length as u64).read_to_end(head).map_err(|e| reading(path, e))
    };
    read(&mut head, FILE_PREFIX)?;
    let length = parse::file_header_length(id, &head)?;
    read(&mut head, length)?;
    Ok(head)
}

/// libostree may answer "written" for content with another checksum that it has already.
fn expect_hash(id: ObjectId, written: &str) -> Result<(), OstreeError> {
    if written == id.hex() {
        return Ok(());
    }
    Err(OstreeError::Checksum { object: id, reason: format!("its content has {written}") })
}

/// Tells a full disk and a failing one from a bad object.
pub fn explain(space: &Space, id: ObjectId, error: glib::Error) -> OstreeError {
    let reason = error.message().to_string();
    if is_no_space(&error) {
        space.exhausted(None)
    } else if reason.contains("checksum expected=") {
        OstreeError::Checksum { object: id, reason }
    } else if error.matches(gio::IOErrorEnum::InvalidData) || error.matches(gio::IOErrorEnum::PartialInput) {
        // The unpacker's words for a damaged and for a short body.
        OstreeError::Malformed { object: id, reason }
    } else {
        OstreeError::repo(format!("writing {id}"), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libostree says "written" of metadata that it has already, under whatever hash it was to have.
    #[test]
    fn what_was_written_is_what_was_asked_for() {
        let folder = std::env::temp_dir().join(format!("rust-ota-writer-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let repo = ::ostree::Repo::new_for_path(&folder);
        repo.create(::ostree::RepoMode::Bare, gio::Cancellable::NONE).unwrap();
        let none = gio::Cancellable::NONE;
        repo.prepare_transaction(none).unwrap();
        // (uid, gid, mode, xattrs) in network byte order.
        let value =
            (0u32.to_be(), 0u32.to_be(), 0o40_755u32.to_be(), Vec::<(Vec<u8>, Vec<u8>)>::new()).to_variant();
        let kind = ::ostree::ObjectType::DirMeta;
        let real = repo.write_metadata(kind, None, &value, none).unwrap().to_hex();
        let id = |hex: &str| ObjectId { kind: ObjectKind::DirMeta, ..ObjectId::commit(hex).unwrap() };
        let put =
            |hex: &str| put_metadata(&repo, id(hex), &value, |e| OstreeError::repo("writing".to_string(), e));
        put(&real).unwrap();
        put(&"ab".repeat(32)).unwrap_err();
        repo.abort_transaction(none).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_hash_is_another_object() {
        let (one, other) = ("ab".repeat(32), "cd".repeat(32));
        let id = ObjectId { kind: ObjectKind::File, ..ObjectId::commit(&one).unwrap() };
        assert!(expect_hash(id, &one).is_ok());
        let error = expect_hash(id, &other).unwrap_err();
        assert!(matches!(&error, OstreeError::Checksum { object, .. } if *object == id), "{error}");
    }
}

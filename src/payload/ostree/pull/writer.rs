//! One writing thread: libostree checks each fetched object and puts it into the repository.
//!
//! libostree's objects belong to one thread, so each writer opens the repository for itself, with a transaction
//! of its own. A transaction costs one sync of the volume, not one for each object. It is committed now and then:
//! what is committed survives a power cut, what is staged survives only a killed process.

use std::fs;
use std::time::{Duration, Instant};

use ::ostree::prelude::FileExt;
use ::ostree::prelude::*;
use ::ostree::{gio, glib};

use super::fetcher::{Body, Fetched};
use super::jobs::Job;
use super::shared::{Event, Shared};
use super::transaction::Transaction;
use crate::payload::ostree::error::{OstreeError, is_no_space};
use crate::payload::ostree::object::{ObjectId, ObjectKind};
use crate::payload::ostree::parse::{self, FILE_PREFIX};
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
        if let Err(error) = write_one(shared, &repo, fetched) {
            shared.send(Event::Failed(error));
            break;
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

fn write_one(shared: &Shared<'_>, repo: &::ostree::Repo, fetched: Fetched) -> Result<(), OstreeError> {
    let Fetched { job, body } = fetched;
    let result = match &body {
        Body::Memory(bytes) if job.id.is_metadata() => write_metadata(shared, repo, job.id, bytes),
        Body::Memory(bytes) => write_file(shared, repo, job.id, &Source::Memory(bytes)),
        Body::Part { path, length, .. } => write_file(shared, repo, job.id, &Source::Part(path, *length)),
    };
    if let Body::Part { path, .. } = &body
        && !matches!(result, Err(OstreeError::NoSpace { .. }))
    {
        // Right or wrong, the part has done its work.
        let _ = fs::remove_file(path);
    }
    match (result, &body) {
        (Ok(()), _) => shared.send(Event::Written),
        (
            Err(OstreeError::Checksum { .. } | OstreeError::Malformed { .. }),
            Body::Part { resumed: true, .. },
        ) => {
            log::info!("{}: its beginning from an earlier attempt was wrong, fetching it whole", job.id);
            shared.send(Event::Again(Job { afresh: true, ..job }));
        }
        (Err(error), _) => return Err(error),
    }
    Ok(())
}

fn write_metadata(
    shared: &Shared<'_>,
    repo: &::ostree::Repo,
    id: ObjectId,
    bytes: &[u8],
) -> Result<(), OstreeError> {
    let value = parse::metadata(id, bytes);
    let written = repo
        .write_metadata(id.ostree_type(), Some(&id.hex()), &value, gio::Cancellable::NONE)
        .map_err(|e| explain(shared, id, e))?;
    expect_hash(id, &written.to_hex())?;
    if id.kind == ObjectKind::Commit {
        // Takes effect with the transaction: from then on a prune spares what was pulled.
        repo.transaction_set_ref(None, KEEP_REF, Some(&id.hex()));
    }
    Ok(())
}

enum Source<'a> {
    Memory(&'a [u8]),
    Part(&'a std::path::Path, u64),
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
    shared.space.require(header.size)?;
    let sum = id.hex();
    let none = gio::Cancellable::NONE;
    let written = match &header.symlink {
        // libostree's stream functions give no stream for a symbolic link, which the binding cannot express.
        Some(target) => repo
            .write_symlink(Some(&sum), header.uid, header.gid, Some(&header.xattrs), target, none)
            .map_err(|e| explain(shared, id, e))?
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
    Ok(written.map_err(|e| explain(shared, id, e))?.to_hex())
}

fn read_header(id: ObjectId, source: &Source<'_>) -> Result<parse::FileHeader, OstreeError> {
    let mut storage = Vec::new();
    let bytes: &[u8] = match source {
        Source::Memory(bytes) => bytes,
        Source::Part(path, _) => {
            storage =
                read_head(path).map_err(|e| OstreeError::repo(format!("reading {}", path.display()), e))?;
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

/// As much of a part as its header can be long.
fn read_head(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut head = Vec::new();
    fs::File::open(path)?.take((1 << 20) + FILE_PREFIX as u64).read_to_end(&mut head)?;
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
fn explain(shared: &Shared<'_>, id: ObjectId, error: glib::Error) -> OstreeError {
    let reason = error.message().to_string();
    if is_no_space(&error) {
        shared.space.exhausted(None)
    } else if reason.contains("checksum expected=") {
        OstreeError::Checksum { object: id, reason }
    } else if error.matches(gio::IOErrorEnum::InvalidData) || error.matches(gio::IOErrorEnum::PartialInput) {
        // The unpacker's words for a damaged and for a short body.
        OstreeError::Malformed { object: id, reason }
    } else {
        OstreeError::repo(format!("writing {id}"), reason)
    }
}

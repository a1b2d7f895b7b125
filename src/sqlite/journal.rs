//! A rollback journal (file format, section 3): pages as they were before a transaction that was cut.

use std::collections::BTreeMap;

use super::{MOST_BESIDE, Overlay, Source, SqliteError, be32};

const MAGIC: [u8; 8] = [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7];
const HEADER: usize = 28;
const ALL: u32 = u32::MAX;

struct Header {
    records: u32,
    nonce: u32,
    pages: u32,
    sector: u64,
    page_size: u32,
}

/// What is to be rolled back; none where the transaction came to its end, or had not begun to change the database.
pub(super) fn read(source: &dyn Source) -> Result<Option<Overlay>, SqliteError> {
    let length = source.length();
    if length > MOST_BESIDE {
        return Err(bad("it is larger than 1 GiB"));
    }
    let Some(first) = header(source, 0)? else { return Ok(None) };
    if names_others(source)? {
        return Err(bad("it is part of a transaction over several databases"));
    }
    let mut overlay = Overlay { page_size: first.page_size, pages: first.pages, places: BTreeMap::new() };
    let record = u64::from(first.page_size) + 8;
    let sector = first.sector;
    let mut next = Some((0, first));
    // Each time that SQLite makes room in its cache, another header and more pages follow.
    while let Some((at, header)) = next {
        let begin = at + sector;
        let room = length.saturating_sub(begin) / record;
        let count = if header.records == ALL { room } else { u64::from(header.records) };
        for index in 0..count {
            // A record that is cut or torn was not synced, and then the page that it saves was not changed.
            if index >= room || !take(source, begin + index * record, header.nonce, &mut overlay)? {
                return Ok(Some(overlay));
            }
        }
        let at = (begin + count * record).div_ceil(sector) * sector;
        next = self::header(source, at)?.map(|header| (at, header));
    }
    Ok(Some(overlay))
}

fn take(source: &dyn Source, at: u64, nonce: u32, overlay: &mut Overlay) -> Result<bool, SqliteError> {
    let size = overlay.page_size as usize;
    let mut record = vec![0; size + 8];
    source.read_at(at, &mut record).map_err(|e| SqliteError::read(0, &e))?;
    let number = be32(&record, 0);
    if number == 0 {
        return Ok(false);
    }
    // What was added by the transaction is cut off again.
    if number > overlay.pages {
        return Ok(true);
    }
    let page = &record[4..4 + size];
    let sampled = (1..).map_while(|n| size.checked_sub(200 * n)).filter(|at| *at > 0);
    let sum = sampled.fold(nonce, |sum, at| sum.wrapping_add(u32::from(page[at])));
    if sum != be32(&record, 4 + size) {
        return Ok(false);
    }
    overlay.places.insert(number, at + 4);
    Ok(true)
}

/// One that was zeroed, or never written whole, is none.
fn header(source: &dyn Source, at: u64) -> Result<Option<Header>, SqliteError> {
    let mut bytes = [0; HEADER];
    if source.length() < at.saturating_add(HEADER as u64) {
        return Ok(None);
    }
    source.read_at(at, &mut bytes).map_err(|e| SqliteError::read(0, &e))?;
    if !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let header = Header {
        records: be32(&bytes, 8),
        nonce: be32(&bytes, 12),
        pages: be32(&bytes, 16),
        sector: u64::from(be32(&bytes, 20)),
        page_size: be32(&bytes, 24),
    };
    let power = |number: u32, least: u32| number.is_power_of_two() && (least..=65_536).contains(&number);
    if !power(header.page_size, 512) || !power(be32(&bytes, 20), 32) {
        return Err(bad("its header is damaged"));
    }
    Ok(Some(header))
}

/// Whether it ends with the name of another journal, on which it depends whether this one counts.
fn names_others(source: &dyn Source) -> Result<bool, SqliteError> {
    let Some(at) = source.length().checked_sub(16).filter(|at| *at >= HEADER as u64) else {
        return Ok(false);
    };
    let mut end = [0; 16];
    source.read_at(at, &mut end).map_err(|e| SqliteError::read(0, &e))?;
    Ok(end.ends_with(&MAGIC) && be32(&end, 0) > 0)
}

fn bad(reason: &'static str) -> SqliteError {
    SqliteError::Beside { file: "-journal", reason }
}

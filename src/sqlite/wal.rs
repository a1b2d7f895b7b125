//! A write-ahead log (file format, section 4): pages as they are after transactions that are not in the database yet.

use std::collections::BTreeMap;

use super::{MOST_BESIDE, Overlay, Source, SqliteError, be32};

const MAGIC: u32 = 0x377F_0682;
const VERSION: u32 = 3_007_000;
const HEADER: u64 = 32;
const FRAME: usize = 24;

/// The pages of all transactions that came to their end; none where there is no such transaction.
pub(super) fn read(source: &dyn Source) -> Result<Option<Overlay>, SqliteError> {
    let length = source.length();
    if length > MOST_BESIDE {
        return Err(bad("it is larger than 1 GiB"));
    }
    let mut header = [0; HEADER as usize];
    if length < HEADER {
        return Ok(None);
    }
    source.read_at(0, &mut header).map_err(|e| SqliteError::read(0, &e))?;
    let page_size = be32(&header, 8);
    let known = be32(&header, 0) & !1 == MAGIC;
    let mut sum = Sum { big: header[3] & 1 == 1, words: (0, 0) };
    sum.add(&header[..24]);
    // As SQLite has it: a log whose header was not written whole has nothing in it.
    let sized = page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
    if !known || !sized || !sum.is(&header, 24) {
        return Ok(None);
    }
    if be32(&header, 4) != VERSION {
        return Err(bad("it is of an unknown version"));
    }
    frames(source, &header[16..24], sum, page_size)
}

fn frames(
    source: &dyn Source,
    salt: &[u8],
    mut sum: Sum,
    page_size: u32,
) -> Result<Option<Overlay>, SqliteError> {
    let mut frame = vec![0; FRAME + page_size as usize];
    let count = (source.length() - HEADER) / frame.len() as u64;
    let mut whole = Overlay { page_size, pages: 0, places: BTreeMap::new() };
    let mut begun = BTreeMap::new();
    for index in 0..count {
        let at = HEADER + index * frame.len() as u64;
        source.read_at(at, &mut frame).map_err(|e| SqliteError::read(0, &e))?;
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME..]);
        let number = be32(&frame, 0);
        // The first frame of an earlier round, or one that is torn, ends the log.
        if number == 0 || frame[8..16] != *salt || !sum.is(&frame, 16) {
            break;
        }
        begun.insert(number, at + FRAME as u64);
        let pages = be32(&frame, 4);
        if pages > 0 {
            whole.pages = pages;
            whole.places.append(&mut begun);
        }
    }
    Ok((whole.pages > 0).then_some(whole))
}

struct Sum {
    big: bool,
    words: (u32, u32),
}

impl Sum {
    /// Over pairs of words; all lengths here are of whole pairs.
    fn add(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8]| {
            let number = be32(bytes, 0);
            if self.big { number } else { number.swap_bytes() }
        };
        let (mut first, mut second) = self.words;
        for pair in bytes.chunks_exact(8) {
            first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
        }
        self.words = (first, second);
    }

    fn is(&self, bytes: &[u8], at: usize) -> bool {
        self.words == (be32(bytes, at), be32(bytes, at + 4))
    }
}

fn bad(reason: &'static str) -> SqliteError {
    SqliteError::Beside { file: "-wal", reason }
}

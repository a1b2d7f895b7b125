//! rust-ota keeps an OSTree device up to date.

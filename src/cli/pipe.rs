//! A reader that left, as in `rust-ota list | head -1`.

use std::panic;

/// Ends the program quietly, with 1, when nobody reads its output any more. Rust's own answer is a panic, which looks
/// like a fault of ours. Anything else that panics says so as before.
pub fn end_quietly_without_reader() {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(1);
        }
        loud(panic);
    }));
}

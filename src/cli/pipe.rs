//! A reader that left, as in `rust-ota list | head -1`.

use std::any::Any;
use std::panic;

/// Ends the program quietly, with 1, when nobody reads its output any more. Rust's own answer is a panic, which looks
/// like a fault of ours. Anything else that panics says so as before.
pub fn end_quietly_without_reader() {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = text_of(panic.payload());
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(1);
        }
        loud(panic);
    }));
}

/// What a panic says. (The standard library's own `payload_as_str` is of Rust 1.91.)
fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}

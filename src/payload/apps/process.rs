//! Runs programs by argument vector, with a real environment, and never longer than they may.

use std::io::{self, BufWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::AppsError;

/// Of what a program printed, its end is told.
const TAIL: usize = 1024;

/// Runs a program to its end; gives what it printed.
pub fn run(command: Command, limit: Duration) -> Result<String, AppsError> {
    output(command, limit).map(|(out, _)| out)
}

/// The same; and what it printed as errors.
pub fn output(mut command: Command, limit: Duration) -> Result<(String, String), AppsError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    log::debug!("{command:?}");
    let name = said(&command);
    let failed = |reason: String| AppsError::Engine { command: name.clone(), reason };
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let (out, errors) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = wait(&mut child, limit).map_err(|e| failed(e.to_string()))?;
    let (out, errors) = (out.join().unwrap_or_default(), errors.join().unwrap_or_default());
    if status {
        return Ok((out, errors));
    }
    let text = if errors.trim().is_empty() { out } else { errors };
    Err(failed(tail(text.trim())))
}

/// Runs a program that reads what `write` writes.
pub fn feed(
    mut command: Command,
    limit: Duration,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), AppsError>,
) -> Result<(), AppsError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = said(&command);
    let failed = |reason: String| AppsError::Engine { command: name.clone(), reason };
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let (out, errors) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let written = match child.stdin.take() {
        Some(stdin) => {
            let mut stdin = BufWriter::with_capacity(64 * 1024, stdin);
            write(&mut stdin).and_then(|()| stdin.flush().map_err(|e| failed(e.to_string())))
        }
        None => Ok(()),
    };
    let status = wait(&mut child, limit).map_err(|e| failed(e.to_string()))?;
    let (_, errors) = (out.join(), errors.join().unwrap_or_default());
    // What the program says tells more than that it closed its input.
    if status { written } else { Err(failed(tail(errors.trim()))) }
}

fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy()).take(8).collect();
    words.join(" ")
}

fn reader<R: Read + Send + 'static>(stream: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = stream.take(16 << 20).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program that does not end in time is killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<bool> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if began.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "did not end in time and was killed"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Its end, which tells why.
pub fn tail(text: &str) -> String {
    let from = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
    text[from..].to_string()
}

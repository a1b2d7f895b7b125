//! Runs programs by argument vector, with a real environment, and never longer than they may: whatever they started is ended with
//! them, and neither an output that nobody ends nor an input that nobody reads holds anything up.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::AppsError;

/// Of what a program printed, its end is told.
const TAIL: usize = 1024;
/// More than this nobody prints who means well; the pipe is closed then.
const MOST_OUTPUT: usize = 8 << 20;
/// How long the output of a program that ended is waited for: what it started may hold it open for ever.
const REST: Duration = Duration::from_secs(2);

/// Runs a program to its end; gives what it printed.
pub fn run(command: Command, limit: Duration) -> Result<String, AppsError> {
    output(command, limit).map(|(out, _)| out)
}

/// The same; and what it printed as errors.
pub fn output(mut command: Command, limit: Duration) -> Result<(String, String), AppsError> {
    command.stdin(Stdio::null());
    let (written, status, out, errors) = converse(&mut command, limit, None)?;
    written?;
    if status.success() {
        return Ok((out, errors));
    }
    let text = if errors.trim().is_empty() { out } else { errors };
    Err(failed(&command, how(status, &text)))
}

/// Runs a program that reads what `write` writes.
pub fn feed(
    mut command: Command,
    limit: Duration,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), AppsError>,
) -> Result<(), AppsError> {
    command.stdin(Stdio::piped());
    let (written, status, _, errors) = converse(&mut command, limit, Some(write))?;
    // What the program says tells more than that it closed its input.
    if status.success() { written } else { Err(failed(&command, how(status, &errors))) }
}

type Feeder<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), AppsError>;

fn converse(
    command: &mut Command,
    limit: Duration,
    write: Option<Feeder<'_>>,
) -> Result<(Result<(), AppsError>, ExitStatus, String, String), AppsError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    log::debug!("{command:?}");
    let end = Instant::now() + limit;
    let mut child = command.spawn().map_err(|e| failed(command, e.to_string()))?;
    let (out, errors) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
    let written = match (child.stdin.take(), write) {
        (Some(stdin), Some(write)) => fill(stdin, end, command, write),
        _ => Ok(()),
    };
    let status = wait(&mut child, end).map_err(|e| failed(command, e.to_string()))?;
    let until = Instant::now() + REST;
    Ok((written, status, out.text(until), errors.text(until)))
}

fn failed(command: &Command, reason: String) -> AppsError {
    AppsError::Engine { command: said(command), reason }
}

fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy()).take(8).collect();
    words.join(" ")
}

/// What a program that failed said, or else how it ended.
fn how(status: ExitStatus, text: &str) -> String {
    let text = tail(text.trim());
    if text.is_empty() { format!("ended with {status} and said nothing") } else { text }
}

fn fill(stdin: ChildStdin, end: Instant, command: &Command, write: Feeder<'_>) -> Result<(), AppsError> {
    let ready = rustix::fs::fcntl_getfl(&stdin)
        .and_then(|flags| rustix::fs::fcntl_setfl(&stdin, flags | rustix::fs::OFlags::NONBLOCK));
    ready.map_err(|e| failed(command, e.to_string()))?;
    let mut stdin = BufWriter::with_capacity(64 * 1024, Input { stdin, end });
    let written = write(&mut stdin).and_then(|()| stdin.flush().map_err(|e| failed(command, e.to_string())));
    // What is left in it would be written as it is dropped.
    let (_closed, _left) = stdin.into_parts();
    written
}

/// The input of a program, which may not read it.
struct Input {
    stdin: ChildStdin,
    end: Instant,
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stdin.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its input was not read in time"));
            }
            let time = rustix::event::Timespec { tv_sec: left.as_secs().min(60) as i64, tv_nsec: 1_000_000 };
            match poll(&mut [PollFd::new(&self.stdin, PollFlags::OUT)], Some(&time)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is printed, as far as it came.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Output {
    fn of<R: Read + Send + 'static>(stream: Option<R>) -> Output {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (tell, end) = mpsc::channel();
        if let Some(mut stream) = stream {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let Ok(mut bytes) = bytes.lock() else { break };
                    bytes.extend_from_slice(&buffer[..count]);
                    if bytes.len() >= MOST_OUTPUT {
                        break;
                    }
                }
                drop(tell);
            });
        }
        Output { bytes, end }
    }

    fn text(self, until: Instant) -> String {
        // An end is told by the channel's, whose sender goes with the thread.
        let _ = self.end.recv_timeout(until.saturating_duration_since(Instant::now()));
        let bytes = self.bytes.lock().map(|mut b| std::mem::take(&mut *b)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A program that does not end in time is killed, with all that it started.
fn wait(child: &mut Child, end: Instant) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.kill();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn process_is_there(mark: &str) -> bool {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|e| std::fs::read(e.path().join("cmdline")).ok())
            .any(|line| line.split(|b| *b == 0).any(|word| word == mark.as_bytes()))
    }

    #[test]
    fn what_is_printed_and_how_it_ends() {
        let long = Duration::from_secs(600);
        assert_eq!(run(shell("echo out; echo err >&2"), long).unwrap(), "out\n");
        let error = output(shell("echo out; echo err >&2; exit 3"), long).unwrap_err().to_string();
        assert!(error.ends_with(": err"), "{error}");
        assert!(output(shell("exit 3"), long).unwrap_err().to_string().contains("said nothing"));
        assert!(output(shell("kill -9 $$"), long).unwrap_err().to_string().contains("signal"));
        // Endless, and not killed before its time is over: it ends because nobody takes more.
        assert!(output(shell("exec yes"), long).is_err());
    }

    #[test]
    fn a_program_and_what_it_started_end_in_time() {
        let number = format!("98765.{}", std::process::id());
        let script = format!("sleep {number} & sleep {number}; true");
        let error = run(shell(&script), Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("did not end in time"), "{error}");
        // The kernel takes a moment to take away what was killed.
        let gone = (0..3000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !process_is_there(&number)
        });
        assert!(gone);
    }

    #[test]
    fn a_grandchild_that_holds_the_output_holds_nothing_up() {
        // As daemons do, which are left alone.
        let number = format!("20.{}", std::process::id());
        let said = run(shell(&format!("sleep {number} & echo started")), Duration::from_secs(600)).unwrap();
        assert_eq!(said, "started\n");
        assert!(process_is_there(&number));
    }

    #[test]
    fn an_input_that_is_not_read() {
        let much = vec![0; 1 << 20];
        let write = &mut |out: &mut dyn Write| {
            out.write_all(&much)
                .map_err(|e| AppsError::Engine { command: "load".into(), reason: e.to_string() })
        };
        assert!(feed(shell("sleep 600"), Duration::from_millis(300), write).is_err());
        assert!(feed(shell("exit 0"), Duration::from_secs(600), write).is_err());
        feed(shell("cat > /dev/null"), Duration::from_secs(600), write).unwrap();
    }
}

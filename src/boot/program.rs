//! Runs a bootloader's program by argument vector, without the environment of whoever started us, and never longer than it may:
//! what confirms a boot must not wait for a lock that somebody else holds.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::BootError;

/// A write to raw flash takes a second or two.
const LIMIT: Duration = Duration::from_secs(30);
/// U-Boot's environment has 256 KiB at most.
const MOST_OUTPUT: u64 = 1 << 20;

/// A command with nothing but a search path in its environment. The tools live in /usr/bin or /usr/sbin, depending on the
/// distribution; a unit's PATH may lack the latter.
pub fn command(program: &str) -> Command {
    let inherited = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", format!("{inherited}:/usr/sbin:/usr/bin:/sbin:/bin"));
    command
}

/// Runs it to its end with `input`; gives what it printed.
pub fn run(program: &'static str, command: Command, input: &str) -> Result<String, BootError> {
    run_both(program, command, input).map(|(out, _)| out)
}

/// The same, with what it said beside that.
pub fn run_both(program: &'static str, command: Command, input: &str) -> Result<(String, String), BootError> {
    run_within(LIMIT, program, command, input)
}

fn run_within(
    limit: Duration,
    program: &'static str,
    mut command: Command,
    input: &str,
) -> Result<(String, String), BootError> {
    let failed = |e: io::Error| BootError::Program { program, reason: e.to_string() };
    // A group of its own, so that what it started ends with it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let (out, errors) = (reader(child.stdout.take()), reader(child.stderr.take()));
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says itself what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let Some(success) = end(&mut child, limit).map_err(failed)? else {
        // A child of it may hold the pipes still, so nobody waits for what it said.
        return Err(BootError::Late { program });
    };
    let (out, errors) = (out.join().unwrap_or_default(), errors.join().unwrap_or_default());
    match (success, errors.trim()) {
        (true, _) => Ok((out, errors)),
        (false, "") => Err(BootError::Failed { program, output: "it said nothing".to_string() }),
        (false, text) => Err(BootError::Failed { program, output: text.to_string() }),
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = stream.take(MOST_OUTPUT).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether it ended well; none where it did not end in time and was killed, with all that it started.
fn end(child: &mut Child, limit: Duration) -> io::Result<Option<bool>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        thread::sleep(Duration::from_millis(3));
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str, limit: Duration) -> Result<String, BootError> {
        let mut command = command("sh");
        command.args(["-c", script]);
        run_within(limit, "sh", command, input).map(|(out, _)| out)
    }

    #[test]
    fn it_gets_its_input_and_its_output_comes_back() {
        let long = "x=1\n".repeat(50_000);
        assert_eq!(shell("cat", &long, LIMIT).unwrap(), long);
        assert!(matches!(shell("exit 3", "", LIMIT), Err(BootError::Failed { .. })));
        let said = shell("echo no >&2; exit 1", "not read", LIMIT).unwrap_err().to_string();
        assert!(said.starts_with("sh failed: no;"), "{said}");
    }

    #[test]
    fn one_that_does_not_end_is_not_waited_for() {
        let late = shell("sleep 1000", "", Duration::from_millis(50));
        assert!(matches!(late, Err(BootError::Late { program: "sh" })));
    }

    #[test]
    fn nothing_that_it_started_survives() {
        let number = format!("98764.{}", std::process::id());
        let script = format!("sleep {number} & sleep {number}; true");
        let late = shell(&script, "", Duration::from_millis(300));
        assert!(matches!(late, Err(BootError::Late { .. })));
        // The kernel takes a moment to take away what was killed.
        let gone = (0..3000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !is_there(&number)
        });
        assert!(gone);
    }

    fn is_there(mark: &str) -> bool {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
    }
}

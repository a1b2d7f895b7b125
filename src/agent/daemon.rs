//! Polls until it is told to end: finalize, then check, download, install, and reboot where allowed.

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::patience::Patience;
use super::{Agent, AgentError, Back, Outcome, Progress, Step};
use crate::boot::unused_record;
use crate::decide::{Policy, Request, Stay};
use crate::store::{Stage, StoreError};

/// The longest wait after repeated errors, as a multiple of the polling interval.
const MOST_BACKOFF: u32 = 16;
/// Seconds; an interval above it is as good as for ever.
const LONGEST: u64 = 366 * 86_400;

/// Polls by the rules of the newest Target, or by those of a Director. Ends with 0 when told to (SIGTERM, SIGINT), after a reboot was ordered, or `once` it would wait.
pub fn run(agent: &Agent, once: bool) -> Result<u8, AgentError> {
    agent.report_hardware();
    let mut finalized = false;
    poll(agent, once, &mut || turn(agent, &mut finalized))
}

/// Runs the loop over one kind of turn.
pub(super) fn poll(
    agent: &Agent,
    once: bool,
    turn: &mut dyn FnMut() -> Result<Turn, AgentError>,
) -> Result<u8, AgentError> {
    let bell = stop_on_signals(agent)?;
    let (mut patience, left) = Patience::new(agent);
    notify("READY=1");
    if let Some(warning) = unused_record(&agent.settings) {
        log::warn!("{warning}");
    }
    if !once && agent.is_judged() {
        let spread = || first_pause(agent.settings().polling_sec, random());
        if let Some(time) = left.or_else(|| agent.has_nothing_to_tell().then(spread)) {
            wait(&bell, time);
        }
    }
    while !agent.stopping() {
        agent.turn_begins();
        let trouble = match turn() {
            // It may have gone on with what it knew.
            Ok(Turn::Stay) => agent.memory.trouble.take(),
            Ok(Turn::Reboot) => {
                notify("STOPPING=1");
                agent.reboot()?;
                return Ok(0);
            }
            Err(_) if agent.stopping() => break,
            // A person is at work: not an error, and no reason to come later than usual.
            Err(AgentError::Store(error @ StoreError::Locked { .. })) => {
                log::info!("{error}");
                None
            }
            Err(error) => {
                agent.turn_failed(&error);
                log::error!("{error}");
                Some(agent.memory.trouble.take().unwrap_or_default())
            }
        };
        if once {
            return Ok(0);
        }
        let time = patience.after(trouble, random());
        if let Some(failure) = agent.waits(time) {
            notify(&format!("STATUS={failure}"));
        }
        wait(&bell, time);
    }
    notify("STOPPING=1");
    log::info!("told to stop");
    Ok(0)
}

/// A signal sets the flag that ends a download soon, and rings the bell that ends a wait at once. A deployment that
/// is being written is finished first.
fn stop_on_signals(agent: &Agent) -> Result<UnixStream, AgentError> {
    let register = || {
        let (bell, rope) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, agent.stop_flag())?;
            signal_hook::low_level::pipe::register(signal, rope.try_clone()?)?;
        }
        Ok(bell)
    };
    register().map_err(AgentError::Signals)
}

fn wait(mut bell: &UnixStream, time: Duration) {
    // Whatever comes, a signal or the end of the time, ends the wait; the loop looks what it was.
    if bell.set_read_timeout(Some(time)).is_ok() {
        let _ = bell.read(&mut [0]);
    } else {
        std::thread::sleep(time);
    }
}

/// What a turn of the loop came to.
pub(super) enum Turn {
    /// Wait for the next.
    Stay,
    /// Reboot, and end.
    Reboot,
}

/// One turn. The lock is held only while it works, so that a person can work beside the service. What this boot came
/// to is settled once, before the first check: nothing is updated from a system that has not been judged.
fn turn(agent: &Agent, finalized: &mut bool) -> Result<Turn, AgentError> {
    let working = agent.locked("daemon")?;
    if !*finalized {
        agent.reaches(Stage::Finalize, None);
        match working.finalize()? {
            Outcome::NothingPending => {}
            Outcome::RebootNeeded(target) => return Ok(wait_for_reboot(agent, &target.name)),
            outcome @ Outcome::FirmwareOnTrial(_) => {
                log::info!("{outcome}");
                if agent.reboots_for_firmware()? {
                    return Ok(Turn::Reboot);
                }
            }
            Outcome::AppsFailed { back: Back::Reboot(target), reason, .. } => {
                log::error!("{reason}");
                return Ok(wait_for_reboot(agent, &target.name));
            }
            other => log::info!("{other}"),
        }
        *finalized = true;
    }
    notify("STATUS=Checking for updates");
    let mut progress = Progress::new();
    let outcome = working.step(Step::Update, Request::Latest, &mut |transfer| {
        progress.tell_systemd(&transfer);
        progress.show(&transfer);
    })?;
    notify(&format!("STATUS={outcome}"));
    Ok(match &outcome {
        Outcome::Installed(target) => wait_for_reboot(agent, &target.name),
        Outcome::AppsFailed { .. } => {
            log::error!("{outcome}");
            Turn::Stay
        }
        Outcome::Stayed { plan: Stay::Pending(target), .. } => wait_for_reboot(agent, &target.name),
        Outcome::FirmwareUnconfirmed(_) => {
            log::warn!("{outcome}");
            if agent.reboots_for_firmware()? { Turn::Reboot } else { Turn::Stay }
        }
        Outcome::Stayed { plan: Stay::UpToDate(_), .. } if agent.policy != Policy::Native => {
            log::info!("Device is up-to-date");
            Turn::Stay
        }
        _ => {
            log::debug!("{outcome}");
            Turn::Stay
        }
    })
}

fn wait_for_reboot(agent: &Agent, name: &str) -> Turn {
    let settings = agent.settings();
    if settings.auto_reboot && settings.booted_deployment.is_none() {
        log::info!("{name} is installed: rebooting");
        return Turn::Reboot;
    }
    log::info!("{name} is installed and waits for a reboot");
    Turn::Stay
}

/// Half to one and a half of the interval, so that devices that got power together do not poll together; after
/// errors the double each time, up to a limit. Pure: the randomness comes in.
pub(super) fn pause(interval: u64, failures: u32, random: u32) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(MOST_BACKOFF).min(MOST_BACKOFF);
    let base = Duration::from_secs(interval.clamp(1, LONGEST)) * factor;
    base.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

/// The wait before the first check, as if the daemon had been running all along: when power returns to ten thousand
/// devices, the server sees the same rate from the first second on (the remaining time of a pause that runs already,
/// for pauses between half and one and a half of the interval). Pure: the randomness comes in.
fn first_pause(interval: u64, random: u32) -> Duration {
    let share = f64::from(random) / f64::from(u32::MAX);
    let factor = if share < 0.5 { share } else { 1.5 - (2.0 * (1.0 - share)).sqrt() };
    Duration::from_secs(interval.clamp(1, LONGEST)).mul_f64(factor)
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // The generator of the TLS provider; if the kernel has none yet, every device waits the middle.
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => u32::MAX / 2,
    }
}

/// Tells systemd; without it nothing happens. One datagram, so that no library is needed.
pub(crate) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|a| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &a));
    if let Err(error) = sent {
        log::debug!("cannot tell systemd: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_spread_and_back_off_to_a_limit() {
        let seconds = |failures, random| pause(300, failures, random).as_secs();
        assert_eq!((seconds(0, 0), seconds(0, u32::MAX)), (150, 450));
        assert_eq!(seconds(1, u32::MAX / 2), 599);
        assert_eq!(seconds(4, 0), seconds(40, 0), "the limit holds whatever the count");
        assert!(pause(0, 0, 0) > Duration::ZERO, "never a busy loop");
    }

    #[test]
    fn ten_thousand_devices_that_get_power_together_spread_their_checks() {
        let mut state: u32 = 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        // Checks in each ten seconds of the first hour, with an interval of 300 s.
        let mut checks = [0u32; 360];
        for _ in 0..10_000 {
            let mut at = first_pause(300, random());
            while let Some(count) = checks.get_mut(at.as_secs() as usize / 10) {
                *count += 1;
                at += pause(300, 0, random());
            }
        }
        let (most, mean) = (checks.iter().max().unwrap(), checks.iter().sum::<u32>() / 360);
        assert!(mean > 300 && *most < mean * 13 / 10, "most {most}, mean {mean}");
    }

    #[test]
    fn the_first_pause_has_the_bounds_of_the_others() {
        assert_eq!(first_pause(300, 0), Duration::ZERO);
        assert_eq!(first_pause(300, u32::MAX).as_secs(), 450);
    }
}

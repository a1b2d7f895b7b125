//! A device whose servers mean ill.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod answer;
#[path = "../common/mod.rs"]
pub mod common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use answer::{Answer, MOST_DISK, MOST_MEMORY, MOST_TIME, Rule, serve};
use common::World;

/// A device whose servers are the hostile one, at a private address.
pub struct Case {
    pub world: World,
    pub rule: Rule,
}

impl Case {
    pub fn new(name: &str) -> Case {
        Case::with(name, &|world| drop(world.release(2)))
    }

    /// `publish` makes the Target that is offered.
    pub fn with(name: &str, publish: &dyn Fn(&World)) -> Case {
        let mut world = World::new(name);
        publish(&world);
        world.stop_server();
        // As `ota-repo serve` lays it out.
        let folder = world.dir.join("ota");
        let (address, rule) = serve(folder);
        world.fragment(
            "10-server",
            &format!("[tls]\nserver = {address}\n[network]\nallow_http = 1\nstall_sec = 1\n"),
        );
        world.run("cp", &["-a", &world.path("sysroot/ostree/repo"), &world.path("repo.saved")]);
        Case { world, rule }
    }

    /// Kilobytes of the device's state and system.
    pub fn disk(&self) -> u64 {
        let text = self.world.run("du", &["-sk", &self.world.path("sota"), &self.world.path("sysroot")]);
        text.lines().map(|line| line.split('\t').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// One run: exit code, what it said, kilobytes of memory at its peak.
    pub fn run(&self, command: &str) -> (i32, String, u64) {
        let began = Instant::now();
        let mut child =
            self.world.client(&[command]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = high.and_then(|h| h.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0).max(peak);
            assert!(began.elapsed() < MOST_TIME, "{command} has no end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned(), peak)
    }

    /// A hostile run, and an honest one after it.
    pub fn table(
        &self,
        command: &str,
        request: &'static str,
        answers: &[Answer],
        codes: &[i32],
        reset: &dyn Fn(),
    ) {
        for answer in answers {
            reset();
            let disk = self.disk();
            *self.rule.lock().unwrap() = Some((request, *answer));
            let began = Instant::now();
            let (code, said, peak) = self.run(command);
            let seconds = began.elapsed().as_secs_f32();
            let grown = self.disk().saturating_sub(disk);
            println!(
                "| `{request}` | {answer:?} | {code} | {:.1} MiB | {grown} kB | {seconds:.1} s |",
                peak as f32 / 1024.0
            );
            let case = format!("{request} {answer:?}: {code}\n{said}");
            assert!(codes.contains(&code), "{case}");
            // A whole document in an odd envelope is one, and nothing else is.
            let whole = matches!(answer, Answer::Trailers | Answer::CutWithoutLength | Answer::TwoLengths);
            // What must not fail has one code.
            assert!(![0, 16].contains(&code) || whole || codes.len() == 1, "{case}");
            assert!(peak <= MOST_MEMORY, "{peak} kB: {case}");
            assert!(grown <= MOST_DISK, "{grown} kB: {case}");
            assert!(!said.contains("secret=1") && !said.contains("panicked"), "{case}");
            if matches!(answer, Answer::Page | Answer::Gzip) && code != 0 && code != 16 {
                assert!(!said.contains("signature") && !said.contains("expected, got"), "{case}");
            }
            *self.rule.lock().unwrap() = None;
            let (code, said, _) = self.run(command);
            assert!([0, 16].contains(&code), "the honest run after {case}\n{said}");
        }
    }
}

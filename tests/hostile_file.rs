//! The same answers, for a Target that is a file.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;
#[path = "hostile_common/answer.rs"]
mod answer;

use std::fs;
use std::process::Command;
use std::time::Instant;

use aktualizr_common::sensor::{noise, publish_for};
use aktualizr_common::{World, aktualizr, assign, client, device};
use answer::{ALL, Answer, MOST_DISK, MOST_MEMORY, MOST_TIME, serve};

/// Runs a program and prints its peak memory in kB behind what it says.
const MEASURED: &str = "import resource, subprocess, sys\nr = subprocess.run(sys.argv[1:])\n\
    print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\nsys.exit(r.returncode)";

fn without_ostree() -> World {
    let world = device("hostile-file");
    let sysroot = world.dir.join("sysroot");
    let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&sysroot).output();
    fs::remove_dir_all(sysroot).unwrap();
    world.fragment("70-none", "[pacman]\ntype = none\n");
    world
}

fn disk(world: &World) -> u64 {
    world.run("du", &["-sk", &world.path("sota")]).split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn files() {
    let world = without_ostree();
    aktualizr(&world, &["check", "--exit-codes"]).expect(0);
    publish_for(&world, "test-board", 2, &noise(1, 300_000));
    assign(&world, 2, "c-2");
    let (address, rule) = serve(world.dir.join("ota"));
    world.fragment(
        "80-image",
        &format!("[uptane]\nrepo_server = {address}/repo\n[network]\nallow_http = 1\nstall_sec = 1\n"),
    );
    let download = || {
        let client = client(&world, "aktualizr", &["download", "--exit-codes"]);
        let mut command = Command::new("python3");
        let run = command
            .args(["-c", MEASURED])
            .arg(client.get_program())
            .args(client.get_args())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        let peak: u64 = said.rsplit("peak ").next().unwrap().trim().parse().unwrap();
        (run.status.code().unwrap_or(-1), said, peak)
    };
    aktualizr(&world, &["check", "--exit-codes"]).expect(16);
    world.run("cp", &["-a", &world.path("sota"), &world.path("sota.saved")]);
    for answer in ALL {
        fs::remove_dir_all(world.path("sota")).unwrap();
        world.run("cp", &["-a", &world.path("sota.saved"), &world.path("sota")]);
        let (before, began) = (disk(&world), Instant::now());
        *rule.lock().unwrap() = Some(("/test-board-2", answer));
        let (code, said, peak) = download();
        let (grown, seconds) = (disk(&world).saturating_sub(before), began.elapsed());
        println!(
            "| a file | {answer:?} | {code} | {:.1} MiB | {grown} kB | {:.1} s |",
            peak as f32 / 1024.0,
            seconds.as_secs_f32()
        );
        let case = format!("{answer:?}: {code}\n{said}");
        // All that was signed came, whatever length was announced.
        let whole = matches!(
            answer,
            Answer::Trailers
                | Answer::CutWithoutLength
                | Answer::TwoLengths
                | Answer::TooLongALength
                | Answer::LengthOfAllBytes
                | Answer::ChunkOfAllBytes
        );
        assert!([50, 70].contains(&code) || code == 0 && whole, "{case}");
        assert!(
            peak <= MOST_MEMORY && grown <= MOST_DISK && seconds < MOST_TIME,
            "{peak} kB, {grown} kB: {case}"
        );
        assert!(!said.contains("secret=1") && !said.contains("panicked"), "{case}");
        *rule.lock().unwrap() = None;
        // What failed is tried again when it is assigned again.
        assign(&world, 2, &format!("c-{answer:?}"));
        let (code, said, _) = download();
        assert_eq!(code, 0, "the honest run after {case}\n{said}");
    }
}

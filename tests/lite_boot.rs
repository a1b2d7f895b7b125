//! Bootloaders beside U-Boot's environment, and boot firmware that comes with a Target.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lite_common::{Run, World, client, device, lite, not_booted_yet, run};

const VERSION: &str = "usr/lib/firmware/version.txt";

/// Publishes a version that brings this boot firmware.
fn release_with_firmware(world: &World, version: u32, firmware: &str) -> String {
    let commit = world.commit(version, &[(VERSION, format!("bootfirmware_version={firmware}\n").as_bytes())]);
    world.publish(version, "main");
    commit
}

/// Gives the device programs as a board's maker has them: a folder with a file for each variable.
fn maker_programs(world: &World, family: &str) {
    fs::create_dir_all(world.path("bin")).unwrap();
    fs::create_dir_all(world.path("vars")).unwrap();
    let program = |name: &str, text: String| {
        let path = world.path(&format!("bin/{family}_{name}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let vars = world.path("vars");
    program("printenv", format!("#!/bin/sh\nexec cat {vars}/$1\n"));
    program(
        "setenv",
        format!(
            "#!/bin/sh\necho \"$1=$2 ${{FIO_OSTREE_TARGET_SYSROOT-}}\" >> {vars}.log\necho \"$2\" > {vars}/$1\n"
        ),
    );
    world.fragment("90-mode", &format!("[bootloader]\nrollback_mode = {family}\n"));
}

fn with_programs(world: &World, args: &[&str]) -> Run {
    let mut command = client(world, args);
    command.env("PATH", format!("{}:{}", world.path("bin"), std::env::var("PATH").unwrap()));
    run(command)
}

fn variable(world: &World, name: &str) -> String {
    fs::read_to_string(world.path(&format!("vars/{name}"))).unwrap_or_default().trim().to_string()
}

fn set(world: &World, name: &str, value: &str) {
    fs::write(world.path(&format!("vars/{name}")), value).unwrap();
}

#[test]
fn boot_firmware_is_offered_confirmed_and_in_the_way_until_then() {
    for family in ["fiovb", "fioefi"] {
        let world = device(&format!("boot-{family}"));
        with_programs(&world, &["check"]).expect(0);
        world.fragment("90-mode", &format!("[bootloader]\nrollback_mode = {family}\n"));
        with_programs(&world, &["finalize"]).expect(1).says(&format!("cannot run {family}_printenv"));
        maker_programs(&world, family);
        set(&world, "bootfirmware_version", "7");
        let second = release_with_firmware(&world, 2, "8");
        with_programs(&world, &["update"]).expect(100);
        assert_eq!(variable(&world, "upgrade_available"), "1");
        assert_eq!(variable(&world, "bootupgrade_available"), "1");
        let log = fs::read_to_string(world.path("vars.log")).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(
            lines[..3],
            ["bootcount=0 ", "rollback=0 ", "upgrade_available=1 "],
            "the trial begins last"
        );
        let folder = lines[3].strip_prefix("bootupgrade_available=1 ").unwrap();
        assert!(folder.contains(&second) && fs::exists(format!("{folder}/{VERSION}")).unwrap(), "{folder}");

        world.reboot_into(0);
        // Without a server, so that the event waits.
        world.fragment("92-alone", "[tls]\nserver = \"https://127.0.0.1:1\"\n");
        with_programs(&world, &["finalize"]).expect(5).says("reboot once more");
        world.fragment("92-alone", "");
        let events = fs::read_to_string(world.path("sota/rust-ota/events.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"]["eventType"]["id"], "EcuInstallationCompleted");
        assert_eq!(last["event"]["event"]["success"], true, "the Target runs: {last}");
        assert_eq!(variable(&world, "upgrade_available"), "0");
        with_programs(&world, &["finalize"]).expect(40);
        release_with_firmware(&world, 3, "8");
        with_programs(&world, &["update"]).expect(90).says("test-board-3 is not installed");
        assert_eq!(with_programs(&world, &["list"]).code, 16, "neither pending nor known to be bad");
        world.fragment("91-block", "[pacman]\nostree_update_block = 0\n");
        with_programs(&world, &["install"]).expect(100);
        world.fragment("91-block", "");
        not_booted_yet(&world);
        with_programs(&world, &["rollback"]).expect(0);

        world.reboot_into(0);
        set(&world, "bootupgrade_available", "0");
        set(&world, "bootfirmware_version", "8");
        fs::remove_file(world.path("vars.log")).unwrap();
        with_programs(&world, &["update", "3"]).expect(100);
        assert_eq!(variable(&world, "bootupgrade_available"), "0", "it is the same firmware");
        world.reboot_into(0);
        with_programs(&world, &["finalize"]).expect(0);
    }
}

#[test]
fn a_board_that_never_goes_back_refuses_older_firmware_for_good() {
    let world = device("boot-older");
    for (name, value) in [("bootfirmware_version", "9"), ("rollback_protection", "1")] {
        world.fw_setenv(name, value);
    }
    release_with_firmware(&world, 2, "8");
    let refused = lite(&world, &["update"]).expect(1);
    refused.says("test-board-2 cannot be installed: it brings boot firmware 8 and 9 runs");
    assert_eq!((world.deployments().len(), world.boot_variable("upgrade_available").as_str()), (1, "0"));
    assert_eq!(lite(&world, &["check", "--json", "1"]).expect(0).json()[1]["failed"], true);
    release_with_firmware(&world, 3, "10");
    lite(&world, &["update"]).expect(100);
    assert_eq!(world.boot_variable("bootupgrade_available"), "1", "in U-Boot's environment too");
}

#[test]
fn the_daemon_reboots_once_for_firmware() {
    let world = device("boot-daemon");
    world.fw_setenv("bootfirmware_version", "7");
    release_with_firmware(&world, 2, "8");
    lite(&world, &["update"]).expect(100);
    world.reboot_into(0);
    let daemon = || {
        let mut command = client(&world, &["daemon"]);
        command.env("AKLITE_TEST_RETURN_ON_SLEEP", "1");
        run(command)
    };
    daemon().expect(0).says("reboot once more to confirm its boot firmware");
    release_with_firmware(&world, 3, "8");
    daemon().expect(0).says("the boot firmware of an earlier update is not confirmed yet");
    assert_eq!(world.deployments().len(), 2, "nothing new");
}

#[test]
fn grub_counts_in_its_own_block() {
    let world = device("boot-grub");
    let grubenv = world.path("grubenv");
    let write = |lines: &str| {
        fs::write(&grubenv, format!("{:#<1024}", format!("# GRUB Environment Block\n{lines}"))).unwrap();
    };
    world.fragment(
        "90-mode",
        &format!("[bootloader]\nrollback_mode = grub\n[rust_ota]\ngrub_env = {grubenv}\n"),
    );
    world.release(2);
    lite(&world, &["update"]).expect(1).says("grubenv").says("grub-editenv create");
    lite(&world, &["finalize"]).expect(1).says("grubenv");
    assert_eq!(
        world.ota(&["status", "--json"]).json()["pending"],
        serde_json::Value::Null,
        "nothing was begun"
    );
    write("saved_entry=0\nbootcount=2\nbootlimit=3\n");
    lite(&world, &["update"]).expect(100);
    let block = fs::read_to_string(&grubenv).unwrap();
    assert_eq!(block.len(), 1024);
    let armed = "saved_entry=0\nbootcount=0\nbootlimit=3\nrollback=0\nupgrade_available=1\n#";
    assert!(block.starts_with(&format!("# GRUB Environment Block\n{armed}")), "{block}");
    not_booted_yet(&world);
    let status = world.ota(&["status", "--json"]).expect(0).json();
    assert_eq!(
        (&status["bootloader"]["mode"], &status["bootloader"]["trial"]),
        (&"grub".into(), &true.into())
    );
    write("saved_entry=0\nbootcount=4\nbootlimit=3\nrollback=1\nupgrade_available=0\n");
    world.reboot_into(1);
    lite(&world, &["finalize"]).expect(110);
    assert!(
        fs::read_to_string(&grubenv)
            .unwrap()
            .contains("bootcount=0\nbootlimit=3\nrollback=0\nupgrade_available=0\n")
    );
}

#[test]
fn an_environment_that_was_never_saved_is_not_replaced_by_defaults() {
    let world = device("boot-unsaved");
    lite(&world, &["check"]).expect(0);
    world.commit(2, &[]);
    world.publish(2, "main");
    let env = world.path("uboot.env");
    let whole = fs::read(&env).unwrap();
    // With a built-in default and without; wrong bytes, and a wrong size.
    for (size, bytes) in [("0x200", vec![0; 0x200]), ("0x200", vec![0xff; 0x200]), ("0x100", whole.clone())] {
        fs::write(world.path("fw_env.config"), format!("{env} 0x0 {size}\n")).unwrap();
        fs::write(&env, &bytes).unwrap();
        for default in [false, true] {
            unsaved_program(&world, default);
            let before = world.requests().len();
            with_programs(&world, &["update"]).expect(1).says("saveenv");
            assert_eq!(fs::read(&env).unwrap(), bytes, "the board's bytes stay");
            assert!(!world.requests()[before..].iter().any(|path| path.contains("/objects/")));
            if !default {
                world.ota(&["status"]).says("saveenv");
            }
            fs::remove_dir_all(world.path("bin")).unwrap();
        }
    }
    fs::write(world.path("fw_env.config"), format!("{env} 0x0 0x200\n")).unwrap();
    fs::write(&env, &whole).unwrap();
    lite(&world, &["update"]).expect(100);
}

/// A `fw_printenv` that has a default built in, as U-Boot's own tools do.
fn unsaved_program(world: &World, default: bool) {
    fs::create_dir_all(world.path("bin")).unwrap();
    if default {
        let path = world.path("bin/fw_printenv");
        let text =
            "#!/bin/sh\necho 'Warning: Bad CRC, using default environment' >&2\necho bootcmd=default\n";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

//! The mode that stays, campaigns, and what a Director hears of servers that lie.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use aktualizr_common::{
    World, aktualizr, assign, client, device, edit_state, events, last_word, received, release, results,
};

fn start(world: &World) -> Child {
    world.fragment("70-polling", "[uptane]\npolling_sec = 1\n");
    client(world, "aktualizr", &["full"]).stdout(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> String {
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn manifests(world: &World) -> usize {
    fs::read_dir(world.dir.join("ota.received/device-1/manifests")).map_or(0, Iterator::count)
}

#[test]
fn full_updates_goes_on_reporting_and_ends_when_told() {
    let world = device("ak-full");
    let child = start(&world);
    until("a first report", || manifests(&world) > 0);
    release(&world, 2);
    // The running system must be the second deployment as soon as there are two.
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
    assign(&world, 2, "c-2");
    until("the installation", || events(&world).contains(&"EcuInstallationApplied".to_string()));
    let text = end(child);
    assert!(text.contains("test-board-2 is installed"), "{text}");
    assert!(text.trim_end().ends_with("Aktualizr daemon exiting..."), "{text}");
    assert!(!world.dir.join("rebooted").exists(), "no reboot without force_install_completion");
}

#[test]
fn an_idle_poll_writes_nothing() {
    let world = device("ak-idle");
    let child = start(&world);
    until("two reports", || manifests(&world) > 1);
    let (state, seen) = (world.snapshot("sota"), world.requests().len());
    let polls = manifests(&world);
    until("three more", || manifests(&world) > polls + 2);
    assert_eq!(world.snapshot("sota"), state, "the disk is left alone");
    let idle = world.requests()[seen..].to_vec();
    end(child);
    let log = fs::read_to_string(world.path("requests.jsonl")).unwrap();
    let connections: std::collections::BTreeSet<u64> = log
        .lines()
        .skip(seen)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["connection"].as_u64().unwrap())
        .collect();
    assert_eq!(connections.len(), 1, "one connection for all polls");
    let per_poll = idle.len() as f64 / idle.iter().filter(|p| p.ends_with("/manifest")).count() as f64;
    assert!(per_poll <= 3.5, "{per_poll} requests a poll: {idle:?}");
    assert!(!idle.iter().any(|p| p.starts_with("/repo/")), "nothing is assigned: {idle:?}");
}

#[test]
fn campaigns_are_offered_and_answered() {
    let mut world = device("ak-campaigns");
    aktualizr(&world, &["campaign_check"]).expect(0);
    let list = r#"[{"id":"c-1","name":"Winter","size":62470,"autoAccept":false,
        "metadata":[{"type":"DESCRIPTION","value":"Takes ten minutes"}]}]"#;
    fs::write(world.dir.join("ota/campaigns.json"), list).unwrap();
    aktualizr(&world, &["campaign_check"])
        .expect(0)
        .says("Campaign: Winter\nCampaign id: c-1\nCampaign size: 62470\nCampaignAccept required: yes\nMessage: Takes ten minutes\n");
    let run = aktualizr(&world, &["--loglevel", "4", "campaign_check", "--json"]).expect(0);
    assert_eq!(run.json()[0]["id"], "c-1");
    aktualizr(&world, &["campaign_accept"]).expect(1).says("campaign_accept requires a campaign ID");
    aktualizr(&world, &["campaign_accept", "--campaign-id", "c-1"])
        .expect(0)
        .says("got CampaignAcceptComplete event");
    assert_eq!(events(&world), ["campaign_accepted"]);

    // Without a network the answer waits, and any later run hands it over.
    let address = world.address.trim_start_matches("https://").to_string();
    world.stop_server();
    aktualizr(&world, &["campaign_postpone", "--campaign-id=c-1"]).expect(0);
    aktualizr(&world, &["campaign_decline", "--campaign-id=c-1"]).expect(0);
    world.start_server(&address);
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(events(&world), ["campaign_accepted", "campaign_postponed", "campaign_declined"]);
    // Nobody who answers a campaign confirms a boot, or says who this device is.
    assert!(received(&world, "ecus.json").is_some());
}

#[test]
fn no_campaign_mode_confirms_a_boot() {
    let world = device("ak-campaign-boot");
    aktualizr(&world, &["once"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    aktualizr(&world, &["campaign_check"]).expect(0);
    aktualizr(&world, &["campaign_accept", "--campaign-id=x"]).expect(0);
    aktualizr(&world, &["--help"]).expect(0);
    aktualizr(&world, &["--version"]).expect(0);
    assert_eq!(world.boot_variable("upgrade_available"), "1");
    aktualizr(&world, &["once"]).expect(0);
    assert_eq!(world.boot_variable("upgrade_available"), "0");
}

#[test]
fn a_compromised_director_installs_nothing_and_is_told_so() {
    let world = device("ak-director");
    aktualizr(&world, &["check"]).expect(0);
    let serial = last_word(&world)["ecu_serial"].as_str().unwrap().to_string();
    release(&world, 2);
    let ota = world.path("ota");
    let director = |hardware: &str, ecu: &str, id: &str| {
        world.ota_repo(&[
            "director",
            "assign",
            &ota,
            "test-board-2",
            "--device",
            "device-1",
            "--ecu",
            ecu,
            "--hardware-id",
            hardware,
            "--correlation-id",
            id,
        ]);
    };
    director("other-board", &serial, "c-1");
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(last_word(&world)["attacks_detected"].as_str().unwrap().starts_with("BadHardwareId"));
    let told = results(&world);
    assert_eq!(told.last().unwrap()["result"]["code"], "VERIFICATION_FAILED");
    assert_eq!(told.last().unwrap()["correlation_id"], "c-1");
    // Said once for as long as it stays so.
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert_eq!(results(&world).len(), told.len());

    world.ota_repo(&["director", "withdraw", &ota, "--device", "device-1"]);
    director("test-board", "another-ecu", "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(last_word(&world)["attacks_detected"].as_str().unwrap().starts_with("BadEcuId"));

    // Assigned by the Director, and not in the Image repository any more.
    world.ota_repo(&["director", "withdraw", &ota, "--device", "device-1"]);
    director("test-board", &serial, "c-3");
    world.ota_repo(&["target", "remove", &ota, "test-board-2"]);
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(last_word(&world)["attacks_detected"].as_str().unwrap().starts_with("TargetMismatch"));
    assert_eq!(world.deployments().len(), 1);
    assert!(!world.requests().iter().any(|p| p.starts_with("/treehub")), "nothing was fetched");

    // The next honest state is taken, and the alarm ends.
    release(&world, 3);
    assign(&world, 3, "c-4");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    still_old(&world);
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(last_word(&world)["attacks_detected"], "");
}

/// What an ECU had with a release counter stays its lowest. A Target without one is older than any that has one.
#[test]
fn a_compromised_director_does_not_go_below_the_release_counter() {
    let world = device("ak-counter");
    aktualizr(&world, &["check"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    edit_state(&world, "director.json", |state| state["installing"]["release_counter"] = 5.into());
    world.reboot_into(0);
    aktualizr(&world, &["once"]).expect(0);
    release(&world, 3);
    assign(&world, 3, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(last_word(&world)["attacks_detected"].as_str().unwrap().starts_with("SecurityException"));
    edit_state(&world, "director.json", |state| state["release_counters"] = serde_json::json!({}));

    // Nor does it give the name of what runs to other content.
    edit_state(&world, "installed.json", |state| state["current"]["name"] = "test-board-3".into());
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(last_word(&world)["attacks_detected"].as_str().unwrap().starts_with("TargetContentMismatch"));
    edit_state(&world, "installed.json", |state| state["current"]["name"] = "test-board-2".into());
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
}

fn still_old(world: &World) {
    aktualizr_common::still_running_the_old_one(world);
}

#[test]
fn roots_come_from_the_image_and_from_nowhere_else() {
    let world = device("ak-roots");
    fs::remove_file(world.dir.join("director-root.json")).unwrap();
    let run = aktualizr(&world, &["check"]).expect(1);
    assert!(run.stdout.contains("director-root.json: there is no trusted root"), "{}", run.stdout);
    assert!(!world.dir.join("sota/rust-ota/trust/director").exists());
    world.fragment("80-first", "[rust_ota]\ntrust_first_root = true\n");
    aktualizr(&world, &["check"]).expect(0);
    assert!(world.dir.join("sota/rust-ota/trust/director/root.json").exists());
}

#[test]
fn the_key_is_private_and_never_sent() {
    let world = device("ak-secrets");
    world.fragment("80-secrets", "[p11]\npass = hush-pin\n[provision]\np12_password = hush-word\n");
    aktualizr(&world, &["once"]).expect(0);
    let key = fs::read_to_string(world.dir.join("sota/rust-ota/ecu-key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap().to_string();
    let sent = world.snapshot("ota.received");
    assert!(sent.len() > 3);
    for (path, bytes) in sent {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for word in [secret.as_str(), "hush-pin", "hush-word", "PRIVATE KEY"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn explain_speaks_of_the_assignment() {
    let world = device("ak-explain");
    world.ota(&["explain"]).expect(1).says("The Director has not been asked yet");
    release(&world, 2);
    world.ota(&["check"]).expect(0);
    let run = world.ota(&["explain"]).expect(0).says("The Director assigns nothing to this device; ");
    assert!(!run.stdout.contains("test-board-2"), "{}", run.stdout);
    world.ota(&["explain", "2"]).expect(0).says("2 is not assigned to this device; ");
    assign(&world, 2, "c-2");
    world.ota(&["check"]).expect(16);
    let state = world.snapshot("sota");
    world.ota(&["explain"]).expect(0).says("test-board-2 is assigned, and the next update takes it");
    assert_eq!(world.snapshot("sota"), state, "looking changes nothing");
    world.fragment("90-off", "[pacman]\nostree_server = https://127.0.0.1:1/treehub\n");
    for _ in 0..2 {
        world.ota(&["update"]).expect(50);
    }
    world
        .ota(&["explain"])
        .expect(50)
        .says("test-board-2 is assigned, but its download fails: ")
        .says("failed 2 times");
    assert_eq!(world.ota(&["status", "--json"]).expect(0).json()["last"]["stage"], "download");
    world.fragment("90-off", "[uptane]\ndirector_server = https://127.0.0.1:1/director\n");
    world.ota(&["check"]).expect(13);
    world.ota(&["explain"]).expect(13).says("The check for updates fails: ").says("test-board-2 is assigned");
}

/// By correlation id and code.
fn told(world: &World) -> Vec<(String, String)> {
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_string();
    results(world).iter().map(|r| (text(&r["correlation_id"]), text(&r["result"]["code"]))).collect()
}

fn pair(id: &str, code: &str) -> (String, String) {
    (id.to_string(), code.to_string())
}

#[test]
fn an_assignment_of_what_runs_already_is_fulfilled() {
    let world = device("ak-runs-already");
    aktualizr(&world, &["check"]).expect(0);
    assign(&world, 1, "c-same");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(told(&world), [pair("c-same", "OK")]);
    assert_eq!(last_word(&world)["installed_image"]["filepath"], "test-board-1", "not unknown");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(told(&world).len(), 1, "said once");
    assign(&world, 1, "c-again");
    aktualizr(&world, &["check", "--exit-codes"]).expect(0);
    assert_eq!(told(&world), [pair("c-same", "OK"), pair("c-again", "OK")]);
}

#[test]
fn an_odd_answer_of_one_repository_is_no_verdict_over_the_assignment() {
    let world = device("ak-odd-answers");
    aktualizr(&world, &["check"]).expect(0);
    let stale = fs::read(world.dir.join("ota/repo/snapshot.json")).unwrap();
    release(&world, 2);
    assign(&world, 2, "c-2");
    // A portal's page, and a repository that is half published.
    for (name, bad) in [("timestamp.json", b"<html>Please log in</html>".to_vec()), ("snapshot.json", stale)]
    {
        let path = world.dir.join("ota/repo").join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, bad).unwrap();
        let code = aktualizr(&world, &["once", "--exit-codes"]).code;
        assert!([11, 13].contains(&code), "{name}: {code}");
        assert_eq!(told(&world), [], "{name}");
        fs::write(&path, good).unwrap();
    }
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(told(&world), [pair("c-2", "OK")]);
}

#[test]
fn a_result_without_a_correlation_id_goes_out_and_finalize_hands_it_over() {
    let world = device("ak-no-id");
    aktualizr(&world, &["check"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    assert_eq!(told(&world), [pair("", "OK")]);
    assert_eq!(events(&world).last().unwrap(), "EcuInstallationCompleted");
    aktualizr(&world, &["once"]).expect(0);
    assert_eq!(told(&world).len(), 1);
}

//! Apps from the folder of an offline update (`--src-dir`), made by `ota-repo apps fetch`: with a system and alone. Nobody is
//! connected to.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod apps_common;

use apps_common::{Shop, compose};
use std::fs;
use std::net::TcpListener;

/// A folder with what is published now, and with these apps.
fn bundle(shop: &Shop, name: &str, apps: &[(&str, &str)]) -> String {
    let folder = shop.world.path(name);
    fs::create_dir_all(&folder).unwrap();
    shop.world.run("cp", &["-r", &shop.world.path("ota/repo"), &format!("{folder}/tuf")]);
    shop.world.run("cp", &["-r", &shop.world.path("ota/treehub"), &format!("{folder}/ostree_repo")]);
    for (app, uri) in apps {
        let out = format!("{folder}/apps");
        shop.world.ota_repo(&["apps", "fetch", app, uri, "--out", &out, "--ca", &shop.ca()]);
    }
    folder
}

/// Listens where the registry was.
struct Trap(TcpListener);

impl Trap {
    fn set(shop: &mut Shop) -> Trap {
        shop.stop_registry();
        shop.world.stop_server();
        let listener = TcpListener::bind(&shop.host).unwrap();
        listener.set_nonblocking(true).unwrap();
        Trap(listener)
    }

    fn was_empty(&self) {
        assert!(self.0.accept().is_err(), "the registry was connected to");
    }
}

fn lite_shop(name: &str) -> Option<Shop> {
    let shop = Shop::new(name)?;
    let lock = shop.world.path("run/aklite.lock");
    shop.world.fragment("30-lite", &format!("[rust_ota]\naklite_lock = {lock}\n"));
    Some(shop)
}

#[test]
fn what_a_folder_has_is_checked_as_what_a_registry_sends() {
    let Some(mut shop) = lite_shop("apps-offline-pull") else { return };
    let (one, two) = (shop.image("f/web:1", "one", 50_000), shop.image("f/web:2", "two", 50_000));
    let (web, db) = (shop.publish("web", &compose(&one)), shop.publish("db", &compose(&two)));
    shop.target(1, 2, &[("web", &web), ("db", &db)]);
    let folder = bundle(&shop, "usb", &[("web", &web), ("db", &db)]);
    let layer = format!("{folder}/apps/blobs/sha256/{}", shop.layer(&two));
    let trap = Trap::set(&mut shop);
    shop.lite(&["check", "--src-dir", &folder]).expect(17).says("web: new app in target");

    // One app is not in the folder, whole; what is there is taken all the same.
    let good = fs::read(&layer).unwrap();
    fs::remove_file(&layer).unwrap();
    shop.lite(&["pull", "--src-dir", &folder]).expect(50).says(&layer);
    // A stick that lies, or is broken.
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&layer, &bad).unwrap();
    shop.lite(&["pull", "--src-dir", &folder]).expect(70).says("was asked for and sha256:");
    shop.lite(&["install", "--src-dir", &folder]).expect(80);
    fs::write(&layer, &good).unwrap();
    shop.lite(&["pull", "--src-dir", &folder]).expect(0);
    trap.was_empty();
}

#[test]
fn an_app_that_was_forgotten() {
    let Some(mut shop) = lite_shop("apps-offline-forgotten") else { return };
    let first = shop.world.deployments()[0].clone();
    let image = shop.image("f/web:1", "one", 1000);
    let web = shop.publish("web", &compose(&image));
    let db = shop.publish("db", &(compose(&image) + "x-app: db\n"));
    shop.world.commit(2, &[]);
    shop.target(2, 2, &[("web", &web), ("db", &db)]);
    let folder = bundle(&shop, "usb", &[("web", &web)]);
    let trap = Trap::set(&mut shop);
    // What runs is in the folder, too: said, and no error.
    shop.lite(&["check", "--src-dir", &folder])
        .expect(0)
        .says("usb/apps: has not all that test-board-2 needs");
    let commit = format!("{folder}/ostree_repo/objects/{}/{}.commit", &first[..2], &first[2..]);
    fs::remove_file(commit).unwrap();
    shop.lite(&["check", "--src-dir", &folder]).expect(8).says("usb/apps");
    shop.lite(&["update", "--src-dir", &folder]).expect(8);
    // A device that is not to run it does not miss it.
    shop.world.fragment("70-list", "[pacman]\ncompose_apps = web\n");
    shop.lite(&["check", "--src-dir", &folder]).expect(16);
    shop.lite(&["update", "--src-dir", &folder]).expect(100);
    trap.was_empty();
}

#[test]
fn the_system_and_its_apps_and_then_apps_alone() {
    let Some(mut shop) = lite_shop("apps-offline") else { return };
    if !shop.engine() {
        return;
    }
    let (one, two) = (shop.image("f/web:1", "one", 1000), shop.image("f/web:2", "two", 1000));
    let web = shop.publish("web", &compose(&one));
    shop.world.commit(2, &[]);
    shop.target(2, 2, &[("web", &web)]);
    let both = bundle(&shop, "both", &[("web", &web)]);
    let newer = shop.publish("web", &compose(&two));
    shop.target(2, 3, &[("web", &newer)]);
    let alone = bundle(&shop, "alone", &[("web", &newer)]);
    let trap = Trap::set(&mut shop);

    shop.lite(&["update", "--src-dir", &both]).expect(100);
    shop.world.reboot_into(0);
    shop.lite(&["run"]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("one"));

    shop.lite(&["check", "--src-dir", &alone]).expect(16).says("from test-board-2 to test-board-3");
    shop.lite(&["update", "--src-dir", &alone]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
    trap.was_empty();
}

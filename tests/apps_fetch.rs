//! Apps from a real registry: what is fetched, when it is refused, what a cut and a moved tag change. No engine is needed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod apps_common;

use apps_common::{Shop, compose};
use std::fs;

fn digest(uri: &str) -> &str {
    uri.rsplit_once("sha256:").unwrap().1
}

#[test]
fn an_app_is_fetched_once_whole_and_by_digest() {
    let Some(shop) = Shop::new("apps-fetch") else { return };
    let pinned = shop.image("f/web:1", "one", 200_000);
    let uri = shop.publish("web", &compose(&format!("{}/f/web:1", shop.host)));
    shop.target(1, 2, &[("web", &uri)]);
    // The tag moves to another image: nothing changes for what was published.
    let moved = shop.image("f/web:1", "two", 10);
    assert_ne!(pinned, moved);

    shop.world.ota(&["check"]).expect(17).says("web: new app in target");
    shop.world.ota(&["download"]).expect(0);
    let store = shop.world.dir.join("reset-apps");
    assert!(store.join("blobs/sha256").join(digest(&pinned)).exists());
    assert!(!store.join("blobs/sha256").join(digest(&moved)).exists());
    let noted = store.join("apps/web").join(digest(&uri)).join("uri");
    assert_eq!(fs::read_to_string(noted).unwrap(), uri);
    // All is here: the registry is not asked again.
    let before = shop.world.snapshot("reset-apps");
    let mut shop = shop;
    shop.stop_registry();
    shop.world.ota(&["download"]).expect(0);
    assert_eq!(shop.world.snapshot("reset-apps"), before);
}

#[test]
fn other_bytes_than_were_signed_are_not_kept() {
    let Some(shop) = Shop::new("apps-bytes") else { return };
    let pinned = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&pinned));
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    for name in [digest(&uri), digest(&pinned)] {
        let blob = shop.blob(name);
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 2;
        bad[last] ^= 1;
        fs::write(&blob, &bad).unwrap();
        let run = shop.world.ota(&["download"]);
        assert!([50, 70].contains(&run.code), "{run:?}");
        assert!(!shop.world.dir.join("reset-apps/blobs/sha256").join(name).exists());
        fs::write(&blob, &good).unwrap();
    }
    // A layer, which the registry does not look into as it serves it.
    let layer = shop.layer(&pinned);
    let good = fs::read(shop.blob(&layer)).unwrap();
    let mut bad = good.clone();
    bad[10] ^= 1;
    fs::write(shop.blob(&layer), &bad).unwrap();
    shop.world.ota(&["download"]).expect(70).says("was asked for and sha256:");
    assert!(!shop.world.dir.join("reset-apps/blobs/sha256").join(&layer).exists());
    assert!(!shop.world.dir.join("reset-apps/apps/web").exists(), "not noted as whole");
    shop.world.ota(&["install"]).expect(80).says("run download first");
    fs::write(shop.blob(&layer), &good).unwrap();
    shop.world.ota(&["download"]).expect(0);
}

#[test]
fn what_layers_take_on_a_disk_is_believed() {
    let Some(shop) = Shop::new("apps-usage") else { return };
    let pinned = shop.image("f/web:1", "one", 1000);
    let layer = shop.layer(&pinned);
    let huge = shop.publish_measured("web", &compose(&pinned), Some((&layer, u64::MAX)));
    shop.target(1, 2, &[("web", &huge)]);
    shop.world.fragment("70-room", "[pacman]\nstorage_watermark = 90\n");
    shop.world.ota(&["check"]).expect(17);
    // But for the record of what happened last.
    let state = || {
        let mut files = shop.world.snapshot("sota/rust-ota");
        files.retain(|(path, _)| !path.ends_with("last.json"));
        files
    };
    let nothing = state();
    let run = shop.world.ota(&["download"]).expect(60);
    run.says(&format!("{} bytes are needed", u64::MAX)).says("pacman.storage_watermark is 90 percent");
    assert_eq!(state(), nothing);

    let small = shop.publish_measured("web", &compose(&pinned), Some((&layer, 8192)));
    shop.target(1, 3, &[("web", &small)]);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(0);
    let odd = shop.publish_measured("web", &compose(&pinned), Some(("odd", 1)));
    shop.target(1, 4, &[("web", &odd)]);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(0);
}

#[test]
fn a_missing_image_and_a_refused_file() {
    let Some(shop) = Shop::new("apps-refused") else { return };
    let pinned = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&pinned));
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    let nothing = shop.world.snapshot("sota/rust-ota");

    let blob = shop.blob(&shop.layer(&pinned));
    let hidden = blob.with_extension("hidden");
    fs::rename(&blob, &hidden).unwrap();
    shop.world.ota(&["download"]).expect(50).says("(404)");
    fs::rename(&hidden, &blob).unwrap();

    // By somebody else's tool: nobody checked that the image is pinned.
    let loose = shop.publish_raw("loose", &compose("hub.example/f/web:latest"));
    shop.target(1, 3, &[("web", &loose)]);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(70).says("line 3").says("is not pinned");
    let installed = |files: &[(std::path::PathBuf, Vec<u8>)]| {
        files.iter().find(|(p, _)| p.ends_with("installed.json")).cloned()
    };
    assert_eq!(
        installed(&nothing),
        installed(&shop.world.snapshot("sota/rust-ota")),
        "nothing was installed"
    );
}

#[test]
fn a_cut_transfer_goes_on() {
    let Some(mut shop) = Shop::new("apps-cut") else { return };
    let pinned = shop.image("f/web:1", "one", 3_000_000);
    let uri = shop.publish("web", &compose(&pinned));
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    let layer = shop.layer(&pinned);
    let whole = fs::read(shop.blob(&layer)).unwrap();
    let blobs = shop.world.dir.join("reset-apps/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();

    // What a kill leaves: the first two megabytes. The rest is asked for, and no more.
    fs::write(blobs.join(format!("{layer}.partial")), &whole[..2_000_000]).unwrap();
    shop.world.ota(&["download"]).expect(0);
    assert_eq!(fs::read(blobs.join(&layer)).unwrap(), whole);
    shop.stop_registry();
    let log = fs::read_to_string(shop.world.path("registry.log")).unwrap_or_default();
    let line = log.lines().find(|l| l.contains(&format!("GET /v2/f/web/blobs/sha256:{layer}")));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(" 206 ") || line.contains("status=206"), "{line}");

    // Damaged in the first half: found by its hash, and fetched whole.
    shop.start_registry();
    fs::remove_file(blobs.join(&layer)).unwrap();
    let mut damaged = whole[..2_000_000].to_vec();
    damaged[5] ^= 1;
    fs::write(blobs.join(format!("{layer}.partial")), &damaged).unwrap();
    shop.world.ota(&["download"]).expect(0);
    assert_eq!(fs::read(blobs.join(&layer)).unwrap(), whole);
}

#[test]
fn a_short_list_and_apps_that_are_only_kept() {
    let Some(shop) = Shop::new("apps-list") else { return };
    let image = shop.image("f/web:1", "one", 1000);
    let (web, db, ui) = ("web", "db", "ui").map_publish(&shop, &image);
    shop.target(1, 2, &[("web", &web), ("db", &db), ("ui", &ui)]);
    shop.world.fragment("70-list", "[pacman]\ncompose_apps = web\nreset_apps = db\n");
    let run = shop.world.ota(&["check"]).expect(17);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("db: new app"));
    shop.world.ota(&["download"]).expect(0);
    let apps = shop.world.dir.join("reset-apps/apps");
    assert!(apps.join("web").exists() && apps.join("db").exists() && !apps.join("ui").exists());

    shop.world.fragment("70-list", "[pacman]\ncompose_apps = \"\"\n");
    shop.world.ota(&["check"]).expect(0).says("Up to date");
}

trait Three {
    fn map_publish(self, shop: &Shop, image: &str) -> (String, String, String);
}

impl Three for (&str, &str, &str) {
    fn map_publish(self, shop: &Shop, image: &str) -> (String, String, String) {
        let publish = |app: &str| shop.publish(app, &format!("{}x-app: {app}\n", compose(image)));
        (publish(self.0), publish(self.1), publish(self.2))
    }
}

/// What the registry sent to the client since it started, by its own log of requests: path and bytes of each reply.
fn sent(shop: &Shop) -> Vec<(String, u64)> {
    let log = fs::read_to_string(shop.world.path("registry.log")).unwrap();
    let ours = log.lines().filter(|l| l.contains("\"rust-ota/"));
    ours.filter_map(|line| {
        let mut words = line.split_once("\"GET ")?.1.split(' ');
        Some((words.next()?.to_string(), words.nth(2)?.parse().unwrap()))
    })
    .collect()
}

#[test]
fn what_is_fetched_is_what_changed() {
    let Some(mut shop) = Shop::new("apps-delta") else { return };
    // Two images on the same lower layer; the upper one changes.
    let (one, two) = (shop.image("f/web:1", "one", 300_000), shop.image("f/web:2", "two", 100_000));
    let (web, db) = (shop.publish("web", &compose(&one)), shop.publish("db", &compose(&one)));
    let newer = shop.publish("web", &compose(&two));
    shop.target(1, 2, &[("web", &web), ("db", &db)]);
    shop.world.ota(&["check"]).expect(17);
    shop.start_registry();
    shop.world.ota(&["download"]).expect(0);
    shop.stop_registry();
    let first = sent(&shop);

    shop.target(1, 3, &[("web", &newer), ("db", &db)]);
    shop.world.ota(&["check"]).expect(17);
    shop.start_registry();
    shop.world.ota(&["download"]).expect(0);
    shop.stop_registry();
    let second = sent(&shop);

    let size = |hex: &str| fs::metadata(shop.blob(hex)).unwrap().len();
    let upper = size(&shop.layer(&two));
    let bytes = |replies: &[(String, u64)]| replies.iter().map(|(_, bytes)| bytes).sum::<u64>();
    let whole: u64 =
        shop.world.snapshot("reset-apps/blobs").iter().map(|(_, content)| content.len() as u64).sum();
    println!(
        "first installation: {} bytes in {} requests; one layer of {upper} bytes changed: {} bytes in {} requests; the store has {whole}",
        bytes(&first),
        first.len(),
        bytes(&second),
        second.len(),
    );
    // Two manifests, the archive with the Compose file, and the image's configuration.
    assert!(bytes(&second) <= upper + 4096, "{second:?}");
    assert!(bytes(&second) >= upper);
    assert_eq!(second.len(), 5, "{second:?}");
    let mut paths: Vec<_> = first.iter().map(|(path, _)| path).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), first.len(), "nothing is asked for twice, whichever app needs it: {first:?}");
}

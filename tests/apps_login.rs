//! Registries that want a login, and what they, and others, get to see of it: a real registry with its own kinds of login,
//! redirects by its own middleware. The gateway and the token server are tests/python/registry_login.py.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod apps_common;

use apps_common::{Shop, compose, there};

const LOGIN: &str = "robot:secret";

fn token_login(shop: &Shop, gateway: &str) -> String {
    format!(
        "auth:\n  token:\n    realm: {gateway}/token\n    service: registry of the tests\n    issuer: tests\n    rootcertbundle: {}\n",
        shop.world.path("token.crt")
    )
}

#[test]
fn a_registry_that_wants_a_login_says_so() {
    let Some(shop) = Shop::with_login("apps-login-none", Some(LOGIN)).filter(|_| there("htpasswd")) else {
        return;
    };
    let image = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&image));
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    // ota-repo's server has no /hub-creds/.
    shop.world.ota(&["download"]).expect(50).says("the device gateway has none");

    // It has one that is not the registry's.
    let (_, _gateway) = shop.gateway("robot:other");
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(50).says("the registry refused the login (401)");
}

#[test]
fn a_login_by_password_comes_from_the_gateway() {
    let Some(shop) = Shop::with_login("apps-login-basic", Some(LOGIN)).filter(|_| there("htpasswd")) else {
        return;
    };
    let image = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&image));
    shop.target(1, 2, &[("web", &uri)]);
    let (_, _gateway) = shop.gateway(LOGIN);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(0);
    let asked = shop.asked("/hub-creds/");
    assert!(
        !asked.is_empty() && asked.iter().all(|(login, certificate)| login.is_empty() && *certificate),
        "{asked:?}"
    );
    // All is here: nobody is asked for a login.
    shop.world.ota(&["download"]).expect(0);
    assert_eq!(shop.asked("/hub-creds/").len(), asked.len());
}

#[test]
fn a_login_by_token() {
    let Some(mut shop) = Shop::new("apps-login-token") else { return };
    let image = shop.image("f/web:1", "one", 1000);
    let (gateway, _running) = shop.gateway(LOGIN);
    shop.configure(&token_login(&shop, &gateway));
    shop.start_registry();
    // To publish takes a token too, with other rights.
    shop.login = Some(LOGIN.to_string());
    let uri = shop.publish("web", &compose(&image));
    let published = shop.asked("/token").len();
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(0);
    // The token server is another one's: it sees the login, and nothing of the device.
    let asked = shop.asked("/token");
    assert!(asked.len() > published);
    assert!(asked.iter().all(|(login, certificate)| login == "Basic" && !certificate), "{asked:?}");
}

#[test]
fn where_a_registry_redirects_to_sees_no_login() {
    let Some(mut shop) = Shop::with_login("apps-login-redirect", Some(LOGIN)).filter(|_| there("htpasswd"))
    else {
        return;
    };
    let image = shop.image("f/web:1", "one", 300_000);
    let uri = shop.publish("web", &compose(&image));
    shop.target(1, 2, &[("web", &uri)]);
    let (gateway, _running) = shop.gateway(LOGIN);
    let middleware = format!(
        "middleware:\n  storage:\n    - name: redirect\n      options:\n        baseurl: {gateway}\n"
    );
    shop.configure(&(shop.basic(LOGIN) + &middleware));
    shop.start_registry();
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(0);
    let asked = shop.asked("/docker/");
    assert!(asked.len() >= 3, "{asked:?}");
    assert!(asked.iter().all(|(login, certificate)| login.is_empty() && !certificate), "{asked:?}");
}

#[test]
fn the_login_is_not_for_other_registries_that_have_images() {
    let Some(shop) = Shop::new("apps-login-other") else { return };
    let image = shop.image("f/web:1", "one", 1000);
    let (gateway, _running) = shop.gateway(LOGIN);
    let (other, _other) = shop.another_registry(&token_login(&shop, &gateway));
    let uri = shop.publish("web", &compose(&image.replace(&shop.host, &other)));
    shop.target(1, 2, &[("web", &uri)]);
    shop.world.ota(&["check"]).expect(17);
    shop.world.ota(&["download"]).expect(50).says("the login answered 401");
    // It was tried without: many images are there for everybody.
    assert_eq!(shop.asked("/token"), [(String::new(), false)]);
    assert_eq!(shop.asked("/hub-creds/"), []);
}

#[test]
fn a_gateway_that_has_what_all_registries_have() {
    let Some(mut shop) = Shop::new("apps-login-proxy") else { return };
    let image = shop.image("f/web:1", "one", 300_000);
    // Of registries that nobody could reach.
    let uri = shop.publish_raw("web", &compose(&image.replace(&shop.host, "hub.invalid")));
    shop.target(1, 2, &[("web", &uri.replace(&shop.host, "apps.invalid:5000"))]);
    let (gateway, _running) = shop.gateway(LOGIN);
    shop.stop_registry();
    shop.world.ota(&["check"]).expect(17);
    let proxy = |shop: &Shop, path: &str| {
        shop.world.fragment("70-proxy", &format!("[pacman]\ncompose_apps_proxy = {gateway}{path}\n"));
    };
    proxy(&shop, "/elsewhere");
    shop.world.ota(&["download"]).expect(50).says("/elsewhere: answered 403").says("compose_apps_proxy");

    proxy(&shop, "/app-proxy-url");
    let layer = shop.blob(&shop.layer(&image));
    let away = layer.with_extension("away");
    std::fs::rename(&layer, &away).unwrap();
    let failed = shop.world.ota(&["download"]).expect(50).says("(404)");
    assert!(!failed.stderr.contains("secret"), "the token is in no message: {}", failed.stderr);
    std::fs::rename(&away, &layer).unwrap();
    shop.world.ota(&["download"]).expect(0);

    // The first address was good for three requests, so there was another one; the second run asked for its own.
    assert_eq!(shop.asked("/app-proxy-url"), vec![(String::new(), true); 3]);
    let asked = shop.asked("/registry/v2/");
    assert!(asked.iter().all(|(login, certificate)| login.is_empty() && !certificate), "{asked:?}");
    assert_eq!(shop.asked("/hub-creds/"), []);
    // What comes is held to the digests that were signed, as from a registry.
    std::fs::remove_dir_all(shop.world.path("reset-apps")).unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    shop.world.ota(&["download"]).expect(70).says("was asked for and sha256:");
}

//! Keys that nothing reads: a misspelled one would silently leave its default in force.

use std::collections::BTreeSet;

use super::ConfigError;
use super::merged::{Merged, Value};

/// Keys of aktualizr and aktualizr-lite that this client does not read, or not always. Their files stay valid.
const FOREIGN: [(&str, &str); 10] = [
    ("logger", "loglevel"),
    ("tls", "ca_source pkey_source cert_source server_url_path"),
    ("p11", "module pass label uptane_key_id tls_pkey_id tls_clientcert_id tls_cacert_id tls_ca_id"),
    (
        "provision",
        "server p12_password expiry_days provision_path device_id primary_ecu_serial primary_ecu_hardware_id \
         ecu_registration_endpoint mode",
    ),
    (
        "uptane",
        "running_mode polling_sec director_server repo_server key_source key_type force_install_completion \
         secondary_config_file secondary_preinstall_wait_sec secondaries_preinstall_wait_sec",
    ),
    (
        "pacman",
        "type os sysroot ostree_server images_path packages_file fake_need_reboot booted tags compose_apps \
         reset_apps compose_apps_root reset_apps_root images_data_root storage_watermark docker_prune \
         create_containers_before_reboot stop_apps_before_update force_update docker_compose_bin composectl_bin \
         skopeo_bin compose_apps_proxy compose_apps_proxy_ca hub_auth_creds_endpoint callback_program \
         ostree_update_block sysroot_ostree_reserved_space_percentage enforce_composeapp_engine \
         x-fio-test-no-init-target compose_apps_tree create_apps_tree docker_images_reload_cmd",
    ),
    (
        "storage",
        "type path sqldb_path uptane_metadata_path uptane_private_key_path uptane_public_key_path tls_cacert_path \
         tls_pkey_path tls_clientcert_path",
    ),
    (
        "import",
        "base_path tls_cacert_path tls_clientcert_path tls_pkey_path uptane_private_key_path uptane_public_key_path",
    ),
    ("telemetry", "report_network report_config"),
    ("bootloader", "rollback_mode reboot_sentinel_dir reboot_sentinel_name reboot_command"),
];

/// Our own section, where each key is one of ours.
const OWN: &str = "rust_ota";

/// Warnings about keys that are neither read nor known to the programs that this client replaces. In our own section
/// such a key is an error. `asked` is what was looked up.
pub fn unknown(merged: &Merged, asked: &BTreeSet<(String, String)>) -> Result<Vec<String>, ConfigError> {
    let known: Vec<(&str, &str)> = FOREIGN
        .iter()
        .flat_map(|(section, keys)| keys.split_whitespace().map(|key| (*section, key)))
        .chain(asked.iter().map(|(section, key)| (section.as_str(), key.as_str())))
        .collect();
    let mut warnings = Vec::new();
    for (section, key, value) in merged.iter() {
        if known.contains(&(section, key)) {
            continue;
        }
        let hint = hint(&known, section, key);
        if section == OWN {
            return Err(ConfigError::UnknownKey {
                path: value.file.clone(),
                line: value.line,
                key: format!("{section}.{key}"),
                hint,
            });
        }
        if known.iter().any(|(known, _)| *known == section) || !hint.is_empty() {
            warnings.push(warning(section, key, value, &hint));
        }
    }
    Ok(warnings)
}

fn warning(section: &str, key: &str, value: &Value, hint: &str) -> String {
    let place = format!("{}:{}", value.file.display(), value.line);
    format!("{place}: {section}.{key} is not known and has no effect{hint}; correct or remove the line")
}

/// The same name in another section, or the nearest one in this section, or in one that is spelled alike.
fn hint(known: &[(&str, &str)], section: &str, key: &str) -> String {
    let elsewhere =
        || known.iter().find(|(s, k)| *k == key && (*s == OWN || section == OWN || alike(s, section)));
    let same_section = known.iter().filter(|(s, _)| *s == section);
    let nearest =
        same_section.map(|pair| (distance(pair.1, key), pair)).min_by_key(|(distance, _)| *distance);
    let near = nearest.filter(|(distance, _)| *distance <= 1 + key.len() / 4).map(|(_, pair)| pair);
    match near.or_else(elsewhere).or_else(|| known.iter().find(|(s, k)| *k == key && *s != section)) {
        Some((section, key)) => format!(", did you mean {section}.{key}?"),
        None => String::new(),
    }
}

fn alike(a: &str, b: &str) -> bool {
    distance(a, b) <= 2
}

/// Letters that are to be added, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;
    use super::*;

    fn warnings(text: &str) -> Result<Vec<String>, ConfigError> {
        let mut merged = Merged::default();
        merged.apply(Path::new("/etc/sota/conf.d/50.toml"), text)?;
        Ok(Settings::from_merged(&merged)?.warnings)
    }

    #[test]
    fn a_key_that_is_misspelled_is_warned_of_with_the_nearest_name() {
        for (text, hint) in [
            ("[pacman]\ntag = main\n", "pacman.tags"),
            ("[tls]\nsever = https://h\n", "tls.server"),
            ("[uptane]\npoling_sec = 5\n", "uptane.polling_sec"),
            ("[bootloader]\nrolback_mode = grub\n", "bootloader.rollback_mode"),
            ("[pacman]\npolling_sec = 5\n", "uptane.polling_sec"),
            ("[pacmam]\ntags = main\n", "pacman.tags"),
        ] {
            let found = warnings(text).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with("/etc/sota/conf.d/50.toml:2: "), "{found:?}");
            assert!(found[0].contains(&format!("did you mean {hint}?")), "{found:?}");
        }
        assert_eq!(warnings("[uptane]\nno_such_thing_at_all = 1\n").unwrap().len(), 1);
    }

    #[test]
    fn keys_of_the_programs_that_it_replaces_are_no_matter() {
        let mut text = String::new();
        for (section, keys) in FOREIGN {
            text.push_str(&format!("[{section}]\n"));
            for key in keys.split_whitespace().filter(|key| !["mode", "type", "key_type"].contains(key)) {
                text.push_str(&format!("{key} = \"\"\n"));
            }
        }
        text.push_str("[our_own_program]\ncolour = red\n");
        assert_eq!(warnings(&text).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn in_our_own_section_it_is_an_error() {
        let error = warnings("[rust_ota]\nauto_rebot = 0\n").unwrap_err().to_string();
        assert!(error.starts_with("/etc/sota/conf.d/50.toml:2: rust_ota.auto_rebot is not known"), "{error}");
        assert!(error.contains("did you mean rust_ota.auto_reboot?"), "{error}");
    }
}

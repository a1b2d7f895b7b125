//! The configuration as a server is told it: merged, and without what is secret.

use super::Merged;

const WITHHELD: &str = "(withheld)";

/// In the dialect of the files, sections and keys in order.
pub fn report(merged: &Merged) -> String {
    let mut text = String::new();
    let mut last = None;
    for (section, key, value) in merged.iter() {
        if last != Some(section) {
            text.push_str(&format!("{}[{section}]\n", if last.is_some() { "\n" } else { "" }));
            last = Some(section);
        }
        let value = if is_secret(key) { WITHHELD.to_string() } else { shown(key, &value.text) };
        text.push_str(&format!("{key} = \"{value}\"\n"));
    }
    text
}

/// `p11.pass`, `provision.p12_password`, and whatever else is named like them. A path to a key is none.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = ["pass", "secret", "token", "credential", "auth", "api_key"];
    words.iter().any(|word| key.contains(word)) || key == "pin" || key.ends_with("_pin")
}

/// A value without a login that may be in it.
pub(crate) fn shown(key: &str, value: &str) -> String {
    if key.ends_with("proxy") { super::without_login(value) } else { without_login(value) }
}

/// `https://user:password@host` without the middle, also within a list or a command.
fn without_login(value: &str) -> String {
    let Some((before, after)) = value.split_once("://") else { return value.to_string() };
    let end = after.find(['/', ' ', ',', '?', '#']).unwrap_or(after.len());
    let (host, rest) = after.split_at(end);
    let host =
        host.rsplit_once('@').map_or_else(|| host.to_string(), |(_, host)| format!("{WITHHELD}@{host}"));
    format!("{before}://{host}{}", without_login(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_secret_stays() {
        let mut merged = Merged::default();
        let text = "[tls]\nserver = https://user:pw@h:8443/a\n[p11]\npass = 1234\nmodule = /usr/lib/x.so\n\
            [provision]\np12_password = x\n[storage]\ntls_pkey_path = pkey.pem\n\
            [pacman]\ntags = \"main, http://a:b@c/,ftp://d@e\"\nhub_auth_creds_endpoint = z\nuser_pin = 1\n\
            [network]\nproxy = me:hush@proxy:3128\n";
        merged.apply(Path::new("f"), text).unwrap();
        let told = report(&merged);
        for secret in ["1234", "pw@", "\"x\"", "a:b", "d@", "\"1\"", "\"z\"", "hush"] {
            assert!(!told.contains(secret), "{secret} is in\n{told}");
        }
        for plain in [
            "[tls]\nserver = \"https://(withheld)@h:8443/a\"\n",
            "module = \"/usr/lib/x.so\"\n",
            "tls_pkey_path = \"pkey.pem\"\n",
            "tags = \"main, http://(withheld)@c/,ftp://(withheld)@e\"\n",
        ] {
            assert!(told.contains(plain), "{plain} is not in\n{told}");
        }
    }
}

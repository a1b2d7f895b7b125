//! Names of roles: as files of the repository, in URLs, and on disk.

use super::error::Reason;

/// The file of a top-level or delegated role, as metadata lists it.
pub fn listed_name(role: &str) -> String {
    format!("{role}.json")
}

/// The file of a role on disk: percent-quoted, so that it is one path component whatever the role is called.
pub fn stored_name(role: &str) -> String {
    format!("{}.json", quote(role))
}

/// Percent-quotes all but letters, digits and `-._~`, also `/`.
pub fn quote(text: &str) -> String {
    quote_except(text, b"-._~")
}

/// Percent-quotes a path, keeping its slashes.
pub fn quote_path(text: &str) -> String {
    quote_except(text, b"-._~/")
}

fn quote_except(text: &str, kept: &[u8]) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut quoted, byte| {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            let _ = write!(quoted, "%{byte:02X}");
        }
        quoted
    })
}

/// The longest quoted name, so that a version prefix, `.json` and a temporary suffix fit in 255 bytes.
const LONGEST: usize = 200;

/// Refuses a delegated role's name that would be taken for a top-level role's, or that no file can have.
pub(super) fn check_role_name(name: &str) -> Result<(), Reason> {
    let fault = match name {
        "" => "it is empty",
        "root" | "timestamp" | "snapshot" | "targets" | "mirrors" => "it is a top-level role's",
        _ if quote(name).len() > LONGEST => "it is longer than 200 bytes when quoted",
        _ => return Ok(()),
    };
    Err(Reason::RoleName { name: name.to_owned(), detail: fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_all_that_is_not_plain() {
        for (role, stored) in [
            ("a-b_c.d~1", "a-b_c.d~1.json"),
            ("?", "%3F.json"),
            ("#", "%23.json"),
            ("/delegatedrole", "%2Fdelegatedrole.json"),
            ("../delegatedrole", "..%2Fdelegatedrole.json"),
            ("a b%\0", "a%20b%25%00.json"),
            ("é", "%C3%A9.json"),
        ] {
            assert_eq!(stored_name(role), stored);
        }
        assert_eq!(quote_path("a/b c"), "a/b%20c");
    }

    #[test]
    fn refuses_names_that_cannot_be_stored() {
        for name in ["", "root", "timestamp", "snapshot", "targets", "mirrors", &"é".repeat(34)] {
            assert!(check_role_name(name).is_err(), "{name}");
        }
        for name in ["Root", "targets.json", "..", &"a".repeat(200)] {
            assert!(check_role_name(name).is_ok(), "{name}");
        }
    }
}

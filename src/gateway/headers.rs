//! What a device says of itself with each request.

/// The four headers that a device gateway records at each check-in. An empty value is sent too: it says that
/// there is nothing, while a missing header would leave what the server knew before.
pub fn ats(target: &str, commit: &str, apps: &str, tags: &str) -> Vec<(String, String)> {
    [("x-ats-target", target), ("x-ats-ostreehash", commit), ("x-ats-dockerapps", apps), ("x-ats-tags", tags)]
        .map(|(name, value)| (name.to_string(), clean(value)))
        .to_vec()
}

/// Lets a server join the requests for content with the Target they belong to. The value is the Target's name.
pub fn correlation(target: &str) -> Vec<(String, String)> {
    vec![("X-Correlation-ID".to_string(), clean(target))]
}

/// All headers of a request have to fit into one buffer, also with the longest name that somebody signed.
const LONGEST: usize = 2048;

/// A name comes from metadata and may hold anything; a header may not.
fn clean(value: &str) -> String {
    value
        .chars()
        .take(LONGEST)
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect::<String>()
        .trim()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_add_a_header() {
        assert_eq!(correlation("a\r\nX-Evil: 1")[0].1, "a??X-Evil: 1");
        let long = ats(&"n".repeat(1 << 20), "ab", &"a,".repeat(1 << 20), &"t".repeat(1 << 20));
        assert!(long.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() < 8192);
        assert_eq!(ats("Initial Target", "ab", "", "main")[0].1, "Initial Target");
    }
}

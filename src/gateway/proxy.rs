//! Which proxy a request goes through: `[network] proxy`, else the environment, by curl's rules.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::redact::redacted;
use crate::config::{NetworkSettings, without_login};

/// What is configured, and what the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proxies {
    https: Option<String>,
    http: Option<String>,
    none: String,
}

/// A proxy for one request, and its name without a login.
pub(super) type Chosen = Option<(Proxy, String)>;

impl Proxies {
    /// `env` looks a variable up. An empty one is none, as in curl.
    pub(super) fn new(network: &NetworkSettings, env: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let get = |names: &[&str]| names.iter().find_map(|name| env(name).filter(|text| !text.is_empty()));
        let none = network.no_proxy.clone().or_else(|| get(&["no_proxy", "NO_PROXY"])).unwrap_or_default();
        let (https, http) = match network.proxy.as_deref() {
            Some("none") => (None, None),
            Some(proxy) => (Some(proxy.to_string()), Some(proxy.to_string())),
            None => {
                let all = || get(&["all_proxy", "ALL_PROXY"]);
                // HTTP_PROXY can be set by a request's header in a CGI program, so curl reads the other case only.
                (get(&["https_proxy", "HTTPS_PROXY"]).or_else(all), get(&["http_proxy"]).or_else(all))
            }
        };
        Proxies { https, http, none }
    }

    pub(super) fn of_process(network: &NetworkSettings) -> Proxies {
        Proxies::new(network, &|name| std::env::var(name).ok())
    }

    /// The proxy for a URL; why it cannot be used, otherwise.
    pub(super) fn of(&self, url: &str) -> Result<Chosen, String> {
        let Ok(uri) = url.parse::<Uri>() else { return Ok(None) };
        let secure = uri.scheme_str() == Some("https");
        let Some(proxy) = (if secure { &self.https } else { &self.http }) else { return Ok(None) };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if uri.host().is_none_or(|host| bypassed(&self.none, host, port)) {
            return Ok(None);
        }
        let name = redacted(&without_login(proxy));
        if proxy.to_ascii_lowercase().starts_with("socks") {
            return Err(format!(
                "the proxy {name} is of a kind that this client does not speak; name an http:// proxy"
            ));
        }
        match Proxy::new(proxy.trim()) {
            Ok(proxy) => Ok(Some((proxy, name))),
            Err(error) => Err(format!(
                "the proxy {name} cannot be used: {error}; correct [network] proxy or https_proxy"
            )),
        }
    }
}

/// curl's reading of `no_proxy`: names match themselves and what is below them, addresses themselves and their networks.
fn bypassed(list: &str, host: &str, port: u16) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let entries = list.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_ascii_lowercase).any(|entry| match host.parse::<IpAddr>() {
        Ok(address) => is_of_network(&entry, address, port),
        Err(_) => is_below(&entry, &host, port),
    })
}

fn is_below(entry: &str, host: &str, port: u16) -> bool {
    let Some(entry) = without_port(entry, port) else { return false };
    let entry = entry.trim_start_matches('.').trim_end_matches('.');
    !entry.is_empty() && (host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.')))
}

fn is_of_network(entry: &str, address: IpAddr, port: u16) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, bits.parse::<u32>().ok()),
        None => (entry, Some(u32::MAX)),
    };
    let plain = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let network = plain(network).or_else(|| plain(without_port(network, port)?));
    match (network, address, bits) {
        (Some(IpAddr::V4(network)), IpAddr::V4(address), Some(bits)) => {
            (bits <= 32 || bits == u32::MAX)
                && same(u32::from(network).into(), u32::from(address).into(), 32, bits)
        }
        (Some(IpAddr::V6(network)), IpAddr::V6(address), Some(bits)) => {
            (bits <= 128 || bits == u32::MAX) && same(network.into(), address.into(), 128, bits)
        }
        _ => false,
    }
}

fn same(one: u128, other: u128, width: u32, bits: u32) -> bool {
    let shift = width.saturating_sub(bits);
    one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
}

/// An entry without the port that it may name; none where that is another one.
fn without_port(entry: &str, port: u16) -> Option<&str> {
    match entry.rsplit_once(':') {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
            (number.parse() == Ok(port)).then_some(name)
        }
        _ => Some(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_as_curl_reads_it() {
        for (list, host, bypass) in [
            ("", "a.example", false),
            ("*", "a.example", true),
            (" * ", "192.0.2.1", true),
            ("a.example", "A.Example.", true),
            ("example", "a.example", true),
            (".example", "a.example", true),
            (".example", "example", true),
            ("EXAMPLE.", "a.example", true),
            ("xample", "a.example", false),
            ("b.example  ,\ta.example", "a.example", true),
            ("b.example a.example", "a.example", true),
            ("a.example:443", "a.example", true),
            ("a.example:8443", "a.example", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1:443", "192.0.2.1", true),
            ("192.0.2.1:80", "192.0.2.1", false),
            ("2.1", "192.0.2.1", false),
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.0/33", "192.0.2.0", false),
            ("192.0.2.0/x", "192.0.2.0", false),
            ("2001:db8::/32", "[2001:db8::5]", true),
            ("2001:db8::/32", "[2001:db9::5]", false),
            ("[::1]", "[::1]", true),
            ("::1", "[::1]", true),
            (",", "a.example", false),
        ] {
            assert_eq!(bypassed(list, host, 443), bypass, "{list:?} {host}");
        }
    }

    fn chosen(proxy: Option<&str>, env: &[(&str, &str)], url: &str) -> Result<Option<String>, String> {
        let network = NetworkSettings { proxy: proxy.map(str::to_string), ..NetworkSettings::default() };
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Ok(Proxies::new(&network, &get).of(url)?.map(|(_, name)| name))
    }

    #[test]
    fn the_setting_is_above_the_environment_and_that_is_read_as_curl_does() {
        let url = "https://ota.example/repo";
        let is = |name: &str| Ok(Some(name.to_string()));
        let env = [
            ("https_proxy", "http://one:1"),
            ("HTTPS_PROXY", "http://two:2"),
            ("all_proxy", "http://three:3"),
        ];
        assert_eq!(chosen(None, &env, url), is("http://one:1"));
        assert_eq!(chosen(None, &env[1..], url), is("http://two:2"));
        assert_eq!(chosen(None, &env[2..], url), is("http://three:3"));
        assert_eq!(chosen(None, &[("https_proxy", ""), env[2]], url), is("http://three:3"));
        assert_eq!(chosen(None, &[("HTTP_PROXY", "http://x:1")], "http://ota.example/"), Ok(None));
        assert_eq!(chosen(None, &[("http_proxy", "x:1")], "http://ota.example/"), is("x:1"));
        assert_eq!(chosen(None, &[("http_proxy", "x:1")], url), Ok(None));
        assert_eq!(chosen(Some("http://u:p@set:9"), &env, url), is("http://(withheld)@set:9"));
        assert_eq!(chosen(Some("u:p@set:9"), &env, url), is("(withheld)@set:9"));
        for bad in ["socks5://u:secret@h", "http://u:(secret@h:1", "http://u:it's secret@h:1", "u:secret@h:x"]
        {
            let error = chosen(Some(bad), &[], url).unwrap_or_else(Some).unwrap();
            assert!(!error.contains("secret") && error.contains("(withheld)@h"), "{error}");
        }
        assert_eq!(chosen(Some("none"), &env, url), Ok(None));
        assert_eq!(chosen(Some("http://set:9"), &[("NO_PROXY", "ota.example")], url), Ok(None));
        for bad in ["socks5://h:1", "ftp://h", "http://", "::"] {
            let error = chosen(Some(bad), &[], url).unwrap_err();
            assert!(error.starts_with("the proxy "), "{error}");
        }
    }
}

//! How servers are reached: `[network]`.

use std::time::Duration;

use super::ConfigError;
use super::reader::Reader;

/// What a device's network asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// `network.allow_http`: plain `http://` to addresses that are of this machine or of a private network. For benches.
    pub allow_http: bool,
    /// `network.proxy`, above the environment's; `none` is none.
    pub proxy: Option<String>,
    /// `network.no_proxy`, likewise.
    pub no_proxy: Option<String>,
    /// `network.redirect_metadata`: metadata may come from where the server sends us, too.
    pub redirect_metadata: bool,
    /// `network.stall_sec`: silence, or less than 1,000 bytes a second, for so long ends a transfer.
    pub stall: Duration,
}

impl Default for NetworkSettings {
    fn default() -> NetworkSettings {
        NetworkSettings {
            allow_http: false,
            proxy: None,
            no_proxy: None,
            redirect_metadata: false,
            stall: Duration::from_secs(30),
        }
    }
}

impl NetworkSettings {
    pub(super) fn read(m: &Reader<'_>) -> Result<NetworkSettings, ConfigError> {
        Ok(NetworkSettings {
            allow_http: m.switch("network", "allow_http", false)?,
            proxy: m.text("network", "proxy"),
            no_proxy: m.text("network", "no_proxy"),
            redirect_metadata: m.switch("network", "redirect_metadata", false)?,
            stall: Duration::from_secs(m.number("network", "stall_sec", 30)?.clamp(1, 3600)),
        })
    }

    /// What to say of it at each start.
    pub fn warning(&self) -> Option<&'static str> {
        self.allow_http.then_some(
            "network.allow_http is on: servers at loopback and private addresses may be asked without TLS; take it out of a product",
        )
    }
}

/// A proxy without its login, which may stand there without a scheme, and with letters that no address has.
pub fn without_login(proxy: &str) -> String {
    let (scheme, rest) = proxy.find("://").map_or(("", proxy), |at| proxy.split_at(at + 3));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}(withheld)@{host}"),
        None => proxy.to_string(),
    }
}

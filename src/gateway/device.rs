//! What the server knows of the device, and what the device tells of its network.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::{Http, HttpError};

const REPLY_LIMIT: u64 = 64 * 1024;

/// The server's record of this device.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Device {
    /// The name that people gave it.
    #[serde(rename = "Name")]
    pub name: String,
    /// The fleet that it belongs to.
    pub factory: String,
}

/// Asks for the record; the reason in words where there is none.
pub fn device(http: &Http, server: &str) -> Result<Device, String> {
    let url = format!("{server}/device");
    let reply = http.get(&url, REPLY_LIMIT).map_err(|e| e.to_string())?;
    if reply.status != 200 {
        return Err(format!("{url}: the server answered {}", reply.status));
    }
    serde_json::from_slice(&reply.body).map_err(|e| format!("{url}: not a device record: {e}"))
}

/// What a server is told of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Its configuration, without secrets.
    Config,
    /// Its address.
    Network,
    /// What it is made of.
    Hardware,
}

impl Fact {
    /// Short, for the record of what was told.
    pub fn name(self) -> &'static str {
        match self {
            Fact::Config => "config",
            Fact::Network => "network",
            Fact::Hardware => "hardware",
        }
    }

    fn endpoint(self) -> (&'static str, &'static str) {
        match self {
            Fact::Config => ("/system_info/config", "application/toml"),
            Fact::Network => ("/system_info/network", "application/json"),
            Fact::Hardware => ("/system_info", "application/json"),
        }
    }
}

/// Tells the server. Whether it need not be told again: it took it, or it has no such endpoint.
pub fn tell(http: &Http, server: &str, verb: &str, fact: Fact, body: &str) -> Result<bool, HttpError> {
    let (path, kind) = fact.endpoint();
    let reply = http.send(verb, &format!("{server}{path}"), kind, body.as_bytes(), REPLY_LIMIT)?;
    Ok(matches!(reply.status, 200..=299 | 404 | 405 | 501))
}

/// What `lshw -json` prints, the first one where it is a list. None where it is not installed.
pub fn hardware() -> Option<String> {
    let output = Command::new("lshw").arg("-json").stdin(Stdio::null()).output().ok()?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let first = value.get(0).unwrap_or(&value);
    first.is_object().then(|| first.to_string())
}

/// The interface of the default route: address, MAC, and the host's name. None where there is no such route.
pub fn network() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let interface = default_interface(&routes)?;
    let mac = fs::read_to_string(format!("/sys/class/net/{interface}/address")).ok()?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let body = json!({"local_ipv4": source_address()?, "mac": mac.trim(), "hostname": hostname});
    Some(body.to_string())
}

/// What the kernel would send from. Connecting a datagram socket sends nothing; the address is one that
/// documents use and nobody has.
fn source_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// Columns of `/proc/net/route`: interface, destination, ..., the metric seventh, the mask eighth.
fn default_interface(routes: &str) -> Option<&str> {
    let columns = |line| str::split_whitespace(line).collect::<Vec<&str>>();
    let defaults = routes.lines().skip(1).map(columns).filter(|c| c.len() > 7);
    let defaults = defaults.filter(|c| c[1] == "00000000" && c[7] == "00000000");
    defaults.min_by_key(|c| c[6].parse::<u32>().unwrap_or(u32::MAX)).map(|c| c[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t1\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_interface(routes), Some("eth0"));
        assert_eq!(default_interface("Iface\n"), None);
    }

    #[test]
    fn a_device_as_servers_write_it() {
        let device: Device =
            serde_json::from_str(r#"{"Name":"board in the lab","factory":"f","owner":"o","repo_id":"r"}"#)
                .unwrap();
        assert_eq!((device.name.as_str(), device.factory.as_str()), ("board in the lab", "f"));
    }
}

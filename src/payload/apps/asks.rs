//! Pure: what a Compose file asks of the host beyond containers of its own, and whether a device allows it.
//!
//! By the names of the settings that are known to ask for nothing; a setting that nobody here knows asks for `other`.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::yaml::{Node, Text, Value};

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where it is written.
    pub line: usize,
    /// Which service, and which setting of it.
    pub setting: String,
    /// What it comes to.
    pub right: Right,
}

/// What a device may allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// All of the host.
    Privileged,
    /// Network, processes, memory or users of the host or of another container.
    HostNamespaces,
    /// Devices, and the runtimes that bring them.
    Devices,
    /// More capabilities than the engine gives.
    Capabilities,
    /// Less confinement than the engine gives.
    Security,
    /// A file or folder outside of the app's own.
    Path(PathBuf),
    /// A setting that is not known here, or whose value a variable decides.
    Other,
}

/// The words of `rust_ota.apps_may`, besides paths and `*`.
const WORDS: [(&str, Right); 6] = [
    ("privileged", Right::Privileged),
    ("host-namespaces", Right::HostNamespaces),
    ("devices", Right::Devices),
    ("capabilities", Right::Capabilities),
    ("security", Right::Security),
    ("other", Right::Other),
];

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Right::Path(path) => path.display().fmt(f),
            word => f.write_str(WORDS.iter().find(|(_, w)| w == word).map_or("other", |(name, _)| name)),
        }
    }
}

impl Right {
    /// Whether a word of the setting allows it: its name, or a folder that it is in.
    fn is_in(&self, word: &str) -> bool {
        match self {
            Right::Path(path) => word.starts_with('/') && path.starts_with(word),
            right => WORDS.iter().any(|(name, known)| *name == word && known == right),
        }
    }
}

/// The first of these that the words do not allow.
pub fn not_allowed<'a>(asks: &'a [Ask], words: &[String]) -> Option<&'a Ask> {
    let all = words.iter().any(|word| word == "*");
    asks.iter().find(|ask| !all && !words.iter().any(|word| ask.right.is_in(word)))
}

/// Settings of a service that ask for nothing; those with paths are looked at as well.
const HARMLESS: [&str; 56] = [
    "attach",
    "blkio_config",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "label_file",
    "labels",
    "links",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "networks",
    "oom_score_adj",
    "pids_limit",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "user",
];
const ALSO_HARMLESS: [&str; 5] = ["develop", "oom_kill_disable", "storage_opt", "ulimits", "working_dir"];

/// All that is asked for.
pub fn all(root: &Node, project: &Path) -> Vec<Ask> {
    let mut found = Vec::new();
    for (name, body) in root.get("services").map_or(&[][..], Node::entries) {
        for (key, node) in body.entries() {
            if let Some(right) = of_setting(&key.text, node) {
                found.push(Ask {
                    line: node.line,
                    setting: format!("{} of service {}", key.text, name.text),
                    right,
                });
            }
        }
    }
    for section in ["networks", "volumes"] {
        for (name, body) in root.get(section).map_or(&[][..], Node::entries) {
            if let Some(right) = of_section(section, &name.text, body) {
                found.push(Ask { line: body.line, setting: format!("{} of {section}", name.text), right });
            }
        }
    }
    let known = ["services", "networks", "volumes", "configs", "secrets", "name", "version"];
    for (key, node) in root.entries() {
        let extension = key.text.starts_with("x-") && !key.text.starts_with("x-podman");
        if !extension && !known.contains(&key.text.as_str()) {
            found.push(Ask { line: node.line, setting: key.text.clone(), right: Right::Other });
        }
    }
    for (line, setting, text) in texts(root) {
        let right = match place(&text, project) {
            Place::Own(_) => continue,
            Place::Outside(path) => Right::Path(path),
            Place::Unknown => Right::Other,
        };
        found.push(Ask { line, setting, right });
    }
    found
}

/// What of the project's folder the engine opens.
pub fn own_paths(root: &Node, project: &Path) -> Vec<PathBuf> {
    let own = |text: String| match place(&text, project) {
        Place::Own(path) => Some(path),
        _ => None,
    };
    texts(root).into_iter().filter_map(|(_, _, text)| own(text)).collect()
}

/// Relative paths become those in `project`.
pub fn make_absolute(root: &mut Node, project: &Path) {
    paths(root, &mut |_, _, text| match place(text, project) {
        Place::Own(path) => *text = project.join(path).display().to_string(),
        // Two slashes begin the name of a share.
        Place::Outside(path) if !text.starts_with("//") => *text = path.display().to_string(),
        Place::Outside(_) | Place::Unknown => {}
    });
}

fn of_setting(key: &str, node: &Node) -> Option<Right> {
    let texts = || node.items().iter().map(|i| i.text().unwrap_or("$"));
    let asks = match key {
        _ if node.is_null() => return None,
        "privileged" => return (node.text() != Some("false")).then_some(Right::Privileged),
        "post_start" | "pre_stop" => {
            let asks = |hook: &Node| hook.get("privileged").is_some_and(|p| p.text() != Some("false"));
            return node.items().iter().any(asks).then_some(Right::Privileged);
        }
        "network_mode" | "pid" | "ipc" | "uts" | "userns_mode" | "cgroup" => {
            let own = ["", "none", "bridge", "default", "private", "shareable"];
            let text = node.text().unwrap_or("$");
            let own = own.contains(&text) || (text.starts_with("service:") && !text.contains('$'));
            return (!own).then_some(Right::HostNamespaces);
        }
        "use_api_socket" => {
            let socket = || Right::Path(PathBuf::from("/var/run/docker.sock"));
            return (node.text() != Some("false")).then(socket);
        }
        "security_opt" => {
            let stricter = ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
            (Right::Security, !texts().all(|t| stricter.contains(&t)) || node.text().is_some())
        }
        "volumes_from" => (Right::Other, !texts().all(|t| !t.contains(['$', ':'])) || node.text().is_some()),
        "devices" | "device_cgroup_rules" => (Right::Devices, !is_empty(node)),
        "gpus" | "runtime" => (Right::Devices, true),
        "deploy" => {
            let limits = node.get("resources").and_then(|r| r.get("reservations"));
            (
                Right::Devices,
                limits.is_some_and(|r| r.get("devices").is_some() || r.get("generic_resources").is_some()),
            )
        }
        "cap_add" => (Right::Capabilities, !is_empty(node)),
        "cgroup_parent" | "credential_spec" => (Right::Security, true),
        // They are read by what makes containers: runc, crun and Podman take devices, sockets and files to remove from them.
        "annotations" => (Right::Security, !is_empty(node)),
        "logging" => (Right::Other, logs_to_host(node)),
        "volumes" => (Right::Other, node.items().iter().any(has_mount_options)),
        key => {
            let known = HARMLESS.contains(&key) || ALSO_HARMLESS.contains(&key) || key == "cap_drop";
            (Right::Other, !known && (!key.starts_with("x-") || key.starts_with("x-podman")))
        }
    };
    asks.1.then_some(asks.0)
}

fn of_section(section: &str, name: &str, body: &Node) -> Option<Right> {
    let text = |key: &str| body.get(key).and_then(Node::text);
    let fixed = |key: &str| body.get(key).is_none_or(|n| n.text().is_some_and(|t| !t.contains('$')));
    let driver = text("driver").unwrap_or("");
    let known = match section {
        "networks" => ["", "bridge", "none", "overlay", "default"].contains(&driver),
        _ => ["", "local"].contains(&driver),
    };
    let external = body.get("external").and_then(|e| e.get("name")).map(|n| n.text().unwrap_or("$"));
    let host = [text("name"), text("external"), Some(name), external].contains(&Some("host"));
    let unknown = !fixed("driver") || !fixed("name") || external.is_some_and(|name| name.contains('$'));
    let options = body.get("driver_opts").filter(|_| section == "volumes");
    match section {
        "networks" if host || !known => Some(Right::HostNamespaces),
        _ if !known || unknown || options.is_some_and(|o| !is_plain_mount(o)) => Some(Right::Other),
        _ => None,
    }
}

/// Whether a named volume is nothing but memory, a share of the network, or what its device is: a mount of `proc` would be the host's,
/// and an overlay names folders of the host in its options.
fn is_plain_mount(options: &Node) -> bool {
    const DISKS: [&str; 9] = ["ext2", "ext3", "ext4", "btrfs", "f2fs", "xfs", "vfat", "exfat", "squashfs"];
    let text = |key: &str| options.get(key).map_or("", |node| node.text().unwrap_or("$"));
    let (kind, device) = (text("type"), text("device"));
    // A device that the app makes in its own folder is none that it was given.
    let given = device.is_empty() || device.starts_with('/');
    let kind = match kind {
        "" | "none" => given || is_bind(options),
        "tmpfs" | "nfs" | "nfs4" | "cifs" => true,
        disk => DISKS.contains(&disk) && given,
    };
    kind && !text("o").contains(['/', '$'])
}

fn is_bind(options: &Node) -> bool {
    let words = options.get("o").and_then(Node::text).unwrap_or_default();
    words.split(',').any(|word| ["bind", "rbind"].contains(&word.trim()))
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Text(_) => false,
    }
}

/// Whether a log goes to a file or a socket of the host: Podman writes it wherever `path` says, and others read keys there.
fn logs_to_host(logging: &Node) -> bool {
    const PLAIN: [&str; 9] =
        ["compress", "env", "env-regex", "labels", "labels-regex", "max-file", "max-size", "mode", "tag"];
    let to_host = |(key, value): &(Text, Node)| {
        let text = value.text().unwrap_or("$");
        !PLAIN.contains(&key.text.as_str())
            && (key.text == "path" || text.starts_with('/') || text.contains("unix") || text.contains('$'))
    };
    let options = logging.get("options").filter(|options| !options.is_null());
    options.is_some_and(|o| !matches!(o.value, Value::Map(_)) || o.entries().iter().any(to_host))
}

/// Whether a volume of the long form brings options where there should be none: engines join its parts with colons and commas, and
/// Podman's overlay names folders of the host.
fn has_mount_options(volume: &Node) -> bool {
    const KNOWN: [&str; 9] = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave", "z", "Z"];
    let known = |node: &Node| node.is_null() || node.text().is_some_and(|t| KNOWN.contains(&t));
    let parts = volume.entries().iter().map(|(_, part)| part);
    let inner = parts.flat_map(|part| ["propagation", "selinux"].map(|key| part.get(key))).flatten();
    let target = volume.get("target").map_or("", |node| node.text().unwrap_or("$"));
    target.contains([':', ',', '$']) || inner.into_iter().any(|node| !known(node))
}

/// Where a path leads.
enum Place {
    /// Into the project's folder.
    Own(PathBuf),
    Outside(PathBuf),
    /// A variable decides it.
    Unknown,
}

fn place(text: &str, project: &Path) -> Place {
    if text.contains('$') || text.starts_with('~') {
        return Place::Unknown;
    }
    let mut whole = PathBuf::new();
    for part in project.join(text).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    match whole.strip_prefix(project) {
        Ok(own) => Place::Own(own.to_path_buf()),
        Err(_) => Place::Outside(whole),
    }
}

/// Each path, with its line and the setting that has it; of `SOURCE:TARGET` only the source.
fn texts(root: &Node) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    paths(&mut root.clone(), &mut |line, setting, text| {
        found.push((line, setting.to_string(), text.clone()));
    });
    found
}

type Visit<'a> = dyn FnMut(usize, &str, &mut String) + 'a;

fn paths(root: &mut Node, visit: &mut Visit<'_>) {
    for (name, body) in entries(root.get_mut("services")) {
        for volume in items(body.get_mut("volumes")) {
            of_volume(volume, &format!("volumes of service {}", name.text), visit);
        }
        for key in ["env_file", "label_file"] {
            let setting = format!("{key} of service {}", name.text);
            let Some(node) = body.get_mut(key) else { continue };
            one(Some(&mut *node), &setting, visit);
            for file in items(Some(node)) {
                one(Some(&mut *file), &setting, visit);
                one(file.get_mut("path"), &setting, visit);
            }
        }
    }
    for section in ["configs", "secrets"] {
        for (name, body) in entries(root.get_mut(section)) {
            one(body.get_mut("file"), &format!("{} of {section}", name.text), visit);
        }
    }
    for (name, body) in entries(root.get_mut("volumes")) {
        let Some(options) = body.get_mut("driver_opts") else { continue };
        let bind = is_bind(options);
        // Else it is a share of the network, or a name that nothing reads.
        let is_path = |d: &&mut Node| {
            bind || d.text().is_none_or(|t| t.starts_with(['/', '.', '~']) || t.contains('$'))
        };
        one(options.get_mut("device").filter(is_path), &format!("{} of volumes", name.text), visit);
    }
}

fn of_volume(volume: &mut Node, setting: &str, visit: &mut Visit<'_>) {
    let bind = volume.get("type").and_then(Node::text) == Some("bind");
    if let Value::Text(Text { text, .. }) = &mut volume.value {
        // Only here does a colon end a path: in the long form it is one of its letters.
        let (source, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        // Without a source, or with a name as its source, the engine keeps it.
        let named = !source.starts_with(['.', '/', '~']) || (source.starts_with('/') && rest.is_empty());
        if !named || source.contains('$') {
            let mut source = source.to_string();
            let rest = rest.to_string();
            visit(volume.line, setting, &mut source);
            *text = source + &rest;
        }
        return;
    }
    for key in ["source", "src"] {
        let node = volume.get_mut(key);
        one(
            node.filter(|n| {
                bind || n.text().is_none_or(|t| t.contains(['/', '$', '~']) || t.starts_with('.'))
            }),
            setting,
            visit,
        );
    }
}

fn one(node: Option<&mut Node>, setting: &str, visit: &mut Visit<'_>) {
    if let Some(Node { line, value: Value::Text(Text { text, .. }) }) = node {
        visit(*line, setting, text);
    }
}

fn entries(node: Option<&mut Node>) -> &mut [(Text, Node)] {
    match node {
        Some(Node { value: Value::Map(entries), .. }) => entries,
        _ => &mut [],
    }
}

fn items(node: Option<&mut Node>) -> &mut [Node] {
    match node {
        Some(Node { value: Value::List(items), .. }) => items,
        _ => &mut [],
    }
}

#[cfg(test)]
mod tests;

//! Pure: whose fault it is that an engine did not start an app.
//!
//! Engines have no codes for it, only texts. What is known to be said of an app's own files, images and programs is the app's; all else
//! (no plugin, no daemon, no room, a port or a name that is taken, a kernel that lacks something) is the device's, and may pass.

/// Lower case.
const OF_THE_APP: [&str; 19] = [
    // Its programs: runc, crun.
    "executable file not found",
    "exec format error",
    "exec: \"",
    "exec user process caused",
    // Its own services.
    "dependency failed to start",
    "didn't complete successfully",
    "depends on undefined service",
    "depends on unknown service",
    "refers to undefined",
    "dependency cycle",
    "cycle detected",
    // Its Compose file.
    "invalid compose project",
    "additional propert",
    "unsupported config option",
    "contains an invalid type",
    "contains unsupported option",
    "invalid interpolation format",
    "is invalid because",
    "yaml: ",
];

/// Whether the app was seen to fail, by what the engine said as it was to be started.
pub fn is_the_apps(said: &str) -> bool {
    let said = said.to_lowercase();
    OF_THE_APP.iter().any(|text| said.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apps_and_the_devices() {
        let table = [
            ("docker: 'compose' is not a docker command.\nSee 'docker --help'", false),
            (
                "error during connect: Cannot connect to the Docker daemon at unix:///var/run/docker.sock",
                false,
            ),
            ("failed to register layer: write /var/lib/docker/overlay2/x: no space left on device", false),
            (
                "Error response from daemon: Conflict. The container name \"/web-web-1\" is already in use",
                false,
            ),
            ("error creating temporary lease: read-only file system", false),
            ("Bind for 0.0.0.0:80 failed: port is already allocated", false),
            ("Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use", false),
            (
                "failed to create network web_default: Pool overlaps with other one on this address space",
                false,
            ),
            ("network with name web_default already exists", false),
            ("permission denied while trying to connect to the Docker daemon socket", false),
            (
                "runc create failed: unable to start container process: unable to apply cgroup configuration",
                false,
            ),
            ("iptables v1.8.7: can't initialize iptables table `nat': Table does not exist", false),
            ("modprobe: FATAL: Module ip_tables not found", false),
            ("error gathering device information for /dev/ttyUSB0: no such file or directory", false),
            ("did not end in time and was killed", false),
            ("", false),
            ("unable to start container process: exec: \"/run.sh\": permission denied: unknown", true),
            ("exec: \"nope\": executable file not found in $PATH", true),
            ("exec /bin/sh: exec format error", true),
            ("dependency failed to start: container web-db-1 is unhealthy", true),
            ("service \"prepare\" didn't complete successfully: exit 3", true),
            ("service \"web\" depends on undefined service db: invalid compose project", true),
            ("(root) Additional property foo is not allowed", true),
        ];
        for (said, expected) in table {
            assert_eq!(is_the_apps(said), expected, "{said}");
        }
    }
}

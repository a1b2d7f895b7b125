use super::super::compose::Compose;
use super::*;

const PROJECT: &str = "/var/sota/compose-apps/web";

fn read(service: &str, top: &str) -> Compose {
    let image = format!("h.example/w@sha256:{}", "a".repeat(64));
    Compose::read(&format!("{top}\nservices:\n  web:\n    image: {image}\n    {service}\n")).unwrap()
}

fn rights(service: &str, top: &str) -> String {
    let asks = read(service, top).asks(Path::new(PROJECT));
    asks.iter().map(|a| a.right.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_service_asks_for() {
    let table = [
        ("privileged: true", "privileged"),
        ("privileged: yes", "privileged"),
        ("privileged: $X", "privileged"),
        ("privileged: false", ""),
        ("privileged:", ""),
        ("pre_stop: [{command: x, privileged: true}]", "privileged"),
        ("network_mode: host", "host-namespaces"),
        ("network_mode: container:db", "host-namespaces"),
        ("network_mode: ${MODE:-host}", "host-namespaces"),
        ("network_mode: service:db", ""),
        ("network_mode: bridge", ""),
        ("pid: host", "host-namespaces"),
        ("ipc: host", "host-namespaces"),
        ("uts: host", "host-namespaces"),
        ("userns_mode: host", "host-namespaces"),
        ("cgroup: host", "host-namespaces"),
        ("devices: [/dev/ttyS0]", "devices"),
        ("devices: []", ""),
        ("device_cgroup_rules: ['c 1:3 mr']", "devices"),
        ("gpus: all", "devices"),
        ("runtime: nvidia", "devices"),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", "devices"),
        ("deploy: {resources: {limits: {memory: 50M}}}", ""),
        ("cap_add: [NET_ADMIN]", "capabilities"),
        ("cap_drop: [ALL]", ""),
        ("security_opt: [apparmor:unconfined]", "security"),
        ("security_opt: ['no-new-privileges:true']", ""),
        ("cgroup_parent: /", "security"),
        ("volumes_from: ['container:db']", "other"),
        ("external_links: [db]", "other"),
        ("use_api_socket: true", "/var/run/docker.sock"),
        ("Privileged: true", "other"),
        ("x-note: {privileged: true}", ""),
        ("x-podman: {uidmaps: []}", "other"),
        ("volumes: ['data:/data', '/data', './x:/x:ro', '.:/work']", ""),
        ("volumes: ['/var/run/docker.sock:/s', '/dev:/dev']", "/var/run/docker.sock /dev"),
        ("volumes: ['../db:/x']", "/var/sota/compose-apps/db"),
        ("volumes: ['./a/../../../x:/x']", "/var/sota/x"),
        ("volumes: ['/var/sota/compose-apps/web/x:/x']", ""),
        ("volumes: ['~/x:/x', '$X:/x', '${X:-/}:/x', $X]", "other other other other"),
        ("volumes: [{type: bind, source: /etc, target: /x}]", "/etc"),
        ("volumes: [{type: bind, source: data, target: /x}]", ""),
        ("volumes: [{type: volume, source: data, target: /x}]", ""),
        ("volumes: [{type: volume, source: /etc, target: /x}]", "/etc"),
        ("volumes: [{source: ../x, target: /x}]", "/var/sota/compose-apps/x"),
        ("volumes: [{type: bind, source: 'x:/../../../../../etc', target: /x}]", "/etc"),
        ("volumes: [{type: bind, source: './a:b', target: /x}]", ""),
        ("env_file: /etc/shadow", "/etc/shadow"),
        ("env_file: [a.env, {path: ../x}]", "/var/sota/compose-apps/x"),
        ("label_file: [/etc/shadow]", "/etc/shadow"),
        ("ports: ['80:80']", ""),
        ("logging: {driver: json-file, options: {max-size: '$S', tag: 'a/b'}}", ""),
        ("logging: {driver: syslog, options: {syslog-address: 'tcp://192.0.2.1:514'}}", ""),
        ("logging: {driver: k8s-file, options: {path: etc/profile.d/x.sh}}", "other"),
        ("logging: {options: {syslog-address: 'unixgram:///run/x'}}", "other"),
        ("logging: {options: {syslog-tls-ca-cert: /etc/shadow}}", "other"),
        ("logging: {options: {fluentd-address: $X}}", "other"),
        ("logging: {options: ['path=/etc/x']}", "other"),
        ("logging:", ""),
        ("annotations: {org.systemd.property.DevicePolicy: \"'auto'\"}", "security"),
        ("annotations: ['io.podman.annotations.cid-file=/etc/shadow']", "security"),
        ("annotations: {}", ""),
        ("volumes: [{type: bind, source: ., target: '/x:O,upperdir=/etc,workdir=/y'}]", "other"),
        ("volumes: [{type: bind, source: ., target: $X}]", "other"),
        ("volumes: [{type: bind, source: ., target: /x, bind: {propagation: 'O,upperdir=/etc'}}]", "other"),
        ("volumes: [{type: volume, source: d, target: /x, bind: {propagation: 'O,upperdir=/etc'}}]", "other"),
        ("volumes: [{type: bind, source: ., target: /x, bind: {selinux: 'z,O'}}]", "other"),
        ("volumes: [{type: bind, source: ., target: /x, bind: {propagation: rslave, selinux: z}}]", ""),
    ];
    for (service, expected) in table {
        assert_eq!(rights(service, ""), expected, "{service}");
    }
}

#[test]
fn what_the_rest_of_a_file_asks_for() {
    let table = [
        ("secrets: {s: {file: /etc/shadow}}", "/etc/shadow"),
        ("configs: {s: {file: ./x}}", ""),
        ("volumes: {d: {driver_opts: {type: none, o: bind, device: /etc}}}", "/etc"),
        ("volumes: {d: {driver_opts: {type: nfs, o: 'addr=1.2.3.4', device: ':/x'}}}", ""),
        ("volumes: {d: {driver_opts: {type: overlay, o: 'lowerdir=/etc', device: overlay}}}", "other"),
        ("volumes: {d: {driver_opts: {type: overlay, o: 'lowerdir=etc', device: overlay}}}", "other"),
        ("volumes: {d: {driver_opts: {type: proc, device: proc}}}", "other"),
        ("volumes: {d: {driver_opts: {type: $T, device: x}}}", "other"),
        ("volumes: {d: {driver_opts: {type: ext4, device: dev/sda1}}}", "other"),
        ("volumes: {d: {driver_opts: {type: ext4, device: /dev/sda1}}}", "/dev/sda1"),
        ("volumes: {d: {driver_opts: {type: tmpfs, o: size=1m, device: tmpfs}}}", ""),
        ("volumes: {d: {driver_opts: {type: none, o: bind, device: ./data}}}", ""),
        ("volumes: {d: {driver_opts: {type: none, o: bind, device: tmpfs}}}", ""),
        ("volumes: {d: {driver: other}}", "other"),
        ("volumes: {d: , e: {external: true, name: x}}", ""),
        ("networks: {host: {external: true}}", "host-namespaces"),
        ("networks: {n: {external: {name: host}}}", "host-namespaces"),
        ("networks: {n: {external: {name: '${N:-host}'}}}", "other"),
        ("networks: {n: {driver: macvlan}}", "host-namespaces"),
        ("networks: {n: {driver: bridge, internal: true}}", ""),
        ("models: {m: {model: x}}", "other"),
        ("x-podman: {pod_args: [--privileged]}", "other"),
        ("version: '3'\nname: x\nx-a: {privileged: true}", ""),
    ];
    for (top, expected) in table {
        assert_eq!(rights("tty: true", top), expected, "{top}");
    }
}

#[test]
fn words_that_allow_it() {
    let compose = read("privileged: true\n    volumes: ['/var/run/secrets/x:/x']", "");
    let asks = compose.asks(Path::new(PROJECT));
    let refused = |words: &str| {
        let words: Vec<String> = words.split_whitespace().map(str::to_string).collect();
        not_allowed(&asks, &words).map(|a| a.setting.clone())
    };
    assert_eq!(refused("*"), None);
    assert_eq!(refused("privileged /var/run/secrets"), None);
    assert_eq!(refused("privileged /"), None);
    assert_eq!(refused("/var/run").as_deref(), Some("privileged of service web"));
    for words in ["privileged", "privileged /var/run/sec", "privileged var"] {
        assert_eq!(refused(words).as_deref(), Some("volumes of service web"), "{words}");
    }
}

#[test]
fn paths_that_are_made_absolute() {
    let more = "volumes: ['./x:/x:ro', 'data:/d', '../y:/y', '~/z:/z', {type: bind, source: ./b, target: /b}]\n    env_file: a.env";
    let volumes = "volumes: {a: {driver_opts: {o: 'bind,ro', device: ./c}}, b: {driver_opts: {type: cifs, device: //server/share}}, \
         c: {driver_opts: {type: nfs, device: ':/x'}}, d: {driver_opts: {type: none, o: bind, device: tmpfs}}}";
    let compose = read(more, &format!("secrets: {{s: {{file: ./s}}}}\n{volumes}"));
    let text = compose.with_images_in(Path::new(PROJECT), |_| "i".to_string());
    for line in [
        "file: /var/sota/compose-apps/web/s",
        "- /var/sota/compose-apps/web/x:/x:ro",
        "- data:/d",
        "- /var/sota/compose-apps/y:/y",
        "- ~/z:/z",
        "source: /var/sota/compose-apps/web/b",
        "env_file: /var/sota/compose-apps/web/a.env",
        "device: /var/sota/compose-apps/web/c",
        "device: //server/share",
        "device: \":/x\"",
        "device: /var/sota/compose-apps/web/tmpfs",
    ] {
        assert!(
            text.contains(&format!("{line}\n")) || text.contains(&line.replace("- ", "- \"")),
            "{line} in {text}"
        );
    }
    let own = compose.own_paths(Path::new(PROJECT));
    assert_eq!(own.len(), 6, "{own:?}");
}

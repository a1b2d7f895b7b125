//! Kinds of root that not every libostree can make: with SELinux's labels, or as a composefs image. The one inside the static
//! program makes neither: /etc would have no labels, or the system would not start.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::ostree::gio;

use super::error::OstreeError;
use super::sysroot::Sysroot;

const SELINUX: &str = "etc/selinux/config";
const PREPARE_ROOT: [&str; 2] = ["etc/ostree/prepare-root.conf", "usr/lib/ostree/prepare-root.conf"];
const COMPOSEFS_IMAGE: &str = ".ostree.cfs";
/// Such files have a few lines.
const LONGEST: u64 = 64 * 1024;

impl Sysroot {
    /// Looks at a deployment that was just written and is in no list yet. Nothing but its folder is lost when it is refused.
    pub(super) fn refuse_half_made(
        &self,
        commit: &str,
        new: &::ostree::Deployment,
        arguments: &[&str],
    ) -> Result<(), OstreeError> {
        let folder = self.settings.path.join(self.inner.deployment_dirpath(new).as_str());
        let Some(kind) = half_made(&folder, arguments) else { return Ok(()) };
        if let Err(error) = self.inner.prepare_cleanup(gio::Cancellable::NONE) {
            log::warn!("removing the folder of a deployment that was refused: {error}");
        }
        Err(OstreeError::RootKind { commit: commit.to_string(), kind })
    }
}

/// What the deployment wants to be and is not.
fn half_made(folder: &Path, arguments: &[&str]) -> Option<&'static str> {
    if wants_selinux(&read(&folder.join(SELINUX)), arguments) && !labels(folder) {
        return Some("SELinux labels (etc/selinux/config)");
    }
    let wants_image = PREPARE_ROOT.iter().any(|conf| wants_composefs(&read(&folder.join(conf))));
    if wants_image && !folder.join(COMPOSEFS_IMAGE).exists() {
        return Some("a composefs image (ostree/prepare-root.conf)");
    }
    None
}

/// Whether libostree has SELinux's library, and found the deployment's policy by it.
fn labels(folder: &Path) -> bool {
    let policy = ::ostree::SePolicy::new(&gio::File::for_path(folder), gio::Cancellable::NONE);
    policy.is_ok_and(|policy| policy.name().is_some())
}

fn wants_selinux(config: &str, arguments: &[&str]) -> bool {
    let mode = value(config.lines(), "SELINUX");
    !arguments.contains(&"selinux=0")
        && mode.is_some_and(|m| m.eq_ignore_ascii_case("enforcing") || m.eq_ignore_ascii_case("permissive"))
}

/// `maybe`, the default, starts without an image too.
fn wants_composefs(conf: &str) -> bool {
    let section = conf.lines().map(str::trim).skip_while(|l| *l != "[composefs]").skip(1);
    let enabled = value(section.take_while(|l| !l.starts_with('[')), "enabled");
    enabled.is_some_and(|e| {
        matches!(e.to_ascii_lowercase().as_str(), "yes" | "true" | "1" | "signed" | "verity")
    })
}

/// The last `key = value` of the lines.
fn value<'a>(lines: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    lines.filter_map(|l| l.split_once('=')).filter(|(k, _)| k.trim() == key).map(|(_, v)| v.trim()).last()
}

/// Empty where there is no such file: then nothing is wanted of it.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path)
        && let Err(error) = file.take(LONGEST).read_to_end(&mut bytes)
    {
        log::warn!("{}: {error}", path.display());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn selinux_is_wanted_where_it_is_on() {
        for (config, arguments, wanted) in [
            ("SELINUX=enforcing\nSELINUXTYPE=targeted\n", &[][..], true),
            ("# SELINUX=enforcing\nSELINUX = Permissive\n", &[], true),
            ("SELINUX=disabled\n", &[], false),
            ("SELINUX=enforcing\nSELINUX=disabled\n", &[], false),
            ("SELINUX=enforcing\n", &["quiet", "selinux=0"], false),
            ("", &[], false),
        ] {
            assert_eq!(wants_selinux(config, arguments), wanted, "{config:?} {arguments:?}");
        }
    }

    #[test]
    fn composefs_is_wanted_where_nothing_else_starts() {
        for (conf, wanted) in [
            ("[composefs]\nenabled = yes\n", true),
            ("[sysroot]\nreadonly=true\n\n[composefs]\nenabled=signed\n", true),
            ("[composefs]\nenabled = verity\n[etc]\ntransient=false\n", true),
            ("[composefs]\nenabled = maybe\n", false),
            ("[composefs]\n[etc]\nenabled = yes\n", false),
            ("[composefs]\nenabled = no\n", false),
            ("", false),
        ] {
            assert_eq!(wants_composefs(conf), wanted, "{conf:?}");
        }
    }

    /// A policy that libostree does not find is as one that it cannot read.
    #[test]
    fn a_deployment_without_labels_or_image_is_half_made() {
        let folder = std::env::temp_dir().join(format!("rust-ota-root-kind-{}", std::process::id()));
        let conf = folder.join(PREPARE_ROOT[1]);
        std::fs::create_dir_all(folder.join("etc/selinux")).unwrap();
        std::fs::create_dir_all(conf.parent().unwrap()).unwrap();
        assert_eq!(half_made(&folder, &[]), None);
        std::fs::write(&conf, "[composefs]\nenabled = yes\n").unwrap();
        assert!(half_made(&folder, &[]).unwrap().contains("composefs"));
        std::fs::write(folder.join(COMPOSEFS_IMAGE), "").unwrap();
        assert_eq!(half_made(&folder, &[]), None);
        std::fs::write(folder.join(SELINUX), "SELINUX=enforcing\nSELINUXTYPE=none\n").unwrap();
        assert!(half_made(&folder, &[]).unwrap().contains("SELinux"));
        assert_eq!(half_made(&folder, &["selinux=0"]), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

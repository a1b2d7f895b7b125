#!/bin/bash
# rootfs.sh SUITE MIRROR OUT.tar [LIST..]: the guest's root file system from Debian packages: guest-packages, and further lists.
set -euo pipefail
suite=$1 mirror=$2 out=$3
shift 3
packages=$(grep -hv '^#' "$(dirname "$0")/guest-packages" "$@" | paste -sd,)

# update-initramfs: the image has an initramfs of its own. policy-rc.d: no service starts while packages are set up.
mmdebstrap --quiet --variant=essential --architectures=amd64 --include="$packages" \
	--aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' \
	--dpkgopt=force-unsafe-io --dpkgopt=force-confold \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/lib/udev/hwdb.d/*' --dpkgopt='path-exclude=/usr/lib/*/gconv/*' \
	--dpkgopt='path-exclude=/usr/lib/modules/*/kernel/drivers/gpu/*' \
	--essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no > "$1/etc/initramfs-tools/update-initramfs.conf"' \
	--essential-hook='printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d" && chmod +x "$1/usr/sbin/policy-rc.d"' \
	--customize-hook='rm "$1/usr/sbin/policy-rc.d"' \
	"$suite" "$out" "$mirror"

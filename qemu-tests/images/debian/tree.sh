#!/bin/bash
# tree.sh ROOTFS.tar REPO REF SSH_DIR: turns the root file system into an OSTree commit, with the configuration of a test device.
# SSH_DIR holds the host key and the key that may log in: such an image is for a test bed, never a product.
set -euo pipefail
tar=$1 repo=$2 ref=$3 ssh=$4
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# No device nodes: whoever is root of a user namespace alone may not make them, and OSTree does not keep them.
tar -xpf "$tar" -C "$tree" --exclude='./dev/*'
kver=$(ls "$tree/usr/lib/modules")
mv "$tree/boot/vmlinuz-$kver" "$tree/usr/lib/modules/$kver/vmlinuz"
"$here/initramfs.sh" "$tree" "$tree/usr/lib/modules/$kver/initramfs.img"
rm -rf "$tree"/boot/* "$tree"/{initrd.img,vmlinuz}* "$tree"/{dev,run,tmp,var}/*
rm -rf "$tree"/usr/share/initramfs-tools "$tree"/usr/lib/dracut

# The device's own configuration.
cp -r "$here/files/." "$tree/"
: >"$tree/etc/machine-id"
rm -f "$tree"/etc/ssh/ssh_host_*
install -m600 "$ssh/host_key" "$tree/etc/ssh/ssh_host_ed25519_key"
install -m644 "$ssh/host_key.pub" "$tree/etc/ssh/ssh_host_ed25519_key.pub"
install -m644 "$ssh/key.pub" "$tree/etc/ssh/authorized_keys"
systemctl --root "$tree" --quiet enable ssh.service bed-network.service bed-ready.service
systemctl --root "$tree" --quiet mask $(grep -v "^#" "$here/masked-units") 2>/dev/null
mkdir -p "$tree/etc/systemd/system-generators"
for generator in $(grep -v "^#" "$here/masked-generators"); do ln -s /dev/null "$tree/etc/systemd/system-generators/$generator"; done

# What OSTree wants of a tree: /etc as defaults in /usr/etc, everything that changes in /var, the rest links.
mkdir -p "$tree/sysroot" "$tree/boot" "$tree/efi" "$tree/usr/lib/tmpfiles.d"
ln -s sysroot/ostree "$tree/ostree"
{
	for dir in home opt srv mnt media; do
		rm -rf "${tree:?}/$dir"
		ln -s "var/rootdirs/$dir" "$tree/$dir"
		echo "d /var/rootdirs/$dir 0755 root root -"
	done
	echo 'd /var/rootdirs 0755 root root -'
	echo 'd /var/roothome 0700 root root -'
	echo 'd /var/usrlocal 0755 root root -'
} >"$tree/usr/lib/tmpfiles.d/ostree-layout.conf"
rm -rf "$tree/root" "$tree/usr/local"
ln -s var/roothome "$tree/root"
ln -s ../var/usrlocal "$tree/usr/local"
mv "$tree/etc" "$tree/usr/etc"

[ -d "$repo/objects" ] || ostree --repo="$repo" init --mode=archive
ostree --repo="$repo" config set archive.zlib-level 3
ostree --repo="$repo" commit --branch="$ref" --subject="the tree without a client" --bootable --no-xattrs "$tree" >/dev/null

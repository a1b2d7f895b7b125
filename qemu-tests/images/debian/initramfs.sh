#!/bin/bash
# initramfs.sh TREE OUT: busybox, ostree-prepare-root, and the modules to reach an ext4 root on virtio. Small, so quick to boot.
set -euo pipefail
tree=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kver=$(ls "$tree/usr/lib/modules")

mkdir -p "$work"/{bin,dev,proc,sys,run,sysroot,modules,usr/lib/ostree}
install -m755 "$here/initramfs-init" "$work/init"
install -m755 "$tree/usr/bin/busybox" "$work/bin/busybox"
for applet in sh mount sleep insmod switch_root reboot findfs echo; do ln -s busybox "$work/bin/$applet"; done

# In load order; what is built into the kernel has no file and needs none.
for module in virtio_blk ext4; do
	modprobe -d "$tree" -S "$kver" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
	name=$(basename "$file" .xz)
	case $file in *.xz) xz -dc "$file" ;; *) cat "$file" ;; esac >"$work/modules/$name"
	echo "$name" >>"$work/modules/order"
done

# ostree-prepare-root and its libraries, as the guest's own loader resolves them (nothing of the guest's is executed otherwise).
install -m644 "$here/files/usr/lib/ostree/prepare-root.conf" "$work/usr/lib/ostree/"
binary=usr/lib/ostree/ostree-prepare-root
install -m755 "$tree/$binary" "$work/$binary"
libraries=usr/lib/x86_64-linux-gnu
mkdir -p "$work/$libraries" "$work/usr/lib64"
ln -s usr/lib "$work/lib"
ln -s usr/lib64 "$work/lib64"
loader="$tree/usr/lib64/ld-linux-x86-64.so.2"
cp -L "$loader" "$work/usr/lib64/"
"$loader" --library-path "$tree/$libraries" --list "$tree/$binary" | sed -n 's/.*=> \([^ ]*\).*/\1/p' |
	while read -r file; do cp -L "$tree/$libraries/$(basename "$file")" "$work/$libraries/"; done

(cd "$work" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --reproducible --quiet -R 0:0) | gzip -9n >"$out"

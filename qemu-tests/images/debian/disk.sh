#!/bin/bash
# disk.sh REPO COMMIT OSNAME BOOT_FILES OUT.img [ROOT_MIB]: a disk with COMMIT deployed, GPT, two partitions:
#   1  FAT "OTABOOT"   the files of the folder BOOT_FILES: boot script and environment
#   2  ext4 "otaroot"  the OSTree system root
# No loop device, no mount: file systems are filled as they are made.
set -euo pipefail
repo=$1 commit=$2 osname=$3 boot_files=$4 out=$5
boot_mib=33 root_mib=${6:-800}

# Why each: a panic resets the machine; U-Boot's MTRRs make Linux drop all memory; slow things that a test bed can do without;
# systemd asks no terminal for its size.
kargs="console=ttyS0,115200 panic=5 disable_mtrr_trim mitigations=off audit=0 apparmor=0 quiet net.ifnames=0
	systemd.tty.term.ttyS0=dumb systemd.tty.term.console=dumb systemd.machine_id=0123456789abcdef0123456789abcdef
	ostree_root=LABEL=otaroot rw"

sysroot=$(mktemp -d) boot=$out.boot root=$out.root
cleanup() {
	chattr -i "$sysroot/ostree/deploy/$osname"/deploy/*.0 2>/dev/null || true
	rm -rf "$sysroot" "$boot" "$root"
}
trap cleanup EXIT

ostree admin init-fs --modern "$sysroot"
export OSTREE_SYSROOT=$sysroot
ostree admin os-init "$osname" >/dev/null
# libostree takes the U-Boot back-end because this file is there.
mkdir "$sysroot/boot/loader.0"
ln -s loader.0 "$sysroot/boot/loader"
touch "$sysroot/boot/loader/uEnv.txt"
ostree --repo="$sysroot/ostree/repo" config set core.min-free-space-percent 0
ostree --repo="$sysroot/ostree/repo" pull-local --disable-fsync "$repo" "$commit" >/dev/null
# shellcheck disable=SC2046  # one option a word
ostree admin deploy --os="$osname" $(printf -- '--karg-append=%s ' $kargs) "$commit" >/dev/null
chattr -i "$sysroot/ostree/deploy/$osname"/deploy/*.0 2>/dev/null || true

truncate -s ${boot_mib}M "$boot"
mkfs.vfat -n OTABOOT "$boot" >/dev/null
mcopy -i "$boot" "$boot_files"/* ::/
truncate -s ${root_mib}M "$root"
# U-Boot reads this ext4; the two features are newer than some U-Boots.
mke2fs -q -t ext4 -L otaroot -i 8192 -O ^orphan_file,^metadata_csum_seed -E root_owner=0:0,lazy_itable_init=0 -d "$sysroot" "$root" 2>/dev/null ||
	mke2fs -q -t ext4 -L otaroot -i 8192 -E root_owner=0:0,lazy_itable_init=0 -d "$sysroot" "$root"

truncate -s $((1 + boot_mib + root_mib + 1))M "$out"
sfdisk -q "$out" <<X
label: gpt
start=2048, size=${boot_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=boot
size=${root_mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=otaroot
X
dd if="$boot" of="$out" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$root" of="$out" bs=1M seek=$((1 + boot_mib)) conv=notrunc,sparse status=none

# SPDX-License-Identifier: MIT
# Only where conf/include/rust-ota-uboot.inc or rust-ota-systemd-boot.inc is used: without RUST_OTA_KERNEL_CONFIG nothing changes.
FILESEXTRAPATHS:prepend := "${THISDIR}/linux-yocto:"
SRC_URI:append = "${@' file://rust-ota.cfg' if oe.types.boolean(d.getVar('RUST_OTA_KERNEL_CONFIG') or '0') else ''}"

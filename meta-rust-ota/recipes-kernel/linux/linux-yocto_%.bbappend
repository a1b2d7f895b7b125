# SPDX-License-Identifier: MIT
# Only where conf/include/rust-ota-uboot.inc or rust-ota-systemd-boot.inc is used: without RUST_OTA_KERNEL_CONFIG nothing changes.
# nooelint: oelint.vars.noncoreoverride - a search path alone changes nothing
FILESEXTRAPATHS:prepend := "${THISDIR}/linux-yocto:"
# nooelint: oelint.vars.noncoreoverride - guarded by the variable
SRC_URI:append = "${@' file://rust-ota.cfg' if oe.types.boolean(d.getVar('RUST_OTA_KERNEL_CONFIG') or '0') else ''}"

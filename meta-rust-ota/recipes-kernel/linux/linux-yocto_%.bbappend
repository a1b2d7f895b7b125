# SPDX-License-Identifier: MIT
# Only where conf/include/rust-ota-uboot.inc or rust-ota-systemd-boot.inc is used. A file of its own: an expression in SRC_URI would
# change the kernel's signatures in every build that has this layer, also where it comes to nothing.
require ${@'linux-yocto/rust-ota.inc' if oe.types.boolean(d.getVar('RUST_OTA_KERNEL_CONFIG') or '0') else ''}

# SPDX-License-Identifier: MIT
# For scripts/yocto-check alone: the build host's mkimage and mkenvimage (Debian package) in place of OE's own.
SUMMARY = "U-Boot tools of the build host"
LICENSE = "GPL-2.0-or-later"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_SYSROOT_STRIP = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${bindir}
    cp /usr/bin/mkimage ${D}${bindir}/uboot-mkimage
    cp /usr/bin/mkenvimage ${D}${bindir}/uboot-mkenvimage
}

# SPDX-License-Identifier: MIT
SUMMARY = "binutils of the build machine under the target's names"
LICENSE = "CLOSED"
PN = "binutils-cross-${TARGET_ARCH}"
PV = "1"
inherit cross
INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_SYSROOT_STRIP = "1"
PROVIDES = "virtual/cross-binutils"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${bindir}
    for program in addr2line ar as ld ld.bfd nm objcopy objdump ranlib readelf size strings strip; do
        printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' $program > ${D}${bindir}/${TARGET_PREFIX}$program
        chmod 755 ${D}${bindir}/${TARGET_PREFIX}$program
    done
}

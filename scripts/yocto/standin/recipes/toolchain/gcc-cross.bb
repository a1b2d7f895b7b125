# SPDX-License-Identifier: MIT
SUMMARY = "gcc of the build machine as a cross compiler that sees the sysroot alone"
LICENSE = "CLOSED"
PN = "gcc-cross-${TARGET_ARCH}"
PV = "1"
inherit cross
INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_SYSROOT_STRIP = "1"
PROVIDES = "virtual/cross-cc virtual/cross-c++"
DEPENDS = "virtual/cross-binutils"
SRC_URI = "file://gcc file://musl.specs"
S = "${UNPACKDIR}"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -D -m 0644 ${S}/musl.specs ${D}${bindir}/musl.specs
    install -d ${D}${bindir}
    for program in gcc g++ cpp; do
        sed -e "s|@PROGRAM@|$program|" -e 's|@TARGET@|${TARGET_SYS}|' ${S}/gcc > ${D}${bindir}/${TARGET_PREFIX}$program
    done
    for program in gcc-ar gcc-nm gcc-ranlib; do
        printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' $program > ${D}${bindir}/${TARGET_PREFIX}$program
    done
    chmod 755 ${D}${bindir}/*
}

# SPDX-License-Identifier: MIT
SUMMARY = "Rust of the build machine"
DESCRIPTION = "From 1.95 on a target of one's own (openembedded-core describes each in a JSON file) wants an unstable option."
LICENSE = "CLOSED"
PROVIDES += "cargo-native"
inherit native
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${bindir}
    printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec /usr/bin/cargo "$@"\n' > ${D}${bindir}/cargo
    printf '#!/bin/sh\ncase "$*" in\n*-unknown-linux-*|*-oe-linux*) RUSTC_BOOTSTRAP=1 exec /usr/bin/rustc -Zunstable-options "$@" ;;\nesac\nexec /usr/bin/rustc "$@"\n' > ${D}${bindir}/rustc
    chmod 755 ${D}${bindir}/*
}

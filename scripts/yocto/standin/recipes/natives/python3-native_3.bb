# SPDX-License-Identifier: MIT
SUMMARY = "Python of the build machine, under the names that recipes call it by"
LICENSE = "CLOSED"
inherit native
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${bindir}/python3-native
    for name in python3 nativepython3; do
        ln -s /usr/bin/python3 ${D}${bindir}/python3-native/$name
    done
    ln -s /usr/bin/python3 ${D}${bindir}/nativepython3
}

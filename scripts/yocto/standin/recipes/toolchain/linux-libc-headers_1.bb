# SPDX-License-Identifier: MIT
SUMMARY = "Kernel headers of the build machine"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${includedir}
    cp -r --no-preserve=ownership /usr/include/linux /usr/include/asm-generic /usr/include/mtd ${D}${includedir}
    cp -r --no-preserve=ownership /usr/include/x86_64-linux-gnu/asm ${D}${includedir}
}

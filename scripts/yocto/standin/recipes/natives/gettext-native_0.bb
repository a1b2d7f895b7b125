# SPDX-License-Identifier: MIT
SUMMARY = "gettext of the build machine: the files that class autotools copies into a source"
LICENSE = "CLOSED"
PROVIDES += "gettext-minimal-native"
inherit native
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${datadir}/gettext
    cp -r /usr/share/gettext/config.rpath /usr/share/gettext/po ${D}${datadir}/gettext
    # Of a newer gettext than Debian's; translations are not built.
    touch ${D}${datadir}/gettext/po/remove-potcdate.sed ${D}${datadir}/gettext/po/Makevars.template.minimal
}

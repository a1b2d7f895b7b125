# SPDX-License-Identifier: MIT
SUMMARY = "No introspection: the macro that configure scripts ask, and its answer"
LICENSE = "CLOSED"
inherit native
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${datadir}/aclocal
    echo 'AC_DEFUN([GOBJECT_INTROSPECTION_CHECK], [AM_CONDITIONAL([HAVE_INTROSPECTION], [false])])' > ${D}${datadir}/aclocal/introspection.m4
}

# SPDX-License-Identifier: MIT
# Debian's 2022.7 in place of the recipe's version. It has no ALLPERMS for musl, its .pc file names none of the libraries behind it,
# and it does not know these options.
CFLAGS:append = " -DALLPERMS=07777"
UNKNOWN_CONFIGURE_OPT_IGNORE += "--without-composefs --without-soup3"

do_install:append() {
    sed -i 's/^Requires:.*/Requires: gio-unix-2.0 liblzma zlib/' ${D}${libdir}/pkgconfig/ostree-1.pc
}

# SPDX-License-Identifier: MIT
SUMMARY = "libgcc of the build machine, with what it asks glibc for"
LICENSE = "CLOSED"
PROVIDES += "virtual/compilerlibs libgcc libgcc-initial"
INHIBIT_DEFAULT_DEPS = "1"
DEPENDS = "virtual/cross-cc"
SRC_URI = "file://find.c"
S = "${UNPACKDIR}"
B = "${WORKDIR}/build"
do_configure[noexec] = "1"
do_compile() {
    gcc=$(dirname $(/usr/bin/gcc -print-libgcc-file-name))
    cp $gcc/libgcc_eh.a .
    ${CC} ${CFLAGS} -fPIC -c ${S}/find.c -o find.o
    ${AR} rs libgcc_eh.a find.o
    ${CC} ${LDFLAGS} -shared -nostdlib -nostartfiles -Wl,-soname,libgcc_s.so.1 -o libgcc_s.so.1 -Wl,--whole-archive libgcc_eh.a -Wl,--no-whole-archive $gcc/libgcc.a
}
do_install() {
    install -D -m 0644 libgcc_eh.a ${D}${libdir}/${TARGET_SYS}/1/libgcc_eh.a
    install -m 0755 libgcc_s.so.1 ${D}${libdir}
    ln -s libgcc_s.so.1 ${D}${libdir}/libgcc_s.so
}

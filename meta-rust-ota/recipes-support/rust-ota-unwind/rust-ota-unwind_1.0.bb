# SPDX-License-Identifier: MIT
SUMMARY = "gcc's unwinder under the name that Rust's standard library asks for on musl"
DESCRIPTION = "A static Rust program for musl is linked with libunwind.a. Recipe libcxx has LLVM's, which takes clang to build; this is \
the one that libgcc has built already."
HOMEPAGE = "https://github.com/rust-ota/rust-ota"
SECTION = "devel"
LICENSE = "GPL-3.0-with-GCC-exception"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/GPL-3.0-with-GCC-exception;md5=aef5f35c9272f508be848cd99e0151df"

SRC_URI = ""
DEPENDS = "libgcc"

# Only where a static program for musl is built.
COMPATIBLE_HOST:libc-glibc = "null"
COMPATIBLE_HOST:libc-newlib = "null"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${libdir}
    install -m 0644 ${STAGING_LIBDIR}/${TARGET_SYS}/*/libgcc_eh.a ${D}${libdir}/libunwind.a
}

ALLOW_EMPTY:${PN} = "1"

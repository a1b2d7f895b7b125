# SPDX-License-Identifier: MIT
SUMMARY = "The three names of e2fsprogs' header that libostree uses, which are the kernel's own"
LICENSE = "CLOSED"
PROVIDES += "attr"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install() {
    install -d ${D}${includedir}/ext2fs ${D}${libdir}/pkgconfig
    printf '#include <linux/fs.h>\n#define EXT2_IOC_GETFLAGS FS_IOC_GETFLAGS\n#define EXT2_IOC_SETFLAGS FS_IOC_SETFLAGS\n#define EXT2_IMMUTABLE_FL FS_IMMUTABLE_FL\n' > ${D}${includedir}/ext2fs/ext2_fs.h
    printf 'Name: e2p\nDescription: stand-in\nVersion: 1\n' > ${D}${libdir}/pkgconfig/e2p.pc
}

# SPDX-License-Identifier: MIT
SUMMARY = "U-Boot script that counts boots and goes back to the OSTree deployment before"
DESCRIPTION = "Needs no build option of U-Boot but FAT with writing: the script keeps its counters in a file on a FAT partition, in the \
format that fw_printenv and fw_setenv read."
HOMEPAGE = "https://github.com/rust-ota/rust-ota"
SECTION = "bootloaders"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "u-boot-tools-native"

SRC_URI = " \
    file://rust-ota-boot.cmd \
    file://uboot.env.txt \
    file://fw_env.config \
    file://efi.mount \
"
# scarthgap has no UNPACKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
B = "${WORKDIR}/build"

inherit deploy kernel-arch systemd

PACKAGE_ARCH = "${MACHINE_ARCH}"
INHIBIT_DEFAULT_DEPS = "1"

# One sector, so that a power cut leaves the old one or the new one. The script and fw_env.config have the same number.
RUST_OTA_ENV_SIZE = "0x200"

do_configure[noexec] = "1"

# Where the board has its FAT and its root partition, in U-Boot's words ("mmc 0:1"). Empty: the script's own defaults, for QEMU.
RUST_OTA_BOOT_PART ?= ""
RUST_OTA_ROOT_PART ?= ""

do_compile() {
    if [ -n "${RUST_OTA_BOOT_PART}" ]; then
        echo 'setenv ota_env_part "${RUST_OTA_BOOT_PART}"' >> ${B}/boot.cmd
    fi
    if [ -n "${RUST_OTA_ROOT_PART}" ]; then
        echo 'setenv ota_root_part "${RUST_OTA_ROOT_PART}"' >> ${B}/boot.cmd
    fi
    cat ${S}/rust-ota-boot.cmd >> ${B}/boot.cmd
    uboot-mkimage -A ${UBOOT_ARCH} -O linux -T script -C none -n rust-ota-boot -d ${B}/boot.cmd ${B}/boot.scr
    uboot-mkenvimage -s ${RUST_OTA_ENV_SIZE} -o ${B}/uboot.env ${S}/uboot.env.txt
}
do_compile[cleandirs] = "${B}"

do_install() {
    install -D -m 0644 ${S}/fw_env.config ${D}${sysconfdir}/fw_env.config
    install -D -m 0644 ${S}/efi.mount ${D}${systemd_system_unitdir}/efi.mount
    install -d ${D}/efi
}

do_deploy() {
    install -m 0644 ${B}/boot.scr ${B}/uboot.env ${DEPLOYDIR}
}
addtask deploy after do_compile before do_build

SYSTEMD_SERVICE:${PN} = "efi.mount"
FILES:${PN} += "/efi"
RDEPENDS:${PN} = "u-boot-fw-utils"
# A board whose U-Boot recipe brings an fw_env.config of its own (package u-boot-env, elsewhere often empty) must leave one of the
# two out: the package manager says so as it makes the image.

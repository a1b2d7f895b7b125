# SPDX-License-Identifier: MIT
# For scripts/yocto-check alone: an image recipe whose root file system and disk are the test bed's Debian, so that class
# rust-ota-qemu-tests describes an image that can be booted. IMAGE_ROOTFS keeps what the class puts into an image.
SUMMARY = "Image of the test bed, described as kas/qemu-tests.yml would"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

INHIBIT_DEFAULT_DEPS = "1"
inherit rust-ota-qemu-tests nopackages

# The folder that scripts/yocto/bed.py makes: disk.wic, u-boot.rom, repo, commit, abiversion, keys.
BED ?= ""
OSTREE_BOOTLOADER = "u-boot"
OSTREE_OSNAME = "debian"
OSTREE_REPO = "${BED}/repo"
IMAGE_LINK_NAME = "bed-test"
IMAGE_ROOTFS = "${WORKDIR}/rootfs"
RUST_OTA_QEMU_TESTS_KEYS = "${BED}/keys"
RUST_OTA_QEMU_TESTS_ARGS = ""
RUST_OTA_QEMU_TESTS_CPU = "Nehalem"
RUST_OTA_QEMU_TESTS_FIRMWARE = "u-boot.rom"

do_rootfs() {
    rm -rf ${IMAGE_ROOTFS}
    mkdir -p ${IMAGE_ROOTFS}${nonarch_libdir}
    rust_ota_qemu_tests_rootfs
}
addtask rootfs after do_prepare_recipe_sysroot

do_image_complete() {
    mkdir -p ${DEPLOY_DIR_IMAGE}
    cp --sparse=always ${BED}/disk.wic ${DEPLOY_DIR_IMAGE}/${IMAGE_LINK_NAME}.wic
    cp ${BED}/u-boot.rom ${DEPLOY_DIR_IMAGE}
    cp ${BED}/abiversion ${DEPLOY_DIR_IMAGE}/kernel-abiversion
    cp ${BED}/commit ${WORKDIR}/ostree_manifest
}
do_image_complete[nostamp] = "1"
addtask image_complete after do_rootfs

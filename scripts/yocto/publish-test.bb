# SPDX-License-Identifier: MIT
# For scripts/yocto-check alone: what of an image recipe the publish class sees, with a commit of a folder in place of a root file system.
SUMMARY = "Image without an image"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

INHIBIT_DEFAULT_DEPS = "1"
inherit rust-ota-publish rust-ota-qemu-tests nopackages

OSTREE_REPO = "${TOPDIR}/publish/ostree_repo"
GARAGE_TARGET_NAME = "publish-test"
GARAGE_TARGET_VERSION = ""
CONTENT ?= "one"
OSTREE_BOOTLOADER = "u-boot"
IMAGE_LINK_NAME = "publish-test"
IMAGE_ROOTFS = "${WORKDIR}/rootfs"
RUST_OTA_QEMU_TESTS_KEYS = "${TOPDIR}/publish/keys"

do_image_complete() {
    mkdir -p ${WORKDIR}/tree/usr ${IMAGE_ROOTFS}${nonarch_libdir} ${DEPLOY_DIR_IMAGE}
    echo 6.18 > ${DEPLOY_DIR_IMAGE}/kernel-abiversion
    echo disk > ${DEPLOY_DIR_IMAGE}/${IMAGE_LINK_NAME}.wic
    rust_ota_qemu_tests_rootfs
    echo "${CONTENT}" > ${WORKDIR}/tree/usr/content
    [ -d ${OSTREE_REPO} ] || ostree --repo=${OSTREE_REPO} init --mode=archive
    ostree --repo=${OSTREE_REPO} commit --branch=main --timestamp=0 --tree=dir=${WORKDIR}/tree > ${WORKDIR}/ostree_manifest
}
addtask image_complete after do_install

# SPDX-License-Identifier: MIT
# Image class for the project's own QEMU tests (kas/qemu-tests.yml), never for a product: puts the test bed's key and its marker into
# the image, and describes the image in DEPLOY_DIR_IMAGE/qemu-tests/<variant>/manifest.json, where the test bed looks for it.

# The variant: the daemon enabled, or disabled for manual triggering.
RUST_OTA_QEMU_TESTS ?= "${@'disabled' if d.getVar('SYSTEMD_AUTO_ENABLE:rust-ota') == 'disable' else 'enabled'}"
# Folder with the files key, key.pub, host_key and host_key.pub, made by ssh-keygen.
RUST_OTA_QEMU_TESTS_KEYS ?= ""
# What the test bed adds to an image of its own.
RUST_OTA_QEMU_TESTS_FILES ?= "${RUST_OTA_LAYERDIR}/../qemu-tests/images/debian/files"
# How QEMU starts the machine: qemuarm64, if nothing else is said.
RUST_OTA_QEMU_TESTS_ARGS ?= "-machine virt -device i6300esb"
RUST_OTA_QEMU_TESTS_CPU ?= "cortex-a57"
RUST_OTA_QEMU_TESTS_MEMORY ?= "640M"
# Files of DEPLOY_DIR_IMAGE.
RUST_OTA_QEMU_TESTS_FIRMWARE ?= "u-boot.bin"
RUST_OTA_QEMU_TESTS_DISK ?= "${IMAGE_LINK_NAME}.wic"
# Where the device finds the tests' server.
RUST_OTA_QEMU_TESTS_SERVER ?= "https://ota.test:8443"
RUST_OTA_QEMU_TESTS_SERVER_ADDRESS ?= "10.0.2.100"

rust_ota_qemu_tests_rootfs() {
    if [ -z "${RUST_OTA_QEMU_TESTS_KEYS}" ]; then
        bbfatal "RUST_OTA_QEMU_TESTS_KEYS is empty: the folder with key, key.pub, host_key and host_key.pub, by ssh-keygen -t ed25519"
    fi
    install -d ${IMAGE_ROOTFS}${sysconfdir}/ssh/sshd_config.d ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/multi-user.target.wants
    install -m 0600 ${RUST_OTA_QEMU_TESTS_KEYS}/host_key ${IMAGE_ROOTFS}${sysconfdir}/ssh/ssh_host_ed25519_key
    install -m 0644 ${RUST_OTA_QEMU_TESTS_KEYS}/host_key.pub ${IMAGE_ROOTFS}${sysconfdir}/ssh/ssh_host_ed25519_key.pub
    install -m 0644 ${RUST_OTA_QEMU_TESTS_KEYS}/key.pub ${IMAGE_ROOTFS}${sysconfdir}/ssh/authorized_keys
    install -m 0644 ${RUST_OTA_QEMU_TESTS_FILES}/etc/ssh/sshd_config.d/bed.conf ${IMAGE_ROOTFS}${sysconfdir}/ssh/sshd_config.d
    install -m 0644 ${RUST_OTA_QEMU_TESTS_FILES}/etc/systemd/system/bed-ready.service ${IMAGE_ROOTFS}${sysconfdir}/systemd/system
    ln -sf ../bed-ready.service ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/multi-user.target.wants/bed-ready.service
    echo A > ${IMAGE_ROOTFS}${nonarch_libdir}/bed-version
    # The tests' server. Its first root comes to the device when a test makes the server, as it would in a factory.
    echo "${RUST_OTA_QEMU_TESTS_SERVER_ADDRESS} ${@d.getVar('RUST_OTA_QEMU_TESTS_SERVER').split('/')[2].split(':')[0]}" >> ${IMAGE_ROOTFS}${sysconfdir}/hosts
    install -d ${IMAGE_ROOTFS}${nonarch_libdir}/sota/conf.d
    printf '[tls]\nserver = "%s"\n\n[pacman]\ntags = "main"\n\n[rust_ota]\nmetadata = "tuf"\nroot = "${localstatedir}/sota/root.json"\n' \
        "${RUST_OTA_QEMU_TESTS_SERVER}" > ${IMAGE_ROOTFS}${nonarch_libdir}/sota/conf.d/50-server.toml
    # A test reads on the serial console what the client says, and a failed boot leaves it there.
    for unit in rust-ota rust-ota-finalize rust-ota-report rust-ota-deadline rust-ota-update; do
        install -d ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/$unit.service.d
        printf '[Service]\nStandardOutput=journal+console\nStandardError=journal+console\n' > ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/$unit.service.d/bed.conf
    done
}
ROOTFS_POSTPROCESS_COMMAND += "rust_ota_qemu_tests_rootfs"

python do_rust_ota_qemu_tests () {
    import json

    def read(path):
        with open(d.expand(path)) as file:
            return file.read().strip()

    if d.getVar('OSTREE_BOOTLOADER') != 'u-boot':
        bb.fatal('the test bed reads the boot variables of U-Boot; OSTREE_BOOTLOADER is "%s"' % d.getVar('OSTREE_BOOTLOADER'))
    folder = d.expand('${DEPLOY_DIR_IMAGE}/qemu-tests/${RUST_OTA_QEMU_TESTS}')
    bb.utils.mkdirhier(folder)
    # A copy: the next variant's image takes the place of this one.
    bb.process.run(['cp', '--sparse=always', d.expand('${DEPLOY_DIR_IMAGE}/${RUST_OTA_QEMU_TESTS_DISK}'), os.path.join(folder, 'disk.wic')])
    manifest = {
        'format': 1,
        'built_by': d.expand('${DISTRO} ${DISTRO_VERSION}, Yocto'),
        'arch': d.getVar('TARGET_ARCH'),
        'machine_args': d.getVar('RUST_OTA_QEMU_TESTS_ARGS').split(),
        'memory': d.getVar('RUST_OTA_QEMU_TESTS_MEMORY'),
        'cpu': {'tcg': d.getVar('RUST_OTA_QEMU_TESTS_CPU'), 'kvm': 'host'},
        'firmware': d.expand('${DEPLOY_DIR_IMAGE}/${RUST_OTA_QEMU_TESTS_FIRMWARE}'),
        'disk': 'disk.wic',
        'partitions': {'boot': 1, 'root': 2},
        'bootloader': 'uboot',
        'environment': {'file': 'uboot.env', 'size': 0x200},
        'up_marker': r'BED: up version=(\S+)\n',
        'ssh_key': d.expand('${RUST_OTA_QEMU_TESTS_KEYS}/key'),
        'osname': d.getVar('OSTREE_OSNAME'),
        'repo': d.getVar('OSTREE_REPO'),
        'commit': read('${WORKDIR}/ostree_manifest'),
        'kernel': d.expand('${nonarch_base_libdir}/modules/%s/vmlinuz') % read('${DEPLOY_DIR_IMAGE}/kernel-abiversion'),
    }
    with open(os.path.join(folder, 'manifest.json'), 'w') as file:
        json.dump(manifest, file, indent=1)
        file.write('\n')
}
addtask rust_ota_qemu_tests after do_image_complete before do_build

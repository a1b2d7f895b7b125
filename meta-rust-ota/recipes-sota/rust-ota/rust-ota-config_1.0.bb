# SPDX-License-Identifier: MIT
SUMMARY = "Configuration of the OTA client, one fragment a package"
DESCRIPTION = "The fragments that meta-updater has for aktualizr, under the same file names and made from the same variables."
HOMEPAGE = "https://github.com/rust-ota/rust-ota"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://fragments file://10-rust-ota-watchdog.conf"
# scarthgap has no UNPACKDIR.
RUST_OTA_UNPACKDIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${RUST_OTA_UNPACKDIR}/fragments"

# The hardware id is the machine's.
PACKAGE_ARCH = "${MACHINE_ARCH}"
INHIBIT_DEFAULT_DEPS = "1"

SOTA_HARDWARE_ID ??= "${MACHINE}"
SOTA_POLLING_SEC ?= "300"
SOTA_DEPLOY_CREDENTIALS ??= "1"
# credentials.zip of the server; the device gets only what it needs for its first contact. Read where it lies: in SRC_URI it would be
# published by class archiver and with the sources of an SBOM, and it holds a private key.
SOTA_PACKED_CREDENTIALS ??= ""

# A server of your own, fed by `ota-repo` or class rust-ota-publish: its address, the first root (DIR/repo/1.root.json, what a device
# trusts first) and, where the server's certificate is not from a public authority, the authority's certificate.
RUST_OTA_SERVER ?= ""
RUST_OTA_ROOT ?= ""
# The first root of a server's Director, which a device trusts first. The other one, the Image repository's, is beside the credentials.
RUST_OTA_DIRECTOR_ROOT ?= ""
RUST_OTA_CA ?= ""
RUST_OTA_TAGS ?= "main"
RUST_OTA_METADATA ?= "tuf"
# All of these are read where they lie, and another content is another package.
RUST_OTA_FILES_OF_SITE = "SOTA_PACKED_CREDENTIALS RUST_OTA_ROOT RUST_OTA_DIRECTOR_ROOT RUST_OTA_CA"
do_install[file-checksums] += "${@' '.join(d.getVar(name) + ':True' for name in d.getVar('RUST_OTA_FILES_OF_SITE').split() if d.getVar(name))}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -m 0700 -d ${D}${nonarch_libdir}/sota/conf.d
    install -m 0644 ${S}/*.toml ${D}${nonarch_libdir}/sota/conf.d
    install -D -m 0644 ${RUST_OTA_UNPACKDIR}/10-rust-ota-watchdog.conf ${D}${nonarch_libdir}/systemd/system.conf.d/10-rust-ota-watchdog.conf
    sed -i -e 's|@SOTA_HARDWARE_ID@|${SOTA_HARDWARE_ID}|' ${D}${nonarch_libdir}/sota/conf.d/40-hardware-id.toml
    sed -i -e 's|@SOTA_POLLING_SEC@|${SOTA_POLLING_SEC}|' ${D}${nonarch_libdir}/sota/conf.d/60-polling-interval.toml

    sed -i -e 's|@RUST_OTA_SERVER@|${RUST_OTA_SERVER}|' -e 's|@RUST_OTA_TAGS@|${RUST_OTA_TAGS}|' -e 's|@RUST_OTA_METADATA@|${RUST_OTA_METADATA}|' \
        ${D}${nonarch_libdir}/sota/conf.d/50-rust-ota-server.toml
    if [ -n "${RUST_OTA_ROOT}" ]; then
        install -D -m 0644 ${RUST_OTA_ROOT} ${D}${nonarch_libdir}/sota/tuf/root.json
    fi
    if [ -n "${RUST_OTA_DIRECTOR_ROOT}" ]; then
        install -D -m 0644 ${RUST_OTA_DIRECTOR_ROOT} ${D}${nonarch_libdir}/sota/tuf/director-root.json
    fi
    if [ -n "${RUST_OTA_CA}" ]; then
        install -m 0700 -d ${D}${localstatedir}/sota ${D}${localstatedir}/sota/import
        install -m 0644 ${RUST_OTA_CA} ${D}${localstatedir}/sota/import/root.crt
    fi
}

# Below /var/sota, since OSTree image types carry exactly that folder of /var into the first deployment.
python rust_ota_pack_credentials () {
    import zipfile

    packed = d.getVar('SOTA_PACKED_CREDENTIALS')
    if not packed:
        return
    if not os.path.exists(packed):
        bb.fatal('SOTA_PACKED_CREDENTIALS = "%s": there is no such file' % packed)
    folder = d.expand('${D}${localstatedir}/sota')
    bb.utils.mkdirhier(folder)
    os.chmod(folder, 0o700)
    target = os.path.join(folder, 'sota_provisioning_credentials.zip')
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as wanted:
        for name in ('root.json', 'autoprov.url', 'autoprov_credentials.p12'):
            if name not in source.namelist():
                bb.warn('%s: %s is missing; a device can not provision itself with it' % (packed, name))
                continue
            # A fixed time, so that the same credentials give the same package.
            wanted.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), source.read(name))
    os.chmod(target, 0o600)
}
do_install[postfuncs] += "rust_ota_pack_credentials"

# Package name after rust-ota-, then the fragment. aktualizr-<name> is what meta-updater calls the same.
RUST_OTA_FRAGMENTS = " \
    log-debug:05-log-debug.toml \
    binary-pacman:10-pacman.toml \
    shared-prov:20-sota-shared-cred.toml \
    device-prov:20-sota-device-cred.toml \
    uboot-env-rollback:30-rollback.toml \
    disable-send-ip:30-disable-send-ip.toml \
    auto-reboot:35-enable-auto-reboot.toml \
    hwid:40-hardware-id.toml \
    server:50-rust-ota-server.toml \
    polling-interval:60-polling-interval.toml \
"
PACKAGES = " \
    rust-ota-log-debug \
    rust-ota-binary-pacman \
    rust-ota-shared-prov \
    rust-ota-shared-prov-creds \
    rust-ota-device-prov \
    rust-ota-director-root \
    rust-ota-uboot-env-rollback \
    rust-ota-disable-send-ip \
    rust-ota-auto-reboot \
    rust-ota-hwid \
    rust-ota-server \
    rust-ota-polling-interval \
    rust-ota-watchdog \
"
RUST_OTA_STANDS_IN ?= "0"

python () {
    if d.getVar('RUST_OTA_SERVER') and not d.getVar('RUST_OTA_ROOT'):
        raise bb.parse.SkipRecipe('RUST_OTA_SERVER needs RUST_OTA_ROOT: the path of DIR/repo/1.root.json, which a device trusts first')
    stands_in = oe.types.boolean(d.getVar('RUST_OTA_STANDS_IN'))
    for fragment in d.getVar('RUST_OTA_FRAGMENTS').split():
        name, file = fragment.split(':')
        package = 'rust-ota-' + name
        d.setVar('SUMMARY:' + package, 'OTA client: configuration fragment ' + file)
        d.prependVar('FILES:' + package, '${nonarch_libdir}/sota/conf.d/' + file + ' ')
        # With class rust-ota, an image that names aktualizr-hwid gets rust-ota-hwid.
        if stands_in and name != 'server':
            d.setVar('RPROVIDES:' + package, 'aktualizr-' + name)
    if stands_in:
        d.setVar('RPROVIDES:rust-ota-shared-prov-creds', 'aktualizr-shared-prov-creds')
}

SUMMARY:rust-ota-shared-prov-creds = "OTA client: credentials for the first contact of a fleet"
FILES:rust-ota-shared-prov-creds = "${localstatedir}/sota/sota_provisioning_credentials.zip"
# Without SOTA_PACKED_CREDENTIALS there is nothing to ship, and the image is built all the same.
ALLOW_EMPTY:rust-ota-shared-prov-creds = "1"
RDEPENDS:rust-ota-shared-prov = "${@'rust-ota-shared-prov-creds' if oe.types.boolean(d.getVar('SOTA_DEPLOY_CREDENTIALS')) else ''}"

SUMMARY:rust-ota-director-root = "OTA client: what a device trusts first of its Director"
FILES:rust-ota-director-root = "${nonarch_libdir}/sota/tuf/director-root.json"
RDEPENDS:rust-ota-shared-prov += "${@'rust-ota-director-root' if d.getVar('RUST_OTA_DIRECTOR_ROOT') else ''}"
RDEPENDS:rust-ota-device-prov += "${@'rust-ota-director-root' if d.getVar('RUST_OTA_DIRECTOR_ROOT') else ''}"

# What a device trusts first belongs to the address that it asks.
FILES:rust-ota-server += "${nonarch_libdir}/sota/tuf/root.json ${localstatedir}/sota/import"

SUMMARY:rust-ota-watchdog = "Hardware watchdog, so that a hanging kernel counts as a failed boot"
FILES:rust-ota-watchdog = "${nonarch_libdir}/systemd/system.conf.d"

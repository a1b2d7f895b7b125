# SPDX-License-Identifier: MIT
# The one line that makes rust-ota the client of every OSTree image of meta-updater:
#
#   INHERIT += "rust-ota"
#
# Images and packagegroups go on naming aktualizr, aktualizr-info, aktualizr-hwid, ...: these names become ours. Back again:
# remove the line, or set SOTA_CLIENT = "aktualizr". (meta-lmp has the same variable, and its images take its value.)

SOTA_CLIENT ?= "rust-ota"
RUST_OTA_STANDS_IN = "${@'1' if d.getVar('SOTA_CLIENT') == 'rust-ota' else '0'}"

def rust_ota_provider(d, recipe):
    return recipe if d.getVar('RUST_OTA_STANDS_IN') == '1' else ''

PREFERRED_RPROVIDER_aktualizr = "${@rust_ota_provider(d, 'rust-ota')}"
PREFERRED_RPROVIDER_aktualizr-lite = "${@rust_ota_provider(d, 'rust-ota')}"
PREFERRED_RPROVIDER_aktualizr-info = "${@rust_ota_provider(d, 'rust-ota')}"
PREFERRED_RPROVIDER_aktualizr-get = "${@rust_ota_provider(d, 'rust-ota')}"
PREFERRED_RPROVIDER_aktualizr-resource-control = "${@rust_ota_provider(d, 'rust-ota')}"
PREFERRED_RPROVIDER_aktualizr-hwid = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-shared-prov = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-shared-prov-creds = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-device-prov = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-uboot-env-rollback = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-auto-reboot = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-polling-interval = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-log-debug = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-disable-send-ip = "${@rust_ota_provider(d, 'rust-ota-config')}"
PREFERRED_RPROVIDER_aktualizr-binary-pacman = "${@rust_ota_provider(d, 'rust-ota-config')}"

# A server of your own (see rust-ota-config): its address goes into the image, and the provisioning of another server stays out.
# nooelint: oelint.vars.specific - sota is the override of meta-updater
IMAGE_INSTALL:append:sota = "${@' rust-ota-server' if d.getVar('RUST_OTA_SERVER') and d.getVar('RUST_OTA_STANDS_IN') == '1' else ''}"
SOTA_CLIENT_PROV ?= "${@'' if d.getVar('RUST_OTA_SERVER') and d.getVar('RUST_OTA_STANDS_IN') == '1' else 'aktualizr-shared-prov'}"

# Publishing to a garage server builds aktualizr for the host. Without that server's credentials it would push nothing. A :remove cannot be
# undone, so what it takes away is a variable: RUST_OTA_REMOVED_FSTYPES = "" keeps them.
RUST_OTA_REMOVED_FSTYPES ?= "${@'' if d.getVar('SOTA_PACKED_CREDENTIALS') or d.getVar('RUST_OTA_STANDS_IN') != '1' else 'ostreepush garagesign garagecheck'}"
IMAGE_FSTYPES:remove = "${RUST_OTA_REMOVED_FSTYPES}"

# What would silently bring the old client back, or an image that can not update itself.
addhandler rust_ota_check_configuration
rust_ota_check_configuration[eventmask] = "bb.event.ConfigParsed"
python rust_ota_check_configuration () {
    if e.data.getVar('RUST_OTA_STANDS_IN') != '1':
        return
    if (e.data.getVar('SOTA_CLIENT_PROV') or '').strip() == 'aktualizr-device-prov-hsm':
        bb.fatal('SOTA_CLIENT_PROV = "aktualizr-device-prov-hsm": rust-ota has no PKCS#11 support. Use aktualizr-device-prov, or '
                 'stay with SOTA_CLIENT = "aktualizr"')
    if 'rust-ota' not in (e.data.getVar('BBFILE_COLLECTIONS') or '').split():
        bb.fatal('class rust-ota is inherited, but layer meta-rust-ota is not in bblayers.conf')
}

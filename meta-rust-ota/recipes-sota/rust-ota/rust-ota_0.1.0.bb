# SPDX-License-Identifier: MIT
SUMMARY = "OTA client for OSTree devices"
DESCRIPTION = "Keeps an OSTree device up to date from a TUF or Uptane repository, in place of aktualizr or aktualizr-lite: the \
same configuration files, command lines, server protocols and paths."

require rust-ota-common.inc

def rust_ota_build(d):
    if oe.types.boolean(d.getVar('RUST_OTA_STATIC_LIBS') or '0'):
        return 'static'
    # Its Rust is older than what the code needs.
    if 'scarthgap' in (d.getVar('LAYERSERIES_CORENAMES') or '').split():
        return 'prebuilt'
    return 'multiconfig' if 'rust-ota-musl' in (d.getVar('BBMULTICONFIG') or '').split() else 'dynamic'

# How the program is linked: static, multiconfig, dynamic or prebuilt. The README of the layer says what each costs.
RUST_OTA_BUILD ??= "${@rust_ota_build(d)}"
# nooelint: oelint.file.requirenotfound - the name is complete when the recipe is parsed
require rust-ota-build-${RUST_OTA_BUILD}.inc

inherit systemd

SRC_URI += " \
    file://systemd/rust-ota.service \
    file://systemd/rust-ota-finalize.service \
    file://systemd/rust-ota-deadline.service \
    file://systemd/rust-ota-deadline.timer \
    file://systemd/rust-ota-report.service \
    file://systemd/rust-ota-update.service \
    file://systemd/rust-ota-poll.service \
    file://systemd/rust-ota.timer \
    file://tmpfiles/rust-ota.conf \
    file://resource-control/10-resource-control.conf \
"

# The same variables as of recipe aktualizr: VAR:pn-rust-ota = "...". See systemd.resource-control(5).
RESOURCE_CPU_WEIGHT ?= "100"
RESOURCE_MEMORY_HIGH ?= "64M"
RESOURCE_MEMORY_MAX ?= "128M"

python () {
    if not bb.utils.contains('DISTRO_FEATURES', 'systemd', True, False, d):
        raise bb.parse.SkipRecipe('rust-ota needs systemd: INIT_MANAGER = "systemd". The confirmation of a boot, its time limit and '
            'the service are systemd units; with sysvinit a failed update would never be rolled back')
    if bb.utils.contains('SOTA_CLIENT_FEATURES', 'hsm', True, False, d):
        raise bb.parse.SkipRecipe('rust-ota has no PKCS#11 support: remove hsm from SOTA_CLIENT_FEATURES, or stay with aktualizr')
}

do_install:append() {
    install -d ${D}${systemd_system_unitdir}/rust-ota.service.d ${D}${nonarch_libdir}/tmpfiles.d
    install -m 0644 ${RUST_OTA_UNPACKDIR}/systemd/rust-ota* ${D}${systemd_system_unitdir}
    install -m 0644 ${RUST_OTA_UNPACKDIR}/tmpfiles/rust-ota.conf ${D}${nonarch_libdir}/tmpfiles.d
    install -m 0700 -d ${D}${nonarch_libdir}/sota/conf.d ${D}${sysconfdir}/sota/conf.d

    sed -e 's|@CPU_WEIGHT@|${RESOURCE_CPU_WEIGHT}|' \
        -e 's|@MEMORY_HIGH@|${RESOURCE_MEMORY_HIGH}|' \
        -e 's|@MEMORY_MAX@|${RESOURCE_MEMORY_MAX}|' \
        ${RUST_OTA_UNPACKDIR}/resource-control/10-resource-control.conf > ${D}${systemd_system_unitdir}/rust-ota.service.d/10-resource-control.conf

    # One program; its name decides whose command line it speaks.
    ln -s rust-ota ${D}${bindir}/aktualizr
    ln -s rust-ota ${D}${bindir}/aktualizr-lite
    ln -s rust-ota ${D}${bindir}/aktualizr-info
    ln -s rust-ota ${D}${bindir}/aktualizr-get
    # The unit's Alias= lines work once it is enabled; who starts a disabled one by its old name needs these.
    ln -s rust-ota.service ${D}${systemd_system_unitdir}/aktualizr.service
    ln -s rust-ota.service ${D}${systemd_system_unitdir}/aktualizr-lite.service
}

PACKAGE_BEFORE_PN = "${PN}-boot-confirm ${PN}-timer ${PN}-resource-control ${PN}-aktualizr ${PN}-aktualizr-lite ${PN}-aktualizr-info ${PN}-aktualizr-get"

# --- The service. Whether it is enabled is the user's to say, in any of the spellings that users have in local.conf:
#     SYSTEMD_AUTO_ENABLE:rust-ota, :pn-rust-ota, :aktualizr, :aktualizr-lite, and the dead SYSTEMD_AUTO_ENABLE_aktualizr.
# The class asks for SYSTEMD_AUTO_ENABLE:<package> first and then for the plain variable, so the plain one is what is set
# here. A `SYSTEMD_AUTO_ENABLE:${PN} ?=` would win over the user's own line.
SYSTEMD_AUTO_ENABLE ?= "${@rust_ota_auto_enable(d)}"
# BitBake does not see which names the function reads, so the value itself must make the package anew.
SYSTEMD_AUTO_ENABLE[vardepvalue] = "${SYSTEMD_AUTO_ENABLE}"
SYSTEMD_PACKAGES = "${PN} ${PN}-boot-confirm ${PN}-timer"
SYSTEMD_SERVICE:${PN} = "rust-ota.service"

RUST_OTA_OLD_AUTO_ENABLE = "SYSTEMD_AUTO_ENABLE:aktualizr SYSTEMD_AUTO_ENABLE:aktualizr-lite SYSTEMD_AUTO_ENABLE_aktualizr SYSTEMD_AUTO_ENABLE_aktualizr-lite"

def rust_ota_auto_enable(d):
    for name in d.getVar('RUST_OTA_OLD_AUTO_ENABLE').split():
        if d.getVar(name):
            return d.getVar(name)
    return 'enable'

# --- The confirmation of a boot, and its time limit: on in every image, also where the daemon is off.
SYSTEMD_SERVICE:${PN}-boot-confirm = "rust-ota-finalize.service rust-ota-report.service rust-ota-deadline.timer"
SYSTEMD_AUTO_ENABLE:${PN}-boot-confirm = "enable"
SUMMARY:${PN}-boot-confirm = "OTA client: confirms a boot, and ends one that was not confirmed in time"
FILES:${PN}-boot-confirm = " \
    ${systemd_system_unitdir}/rust-ota-finalize.service \
    ${systemd_system_unitdir}/rust-ota-report.service \
    ${systemd_system_unitdir}/rust-ota-deadline.service \
    ${systemd_system_unitdir}/rust-ota-deadline.timer \
"
RDEPENDS:${PN}-boot-confirm = "${PN}"

# --- The timer, for images that want no resident process. Installing it is choosing it: set SYSTEMD_AUTO_ENABLE:rust-ota to disable too.
SYSTEMD_SERVICE:${PN}-timer = "rust-ota.timer"
SYSTEMD_AUTO_ENABLE:${PN}-timer = "enable"
SUMMARY:${PN}-timer = "OTA client: one cycle on a timer, no resident process"
FILES:${PN}-timer = "${systemd_system_unitdir}/rust-ota.timer ${systemd_system_unitdir}/rust-ota-poll.service"
RDEPENDS:${PN}-timer = "${PN}"

SUMMARY:${PN}-resource-control = "OTA client: limits of memory and CPU time"
FILES:${PN}-resource-control = "${systemd_system_unitdir}/rust-ota.service.d"
RDEPENDS:${PN}-resource-control = "${PN}"

# --- The names of the clients that this one stands in for. Only an image that asks for them has them.
SUMMARY:${PN}-aktualizr = "OTA client: under the name and command line of aktualizr"
FILES:${PN}-aktualizr = "${bindir}/aktualizr ${systemd_system_unitdir}/aktualizr.service"
SUMMARY:${PN}-aktualizr-lite = "OTA client: under the name and command line of aktualizr-lite"
FILES:${PN}-aktualizr-lite = "${bindir}/aktualizr-lite ${systemd_system_unitdir}/aktualizr-lite.service"
SUMMARY:${PN}-aktualizr-info = "OTA client: under the name and command line of aktualizr-info"
FILES:${PN}-aktualizr-info = "${bindir}/aktualizr-info"
SUMMARY:${PN}-aktualizr-get = "OTA client: under the name and command line of aktualizr-get"
FILES:${PN}-aktualizr-get = "${bindir}/aktualizr-get"
RDEPENDS:${PN}-aktualizr = "${PN}"
RDEPENDS:${PN}-aktualizr-lite = "${PN}"
RDEPENDS:${PN}-aktualizr-info = "${PN}"
RDEPENDS:${PN}-aktualizr-get = "${PN}"

# Class rust-ota makes these names ours, so that images which list them need no change. Without it nothing changes, and the
# real aktualizr cannot be installed beside us: two clients on one state folder and one sysroot.
RUST_OTA_STANDS_IN ?= "0"
RPROVIDES:${PN}-aktualizr = "${@rust_ota_stands_in(d, 'aktualizr')}"
RPROVIDES:${PN}-aktualizr-lite = "${@rust_ota_stands_in(d, 'aktualizr-lite')}"
RPROVIDES:${PN}-aktualizr-info = "${@rust_ota_stands_in(d, 'aktualizr-info')}"
RPROVIDES:${PN}-aktualizr-get = "${@rust_ota_stands_in(d, 'aktualizr-get')}"
RPROVIDES:${PN}-resource-control = "${@rust_ota_stands_in(d, 'aktualizr-resource-control')}"
RCONFLICTS:${PN} = "${@'' if rust_ota_stands_in(d, 'aktualizr') else 'aktualizr aktualizr-lite'}"

def rust_ota_stands_in(d, name):
    return name if oe.types.boolean(d.getVar('RUST_OTA_STANDS_IN')) else ''

FILES:${PN} += " \
    ${systemd_system_unitdir}/rust-ota.service \
    ${systemd_system_unitdir}/rust-ota-update.service \
    ${nonarch_libdir}/tmpfiles.d \
    ${nonarch_libdir}/sota \
    ${sysconfdir}/sota \
"
RDEPENDS:${PN} = "${PN}-boot-confirm"
RRECOMMENDS:${PN} = "${PN}-hwid"
RDEPENDS:${PN}:append = "${@bb.utils.contains('SOTA_CLIENT_FEATURES', 'ubootenv', ' u-boot-fw-utils ${PN}-uboot-env-rollback', '', d)}"

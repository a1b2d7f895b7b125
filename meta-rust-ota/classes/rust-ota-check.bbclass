# SPDX-License-Identifier: MIT
# Examines an image's root folder at the end of its build, as `rust-ota takeover --check --root` does: configuration that is not read as it
# looks, PKCS#11, IP Secondaries, certificates, roots, proxies in the old client's units. In local.conf:
#
#   IMAGE_CLASSES += "rust-ota-check"

# "error": a problem ends the build. "warn": it is a warning of the build. Warnings of the check are notes in the task's log.
RUST_OTA_CHECK ?= "error"

python do_rust_ota_check () {
    import json

    try:
        report, _ = bb.process.run(['rust-ota', 'takeover', '--check', '--json', '--root', d.getVar('IMAGE_ROOTFS')])
    except bb.process.ExecutionError as error:
        report = error.stdout
    try:
        findings = json.loads(report)['findings']
    except (TypeError, ValueError):
        bb.fatal('rust-ota takeover --check printed no report: %s' % report)
    texts = {level: ['%s: %s' % (f['subject'], f['text']) for f in findings if f['level'] == level] for level in ('problem', 'warning')}
    for text in texts['warning']:
        bb.note(text)
    if texts['problem']:
        tell = bb.warn if d.getVar('RUST_OTA_CHECK') == 'warn' else bb.fatal
        tell('rust-ota will not work in this image:\n%s' % '\n'.join(texts['problem']))
}
addtask rust_ota_check after do_rootfs before do_image
do_rust_ota_check[depends] += "rust-ota-native:do_populate_sysroot"

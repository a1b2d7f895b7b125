# SPDX-License-Identifier: MIT
# For configuration rust-ota-musl alone, which builds one program and never a package or a root file system. Recursive tasks of an image
# (do_rootfs, do_create_image_sbom_spdx) go into it with the client, and follow what its recipes want at run time: a kernel, systemd,
# perl, python3. So nothing is packaged here, and nothing is wanted at run time. What is built in stays: libostree, glib and musl are in
# the image's SBOM.

deltask do_package
deltask do_packagedata
deltask do_package_qa
deltask do_package_write_ipk
deltask do_package_write_rpm
deltask do_package_write_deb
deltask do_package_setscene
deltask do_packagedata_setscene
deltask do_package_qa_setscene
deltask do_package_write_ipk_setscene
deltask do_package_write_rpm_setscene
deltask do_package_write_deb_setscene

python () {
    d.setVar('PACKAGES', '')
    d.setVar('PACKAGES_DYNAMIC', '')
    # BitBake takes PN for a package where there is none.
    for name in ('RDEPENDS', 'RRECOMMENDS'):
        d.setVar(name, '')
        d.setVar('%s:%s' % (name, d.getVar('PN')), '')
}

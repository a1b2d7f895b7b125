# SPDX-License-Identifier: MIT
# Only where conf/include/rust-ota-static-libs.inc is used; elsewhere glib and its signatures are untouched.
require ${@'glib-2.0/rust-ota-local-files.inc' if oe.types.boolean(d.getVar('RUST_OTA_STATIC_LIBS') or '0') else ''}

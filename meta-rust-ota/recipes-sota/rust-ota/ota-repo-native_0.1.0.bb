# SPDX-License-Identifier: MIT
SUMMARY = "Signs and publishes OSTree commits as Targets"
DESCRIPTION = "The host tool of rust-ota: makes keys, signs a TUF repository and publishes it as plain files for any web server. Class \
rust-ota-publish runs it at the end of an image build."

require rust-ota-common.inc
require rust-ota-source.inc

inherit cargo pkgconfig
inherit_defer native

DEPENDS += "glib-2.0-native ostree-native"

CARGO_BUILD_FLAGS += "--bin ota-repo"

# SPDX-License-Identifier: MIT
SUMMARY = "OTA client for OSTree devices, for the build machine"
DESCRIPTION = "The client as a program of the build machine: `rust-ota config show` on the fragments of an image, and a build of the \
same sources without a cross toolchain."

require rust-ota-common.inc
require rust-ota-source.inc

inherit cargo pkgconfig
inherit_defer native

DEPENDS += "glib-2.0-native ostree-native"

CARGO_BUILD_FLAGS += "--no-default-features --bin rust-ota"

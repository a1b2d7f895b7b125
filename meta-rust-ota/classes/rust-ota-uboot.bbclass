# SPDX-License-Identifier: MIT
# Image class: the disk needs the boot script, the first boot variables and U-Boot itself.
do_image_wic[depends] += "rust-ota-boot:do_deploy virtual/bootloader:do_deploy"

# SPDX-License-Identifier: MIT
#
# Boots the newest OSTree deployment, and the one before it when the newest was given enough tries and never confirmed.
# It counts by itself, so any U-Boot with FAT write support will do: no CONFIG_BOOTCOUNT_*, no stored U-Boot environment,
# no setexpr. What it remembers is one file, in the format of fw_printenv and fw_setenv, shared with the running system:
#
#   upgrade_available  1: a new deployment is on trial, count its boots    (set by the client before a deploy)
#   bootcount          boots of the trial so far                           (set to 0 by the client when it confirms a boot)
#   bootlimit          boots a trial may have; 3 unless the file says more (or less)
#   rollback           1: boot the deployment before the newest            (set here; cleared by the client's next deploy)
#
# The file is 512 bytes, one sector, and is overwritten in place: a power cut leaves the old one or the new one.
# A boot outside a trial writes nothing.

echo "rust-ota-boot: start"

# --- What depends on the machine. A value that the board's own environment has already set is kept.
test -n "${ota_env_part}"  || setenv ota_env_part "virtio 0:1"
test -n "${ota_env_file}"  || setenv ota_env_file /uboot.env
test -n "${ota_env_size}"  || setenv ota_env_size 0x200
test -n "${ota_env_addr}"  || setenv ota_env_addr "${scriptaddr}"
test -n "${ota_env_vars}"  || setenv ota_env_vars "bootcount bootlimit upgrade_available rollback"
test -n "${ota_root_part}" || setenv ota_root_part "virtio 0:2"
test -n "${ota_uenv}"      || setenv ota_uenv /boot/loader/uEnv.txt
if test "${arch}" = "x86"; then
	# U-Boot's default ramdisk address is inside the area where the kernel unpacks itself.
	setenv ramdisk_addr_r 0x18000000
	test -n "${ota_boot}" || setenv ota_boot 'zboot ${kernel_addr_r} 0 ${ramdisk_addr_r} ${filesize}'
fi
test -n "${ota_fdt}"  || setenv ota_fdt "${fdt_addr}"
test -n "${ota_fdt}"  || setenv ota_fdt "${fdtcontroladdr}"
test -n "${ota_boot}" || setenv ota_boot 'booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${ota_fdt}'

# --- What the file remembers. Only the named variables are taken from it, so nobody can plant a boot command there.
setenv bootcount; setenv bootlimit; setenv upgrade_available; setenv rollback
setenv ota_save 0
setenv filesize 0
if load ${ota_env_part} ${ota_env_addr} ${ota_env_file} && env import -c ${ota_env_addr} ${ota_env_size} ${ota_env_vars}; then
	echo "rust-ota-boot: environment read"
else
	# Nobody knows now whether the newest deployment is good: give it a trial, with the older one to fall back on.
	echo "rust-ota-boot: environment file is missing or corrupt: a new one, and a trial for the newest deployment"
	setenv bootcount 0; setenv upgrade_available 1; setenv rollback 0
	setenv ota_save 1
fi
test "${bootlimit}" -gt 0 || setenv bootlimit 3

# --- Count. (The first number above bootcount is its successor: this U-Boot may have no arithmetic.)
if test "${upgrade_available}" = "1"; then
	setenv ota_next
	for ota_i in 1 2 3 4 5 6 7 8 9 10; do
		if test -z "${ota_next}"; then
			if test ${ota_i} -gt "${bootcount}"; then setenv ota_next ${ota_i}; fi
		fi
	done
	test -n "${ota_next}" || setenv ota_next 10
	setenv bootcount ${ota_next}
	setenv ota_save 1
	if test ${bootcount} -gt ${bootlimit} || test ${bootcount} -eq 10; then
		echo "rust-ota-boot: ${bootlimit} boots and none confirmed: going back to the deployment before"
		setenv rollback 1
		setenv upgrade_available 0
	fi
fi
echo "rust-ota-boot: bootcount=${bootcount} bootlimit=${bootlimit} upgrade_available=${upgrade_available} rollback=${rollback}"
if test "${ota_save}" = "1"; then
	if env export -c -s ${ota_env_size} ${ota_env_addr} ${ota_env_vars} && fatwrite ${ota_env_part} ${ota_env_addr} ${ota_env_file} ${ota_env_size}; then
		echo "rust-ota-boot: environment written"
	else
		echo "rust-ota-boot: cannot write ${ota_env_file} on ${ota_env_part}: this boot is not counted"
	fi
fi

# --- The deployments, newest first, as libostree's U-Boot back-end lists them.
setenv kernel_image; setenv ramdisk_image; setenv bootargs
setenv kernel_image2; setenv ramdisk_image2; setenv bootargs2
load ${ota_root_part} ${scriptaddr} ${ota_uenv} && env import -t ${scriptaddr} ${filesize} kernel_image ramdisk_image bootargs kernel_image2 ramdisk_image2 bootargs2
setenv ota_newest 'setenv ota_kernel ${kernel_image}; setenv ota_ramdisk ${ramdisk_image}; setenv ota_args "${bootargs1}"; run ota_start'
setenv ota_before 'setenv ota_kernel ${kernel_image2}; setenv ota_ramdisk ${ramdisk_image2}; setenv ota_args "${bootargs2}"; run ota_start'
setenv ota_start 'setenv bootargs "${ota_args}"; load ${ota_root_part} ${kernel_addr_r} ${ota_kernel} && load ${ota_root_part} ${ramdisk_addr_r} ${ota_ramdisk} && run ota_boot'
setenv bootargs1 "${bootargs}"

if test "${rollback}" = "1" && test -n "${kernel_image2}"; then
	echo "rust-ota-boot: booting the deployment before the newest"
	run ota_before
	echo "rust-ota-boot: it does not start; trying the newest"
	run ota_newest
else
	echo "rust-ota-boot: booting the newest deployment"
	run ota_newest
	echo "rust-ota-boot: it does not start"
	# On trial, the reset below counts as a failed boot and leads on. Otherwise any deployment is better than none.
	if test "${upgrade_available}" != "1" && test -n "${kernel_image2}"; then run ota_before; fi
fi
echo "rust-ota-boot: nothing starts, reset in 5 seconds"
sleep 5
reset

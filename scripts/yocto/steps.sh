# shellcheck shell=bash disable=SC2016  # bitbake expands its own variables
# The steps of scripts/yocto-check, which sets these two.
: "${work:?}" "${here:?}"

series=${YOCTO_CHECK_SERIES:-wrynose}
case $series in
wrynose) machines=${YOCTO_CHECK_MACHINES:-qemux86-64 qemuarm64 raspberrypi4} any_machine=qemux86-64 variant= ;;
# U-Boot machines: systemd-boot's patches to libostree are wrynose's.
*) machines=${YOCTO_CHECK_MACHINES:-qemuarm64} any_machine=qemuarm64 variant=:$series ;;
esac
# Every recipe of other layers hidden, but for the two that the layer appends to: seconds instead of minutes.
others_hidden='BBMASK += "/(openembedded-core|meta-openembedded|meta-updater|meta-raspberrypi)/.*/?recipes-(?!kernel/linux/linux-yocto_6|core/glib-2.0/glib-2.0_)"'
# What no image of ours comes near, and what takes longest to parse.
rest_hidden='BBMASK += "-image-ptest /meta-raspberrypi/dynamic-layers/ /openembedded-core/meta/recipes-(sato|rt)/ /meta-openembedded/meta-(python|networking|filesystems)/recipes-"
BBMASK += "/meta-openembedded/meta-oe/recipes-(?!extended/ostree/|crypto/libsodium/|support/lshw/|devtools/lshw/) /meta-oe/dynamic-layers/"
BBMASK += "/meta-updater/.*/(networkmanager|collectd|zabbix|valgrind|cronie|libvirt|samba|nfs-utils|alsa|connman|fuse)[^/]*/[^/]*bbappend /meta-updater/recipes-support/ /meta-updater/recipes-test/"'
common='CONNECTIVITY_CHECK_URIS = ""
SANITY_TESTED_DISTROS = ""
SOTA_SKIP_CRED_WARN = "1"
INHERIT_DISTRO:remove = "uninative"'
# Recipes that the host stands in for in real builds, so that nothing but ours is compiled.
host_provides='INHERIT_DISTRO:remove = "create-spdx"
ASSUME_PROVIDED += "cargo-native rust-native python3-native quilt-native opkg-utils-native zstd-native xz-native ca-certificates-native"
ASSUME_PROVIDED += "glib-2.0-native ostree-native pkgconf-native pkgconfig-native patch-replacement-native binutils-native file-native"
ASSUME_PROVIDED += "dwarfsrcfiles-native systemd-systemctl-native elfutils-native rpm-native"
ASSUME_PROVIDED += "binutils-cross-x86_64"
HOSTTOOLS += "cargo rustc pkg-config mkimage mkenvimage"
PKG_CONFIG_LIBDIR:append = ":/usr/lib/x86_64-linux-gnu/pkgconfig:/usr/share/pkgconfig"
OBJDUMP = "objdump"
SKIP_FILEDEPS = "1"
# The pseudo of a Debian release is older than the setting that tells it which paths are its business.
HOST_PSEUDO_IGNORES = "/usr/,/etc/,/lib,/bin/,/dev/,/run/,/tmp/,${T},${TMPDIR}/stamps,${TMPDIR}/cache,${TMPDIR}/sstate-control,${SSTATE_DIR},${DL_DIR},${COMPONENTS_DIR},${STAGING_DIR_NATIVE},${RECIPE_SYSROOT}"
FAKEROOTBASEENV:append = " PSEUDO_IGNORE_PATHS=${HOST_PSEUDO_IGNORES}"
FAKEROOTENV:append = " PSEUDO_IGNORE_PATHS=${HOST_PSEUDO_IGNORES}"'

step_parse() {
	local file variants="qemuarm64:musl qemuarm64:dynamic"
	[ "$series" = wrynose ] || variants=
	for file in $machines $variants qemuarm64:service-enabled qemuarm64:service-disabled qemuarm64:service-timer qemuarm64:dev; do
		configure parse "$file" "$common" "$others_hidden"
		inside parse "bitbake -p"
		printf '%-28s %s\n' "$file" "$(grep -o 'Parsing of .*' "$work/out/parse.log" | tail -1)"
		grep -q ' 0 errors' "$work/out/parse.log"
	done
	# The kernel's options are a file that only the include of the machine's bootloader asks for. (What a kernel needs is hidden here.)
	inside parse "bitbake -e linux-yocto" || true
	grep -q '^SRC_URI=.*file://rust-ota.cfg' "$work/out/parse.log" || { echo "  the kernel has no rust-ota.cfg"; return 1; }
}

# expect NAME LINE...: what `bitbake -e rust-ota` has to say with the lines in local.conf.
step_toggles() {
	local default=dynamic
	[ "$series" = wrynose ] || default=prebuilt
	toggle ""                                              SYSTEMD_AUTO_ENABLE=enable RUST_OTA_BUILD=$default
	toggle 'SYSTEMD_AUTO_ENABLE:rust-ota = "disable"'      SYSTEMD_AUTO_ENABLE:rust-ota=disable
	toggle 'SYSTEMD_AUTO_ENABLE:rust-ota = "enable"'       SYSTEMD_AUTO_ENABLE:rust-ota=enable
	toggle 'SYSTEMD_AUTO_ENABLE:pn-rust-ota = "disable"'   SYSTEMD_AUTO_ENABLE=disable
	toggle 'SYSTEMD_AUTO_ENABLE:aktualizr = "disable"'     SYSTEMD_AUTO_ENABLE=disable
	toggle 'SYSTEMD_AUTO_ENABLE:aktualizr = "enable"'      SYSTEMD_AUTO_ENABLE=enable
	toggle 'SYSTEMD_AUTO_ENABLE_aktualizr = "disable"'     SYSTEMD_AUTO_ENABLE=disable
	toggle 'SYSTEMD_AUTO_ENABLE_aktualizr = "enable"'      SYSTEMD_AUTO_ENABLE=enable
	toggle 'SYSTEMD_AUTO_ENABLE:aktualizr-lite = "disable"' SYSTEMD_AUTO_ENABLE=disable
	toggle 'SOTA_CLIENT = "rust-ota"'                      RPROVIDES:rust-ota-aktualizr=aktualizr RCONFLICTS:rust-ota=
	toggle 'SOTA_CLIENT = "aktualizr"'                     RPROVIDES:rust-ota-aktualizr= 'RCONFLICTS:rust-ota=aktualizr aktualizr-lite'
	if [ "$series" = wrynose ]; then
		# A static libostree is another one than an image's: on musl, too, it comes from a configuration of its own.
		toggle 'TCLIBC = "musl"'                               RUST_OTA_BUILD=dynamic
		toggle $'TCLIBC = "musl"\nrequire conf/include/rust-ota-static-libs.inc' RUST_OTA_BUILD=static SYSTEM_DEPS_LINK=static
		toggle $'TCLIBC = "musl"\nBBMULTICONFIG = "rust-ota-musl"' RUST_OTA_BUILD=multiconfig
		toggle 'BBMULTICONFIG = "rust-ota-musl"'               RUST_OTA_BUILD=multiconfig
	fi
	prebuilt_fetches_no_rust
	refused 'INIT_MANAGER = "sysvinit"'                    'rust-ota needs systemd'
	refused 'SOTA_CLIENT_FEATURES = "hsm"'                 'has no PKCS#11 support'
	refused 'SOTA_CLIENT_PROV = "aktualizr-device-prov-hsm"' 'has no PKCS#11 support'
	refused $'RUST_OTA_BUILD = "static"\nTCLIBC = "glibc"'  'needs TCLIBC = "musl"'
	refused $'TCLIBC = "musl"\nRUST_OTA_BUILD = "static"'  'needs archives of its libraries'
	refused 'RUST_OTA_BUILD = "multiconfig"'               'needs BBMULTICONFIG'
	refused 'RUST_OTA_BUILD = "prebuilt"'                  'needs RUST_OTA_STATIC_PROGRAM'
	refused $'RUST_OTA_BUILD = "prebuilt"\nRUST_OTA_STATIC_PROGRAM = "https://example.com/rust-ota"' 'needs RUST_OTA_STATIC_PROGRAM_SHA256'
	refused $'RUST_OTA_BUILD = "prebuilt"\nRUST_OTA_STATIC_PROGRAM = "/bin/true"\nDISTRO_FEATURES:append = " selinux"' 'has no selinux, and it would deploy'
	refused $'RUST_OTA_BUILD = "prebuilt"\nRUST_OTA_STATIC_PROGRAM = "/bin/true"\nPACKAGECONFIG:append:pn-ostree = " composefs"' 'has no composefs, and the system'
}

# Neither crates nor the repository where nothing is compiled; what is fetched has its checksum.
prebuilt_fetches_no_rust() {
	toggle $'RUST_OTA_BUILD = "prebuilt"\nRUST_OTA_STATIC_PROGRAM = "https://example.com/rust-ota"\nRUST_OTA_STATIC_PROGRAM_SHA256 = "0123456789abcdef01"' \
		RUST_OTA_BUILD=prebuilt INHIBIT_DEFAULT_DEPS=1
	if grep -E '^(export )?SRC_URI=.*(crate://|git://)' "$work/out/toggles.log"; then
		echo "  prebuilt fetches what only a compiler needs"
		return 1
	fi
	grep -q '^SRC_URI=.*https://example.com/rust-ota;name=program;' "$work/out/toggles.log"
}

toggle() {
	local line=$1 want name value
	shift
	configure toggles $any_machine:dynamic "$common" "$others_hidden" "$line" 'RUST_OTA_STATIC_PROGRAM ?= "/bin/true"'
	# The variant's own choice of linkage would hide the recipe's.
	sed -i '/^RUST_OTA_BUILD = "dynamic"/d' "$work/build/toggles/conf/local.conf"
	# It fails on the hidden recipes of other layers, after it has printed what is asked for.
	inside toggles "bitbake -k -e rust-ota" || grep -q '^PN="rust-ota"' "$work/out/toggles.log" || { tail -5 "$work/out/toggles.log"; return 1; }
	for want in "$@"; do
		name=${want%%=*} value=$(sed -n "s/^\(export \)\{0,1\}${want%%=*}=\"\(.*\)\"\$/\2/p" "$work/out/toggles.log" | xargs)
		printf '%-52s %s = "%s"\n' "${line:-(nothing)}" "$name" "$value"
		[ "$value" = "${want#*=}" ] || { echo "  wanted \"${want#*=}\""; return 1; }
	done
}

refused() {
	configure toggles $any_machine:dynamic "$common" "$others_hidden" "$1" 'RUST_OTA_BUILD ?= "dynamic"'
	if inside toggles "bitbake -n rust-ota"; then
		echo "$1: not refused"
		return 1
	fi
	printf '%-52s %s\n' "$1" "$(grep -o "[^:]*$2.*" "$work/out/toggles.log" | head -1)" | cut -c1-180
	grep -q "$2" "$work/out/toggles.log"
}

# What each machine's image comes to: bootloader, boot counting, kernel arguments, packages. The image recipe alone is read.
step_images() {
	local machine only_image='BBMASK += "/(openembedded-core|meta-openembedded|meta-updater|meta-raspberrypi)/.*/?recipes-(?!core/images/core-image-minimal\.bb)"'
	for machine in $machines; do
		configure images "$machine" "$common" "$only_image"
		inside images "bitbake -e -b core-image-minimal.bb" || { tail -5 "$work/out/images.log"; return 1; }
		image_has IMAGE_INSTALL aktualizr rust-ota-watchdog
		image_has OSTREE_KERNEL_ARGS panic=5 root=LABEL=otaroot
		image_has IMAGE_FSTYPES ota-ext4 wic !ostreepush !garagesign
		case $machine in
		qemux86-64)
			image_has OSTREE_BOOTLOADER systemd-boot
			image_has EFI_PROVIDER systemd-boot
			image_has WKS_FILE efiimage-sota.wks.in
			image_has OSTREE_REPO_CONFIG sysroot.boot-counting-tries:3
			image_has OSTREE_OTA_REPO_CONFIG sysroot.boot-counting-tries:3
			image_has EXTRA_IMAGEDEPENDS ovmf
			;;
		*)
			image_has OSTREE_BOOTLOADER u-boot
			image_has WKS_FILE rust-ota-uboot.wks
			image_has IMAGE_BOOT_FILES boot.scr uboot.env
			image_has IMAGE_INSTALL rust-ota-boot
			image_has SOTA_CLIENT_FEATURES ubootenv
			;;
		esac
	done
}

# image_has NAME WORD...: the variable has each word; with a ! it has it not.
image_has() {
	local value word
	value=" $(sed -n "s/^$1=\"\(.*\)\"\$/\1/p" "$work/out/images.log" | xargs) "
	printf '%-14s %-24s %s\n' "$machine" "$1" "$value" | cut -c1-180
	for word in "${@:2}"; do
		case $word:$value in
		!*:*" ${word#!} "*) echo "  has ${word#!}"; return 1 ;;
		!*) ;;
		*:*" $word "*) ;;
		*) echo "  has no $word"; return 1 ;;
		esac
	done
}

# The packages themselves, made by do_package from the layer's recipes; only tools of the build host stand in.
step_package() {
	local program=$work/out/rust-ota-static line
	if [ -n "${RUST_OTA_PROGRAM:-}" ]; then
		cp "$RUST_OTA_PROGRAM" "$program"
	else
		echo "(no RUST_OTA_PROGRAM: a static stand-in is packaged)"
		echo 'int main(void) { return 0; }' | gcc -static-pie -s -x c - -o "$program"
	fi
	for line in 'SYSTEMD_AUTO_ENABLE:rust-ota = "enable"' 'SYSTEMD_AUTO_ENABLE:rust-ota = "disable"' \
		'SYSTEMD_AUTO_ENABLE:aktualizr = "enable"' 'SYSTEMD_AUTO_ENABLE:aktualizr = "disable"' 'SYSTEMD_AUTO_ENABLE:pn-rust-ota = "disable"' \
		'SYSTEMD_AUTO_ENABLE_aktualizr = "enable"' 'SYSTEMD_AUTO_ENABLE_aktualizr = "disable"'; do
		packaged "$line"
	done
	refuses_dynamic_program
}

packaged() {
	local split action
	configure_real package $any_machine "$@" 'RUST_OTA_BUILD = "prebuilt"' "RUST_OTA_STATIC_PROGRAM = \"$work/out/rust-ota-static\"" \
		'RUST_OTA_CHECKOUT = "${RUST_OTA_LAYERDIR}/.."' 'PACKAGE_CLASSES = "package_ipk"' \
		'RDEPENDS:rust-ota-boot:remove = "u-boot-fw-utils"'
	# From nothing but the shared state, as a build server does: what a toggle does not change by its hash, it does not change.
	rm -rf "$work/build/package/tmp"
	inside package "bitbake -c package rust-ota rust-ota-config rust-ota-boot && bitbake -c deploy rust-ota-boot" || { tail -20 "$work/out/package.log"; return 1; }
	split=$(echo "$work"/build/package/tmp/work/*/rust-ota/*/packages-split)
	action=$(cat "$split"/rust-ota/usr/lib/systemd/system-preset/*)
	printf '%-52s %s\n' "$1" "$action"
	case $1 in
	*enable\") [ "$action" = "enable rust-ota.service" ] ;;
	*) [ "$action" = "disable rust-ota.service" ] ;;
	esac
	# The confirmation of a boot is on whatever the daemon is.
	[ "$(cat "$split"/rust-ota-boot-confirm/usr/lib/systemd/system-preset/*)" = $'enable rust-ota-finalize.service\nenable rust-ota-report.service\nenable rust-ota-deadline.timer' ]
	[ "$(readlink "$split/rust-ota-aktualizr/usr/bin/aktualizr")" = rust-ota ]
	[ "$(readlink "$split/rust-ota-aktualizr/usr/lib/systemd/system/aktualizr.service")" = rust-ota.service ]
	cmp "$split/rust-ota/usr/bin/rust-ota" "$work/out/rust-ota-static"
	[ "$(cat "$split"/rust-ota-timer/usr/lib/systemd/system-preset/*)" = 'enable rust-ota.timer' ]
	files_are_the_layers
	(cd "$work"/build/package/tmp/work && find . -path '*/packages-split/*' \( -type f -o -type l \) | sed 's,.*packages-split/,,' | sort) > "$work/out/packages.txt"
}

# Each unit and fragment of the layer, the ones that the QEMU tests use, is in exactly one package, and is the layer's; only
# @VARIABLES@ are replaced.
files_are_the_layers() {
	local files=$work/src/meta-rust-ota/recipes-sota/rust-ota/files file found
	for file in "$files"/systemd/* "$files"/fragments/* "$files"/tmpfiles/* "$files"/../../../recipes-bsp/rust-ota-boot/files/{efi.mount,fw_env.config}; do
		found=$(find "$work"/build/package/tmp/work/*/*/*/packages-split -name "${file##*/}" -type f)
		[ "$(wc -l <<< "$found")" = 1 ] || { echo "${file##*/} is in these packages: $found"; return 1; }
		if grep -q '^[^#]*@[A-Z_]*@' "$file"; then
			! grep '@[A-Z_]*@' "$found" || return 1
		else
			cmp "$file" "$found"
		fi
	done
}

refuses_dynamic_program() {
	configure_real package $any_machine 'RUST_OTA_BUILD = "prebuilt"' 'RUST_OTA_STATIC_PROGRAM = "/bin/true"' \
		'RUST_OTA_CHECKOUT = "${RUST_OTA_LAYERDIR}/.."'
	if inside package "bitbake -c install rust-ota"; then
		echo "a program that needs shared libraries was packaged"
		return 1
	fi
	grep -o 'rust-ota is not static: it needs [^ ]* [^ ]*' "$work/out/package.log" | head -1
}

step_native() {
	local recipe program
	for recipe in ota-repo rust-ota; do
		configure_real native qemux86-64 'RUST_OTA_CHECKOUT = "${RUST_OTA_LAYERDIR}/.."'
		inside native "bitbake $recipe-native" || { tail -20 "$work/out/native.log"; return 1; }
		program=$(find "$work/build/native/tmp/sysroots-components" -name "$recipe" -type f | head -1)
		printf '%s: %s\n' "$recipe-native" "$(grep -o 'Tasks Summary.*' "$work/out/native.log")"
		# Not into a pipe that `head` closes: a program may say that it could not print.
		"$program" --help > "$work/out/help.txt"
		head -3 "$work/out/help.txt"
	done
}

# The image classes, with the real ota-repo and libostree: twice the same content is one Target, another is the next. In the
# folder of step native, for BitBake shares nothing that was built from a checkout.
step_publish() {
	local repository=$work/build/native/publish/ota target versions
	target=$(find "$work/build/native/tmp/sysroots-components" -name ota-repo -type f | head -1)
	[ -n "$target" ] || { echo "step publish needs step native"; return 1; }
	rm -rf "$work/build/native/publish"
	mkdir -p "${repository%/*}"
	"$target" init "$repository" > /dev/null
	mkdir "${repository%/*}/keys"
	for content in key host_key; do ssh-keygen -q -t ed25519 -N '' -f "${repository%/*}/keys/$content"; done
	for content in one one two; do
		configure_real native qemux86-64 'RUST_OTA_CHECKOUT = "${RUST_OTA_LAYERDIR}/.."' \
			'HOSTTOOLS += "ostree"' "RUST_OTA_REPOSITORY = \"$repository\"" 'RUST_OTA_TARGET_TAGS = "main beta"' 'RUST_OTA_STATIC_DELTA = "1"' \
			"CONTENT:pn-publish-test = \"$content\""
		inside native "bitbake -c cleansstate publish-test && bitbake publish-test" || { tail -20 "$work/out/native.log"; return 1; }
	done
	versions=$("$target" target list "$repository" --json | python3 -c 'import json, sys; print(*sorted((t["target"], *t["tags"]) for t in json.load(sys.stdin)))')
	echo "$versions; deltas: $(ostree --repo="$repository/treehub" static-delta list | wc -l)"
	[ "$versions" = "('publish-test-1', 'main', 'beta') ('publish-test-2', 'main', 'beta')" ]
	ostree --repo="$repository/treehub" static-delta list | grep -q -
	# What the test bed finds of an image: the description is whole, and the image has its key.
	python3 -c 'import json, sys; m = json.load(open(sys.argv[1])); print("manifest:", m["disk"], m["commit"][:12], m["kernel"])' \
		"$work"/build/native/tmp/deploy/images/*/qemu-tests/enabled/manifest.json
	cmp "${repository%/*}/keys/key.pub" "$work"/build/native/tmp/work/*/publish-test/*/rootfs/etc/ssh/authorized_keys
}

# An image for the QEMU tests, made of what bitbake packaged and of what class rust-ota-qemu-tests puts into an image and says about it.
# Only the system below is not Yocto's: the test bed's Debian. Enabled and disabled, each is booted and updated.
step_bed() {
	local ota_repo variant
	[ -n "${RUST_OTA_PROGRAM:-}" ] || { echo "no RUST_OTA_PROGRAM: a stand-in cannot be booted; scripts/static-build makes a program"; return; }
	ota_repo=$(find "$work/build/native/tmp/sysroots-components" -name ota-repo -type f | head -1)
	[ -n "$ota_repo" ] || { echo "step bed needs step native"; return 1; }
	export RUST_OTA_CACHE=$work/cache
	cp "$RUST_OTA_PROGRAM" "$work/out/rust-ota-static"
	rm -rf "$work/build/bed"
	for variant in enable disable; do
		bed_image "$variant" || { tail -20 "$work/out/bed.log"; return 1; }
	done
	RUST_OTA_CLIENT=$work/out/rust-ota-static RUST_OTA_REPO=$ota_repo \
		qemu-tests/run --image "kas:$work/build/bed" -k '(test_update and test_a) or test_manual or a_trial_is_counted' 2>&1 | tee "$work/out/bed-tests.log" | tail -15
	grep -q ' passed' "$work/out/bed-tests.log"
	! grep -Eq ' (failed|error)' "$work/out/bed-tests.log"
}

bed_image() {
	local bed=$work/bed/$1 toggle="SYSTEMD_AUTO_ENABLE:rust-ota = \"$1\""
	/usr/bin/python3 scripts/yocto/bed.py keys "$bed"
	packaged "$toggle" 'SOTA_HARDWARE_ID = "qemu-device"' 'SOTA_POLLING_SEC:pn-rust-ota-config = "10"' || return
	configure_real bed qemux86-64 "$toggle" "BED = \"$bed\""
	inside bed "bitbake -c rootfs bed-test" || return
	/usr/bin/python3 scripts/yocto/bed.py image "$bed" "$work/build/package" "$work"/build/bed/tmp/work/*/bed-test/*/rootfs || return
	inside bed "bitbake bed-test" || return
	echo "  $(cd "$work/build/bed" && ls tmp/deploy/images/*/qemu-tests/"$1"d/manifest.json)"
}

# Everything that building the image would do, in order, and nothing done.
step_plan() {
	local machine tasks musl
	for machine in $machines; do
		configure plan "$machine" "$common" "$rest_hidden" 'BB_NO_NETWORK = "1"'
		# Tasks that do nothing; one after the other, their beginning and end alone take an hour.
		BB_NUMBER_THREADS=16 inside plan "bitbake -n core-image-minimal" || { grep ERROR "$work/out/plan.log" | head; return 1; }
		tasks=$(grep -o 'Attempted [0-9]* tasks' "$work/out/plan.log")
		# What an image drags into the musl configuration: the client and its libraries, no second distribution.
		musl=$(grep -oE '\(mc:rust-ota-musl:[^)]*:do_compile\)' "$work/out/plan.log" | grep -vE 'virtual:native:|-native[_.]' | sort -u | wc -l)
		printf '%-16s %s; for musl: %s target recipes; client: %s; aktualizr: %s\n' "$machine" "$tasks" "$musl" \
			"$(grep -c '/meta-rust-ota/.*:do_' "$work/out/plan.log")" "$(grep -c '/aktualizr/' "$work/out/plan.log" || true)"
		cp "$work/out/plan.log" "$work/out/plan-$machine.log"
		grep -q 'mc:rust-ota-musl:.*rust-ota_.*do_deploy' "$work/out/plan.log"
		! grep -q '/aktualizr_git.bb' "$work/out/plan.log"
		[ "$musl" -le 35 ] || { echo "  more than 35: what an image wants at run time is built a second time"; return 1; }
	done
}

# A world of nothing but what our recipes need, and what the layer appends to: the whole one takes four full parses and four
# dumps of its signatures. The kernel itself is in no world, for it is a provider of virtual/kernel; make-mod-scripts, which is, needs it.
# dejagnu is for gcc's own tests: no task of ours leads to it, and yet a world without it does not resolve. Packages of tests
# want half of the rest at run time.
step_layer() {
	local layers=$KAS_WORK_DIR dependencies ours="rust-ota rust-ota-config rust-ota-boot" keep recipe
	local exclude=('EXCLUDE_FROM_WORLD = "1"') no_tests='DISTRO_FEATURES:remove = "ptest"'
	configure closure qemux86-64:dynamic "$common" "$rest_hidden" "$no_tests"
	inside closure "bitbake -g $ours linux-yocto make-mod-scripts dejagnu-native" || { grep ERROR "$work/out/closure.log" | head; return 1; }
	keep=$(grep -o 'recipes-[^" ]*\.bb' "$work/build/closure/task-depends.dot" | sed 's,^recipes-,,; s,[^/]*$,,' | sort -u | paste -sd '|')
	for recipe in $ours make-mod-scripts; do
		exclude+=("EXCLUDE_FROM_WORLD:pn-$recipe = \"0\"")
	done
	rm -rf "$work/build/layer"
	configure layer qemux86-64:dynamic "$common" "$no_tests" "${exclude[@]}" \
		"BBMASK += \"/(meta-openembedded|meta-updater)/.*/?recipes-(?!($keep)) -image-ptest\""
	# The check adds the layer itself, so it must not be there yet, and nothing may be chosen from it. The others it knows by their
	# paths as they stand, and would add those a second time that have .. in them.
	sed -i "s,[^ \"]*/meta-rust-ota,,; s,\\\${TOPDIR}/../../kas/,$layers/," "$work/build/layer/conf/bblayers.conf"
	sed -i '/INHERIT += "rust-ota"/d; /RUST_OTA_BUILD/d; /rust-ota-systemd-boot.inc/d; /SOTA_MACHINE/d' "$work/build/layer/conf/local.conf"
	dependencies="$layers/openembedded-core/meta $layers/meta-openembedded/meta-oe $layers/meta-openembedded/meta-python"
	dependencies+=" $layers/meta-openembedded/meta-networking $layers/meta-openembedded/meta-filesystems $layers/meta-updater"
	inside layer "yocto-check-layer --no-auto-dependency --dependency $dependencies -- $work/src/meta-rust-ota" || { tail -30 "$work/out/layer.log"; return 1; }
	grep -E 'PASS|FAIL|SKIP|\.\.\. ' "$work/out/layer.log" | tail -20
	# It ends well, too, when it has skipped the layer.
	! grep -E '(FAIL|SKIPPED|ERROR)' "$work/out/layer.log"
	grep -q 'meta-rust-ota.*PASS\|PASS' "$work/out/layer.log"
}

# configure NAME FILE[:VARIANT] LINE...: a build folder as kas makes it, with more lines for the check alone.
configure() {
	local name=$1 file=$2$variant files
	files=kas/${file//:/.yml:kas/}.yml
	shift 2
	mkdir -p "$work/build/$name"
	KAS_BUILD_DIR=$work/build/$name "$work/venv/bin/kas" checkout "$files" > "$work/out/kas.log" 2>&1 || { tail "$work/out/kas.log"; return 1; }
	{ printf 'DL_DIR = "%s"\n' "$work/downloads"; printf '%s\n' "$@"; } >> "$work/build/$name/conf/local.conf"
}

configure_real() {
	configure "$1" "$2:dynamic" "$common" "$others_hidden" "$host_provides" "${@:3}"
	host_layer
	sed -i "s,^BBLAYERS ?= \" *\\\\*,&\n    $work/host \\\\," "$work/build/$1/conf/bblayers.conf"
}

# A layer of two recipes that hand the build host's own tools to bitbake.
host_layer() {
	mkdir -p "$work/host/conf" "$work/host/recipes-host/host"
	cp "$work/src/scripts/yocto/host-layer.conf" "$work/host/conf/layer.conf"
	cp "$work"/src/scripts/yocto/*.bb "$work/host/recipes-host/host/"
}

# inside NAME COMMAND: in the build folder, output to out/NAME.log.
inside() {
	(
		export BITBAKEDIR=$KAS_WORK_DIR/bitbake
		cd "$KAS_WORK_DIR/openembedded-core" || exit
		set +u
		# shellcheck source=/dev/null
		. ./oe-init-build-env "$work/build/$1" > /dev/null
		eval "$2"
	) > "$work/out/$1.log" 2>&1
}

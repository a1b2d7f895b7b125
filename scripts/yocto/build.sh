# shellcheck shell=bash disable=SC2016  # bitbake expands its own variables
# Step build of scripts/yocto-check: the client for the target by the real recipes, with stand-ins for what this kind of machine cannot
# have (scripts/yocto/standin). Sourced beside steps.sh.
: "${work:?}" "${here:?}" "${common:?}"

# All recipes hidden but those of the libraries that are built, and the layer's own.
build_hidden='BBMASK += "/openembedded-core/meta/recipes-(?!core/(musl|glib-2.0|zlib)/|extended/xz/|support/(libffi|libpcre|libcap)/|devtools/rust/libstd-rs)"
BBMASK += "/meta-openembedded/.*/recipes-(?!extended/ostree/) /meta-oe/dynamic-layers/"
BBMASK += "/meta-updater/.*/?recipes-(?!extended/ostree/)"
BBMASK += "/meta-rust-ota/recipes-(kernel|bsp)/ musl-(utils|nscd|locales) /scripts/yocto/(bed|publish)-test"'
# Natives that are programs of the build machine.
build_host='INHERIT_DISTRO:remove = "uninative create-spdx"
INHERIT += "buildstats standin-sources"
SKIP_FILEDEPS = "1"
DISTRO_FEATURES:remove = "ptest gobject-introspection-data"
MACHINE_FEATURES:remove = "qemu-usermode"
PACKAGE_CLASSES = "package_ipk"
ASSUME_PROVIDED += "autoconf-archive-native autoconf-native automake-native binutils-native bison-native bzip2-native ca-certificates-native"
ASSUME_PROVIDED += "dwarfsrcfiles-native elfutils-native file-native flex-native gi-docgen-native glib-2.0-native gnu-config-native gperf-native"
ASSUME_PROVIDED += "gtk-doc-native hostperl-runtime-native libtool-cross libtool-native m4-native meson-native"
ASSUME_PROVIDED += "ninja-native opkg-utils-native ostree-native patch-replacement-native perl-native pkgconf-native pkgconfig-native"
ASSUME_PROVIDED += "quilt-native rpm-native systemd-systemctl-native texinfo-native texinfo-dummy-native xz-native zlib-native zstd-native"
ASSUME_PROVIDED += "util-linux-native qemuwrapper-cross virtual/update-alternatives-native virtual/update-alternatives bzip2 bash-completion libbsd python3 opkg-utils"
HOSTTOOLS += "pkg-config autoconf autoheader automake aclocal autoreconf autom4te libtoolize m4 meson ninja bison flex gettext msgfmt xgettext"
HOSTTOOLS += "makeinfo msgmerge quilt gperf glib-mkenums glib-genmarshal glib-compile-resources gtkdocize dwarfsrcfiles gcc-ar"
# The pseudo of a Debian release is older than the setting that tells it which paths are its business.
HOST_PSEUDO_IGNORES = "/usr/,/etc/,/lib,/bin/,/dev/,/run/,${T},${TMPDIR}/stamps,${TMPDIR}/cache,${TMPDIR}/sstate-control,${SSTATE_DIR},${DL_DIR},${COMPONENTS_DIR},${STAGING_DIR_NATIVE},${RECIPE_SYSROOT},${S},${B},${UNPACKDIR}"
FAKEROOTBASEENV:append = " PSEUDO_IGNORE_PATHS=${HOST_PSEUDO_IGNORES}"
FAKEROOTENV:append = " PSEUDO_IGNORE_PATHS=${HOST_PSEUDO_IGNORES}"'

step_build() {
	local standin=$work/src/scripts/yocto/standin
	build_sources "$standin/sources" "$work/standin"
	build_programs "$standin/bin" "$work/standin/bin"
	configure build qemux86-64 "$common" "$build_hidden" "$build_host" 'RUST_OTA_CHECKOUT = "${RUST_OTA_LAYERDIR}/.."' \
		'BB_NUMBER_THREADS = "2"' 'PARALLEL_MAKE = "-j2"' "$(cat "$work/standin/sources.conf")"
	host_layer
	sed -i "s,^BBLAYERS ?= \" *\\\\*,&\n    $work/host \\\\\n    $standin \\\\," "$work/build/build/conf/bblayers.conf"
	PATH=$work/standin/bin:$PATH inside build "bitbake mc:rust-ota-musl:rust-ota:do_deploy rust-ota:do_package_qa rust-ota:do_populate_lic" || { grep -E 'ERROR' "$work/out/build.log" | head -20; return 1; }
	! grep -E '(ERROR|WARNING): .*QA Issue' "$work/out/build.log" || return 1
	build_result
}

# What came of it: the program out of the package, and what it took.
build_result() {
	local split program kind ota_repo
	split=$(echo "$work"/build/build/tmp/work/*/rust-ota/*/packages-split)
	program=$split/rust-ota/usr/bin/rust-ota
	kind=$(file -b "$program" | cut -d, -f1-4)
	echo "rust-ota: $(stat -c %s "$program") bytes, $kind"
	[[ $kind == *"static-pie linked"* ]]
	# The symbols are those of this very program.
	[ -s "$split/rust-ota-dbg/usr/bin/.debug/rust-ota" ]
	# So are the notices: of crates and of libraries.
	grep -q '^=== .*ring-' "$work"/build/build/tmp/deploy/licenses/*/rust-ota/THIRD-PARTY
	grep -q '^=== .*ostree' "$work"/build/build/tmp/deploy/licenses/*/rust-ota/THIRD-PARTY
	"$program" --version
	cp "$program" "$work/out/rust-ota-bitbake"
	ota_repo=${RUST_OTA_REPO:-$(find "$work/build/native/tmp/sysroots-components" -name ota-repo -type f 2>/dev/null | head -1)}
	if [ -n "$ota_repo" ]; then
		/usr/bin/python3 scripts/yocto/update.py "$work/out/rust-ota-bitbake" "$ota_repo" "$work/update"
	else
		echo "no update tried: RUST_OTA_REPO names no ota-repo, and step native has built none"
	fi
	/usr/bin/python3 scripts/yocto/buildstats.py "$work"/build/build/tmp*/buildstats
}

# build_sources LIST DIR: brings each file by apt, checks its sum, and writes what class standin-sources reads.
build_sources() {
	local list=$1 dir=$2 recipe package version file sum options top
	mkdir -p "$dir/archives"
	build_apt "$dir"
	: > "$dir/sources.conf"
	while read -r recipe package version file sum options; do
		if ! echo "$sum  $dir/archives/$file" | sha256sum --check --status 2>/dev/null; then
			# Debian's pool has holes: it is the one file that must arrive.
			(cd "$dir/archives" && apt-get "${build_apt[@]}" source --download-only --only-source "$package=$version") > "$work/out/apt.log" 2>&1 || :
			echo "$sum  $dir/archives/$file" | sha256sum --check --status || { tail -5 "$work/out/apt.log"; echo "$file cannot be had, or is another file"; return 1; }
		fi
		top=$(tar tf "$dir/archives/$file" 2>/dev/null | sed -n '1s,/.*,,p')
		printf 'STANDIN_SOURCES[%s] = "%s %s %s"\n' "$recipe" "$dir/archives/$file" "$top" "$options" >> "$dir/sources.conf"
	done < <(grep -v '^#' "$list")
	build_std "$dir" >> "$dir/sources.conf"
}

# Rust's own sources, as Debian packages them for the compiler that is used: below the folder that the recipe knows.
build_std() {
	local version
	version=$(/usr/bin/rustc -V | cut -d' ' -f2)
	[ -e "/usr/src/rustc-$version/library/std/Cargo.toml" ] || { echo "no sources of Rust $version: apt-get install rust-web-src" >&2; return 1; }
	[ -e "$1/archives/rust-$version.tar" ] || tar cf "$1/archives/rust-$version.tar" -C /usr/src "rustc-$version/library" "rustc-$version/COPYRIGHT"
	printf 'STANDIN_SOURCES[libstd-rs] = "%s rustc-%s/library/sysroot nopatch"\n' "$1/archives/rust-$version.tar" "$version"
	# Debian leaves out what only the tests of std want.
	printf 'CARGO_VENDORING_DIRECTORY:pn-libstd-rs = "${S}/../vendor"\nCARGO_BUILD_FLAGS:append:pn-libstd-rs = " -Zavoid-dev-deps"\n'
}

build_apt() {
	local suite
	mkdir -p "$1/apt/lists/partial" "$1/apt/cache"
	build_apt=(-o "Dir::State::lists=$1/apt/lists" -o "Dir::Cache=$1/apt/cache" -o "Dir::Etc::sourcelist=$1/apt/sources.list"
		-o Dir::Etc::sourceparts=/dev/null)
	for suite in bookworm trixie forky sid; do
		echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${RUST_OTA_DEBIAN:-http://deb.debian.org/debian} $suite main"
	done > "$1/apt/sources.list"
	[ -n "$(find "$1/apt/updated" -mmin -600 2>/dev/null)" ] || apt-get "${build_apt[@]}" update > "$work/out/apt.log" 2>&1 || { tail -3 "$work/out/apt.log"; return 1; }
	touch "$1/apt/updated"
}

# build_programs FROM TO: shims for Debian's autotools, and a meson that is new enough for glib.
build_programs() {
	mkdir -p "$2"
	cp "$1"/* "$2"
	[ -x "$work/venv/bin/meson" ] || "$work/venv/bin/pip" -q install meson==1.9.1
	ln -sf "$work/venv/bin/meson" "$2/meson"
}

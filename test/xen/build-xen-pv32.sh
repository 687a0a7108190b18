#!/bin/bash
# Debian's Xen once more, from Debian's source package, with 32-bit PV guests and debugging switched on, as
# .cache/xen/build/xen-pv32-debug.elf. Debian's own build has neither; its toolstack works with both.
#
# Source: Xen docs/misc/kconfig.rst; xen/arch/x86/Kconfig (PV32), Kconfig.debug.
# Gotcha: a DEBUG Xen shows what guests write with HYPERVISOR_console_io, and says why it refuses a page table.
# Needs: make gcc bison flex python3; 75 s on two cores.
. "$(dirname "$0")/packages.sh"

# The machine's own archive, asked for sources. The first entry only: others (security) often have none mirrored.
APT=$CACHE/apt
mkdir -p "$APT"/lists/partial "$APT"/cache/archives/partial "$CACHE/source"
if [ -e /etc/apt/sources.list.d/debian.sources ]; then
  awk -v RS= 'NR == 1' /etc/apt/sources.list.d/debian.sources | sed 's/^Types:.*/Types: deb-src/' >"$APT/src.sources"
  list=$APT/src.sources
else
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list | head -1 >"$APT/src.list"
  list=$APT/src.list
fi
apt=(apt-get -qq -o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$APT/lists"
  -o "Dir::Cache=$APT/cache" -o APT::Sandbox::User=root)
cd "$CACHE/source"
if ! ls xen_*.orig.tar.xz >/dev/null 2>&1; then
  "${apt[@]}" update
  "${apt[@]}" source --download-only xen
fi
rm -rf xen
mkdir xen
tar xf xen_*.orig.tar.xz -C xen --strip-components=1
cd xen/xen
make defconfig >/dev/null
printf 'CONFIG_%s=y\n' EXPERT UNSUPPORTED PV32 DEBUG VERBOSE_DEBUG >>.config
make olddefconfig >/dev/null 2>&1
grep -q '^CONFIG_PV32=y' .config
make -j"$(nproc)" >"$CACHE/source/build.log" 2>&1
cp xen "$BUILD/xen-pv32-debug.elf"
sha256sum <"$HERE/build-xen-pv32.sh" | cut -d' ' -f1 >"$BUILD/xen-pv32.key"

#!/bin/bash
# Debian's Xen once more, from Debian's source package, with 32-bit PV guests and debugging switched on, as
# .cache/xen/build/xen-pv32-debug.elf. Debian's own build has neither; its toolstack works with both.
#
# Source: Xen docs/misc/kconfig.rst; xen/arch/x86/Kconfig (PV32), Kconfig.debug.
# Gotcha: a DEBUG Xen shows what guests write with HYPERVISOR_console_io, and says why it refuses a page table.
# Needs: make gcc bison flex python3; 75 s on two cores.
. "$(dirname "$0")/packages.sh"

other_archive 's/^Types:.*/Types: deb-src/; s/^deb /deb-src /'
mkdir -p "$CACHE/source"
cd "$CACHE/source"
if ! ls xen_*.orig.tar.xz >/dev/null 2>&1; then
  apt-get "${APT[@]}" source --download-only xen
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
key_of "$HERE"/packages.sh "$HERE"/build-xen-pv32.sh >"$BUILD/xen-pv32.key"

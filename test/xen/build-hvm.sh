#!/bin/bash
# Dom0's additions for HVM guests, as hvm.cpio in .cache/xen/build: QEMU as Xen's device model, and their BIOS.
# A case that has such a guest takes it along and unpacks it over dom0's system, so that no other case waits for it.
#
# Source: xl.cfg(5), "device_model_version"; Debian's packages.
# Gotcha: QEMU is linked with libspice-server, which brings a hundred libraries for a screen that is not used here: a
# library of the same name and symbols stands in for it, whose functions are never called.
# Needs: gcc binutils cpio dpkg apt, and the libraries of qemu-system-x86; a few seconds and 20 MB.
. "$(dirname "$0")/packages.sh"

unpack qemu-system-xen qemu-system-data seabios
HVM=$CACHE/hvm
rm -rf "$HVM"
mkdir -p "$HVM"/usr/{libexec,lib/x86_64-linux-gnu} "$HVM"/usr/share/{qemu/keymaps,seabios}
cp "$ROOT/usr/libexec/xen-qemu-system-i386" "$HVM/usr/libexec/"
cp "$ROOT/usr/share/seabios/bios-256k.bin" "$HVM/usr/share/seabios/"
# QEMU reads it even without a screen.
cp "$ROOT/usr/share/qemu/keymaps/en-us" "$HVM/usr/share/qemu/keymaps/"

# Every symbol by its name and version.
SPICE=$CACHE/spice
mkdir -p "$SPICE"
nm -D --undefined-only "$HVM/usr/libexec/xen-qemu-system-i386" |
  sed -n 's/.* \(spice_[a-z0-9_]*\)@\(.*\)/\1 \2/p' >"$SPICE/symbols"
awk '{ print "void " $1 "(void) { __builtin_trap(); }" }' "$SPICE/symbols" >"$SPICE/stub.c"
awk '{ of[$2] = of[$2] $1 "; " } END { for (version in of) print version " { " of[version] "};" }' \
  "$SPICE/symbols" >"$SPICE/map"
gcc -shared -fPIC -nostdlib -Wl,-soname,libspice-server.so.1 -Wl,--version-script="$SPICE/map" \
  -o "$HVM/usr/lib/x86_64-linux-gnu/libspice-server.so.1" "$SPICE/stub.c"

# Those that dom0 has not, from the packages where they have them, else this machine's.
needed=$(LD_LIBRARY_PATH=$HVM/usr/lib/x86_64-linux-gnu:$LIBRARIES ldd "$HVM/usr/libexec/xen-qemu-system-i386")
! grep 'not found' <<<"$needed" || exit 1
sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' <<<"$needed" | while read -r library; do
  to=usr/lib/x86_64-linux-gnu/${library##*/}
  [ -e "$CACHE/dom0/$to" ] || [ -e "$HVM/$to" ] || cp -L "$library" "$HVM/$to"
done
cpio_of "$HVM" >"$BUILD/hvm.cpio"
key_of "$HERE"/packages.sh "$HERE"/build-hvm.sh >"$BUILD/hvm.key"

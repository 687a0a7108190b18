#!/bin/bash
# The Linux of every dom0 and of the guests, from Debian's packages, into .cache/xen/build:
#   vmlinuz       Debian's kernel; vmlinux, the ELF inside it, which starts faster under emulation
#   modules.cpio  its modules that dom0 loads
#   guest.cpio    a guest's system that says what it sees; guest.sha256, of the file in it that the guest checks
#
# Source: Linux Documentation/arch/x86/boot.rst; modprobe(8), depmod(8).
# Gotcha: kmod looks at the name it is called by.
# Needs: cpio xz-utils dpkg apt; some seconds and 150 MB.
. "$(dirname "$0")/packages.sh"

KERNEL=$(apt-cache "${APT[@]}" depends linux-image-amd64 |
  sed -n 's/.*Depends: linux-image-\([0-9][^ ]*-amd64\)$/\1/p' | head -1)
unpack "linux-image-$KERNEL" busybox-static kmod libkmod2

# ---- kernel
cp "$ROOT/boot/vmlinuz-$KERNEL" "$BUILD/vmlinuz"
# The payload lies where the setup header says (boot.rst): sectors at 0x1f1, payload_offset at 0x248, its length at 0x24c,
# the decompressed size in its last four bytes.
field() { od -An -tu"$2" -j"$1" -N"$2" "$BUILD/vmlinuz" | tr -d ' '; }
payload=$(((($(field 497 1) + 1) * 512) + $(field 584 4)))
xz -dc < <(tail -c "+$((payload + 1))" "$BUILD/vmlinuz" | head -c "$(($(field 588 4) - 4))") >"$BUILD/vmlinux"

# ---- kernel modules, with those they need
kmod() {
  local applet=$1
  shift
  mkdir -p "$CACHE/kmod"
  ln -sf "$(find "$ROOT" -name kmod -path '*bin*' -type f | head -1)" "$CACHE/kmod/$applet"
  LD_LIBRARY_PATH=$LIBRARIES "$CACHE/kmod/$applet" "$@"
}
MODULES=$CACHE/modules
rm -rf "$MODULES"
mkdir -p "$MODULES/lib/modules/$KERNEL"
kmod depmod -b "$ROOT" "$KERNEL"
for module in xen-gntdev xen-gntalloc xen-evtchn xen-privcmd xenfs virtio_pci 9pnet_virtio 9p; do
  kmod modprobe -d "$ROOT" -S "$KERNEL" --show-depends --ignore-install "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
  inside=${file#*lib/modules/}
  mkdir -p "$MODULES/lib/modules/${inside%/*}"
  cp "$file" "$MODULES/lib/modules/$inside"
done
cp "$ROOT/lib/modules/$KERNEL"/modules.{builtin,order,builtin.modinfo} "$MODULES/lib/modules/$KERNEL/"
kmod depmod -b "$MODULES" "$KERNEL"
cpio_of "$MODULES" >"$BUILD/modules.cpio"

# ---- a guest's system
GUEST=$CACHE/guest
rm -rf "$GUEST"
mkdir -p "$GUEST"/{bin,sbin,proc,sys,dev}
cp "$ROOT/bin/busybox" "$GUEST/bin/busybox"
ln -s busybox "$GUEST/bin/sh"
install -m755 "$HERE/guest/init" "$GUEST/init"
# The kernel runs them when a toolstack asks for the guest's end.
for way in poweroff reboot; do
  printf '#!/bin/sh\nexec /bin/busybox %s -f\n' $way >"$GUEST/sbin/$way"
  chmod 755 "$GUEST/sbin/$way"
done
# Odd in length, and no two pages of it alike: a page lost or swapped on the way changes the sum.
head -c 200001 < <(seq 1 60000) >"$GUEST/payload"
sha256sum <"$GUEST/payload" | cut -d' ' -f1 >"$BUILD/guest.sha256"
cpio_of "$GUEST" >"$BUILD/guest.cpio"

key_of "$HERE"/packages.sh "$HERE"/build-linux.sh "$HERE"/guest/init >"$BUILD/linux.key"

#!/bin/bash
# Everything that a real Xen with a Linux dom0 and xl needs, from Debian's packages, into .cache/xen/build:
#   xen.elf       the hypervisor, as the multiboot ELF that QEMU loads
#   vmlinuz       Debian's kernel; vmlinux, the ELF inside it, which starts faster under emulation
#   dom0.cpio     dom0's whole system: busybox, xl, xenstored, xenconsoled, xen-hvmctx, pvfreeze, dom0/init
#   guest.cpio    a guest's system that says what it sees; guest.sha256, of the file in it that the guest checks
#
# Source: Xen docs/misc/xen-command-line.pandoc, xl(1); Debian's packages of both.
# Gotcha: libgcc_s.so.1 must be there though nothing links to it: pthread_cancel loads it, and xl dies without it.
# Needs: gcc cpio xz-utils dpkg apt; about half a minute and 200 MB.
. "$(dirname "$0")/packages.sh"

RELEASE=$(xen_release)
KERNEL=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-\([0-9][^ ]*-amd64\)$/\1/p' | head -1)
unpack "linux-image-$KERNEL" "xen-hypervisor-$RELEASE-amd64" "xen-utils-$RELEASE" xen-utils-common xenstore-utils \
  "libxenmisc$RELEASE" libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1 \
  libxenstore4 libxentoolcore1 libxentoollog1 libyajl2 libxen-dev busybox-static kmod libkmod2

# ---- hypervisor and kernel
zcat "$ROOT/boot/xen-$RELEASE-amd64.gz" >"$BUILD/xen.elf"
cp "$ROOT/boot/vmlinuz-$KERNEL" "$BUILD/vmlinuz"
# The payload lies where the setup header says (boot.rst): sectors at 0x1f1, payload_offset at 0x248, its length at 0x24c,
# the decompressed size in its last four bytes.
field() { od -An -tu"$2" -j"$1" -N"$2" "$BUILD/vmlinuz" | tr -d ' '; }
payload=$(((($(field 497 1) + 1) * 512) + $(field 584 4)))
xz -dc < <(tail -c "+$((payload + 1))" "$BUILD/vmlinuz" | head -c "$(($(field 588 4) - 4))") >"$BUILD/vmlinux"

# ---- dom0's programs
DOM0=$CACHE/dom0
TOOLS=usr/lib/xen-$RELEASE/bin
rm -rf "$DOM0"
mkdir -p "$DOM0"/{bin,sbin,lib,lib64,proc,sys,dev,run,tmp,share,root} "$DOM0"/usr/{bin,sbin,lib/x86_64-linux-gnu} \
  "$DOM0"/var/{lib/xen,lib/xenstored,log/xen/console} "$DOM0/etc/xen/scripts" "$DOM0/$TOOLS" \
  "$DOM0/usr/lib/xen-$RELEASE/boot"
ln -s /run "$DOM0/var/run"
cp "$ROOT/bin/busybox" "$DOM0/bin/busybox"
for applet in $("$DOM0/bin/busybox" --list); do
  [ "$applet" = busybox ] || ln -s /bin/busybox "$DOM0/bin/$applet"
done
for tool in xl xenstored xenconsoled xen-init-dom0 libxl-save-helper xenctx xen-hvmctx; do
  cp -L "$ROOT/$TOOLS/$tool" "$DOM0/$TOOLS/$tool"
  ln -s "/$TOOLS/$tool" "$DOM0/usr/sbin/$tool"
done
cp -P "$ROOT"/usr/bin/xenstore* "$DOM0/usr/bin/"
cp "$ROOT/usr/lib/xen-$RELEASE/boot/"* "$DOM0/usr/lib/xen-$RELEASE/boot/"
cp "$ROOT"/etc/xen/scripts/* "$DOM0/etc/xen/scripts/"
echo 'autoballoon="off"' >"$DOM0/etc/xen/xl.conf"

LIBRARIES=$ROOT/usr/lib/x86_64-linux-gnu
gcc -std=gnu11 -O1 -Wall -Wextra -Werror -I"$ROOT/usr/include" -o "$DOM0/usr/sbin/pvfreeze" "$HERE/src/pvfreeze.c" \
  -L"$LIBRARIES" -Wl,-rpath-link,"$LIBRARIES" -lxenctrl -lxenforeignmemory

# ---- shared libraries: from the packages where they have them, else this machine's
for program in "$DOM0/$TOOLS"/* "$DOM0"/usr/bin/xenstore "$DOM0/usr/sbin/pvfreeze"; do
  LD_LIBRARY_PATH=$LIBRARIES:$ROOT/lib/x86_64-linux-gnu ldd "$program" |
    sed -n 's/.* => \(\/[^ ]*\) .*/\1/p; s/^\t\(\/lib64[^ ]*\) .*/\1/p'
done | sort -u | while read -r library; do
  case $library in
    /lib64/*) cp -nL "$library" "$DOM0$library" ;;
    *) cp -nL "$library" "$DOM0/usr/lib/x86_64-linux-gnu/" ;;
  esac
done
cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$DOM0/usr/lib/x86_64-linux-gnu/"

# ---- kernel modules, with those they need
kmod() { # kmod looks at the name it is called by
  local applet=$1
  shift
  mkdir -p "$CACHE/kmod"
  ln -sf "$(find "$ROOT" -name kmod -path '*bin*' -type f | head -1)" "$CACHE/kmod/$applet"
  LD_LIBRARY_PATH=$LIBRARIES:$ROOT/lib/x86_64-linux-gnu "$CACHE/kmod/$applet" "$@"
}
kmod depmod -b "$ROOT" "$KERNEL"
for module in xen-gntdev xen-gntalloc xen-evtchn xen-privcmd xenfs virtio_pci 9pnet_virtio 9p; do
  kmod modprobe -d "$ROOT" -S "$KERNEL" --show-depends --ignore-install "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
  inside=${file#*lib/modules/}
  mkdir -p "$DOM0/lib/modules/${inside%/*}"
  cp "$file" "$DOM0/lib/modules/$inside"
done
cp "$ROOT/lib/modules/$KERNEL"/modules.{builtin,order,builtin.modinfo} "$DOM0/lib/modules/$KERNEL/"
kmod depmod -b "$DOM0" "$KERNEL"

install -m755 "$HERE/dom0/init" "$DOM0/init"
install -m644 "$HERE/dom0/lib.sh" "$DOM0/lib.sh"
cpio_of "$DOM0" >"$BUILD/dom0.cpio"

# ---- a guest's system
GUEST=$CACHE/guest
rm -rf "$GUEST"
mkdir -p "$GUEST"/{bin,proc,sys,dev}
cp "$ROOT/bin/busybox" "$GUEST/bin/busybox"
ln -s busybox "$GUEST/bin/sh"
install -m755 "$HERE/guest/init" "$GUEST/init"
# Odd in length, and no two pages of it alike: a page lost or swapped on the way changes the sum.
head -c 200001 < <(seq 1 60000) >"$GUEST/payload"
sha256sum <"$GUEST/payload" | cut -d' ' -f1 >"$BUILD/guest.sha256"
cpio_of "$GUEST" >"$BUILD/guest.cpio"

# The harness compares this to know whether these scripts have changed since.
cat "$HERE"/packages.sh "$HERE"/build-dom0.sh "$HERE"/dom0/* "$HERE"/guest/* "$HERE"/src/* | sha256sum | cut -d' ' -f1 >"$BUILD/dom0.key"

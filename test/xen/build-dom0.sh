#!/bin/bash
# A real Xen and a dom0 with its xl, from the packages of the machine's release, or of the Debian suite that is named,
# into .cache/xen/build or .cache/xen/SUITE/build:
#   xen.elf       the hypervisor, as the multiboot ELF that QEMU loads
#   dom0.cpio     dom0's whole system: busybox, xl, xenstored, xenconsoled, xenconsole, xen-hvmctx, pvfreeze, dom0/init,
#                 modules
#
#     build-dom0.sh [SUITE]
#
# Source: Xen docs/misc/xen-command-line.pandoc, xl(1), ld.so(8); Debian's packages of all.
# Gotcha: libgcc_s.so.1 must be there though nothing links to it: pthread_cancel loads it, and xl dies without it.
# Needs: gcc cpio dpkg apt, and build-linux.sh's output; half a minute and 200 MB.
. "$(dirname "$0")/packages.sh"

RELEASE=$(xen_release)
unpack $(with_needed "xen-hypervisor-$RELEASE-amd64" "xen-utils-$RELEASE" xenstore-utils libxen-dev busybox-static \
  libgcc-s1)
zcat "$ROOT/boot/xen-$RELEASE-amd64.gz" >"$BUILD/xen.elf"

# ---- dom0's programs
DOM0=$CACHE/dom0
TOOLS=usr/lib/xen-$RELEASE/bin
rm -rf "$DOM0"
mkdir -p "$DOM0"/{bin,sbin,lib,lib64,proc,sys,dev,run,tmp,share,root} "$DOM0"/usr/{bin,sbin,lib/x86_64-linux-gnu} \
  "$DOM0"/var/{lib/xen,lib/xenstored,log/xen/console} "$DOM0/etc/xen/scripts" "$DOM0/$TOOLS" \
  "$DOM0/usr/lib/xen-$RELEASE/boot"
ln -s /run "$DOM0/var/run"
cp "$(find "$ROOT" -name busybox -path '*bin*' -type f -print -quit)" "$DOM0/bin/busybox"
for applet in $("$DOM0/bin/busybox" --list); do
  [ "$applet" = busybox ] || ln -s /bin/busybox "$DOM0/bin/$applet"
done
for tool in xl xenstored xenconsoled xenconsole xen-init-dom0 libxl-save-helper xenctx xen-hvmctx; do
  cp -L "$ROOT/$TOOLS/$tool" "$DOM0/$TOOLS/$tool"
  ln -s "/$TOOLS/$tool" "$DOM0/usr/sbin/$tool"
done
cp -P "$ROOT"/usr/bin/xenstore* "$DOM0/usr/bin/"
cp "$ROOT/usr/lib/xen-$RELEASE/boot/"* "$DOM0/usr/lib/xen-$RELEASE/boot/"
cp "$ROOT"/etc/xen/scripts/* "$DOM0/etc/xen/scripts/"
echo 'autoballoon="off"' >"$DOM0/etc/xen/xl.conf"

# The libraries may want a newer C library than this machine's; dom0 has theirs.
gcc -std=gnu11 -O1 -Wall -Wextra -Werror -I"$ROOT/usr/include" -o "$DOM0/usr/sbin/pvfreeze" "$HERE/src/pvfreeze.c" \
  -L"${LIBRARIES%:*}" -Wl,--allow-shlib-undefined -lxenctrl -lxenforeignmemory

# ---- shared libraries, as the packages' own loader finds them
LOADER=$(find "$ROOT" -name ld-linux-x86-64.so.2 -type f -print -quit)
cp -L "$LOADER" "$DOM0/lib64/"
for program in "$DOM0/$TOOLS"/* "$DOM0"/usr/bin/xenstore "$DOM0/usr/sbin/pvfreeze"; do
  "$LOADER" --library-path "$LIBRARIES" --list "$program"
done | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
  cp -L "$library" "$DOM0/usr/lib/x86_64-linux-gnu/"
done
# The rest of the C library is for Node. All its parts must be of one release.
for library in libgcc_s.so.1 libdl.so.2 libm.so.6 libpthread.so.0 librt.so.1; do
  cp -L "$(find "$ROOT" -name "$library" -print -quit)" "$DOM0/usr/lib/x86_64-linux-gnu/"
done

install -m755 "$HERE/dom0/init" "$DOM0/init"
install -m644 "$HERE/dom0/lib.sh" "$DOM0/lib.sh"
cat "$XEN_CACHE/build/modules.cpio" <(cpio_of "$DOM0") >"$BUILD/dom0.cpio"

key_of "$HERE"/packages.sh "$HERE"/build-linux.sh "$HERE"/build-dom0.sh "$HERE"/dom0/* "$HERE"/src/* >"$BUILD/dom0.key"

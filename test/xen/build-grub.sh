#!/bin/bash
# GRUB as a Xen guest, 64-bit PV, 32-bit PV and PVH, from Debian's packages, into .cache/xen/build/grub-*.elf.
# Each says GRUB-HELLO with its platform, lists its disks, says GRUB-DONE and halts.
#
# Source: grub-mkimage(1); https://www.gnu.org/software/grub/manual/grub/grub.html, "Invoking grub-mkimage".
# Gotcha: the `sleep` gives xenconsoled time to read the ring: a domain that ends takes its console with it.
. "$(dirname "$0")/packages.sh"

unpack grub-common libdevmapper1.02.1 grub-xen-bin
cat >"$BUILD/grub.cfg" <<'CFG'
echo GRUB-HELLO platform=$grub_platform cpu=$grub_cpu
ls
echo GRUB-DONE
sleep 2
halt
CFG
export LD_LIBRARY_PATH=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu
for target in x86_64-xen i386-xen i386-xen_pvh; do
  "$ROOT/usr/bin/grub-mkimage" -O $target -d "$ROOT/usr/lib/grub/$target" -c "$BUILD/grub.cfg" -p / \
    -o "$BUILD/grub-$target.elf" echo ls sleep halt minicmd normal
done
cat "$HERE"/packages.sh "$HERE"/build-grub.sh | sha256sum | cut -d' ' -f1 >"$BUILD/grub.key"

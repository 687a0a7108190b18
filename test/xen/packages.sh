# Debian packages, fetched and unpacked but never installed: what the other scripts here are made of. To be sourced.
#
# Source: apt-get(8), dpkg(1).
# Gotcha: the archive's versions move on; what is in the cache is used until the cache is removed.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XEN_CACHE:-$HERE/../../.cache/xen}
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd)
DEBS=$CACHE/debs
ROOT=$CACHE/unpacked # all packages in one tree
BUILD=$CACHE/build
mkdir -p "$DEBS" "$ROOT" "$BUILD"

# unpack PACKAGE...
unpack() {
  local package
  for package in "$@"; do
    [ -e "$DEBS/$package.unpacked" ] && continue
    (cd "$DEBS" && apt-get -o APT::Sandbox::User=root download -qq "$package")
    dpkg -x "$DEBS/$package"_*.deb "$ROOT"
    touch "$DEBS/$package.unpacked"
  done
}

# The Xen release that Debian's xen-system-amd64 stands for, such as 4.17.
xen_release() {
  apt-cache depends xen-system-amd64 | sed -n 's/.*xen-hypervisor-\([0-9.]*\)-amd64.*/\1/p' | head -1
}

# cpio_of DIRECTORY: an initramfs of it, the same for the same content.
cpio_of() {
  (cd "$1" && find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0)
}

# Debian packages, fetched and unpacked but never installed: what the other scripts here are made of. To be sourced,
# with the name of a Debian suite to have that suite's packages, in a separate tree; without, the machine's release.
#
# Source: apt-get(8), apt.conf(5), dpkg(1).
# Gotcha: the archive's versions move on; what is in the cache is used until the cache is removed.
set -euo pipefail
SUITE=${1:-}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
XEN_CACHE=${XEN_CACHE:-$HERE/../../.cache/xen}
mkdir -p "$XEN_CACHE"
XEN_CACHE=$(cd "$XEN_CACHE" && pwd)
CACHE=$XEN_CACHE${SUITE:+/$SUITE}
DEBS=$CACHE/debs
ROOT=$CACHE/unpacked # all packages in one tree
BUILD=$CACHE/build
mkdir -p "$DEBS" "$ROOT" "$BUILD"
LIBRARIES=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu

# No package counts as installed, so that nothing of the result depends on the machine's.
: >"$CACHE/status"
APT=(-qq -o "Dir::State::status=$CACHE/status" -o APT::Sandbox::User=root -o APT::Install-Recommends=0)

# other_archive SED: from here on, apt asks the machine's own archive with an entry changed by this, and keeps a separate
# state. The first entry only: others (security) often have no other suites, and no sources, mirrored.
other_archive() {
  local own=$CACHE/apt
  mkdir -p "$own"/lists/partial "$own"/cache/archives/partial
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    awk -v RS= 'NR == 1' /etc/apt/sources.list.d/debian.sources | sed "$1" >"$own/other.sources"
    APT+=(-o "Dir::Etc::SourceList=$own/other.sources")
  else
    sed -n '/^deb /{p;q}' /etc/apt/sources.list | sed "$1" >"$own/other.list"
    APT+=(-o "Dir::Etc::SourceList=$own/other.list")
  fi
  APT+=(-o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$own/lists" -o "Dir::Cache=$own/cache")
  [ -e "$own/updated" ] || apt-get "${APT[@]}" update
  touch "$own/updated"
}
if [ "$SUITE" ]; then
  other_archive "s/^Suites:.*/Suites: $SUITE/; s/^\(deb \(\[[^]]*\] \)\?[^ ]*\) [^ ]*/\1 $SUITE/"
fi

# with_needed PACKAGE...: their names, and those of all packages that they depend on.
with_needed() {
  apt-get "${APT[@]}" --simulate install "$@" | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

# unpack PACKAGE...
unpack() {
  local package missing=()
  for package in "$@"; do [ -e "$DEBS/$package.unpacked" ] || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  (cd "$DEBS" && apt-get "${APT[@]}" download "${missing[@]}")
  for package in "${missing[@]}"; do
    dpkg -x "$DEBS/$package"_*.deb "$ROOT"
    touch "$DEBS/$package.unpacked"
  done
}

# The Xen release that Debian's xen-system-amd64 stands for, such as 4.17.
xen_release() {
  apt-cache "${APT[@]}" depends xen-system-amd64 | sed -n 's/.*xen-hypervisor-\([0-9.]*\)-amd64.*/\1/p' | head -1
}

# cpio_of DIRECTORY: an initramfs of it, the same for the same content.
cpio_of() {
  (cd "$1" && find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0)
}

# key_of FILE...: records what a build was made of; the harness compares it to know whether these files have changed.
key_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

#!/bin/bash
# Dom0's addition for cases that run Node there, as node.cpio in .cache/xen/build: this machine's Node and this
# project's koffi. The harness shares the package as it is built, at /share/package, for each boot.
#
# Source: Node's own ESM resolution: bare names are looked up in /node_modules from every directory.
# Gotcha: the C library is dom0's own, of its release. It must not be older than this machine's, for which the rest is.
# Needs: binutils cpio and an installed koffi; a few seconds and 200 MB.
. "$(dirname "$0")/packages.sh"

MODULES=$HERE/../../node_modules
KOFFI=@koromix/koffi-linux-x64
NODE=$CACHE/node
rm -rf "$NODE"
mkdir -p "$NODE"/usr/{bin,sbin,lib/x86_64-linux-gnu} "$NODE/node_modules"
node=$(node -p process.execPath)
strip -o "$NODE/usr/bin/node" "$node"
(cd "$MODULES" && cp -r --parents koffi/{package.json,index.js,index.cjs,src} $KOFFI/{package.json,index.js,linux_x64} \
  "$NODE/node_modules/")
ln -s /share/package "$NODE/node_modules/xen-domain-builder"
cat >"$NODE/usr/sbin/xdb" <<'END'
#!/bin/sh
exec node /node_modules/xen-domain-builder/dist/package/cli/main.js "$@"
END
chmod 755 "$NODE/usr/sbin/xdb"

# Without the C library and libgcc_s, which dom0 has.
needed=$(ldd "$node" "$MODULES/$KOFFI/linux_x64/koffi.node")
! grep 'not found' <<<"$needed" || exit 1
sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' <<<"$needed" | grep -Ev '/lib(c|dl|m|pthread|rt|gcc_s)\.so\.' | sort -u |
  xargs cp -Lt "$NODE/usr/lib/x86_64-linux-gnu"
cpio_of "$NODE" >"$BUILD/node.cpio"
key_of "$HERE"/packages.sh "$HERE"/build-node.sh "$MODULES/koffi/package.json" "$node" >"$BUILD/node.key"

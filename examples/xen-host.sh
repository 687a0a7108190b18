#!/bin/sh
# Runs a guest on a Xen host: the script for `xdb test --xen` and openXenHost().
#
#   xen-host.sh NAME.xl                         in the dom0 of the host, as root
#   XEN_HOST=root@server xen-host.sh NAME.xl    from elsewhere, by ssh with a key
#
# It restores the save file, whose guest is called NAME, and prints the guest's console. When the guest has shut down, it
# exits with Xen's SHUTDOWN_* code: 0 poweroff, 1 reboot, 2 suspend, 3 crash, 4 watchdog, 5 soft_reset. Other statuses
# are failures. However it ends, the guest is destroyed.
#
# Source: xl(1): `restore -e` leaves a guest that has shut down as it is, and `list -v` shows its reason.
# Gotcha: the console is read before the guest runs, since a guest may print and end within milliseconds.

FAILED=100
file=$1
name=$(basename "$file" .xl)
# Runs a command of the shell on the host.
on=${XEN_HOST:+ssh -o BatchMode=yes $XEN_HOST}
on=${on:-sh -c}

fail() {
  echo "xen-host: $1" >&2
  exit $FAILED
}

end() {
  trap '' INT TERM HUP
  $on "xl destroy $name" </dev/null 2>/dev/null
  [ -n "$console" ] || return
  # The console ends with its guest, but a connection may hang.
  (sleep 2 && kill "$console") >/dev/null 2>&1 &
  wait "$console"
}

[ -r "$file" ] || fail "$file cannot be read"
console=
trap 'exit $FAILED' INT TERM HUP
trap end EXIT

$on 'cat | xl restore -p -e /proc/self/fd/0' <"$file" >&2 || fail 'the guest cannot be restored'
$on "exec xl console $name" </dev/null &
console=$!
$on "xl unpause $name" </dev/null >&2 || fail 'the guest cannot be started'

while :; do
  reason=$($on "xl list -v $name" </dev/null | awk 'NR == 2 { print $8 }')
  case $reason in
    -) sleep 0.3 ;;
    [0-5]) break ;;
    *) fail 'the guest has gone' ;;
  esac
done
# xenconsoled reads the last words of a guest that is still there.
sleep 0.5
exit "$reason"

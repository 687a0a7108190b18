# The verbs that a case's steps are written in. Sourced by its run.sh; $NAME is the case and its domain.
#
# Source: xl(1).
# Gotcha: busybox cp reads 4 KiB at a time, a round trip to the host each: big files go through dd.

# step COMMAND: says what it does and when, and ends the case when it fails.
step() {
  read -r uptime _ </proc/uptime
  echo "[$uptime] $*"
  eval "$*" || {
    local status=$?
    echo "failed with status $status: $*"
    exit $status
  }
}

# take FILE...: from the case's input into the working directory.
take() {
  for file in "$@"; do dd if="$IN/$file" of="$file" bs=256k 2>/dev/null || return; done
}

# give FILE...: from the working directory to the case's results.
give() {
  for file in "$@"; do dd if="$file" of="$OUT/${file##*/}" bs=256k 2>/dev/null || return; done
}

# ask FILE: for what the harness makes of the files that were given, and takes it.
is_answered() { [ -e "$IN/$1" ] || [ -e "$IN/$1.refused" ]; }
ask() {
  : >"$OUT/$1.asked"
  until_true 120 "the answer $1" is_answered "$1" || return
  [ -e "$IN/$1" ] || {
    cat "$IN/$1.refused"
    return 1
  }
  take "$1"
}

# hvm_ready: dom0 has what HVM guests need. node_ready: it has node, koffi, the package as it is built, and xdb. Only the
# cases that need them wait for them, once in a boot.
add() {
  [ -e "/run/$1" ] || (cd / && dd if="/share/$1.cpio" bs=256k 2>/dev/null | cpio -id 2>/dev/null && : >"/run/$1")
}
hvm_ready() { add hvm; }
node_ready() { add node; }

# said PATTERN [SECONDS]: until the guest has said it on Xen's log.
has_said() { xl dmesg | grep -q -e "^(d$(domid)) $1"; }
said() { until_true "${2:-60}" "'$1' on Xen's log" has_said "$1"; }

# domid: of this case's domain.
domid() { xl domid "$NAME"; }

# refused COMMAND...: it must fail.
refused() {
  if "$@"; then
    echo "was accepted: $*"
    return 1
  fi
}

# until_true SECONDS WHAT COMMAND...: polls.
until_true() {
  local seconds=$1 what=$2 tries=0
  shift 2
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -gt $((seconds * 5)) ] && {
      echo "not in $seconds s: $what"
      return 1
    }
    sleep 0.2
  done
}

console_has() { [ "$(grep -a -c -e "$1" "$CONSOLE" 2>/dev/null)" -ge "$2" ] 2>/dev/null; }
is_gone() { ! xl domid "$NAME" >/dev/null 2>&1; }

# console PATTERN [SECONDS [COUNT]]: until so many lines of the guest's console match.
console() { until_true "${2:-60}" "'$1' on the console" console_has "$1" "${3:-1}"; }

# gone [SECONDS]: until the domain has ended and is destroyed.
gone() { until_true "${1:-30}" "the end of $NAME" is_gone; }

# stopped STATE [SECONDS]: until xl list shows that letter (s shut down, c crashed).
state_has() { xl list "$NAME" | awk 'NR == 2 { print $5 }' | grep -q "$1"; }
stopped() { until_true "${2:-30}" "state $1 of $NAME" state_has "$1"; }

# freeze_save FILE: saves a guest that was created paused and has never run; pvfreeze answers in its place.
asked_to_suspend() { [ "$(xenstore-read "$1" 2>/dev/null)" = suspend ]; }
freeze_save() {
  local domain request
  domain=$(domid) || return
  request=/local/domain/$domain/control/shutdown
  pvfreeze "$domain" prep || return
  xl save "$NAME" "$1" &
  # A guest takes the request away, which libxl waits for, and then suspends.
  until_true 30 'the request to suspend' asked_to_suspend "$request" &&
    xenstore-write "$request" '' &&
    pvfreeze "$domain" suspend
  wait $!
}

# state_of_host: what a domain must give back: domains, their nodes, free memory in MiB, files about them.
state_of_host() {
  xl list | awk '{ print $1, $2 }'
  # The folders of all domains stay after the first one.
  xenstore-ls -f / | grep -e '^/local/domain/[1-9]' -e '^/vm/' -e '^/libxl/' -e '^/tool' -e '/backend/[a-z]*/'
  xl info free_memory
  ls /var/lib/xen
}

# same_state BEFORE: the host is as it was; memory comes back within seconds.
is_as_before() { [ "$(state_of_host)" = "$1" ]; }
same_state() {
  until_true 20 'the state of the host as before' is_as_before "$1" || {
    echo "before:"
    echo "$1"
    echo "after:"
    state_of_host
    return 1
  }
}

# uptime_ms: dom0's uptime in milliseconds, which the kernel gives in hundredths of a second.
uptime_ms() {
  read -r uptime _ </proc/uptime
  echo "$((${uptime%.*} * 1000 + 10 * 1${uptime#*.} - 1000))"
}

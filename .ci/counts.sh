# The common part of .ci/run and .ci/bare: tests counted out of TAP files, and totals on the last line. To be sourced.
#
# Source: https://testanything.org; tap writes its results to TAP_OUTPUT_FILE in addition to what it shows.
# Gotcha: only a test that has this text in its reason may be skipped where every peer is installed.
excuse='the archive has another version'
passed=0 failed=0 skipped=0 unexcused=0 times=()
results=$(mktemp -d)

# The last line is always the totals, also after a failure.
finish() {
  local status=$?
  rm -rf "$results"
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  if [ "$failed" -ne 0 ] || [ "$unexcused" -ne 0 ] || [ "$passed" -eq 0 ]; then status=1; fi
  if [ ${#times[@]} -gt 0 ]; then printf '\n== seconds\n' && printf '%s\n' "${times[@]}"; fi
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  exit "$status"
}
trap finish EXIT

# took TITLE SECONDS: a line of the table of times.
took() { times+=("$(printf '%6d  %s' "$2" "$1")"); }

say() { printf '\n== %s\n' "$*"; }

# number FILE NAME: a figure out of the last summary of a TAP file, such as `# { total: 6036, pass: 6035, fail: 1 }`.
number() {
  grep -E '^# \{ total: ' "$1" | tail -n 1 | sed -nE "s/.*[ {]$2: ([0-9]+).*/\1/p"
}

# count TITLE TAP SHOWN STATUS: adds up a run of tap that wrote a TAP file, showed something and ended with a status.
count() {
  local title=$1 tap=$2 shown=$3 status=$4 pass fail skip todo
  if [ ! -e "$tap" ] || [ -z "$(number "$tap" total)" ]; then
    tail -n 100 "$shown"
    echo "FAILED: $title ran no test (exit $status)"
    failed=$((failed + 1))
    return 0
  fi
  pass=$(number "$tap" pass) fail=$(number "$tap" fail) skip=$(number "$tap" skip) todo=$(number "$tap" todo)
  passed=$((passed + ${pass:-0}))
  failed=$((failed + ${fail:-0} + ${todo:-0}))
  skipped=$((skipped + ${skip:-0}))
  grep -E '^(not )?ok ' "$tap" || true
  if [ "${skip:-0}" -gt 0 ]; then
    grep -E '# SKIP' "$tap" | tee "$results/skips"
    unexcused=$((unexcused + $(grep -cv "$excuse" "$results/skips" || true)))
  fi
  if [ "$status" -ne 0 ] || [ "${fail:-0}" -gt 0 ] || [ "${todo:-0}" -gt 0 ]; then
    # Each failure with what tap says about it.
    grep -A 40 -E '^ *not ok ' "$tap" | head -n 400 || true
    if [ "${fail:-0}" -eq 0 ]; then
      tail -n 40 "$shown"
      failed=$((failed + 1))
    fi
  fi
}

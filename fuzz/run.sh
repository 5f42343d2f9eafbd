#!/bin/sh
# Fuzzes every parser of outside bytes, or the TARGETs named, for SECONDS each, and says how many
# inputs each has survived. Exits 1 if one did not survive: its input lies in fuzz/artifacts.
#
#   fuzz/run.sh SECONDS [TARGET…]
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -gt 0 ] && shift
case $seconds in '' | *[!0-9]*) echo "usage: fuzz/run.sh SECONDS [TARGET…]" >&2; exit 64 ;; esac
named=$#
if [ "$named" -eq 0 ]; then
    # The order of the manifest.
    set -- $(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"|\1|p' fuzz/Cargo.toml)
fi

say() { echo "fuzz: $*" >&2; }

if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz"
    cargo install cargo-fuzz --locked
fi
# Coverage counters are an unstable flag of the compiler. The address sanitizer would find nothing
# here that Rust does not: what it costs goes into more inputs instead.
export RUSTC_BOOTSTRAP=1
say "building $# targets (minutes the first time: every dependency gets counters)"
if [ "$named" -eq 0 ]; then
    cargo fuzz build --sanitizer none
else
    for target in "$@"; do cargo fuzz build --sanitizer none "$target"; done
fi

mkdir -p fuzz/artifacts
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=0
address_space_kib=$((2 * 1024 * 1024))
summary=
number=0
for target in "$@"; do
    number=$((number + 1))
    say "$target ($number of $#), $seconds s"
    mkdir -p "fuzz/corpus/$target"
    # One input may take 10 s and 1 GiB: a portrait's limits here are small. libFuzzer's own limit of one
    # allocation does nothing without a sanitizer, and what is asked for and never touched is not resident:
    # so the address space has a bound, and whoever asks for more is ended there.
    if (
        ulimit -v "$address_space_kib" &&
            exec cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
                -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1
    ) >"$logs/$target" 2>&1; then
        verdict=survived
    else
        verdict=FAILED
        failed=1
        tail -n 30 "$logs/$target" >&2
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target" | tail -n 1)
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$logs/$target" | tail -n 1)
    rss=$(sed -n 's/^stat::peak_rss_mb: *//p' "$logs/$target" | tail -n 1)
    cov=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$logs/$target" | tail -n 1)
    line=$(printf '%-16s %-9s %10s inputs %8s a second %6s edges %6s MiB' \
        "$target" "$verdict" "${runs:-?}" "${rate:-?}" "${cov:-?}" "${rss:-?}")
    say "$line"
    summary="$summary$line
"
done
printf '%s' "$summary"
exit $failed

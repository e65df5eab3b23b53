#!/usr/bin/env bash
# Downloads the components and modules of packages.toml from their registries, and checks each against what was pinned.
#
#   fetch.sh DIR      each as DIR/NAME.wasm, the archives that they came in under DIR/archives
#
# Whatever registry pip and npm are set up for is asked, for one package and one version each, without dependencies; no package
# is installed, and no script of one runs. An archive that is there already is checked and not fetched again.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Seconds for one download: the largest has 22 MB.
download_seconds=600

if [ $# -ne 1 ]; then
    sed -n '2,/^set /{/^# \{0,1\}/!d; s///; p}' "${BASH_SOURCE[0]}"
    exit 0
fi
mkdir -p "$1/archives"
into=$(cd "$1" && pwd)

fail() {
    echo "fetch: $*" >&2
    exit 1
}

# verified FILE SHA256: the file is what was pinned; if not, it is removed, so that the next run fetches it again.
verified() {
    echo "$2  $1" | sha256sum --check --status && return
    rm -f "$1"
    fail "$(basename "$1") has another sha256 than pinned"
}

for tool in python3 sha256sum tar timeout; do
    command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
done

# name, registry, package, version, archive, its sha256, path inside, its sha256
python3 - "$here/packages.toml" <<'PYTHON' |
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    for tool in tomllib.load(file)["tool"]:
        print(*(tool[key] for key in ("name", "registry", "package", "version", "archive", "sha256", "path", "wasm-sha256")))
PYTHON
while read -r name registry package version archive sha256 path wasm_sha256; do
    file=$into/archives/$archive
    if [ ! -f "$file" ]; then
        echo "fetch: $package $version" >&2
        case $registry in
            pypi)
                timeout --foreground "$download_seconds" python3 -m pip download --quiet --no-deps --only-binary :all: \
                    --disable-pip-version-check --dest "$into/archives" "$package==$version" </dev/null >&2
                ;;
            npm)
                (cd "$into/archives" && timeout --foreground "$download_seconds" \
                    npm pack --silent --ignore-scripts "$package@$version" </dev/null >/dev/null)
                ;;
            *) fail "no such registry: $registry" ;;
        esac
        [ -f "$file" ] || fail "$package $version did not come as $archive"
    fi
    verified "$file" "$sha256"
    # Taken out anew each time from what was just verified, and nothing else of the archive.
    case $archive in
        *.whl) python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
            "$file" "$path" >"$into/$name.wasm" ;;
        *.tgz) tar -xzf "$file" -O "$path" >"$into/$name.wasm" ;;
        *) fail "$archive is no archive that is known" ;;
    esac
    verified "$into/$name.wasm" "$wasm_sha256"
done

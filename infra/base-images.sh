#!/usr/bin/env bash
# Base images for infra/Dockerfile on a machine that reaches no image registry: Debian's packages and this
# machine's Rust toolchain, under the names that the Dockerfile expects. With a registry, this script is not
# needed. Needs root (debootstrap) and a running Docker daemon. The images trust the authorities that this machine
# trusts, so they are for tests only.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT

# Imports a folder as an image, tagged with the default of this ARG of the Dockerfile.
import() {
    local name
    name=$(sed -n "s/^ARG $1=//p" infra/Dockerfile)
    tar --create --directory "$2" . | docker import "${@:3}" - "$name"
}
certificates=/etc/ssl/certs/ca-certificates.crt

debootstrap --variant=minbase --include=ca-certificates,libgcc-s1 bookworm "$root/runtime" >&2
cp "$certificates" "$root/runtime$certificates"
import RUNTIME_IMAGE "$root/runtime"

mv "$root/runtime" "$root/rust"
chroot "$root/rust" apt-get install --yes --no-install-recommends gcc libc6-dev >&2
toolchain=$(rustc --print sysroot)
cp --archive "$toolchain" "$root/rust/usr/local/rust"
rm -rf "$root/rust/usr/local/rust/share" "$root/rust/var/cache/apt"
import RUST_IMAGE "$root/rust" --change "ENV PATH=/usr/local/rust/bin:/usr/local/cargo/bin:/usr/bin:/bin" \
    --change "ENV CARGO_HOME=/usr/local/cargo" --change "ENV SSL_CERT_FILE=$certificates"

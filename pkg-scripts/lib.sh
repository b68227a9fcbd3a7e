# Helpers shared by the scripts beside it; sourced, never run.
# Everything a script installs for itself goes to the ignored folder .tools of the repository.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/.tools
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
PACKAGE=$ROOT/www/package
WASM_TRIPLE=wasm32-unknown-unknown

# Progress goes to standard error: standard output belongs to what a script prints for its caller.
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "need root or sudo for: $*"; fi
}

# apt_install PACKAGE... : installs what is missing, starts no service.
apt_install() {
  local name missing=()
  have apt-get || die "no apt-get here; install these yourself: $*"
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  say "apt-get install ${missing[*]}"
  # A policy-rc.d that answers 101 keeps packages from starting their daemons; an existing one is respected.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  else
    policy=
  fi
  local status=0
  as_root apt-get -q -o Acquire::Retries=3 update >&2 &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends "${missing[@]}" >&2 || status=$?
  [ -z "$policy" ] || as_root rm -f $policy
  [ $status = 0 ] || die "apt-get could not install: ${missing[*]}"
}

# npm_install FOLDER : the packages of that folder's lock file, once for each state of the lock file.
npm_install() {
  local done_mark=$1/node_modules/.package-lock.json
  [ -e "$done_mark" ] && [ ! "$1/package-lock.json" -nt "$done_mark" ] && return
  say "npm ci in ${1#"$ROOT"/}"
  npm ci --prefix "$1" --no-audit --no-fund --loglevel=error >&2 || die "npm ci failed in $1"
  touch "$done_mark"
}

# Is there a standard library for wasm beside the rustc that `rustc` names?
rustup_has_wasm() {
  [ -d "$(cd "$ROOT" && rustc --print sysroot 2>/dev/null)/lib/rustlib/$WASM_TRIPLE/lib" ]
}

# wasm_cargo SUBCOMMAND ARGUMENT... : cargo for the browser build, in a target folder of its own; with the features in
# HAVERSACK_WASM_FEATURES, if there are any, instead of the browser's.
# Prefers rustup's ready-made standard library; otherwise Debian's compiler builds one from its sources.
# HAVERSACK_WASM_TOOLCHAIN=debian forces the second way.
wasm_cargo() {
  local flags=(--target "$WASM_TRIPLE" --no-default-features --features "${HAVERSACK_WASM_FEATURES:-wasm}")
  if [ "${HAVERSACK_WASM_TOOLCHAIN:-}" != debian ] && rustup_has_wasm; then
    (cd "$ROOT" && CARGO_TARGET_DIR=$TARGET/wasm cargo "$@" "${flags[@]}")
  else
    (cd "$ROOT" && env PATH=/usr/bin:/bin RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$TARGET/wasm-debian" \
      /usr/bin/cargo "$@" -Z build-std=std,panic_abort "${flags[@]}")
  fi
}

# The folder that wasm_cargo builds into.
wasm_target() {
  if [ "${HAVERSACK_WASM_TOOLCHAIN:-}" != debian ] && rustup_has_wasm; then echo "$TARGET/wasm"
  else echo "$TARGET/wasm-debian"; fi
}

# wasm_optimise FROM TO : wasm-opt, with only those features that every browser of the last three years has.
wasm_optimise() {
  "$PACKAGE/node_modules/.bin/wasm-opt" -O3 --strip-debug --strip-producers \
    --enable-bulk-memory --enable-sign-ext --enable-mutable-globals --enable-nontrapping-float-to-int \
    --enable-reference-types --enable-multivalue --enable-simd --enable-bulk-memory-opt --enable-call-indirect-overlong \
    "$1" -o "$2" >&2
}

#!/bin/sh
# deps.sh "PKG-CONFIG NAMES" "DEBIAN PACKAGES" - silent when everything the build needs is there; else names what is
# missing and installs it with apt-get (sudo when not root).
missing=
cc=${CC:-cc} # may be several words: "ccache cc"
command -v ${cc%% *} >/dev/null 2>&1 || missing="$missing C-compiler"
command -v pkg-config >/dev/null 2>&1 || missing="$missing pkg-config"
command -v curl >/dev/null 2>&1 || missing="$missing curl" # tests/cli_serve.sh
for l in $1; do pkg-config --exists "$l" 2>/dev/null || missing="$missing $l"; done
if command -v ${cc%% *} >/dev/null 2>&1; then
    echo '#include <oneapi/dnnl/dnnl.h>' | $cc -E - >/dev/null 2>&1 || missing="$missing oneDNN"
fi
packages=$2
case $cc in *clang*) # its OpenMP is a package of its own
    echo '#include <omp.h>' | $cc -fopenmp -E - >/dev/null 2>&1 || missing="$missing OpenMP" packages="$2 libomp-dev" ;;
esac
[ -z "$missing" ] && exit 0
echo "missing:$missing" >&2
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install these packages (named as Debian does) and run make again: $packages" >&2; exit 1
fi
echo "installing: $packages" >&2
$sudo apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $packages >&2 || { echo "apt-get could not install: $packages" >&2; exit 1; }

# Sourced by quickstart, test and .ci/run: what a machine needs, installed if it is missing.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# COSFS_VENV: another virtual environment, in which the package is installed already.
VENV=${COSFS_VENV:-$ROOT/.venv}

say() { echo "$*"; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/sbin/$1" ] || [ -x "/usr/sbin/$1" ]; }
# no pipe: with pipefail, ldconfig would fail when grep has found the line and gone
have_library() { [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) == *"$1"* ]]; }
have_libfuse2() { have_library 'libfuse.so.2 '; }

# install_packages PACKAGE...: by apt-get, as root or with sudo.
install_packages() {
    local sudo=() log
    have apt-get || fail "please install by hand what these Debian packages hold: $*"
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "please run as root: apt-get install $*"
        sudo=(sudo)
    fi
    say "installing $*"
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update -qq; "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "apt-get could not install: $*"
    fi
    rm -f "$log"
}

# need_commands "COMMAND:PACKAGE"...: install the packages of the commands that are missing.
need_commands() {
    local item missing=()
    for item; do
        have "${item%%:*}" || missing+=("${item#*:}")
    done
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# libfuse 2 and its helper. The package fuse3 brings a fusermount that libfuse 2 can use, and replaces fuse.
need_fuse() {
    local missing=()
    have_libfuse2 || missing+=(libfuse2)  # newer systems provide it by the name libfuse2t64
    have fusermount || missing+=(fuse3)
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
    have_libfuse2 || fail "libfuse 2 is still missing after installing ${missing[*]}"
    [ -e /dev/fuse ] || fail "there is no /dev/fuse: load the kernel module with 'modprobe fuse'; in a container," \
        "start it with --device /dev/fuse --cap-add SYS_ADMIN"
}

# libfuse 3, of which there are libfuse3.so.3 and, since 3.17, libfuse3.so.4.
need_fuse3() { have_library libfuse3.so || install_packages fuse3; }

# usable_python PYTHON [VERSION]: it runs, is at least 3.9 (or VERSION exactly) and can make virtual environments.
usable_python() {
    "$1" -c '
import ensurepip, sys, venv
wanted = sys.argv[1:]
sys.exit(sys.version_info < (3, 9) or (wanted and "%d.%d" % sys.version_info[:2] not in wanted))' "${@:2}" 2>/dev/null
}

# find_python VERSION: the path of such an interpreter, from PATH or pyenv.
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3 python3; do
        if usable_python "$candidate" "$1"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

PYTHON_VERSIONS="3.13 3.12 3.11 3.10 3.9"

newest_python() {
    local version
    for version in $PYTHON_VERSIONS; do
        find_python "$version" && return
    done
    usable_python python3 && command -v python3
}

need_python() {
    newest_python >/dev/null || install_packages python3 python3-venv
    newest_python >/dev/null || fail "no Python 3.9 or newer with venv was found"
}

# installed_extras FOLDER CHECKSUM: the extras once installed there, for this setup.py.
installed_extras() { "$1/bin/python" -c '' 2>/dev/null && sed -n "s/ $2\$//p" "$1/installed" 2>/dev/null | tr '\n' ','; }

# make_venv FOLDER EXTRAS PYTHON: a virtual environment with this package; quick when nothing has changed.
make_venv() {
    local venv=$1 extras=$2 python=$3 checksum extra present complete=yes
    checksum=$({ echo "$venv" && cat "$ROOT/setup.py"; } | cksum)  # a checkout that was moved is installed anew
    present=,$(installed_extras "$venv" "$checksum"),
    for extra in ${extras//,/ }; do
        [[ $present == *",$extra,"* ]] || complete=
    done
    [ -z "$complete" ] || return 0
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv" || fail "cannot make $venv"
    say "installing cosfs-fuse[$extras] into ${venv#"$ROOT"/}"
    if ! "$venv/bin/python" -m pip install -q --disable-pip-version-check -e "${ROOT}[$extras]" >"$venv/pip.log" 2>&1; then
        grep -v '^WARNING' "$venv/pip.log" | tail -n 20 >&2
        fail "pip could not install cosfs-fuse[$extras]; see $venv/pip.log"
    fi
    echo "$extras $checksum" >>"$venv/installed"
}

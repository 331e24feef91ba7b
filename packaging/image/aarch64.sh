#!/bin/sh
# An install for Debian on aarch64, its start-up image included, made on another machine under qemu-user.
#
# usage: aarch64.sh CHECKOUT TREE [SUITE]     as root
#
# TREE becomes a Debian tree with the install in /usr/local. Emulation is asked of binfmt_misc in a user namespace, which
# has one of its own since Linux 6.7: nothing of the machine changes. Building the image runs each hot verb by it.
set -eu
checkout=$1 tree=$2 suite=${3:-bookworm}

if [ "${INSIDE:-}" != yes ]; then
    packages=base-files,libc6,libc6-dev,gcc,binutils,coreutils,dash,libexpat1-dev,zlib1g-dev,python3,python3-dev,libseccomp2
    # Unpacked only: no script of a package has to run.
    test -d "$tree" || mmdebstrap --quiet --architectures=arm64 --variant=extract --skip=check/qemu \
        --include=$packages "$suite" "$tree"
    mkdir -p "$tree/src/build" "$tree/proc" "$tree/tmp"
    rm -rf "$tree/src" "$tree/usr/local/bin/pyrun" "$tree/usr/local/lib/pyrun"
    mkdir -p "$tree/src/build"
    for part in runtime spec hooks packaging pyproject.toml; do cp -a "$checkout/$part" "$tree/src"; done
    # Those that are compiled are for this machine, and cold: nothing of the image imports them.
    cp -a "$checkout/build/dependencies" "$tree/src/build"
    python3 -IS "$checkout/packaging/release.py" write "$tree/src/runtime/version.py"
    cp "$checkout/build/executor.aarch64" "$tree/src/runtime/machine/executor"
    INSIDE=yes exec unshare --user --map-root-user --mount --pid --fork "$0" "$@"
fi

mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
mount --bind /dev "$tree/dev" 2> /dev/null || mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
chroot "$tree" /bin/sh -euc '
    cd /src
    python3 -IS packaging/image/build.py engine build/engine
    python3 -IS packaging/install.py install "" /usr/local /usr/local/lib/pyrun /usr/bin/python3 build/engine
    test "$(uname -m)" = aarch64
    case $(readlink /usr/local/bin/pyrun) in */image) ;; *) exit 1 ;; esac
    pyrun --version
    case $(pyrun --root /tmp/none list 2>&1) in *ENOENT*) ;; *) exit 1 ;; esac
'

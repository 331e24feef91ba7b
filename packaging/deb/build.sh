#!/bin/sh
# build.sh CHECKOUT INTO: the Debian package of this release, for this machine's Debian. make deb calls it after `make
# install` can work; it needs no root. DEBFULLNAME, DEBEMAIL: who answers for it, as for Debian's own tools.
set -eu
checkout=$(realpath "$1") into=$(realpath -m "$2")
here=$checkout/packaging/deb root=$into/root
version=$(python3 -IS "$checkout/packaging/release.py" debian)
maintainer="${DEBFULLNAME:-pyrun} <${DEBEMAIL:-pyrun@localhost.localdomain}>"
architecture=$(dpkg --print-architecture)
# When it was changed last, so that two builds of one commit are alike.
when=$(git -C "$checkout" log -1 --format=%ct 2>/dev/null || date +%s)
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')

rm -rf "$into"
mkdir -p "$root/DEBIAN" "$root/usr/share/doc/pyrun/examples"
make -C "$checkout" --no-print-directory install DESTDIR="$root" PREFIX=/usr LIBRARY=/usr/lib/pyrun
# Byte code is made where the package is installed; the libraries' own tests stay here.
find "$root/usr/lib/pyrun" \( -name __pycache__ -o -path '*/dependencies/*/tests' -o -path '*/dependencies/*/benchmarks' \) \
    -prune -exec rm -r {} +
rm -f "$root"/usr/lib/pyrun/*/dependencies/*.dist-info/RECORD
# Modules that are imported, and yet name an interpreter that Debian has not.
find "$root"/usr/lib/pyrun/*/dependencies -name '*.py' -exec sed -i '1{/^#!/d}' {} +
find "$root/usr/lib/pyrun" -name '*.so' -exec strip --strip-unneeded {} +
ln -sfn "../lib/pyrun/$(basename "$(dirname "$(readlink "$root/usr/bin/pyrun")")")/$(basename "$(readlink "$root/usr/bin/pyrun")")" \
    "$root/usr/bin/pyrun"

python3 -IS "$here/manual.py" "$checkout/docs/commands" "$root/usr/share/man/man1" "$version" "$(date -ud "@$when" +%F)"
for shell in bash zsh fish; do
    case $shell in
        bash) to=$root/usr/share/bash-completion/completions/pyrun ;;
        zsh) to=$root/usr/share/zsh/vendor-completions/_pyrun ;;
        fish) to=$root/usr/share/fish/vendor_completions.d/pyrun.fish ;;
    esac
    install -Dm 644 /dev/stdin "$to" <<EOF
$("$checkout/build/pyrun" completion $shell)
EOF
done
# Podman reads the directory of that name in /usr/share only since 5.
install -Dm 644 "$here/containers.conf" "$root/etc/containers/containers.conf.d/50-pyrun.conf"
echo /etc/containers/containers.conf.d/50-pyrun.conf >"$root/DEBIAN/conffiles"
install -m 644 "$here/containerd.toml" "$here/daemon.json" "$root/usr/share/doc/pyrun/examples"
install -m 644 "$checkout/README.md" "$root/usr/share/doc/pyrun"
cp -r "$checkout/docs" "$root/usr/share/doc/pyrun/docs"
install -m 644 "$here/copyright" "$root/usr/share/doc/pyrun/copyright"
printf 'pyrun (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/pyrun/CHANGELOG.md.gz.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date -uRd "@$when")" | gzip -9n >"$root/usr/share/doc/pyrun/changelog.gz"
gzip -9nc "$checkout/CHANGELOG.md" >"$root/usr/share/doc/pyrun/CHANGELOG.md.gz"
gzip -9n "$root"/usr/share/man/man1/*.1
install -Dm 644 "$here/overrides" "$root/usr/share/lintian/overrides/pyrun"

# The image holds Python's static library.
built_using=
[ ! -e "$(ls -d "$root"/usr/lib/pyrun/*/image 2>/dev/null)" ] ||
    built_using="Built-Using: $(dpkg-query -Wf '${source:Package} (= ${source:Version})' "lib$python-dev")"
cat >"$root/DEBIAN/control" <<EOF
Package: pyrun
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Section: admin
Priority: optional
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Depends: python3, $python, libc6, libcap2, libexpat1, zlib1g
Recommends: libseccomp2, uidmap
Suggests: podman, containerd
$built_using
Description: OCI container runtime that says what it does
 pyrun takes runc's place below Podman, containerd and Docker, or is called by
 hand. It compiles a bundle's config.json to a flat program of system calls,
 which a static executor of a few KB runs: so no interpreter is ever inside a
 container, and what a start will do can be printed, compared, proved and
 traced.
EOF
sed -i '/^$/d' "$root/DEBIAN/control"
cat >"$root/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
[ "$1" != configure ] || py3compile -p pyrun /usr/lib/pyrun
EOF
cat >"$root/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
py3clean -p pyrun
EOF
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
# `pyrun` in a program of somebody's own.
install -d "$root/usr/lib/python3/dist-packages"
for library in "$root"/usr/lib/pyrun/[0-9]*; do
    ln -s "../../pyrun/${library##*/}/pyrun" "$root/usr/lib/python3/dist-packages/pyrun"
done
(cd "$root" && find usr -type f -printf '%P\0' | sort -z | (cd usr && xargs -0 md5sum) | sed 's|  |  usr/|') >"$root/DEBIAN/md5sums"
chmod -R go-w "$root"
find "$root" -type d -exec chmod 755 {} +
SOURCE_DATE_EPOCH=$when dpkg-deb --root-owner-group -Zxz --build "$root" "$into/pyrun_${version}_$architecture.deb"

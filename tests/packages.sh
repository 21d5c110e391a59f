#!/bin/sh
# The Debian / Ubuntu packages that espalier needs, and those named as arguments: installs what is missing, is quick and
# silent when nothing is. Usage: packages.sh [PACKAGE…]
set -eu

packages="gcc libc6-dev cmake ninja-build pkg-config git libdnnl-dev ocl-icd-opencl-dev opencl-c-headers libjansson-dev
	libyaml-dev libpcre2-dev libutf8proc-dev libxxhash-dev zlib1g-dev libcmocka-dev gnuplot-nox $*"

fail() {
	echo "packages.sh: $1" >&2
	exit 1
}

# gnuplot may be there in another dress, pkg-config under its newer name
is_there() {
	case $1 in
	gnuplot-nox) command -v gnuplot > /dev/null ;;
	pkg-config) command -v pkg-config > /dev/null ;;
	*) dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q 'install ok installed' ;;
	esac
}

command -v dpkg-query > /dev/null ||
	fail "this is not Debian or Ubuntu; install what these packages hold, then go on with cmake: $(echo $packages)"
missing=
for p in $packages; do
	is_there "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo > /dev/null ||
		fail "missing:$missing
You are not root and there is no sudo. Ask an administrator for:
  apt-get update && apt-get install -y --no-install-recommends$missing"
	sudo=sudo
fi
echo "installing:$missing"
$sudo apt-get -q update ||
	fail "the package lists could not be updated; missing:$missing"
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing ||
	fail "could not be installed:$missing"

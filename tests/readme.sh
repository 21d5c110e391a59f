#!/bin/sh
# The README's recipe reference is what the program prints. Usage: readme.sh ESPALIER CHECKOUT; --write renews it.
set -eu
program=$1
readme=$2/README.md
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
sed '/^<!-- keys:/q' "$readme" > "$wanted"
"$program" keys >> "$wanted"
if [ "${3:-}" = --write ]; then
	cat "$wanted" > "$readme"
else
	diff "$wanted" "$readme" || { echo "README.md: the recipe reference is old; run tests/readme.sh build/espalier . --write"; exit 1; }
fi

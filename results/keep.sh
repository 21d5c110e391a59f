#!/bin/sh
# Copies what is small and worth keeping of a finished run (no weights, no text), so that `espalier compare` reads the copy:
# results/keep.sh [--report] runs/NAME results/runs/NAME
# --report: the report, the recipe and the manifest alone, for runs of many students.
set -eu
only_report=
if [ "$1" = --report ]; then
	only_report=yes
	shift
fi
from=$1
to=$2
[ -f "$from/report/report.json" ] || { echo "keep.sh: $from is not a finished run" >&2; exit 1; }
mkdir -p "$to"
cp "$from/recipe.yaml" "$from/manifest.json" "$to/"
rm -rf "$to/report"
cp -r "$from/report" "$to/report"
[ -z "$only_report" ] || exit 0
(cd "$from" && find teacher students init -path '*.old-*' -prune -o \
	\( -name result.json -o -name 'eval-*.csv' -o -name metrics.csv -o -name metrics.jsonl -o -name masks.csv -o -name masks.json -o -name phase.json \) -print) |
while read -r file; do
	mkdir -p "$to/$(dirname "$file")"
	cp "$from/$file" "$to/$file"
done

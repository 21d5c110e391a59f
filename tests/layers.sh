#!/bin/sh
# The include law of tests/layers.txt, checked over every source file. Usage: layers.sh CHECKOUT
set -eu
cd "$1"
fail=0
while IFS=: read -r folder allowed; do
	case "$folder" in ''|'#'*) continue ;; esac
	for file in $(find "$folder" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh'); do
		for used in $(sed -n 's|^[[:space:]]*#[[:space:]]*include "\([a-z]*\)/.*|\1|p' "$file" | sort -u); do
			case " $folder $allowed " in
			*" $used "*) ;;
			*) echo "$file: $folder may not include $used (tests/layers.txt)"; fail=1 ;;
			esac
		done
		if grep -nE '^[[:space:]]*#[[:space:]]*include "[^/"]*"' "$file"; then
			echo "$file: include from the root, \"folder/file.h\""; fail=1
		fi
	done
done < tests/layers.txt
names=$(find base kernels data model losses teacher student prune recipes results -name '*.[ch]' -exec basename {} \; | sort | uniq -d)
[ -z "$names" ] || { echo "file names that stand twice: $names"; fail=1; }
exit $fail

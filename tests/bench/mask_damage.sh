#!/bin/sh
# What mask phases did to the weights, of a finished run of recipes/masks.yaml: means over seeds, nat per token on held-out text.
#   espalier run recipes/masks.yaml && tests/bench/mask_damage.sh [runs/masks]
# damage: of the whole model, unmasked, after the phase less before. cut: right after the cut. final: after the distillation.
# worst: the largest |expected - target| / target of a structure before the cut, of any seed.
set -eu
run=${1:-runs/masks}

# A number of a JSON file that has it once.
number() {
	sed -n "s/.*\"$2\": *\([-0-9.e+]*\).*/\1/p" "$1" | head -n 1
}
printf '%-18s %5s %8s %8s %8s %8s\n' student seeds damage cut final 'worst %'
for student in "$run"/students/*/; do
	for seed in "$student"seed-*/; do
		id=$(sed -n 's/.*"init_id": *"........\([0-9a-f]*\)".*/\1/p' "$seed/result/result.json")
		masks=$(ls -d "$run/init/masks-$id-"*"$(basename "$seed")")/masks.json
		[ "$(sed -n 's/.*"cut": *"\([a-z]*\)".*/\1/p' "$masks")" = soft ] && cut=soft_nll || cut=hard_nll
		worst=$(awk '/"target":/ { gsub(/[^-0-9.e+]/, "", $2); t = $2 }
			/"expected":/ { gsub(/[^-0-9.e+]/, "", $2); d = $2 / t - 1; if (d < 0) d = -d; if (d > w) w = d } END { print 100 * w }' "$masks")
		echo "$(number "$masks" unmasked_nll_after) $(number "$masks" unmasked_nll_before) $(number "$masks" $cut) $(number "$seed/train/phase.json" heldout_nll) $worst"
	done | awk -v who="$(basename "$student")" '{ d += $1 - $2; c += $3; f += $4; if ($5 > w) w = $5 }
		END { printf "%-18s %5d %8.3f %8.3f %8.3f %8.2f\n", who, NR, d / NR, c / NR, f / NR, w }'
done

#!/bin/sh
# bench_step and its PyTorch peer in turns, and the ratio of their medians. The peer runs at its best: OpenMP OpenBLAS
# preloaded where Debian has it, AVX-512 kernels, no OPENBLAS_CORETYPE.
#   tests/bench/step.sh BUILD [PYTHON [ROUNDS]]      MODES="plain kd" DTYPES="fp32 bf16" by default
# BUILD is a build directory with the target bench_step. PYTHON (default python3) needs torch. Needs an idle machine:
# two threads that wait for each other lose most of their speed to a third.
set -eu
build=${1:?usage: step.sh BUILD [PYTHON [ROUNDS]]}
python=${2:-python3}
rounds=${3:-3}
here=$(cd "$(dirname "$0")" && pwd)
"$python" -c 'import torch' || { echo "step.sh: $python has no torch (apt install python3-torch libopenblas0-openmp)" >&2; exit 2; }
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
openblas=$(find /usr/lib -path '*openblas-openmp/libopenblas.so.0' 2>/dev/null | head -n 1)
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

peer() {
	if grep -q avx512f /proc/cpuinfo; then capability=avx512; else capability=default; fi
	LD_PRELOAD=$openblas ATEN_CPU_CAPABILITY=$capability "$python" "$here/peer_torch.py" --mode "$1" --dtype "$2" 2>/dev/null
}
# The middle of the numbers on stdin.
middle() {
	sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
rate_of() {
	grep "\"peer\": \"$1" "$lines" | sed 's/.*"tokens_per_s": \([0-9.]*\).*/\1/' | middle
}

for mode in ${MODES:-plain kd}; do
	for dtype in ${DTYPES:-fp32 bf16}; do
		: > "$lines"
		i=0
		while [ "$i" -lt "$rounds" ]; do
			"$build/bench_step" 15m --mode "$mode" --dtype "$dtype" | tee -a "$lines"
			peer "$mode" "$dtype" | tee -a "$lines"
			i=$((i + 1))
		done
		ours=$(rate_of espalier)
		theirs=$(rate_of torch)
		awk -v a="$ours" -v b="$theirs" -v m="$mode $dtype" -v n="$rounds" 'BEGIN {
			printf "%s: %.0f tokens/s, torch %.0f, ratio %.2f (medians of %d rounds)\n", m, a, b, a / b, n }' >&2
	done
done

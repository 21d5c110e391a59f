#!/bin/sh
# Every benchmark of this version in one go, into a folder of small files: results/bench/ holds ours.
#   tests/bench/all.sh BUILD OUT [PYTHON]     PYTHON with torch: the peer in the same run. Needs an idle machine.
# BUILD is a build directory; SHARED (default ../shared/data) holds stories3M and its corpus.
set -eu
build=${1:?usage: all.sh BUILD OUT [PYTHON]}
out=${2:?usage: all.sh BUILD OUT [PYTHON]}
shared=${SHARED:-../shared/data}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
cmake --build "$build" --target bench_step bench_losses bench_cache bench_tokenizer bench_ops bench_importance bench_generate bench_space bench_cut espalier > /dev/null
"$build/espalier" --version > "$out/version.txt"

for dtype in fp32 bf16; do
	for mode in plain kd hard_concrete soft_topk; do
		"$build/bench_step" 15m --mode "$mode" --dtype "$dtype"
	done
done > "$out/step.jsonl" 2> "$out/step.txt"
if [ -n "${3:-}" ]; then
	"$here/step.sh" "$build" "$3" 3 > "$out/step-torch.jsonl" 2> "$out/step-torch.txt"
fi

for bench in losses cache; do
	for dtype in fp32 bf16; do
		for vocabulary in 32000 4096; do
			"$build/bench_$bench" --dtype "$dtype" --v "$vocabulary"
		done
	done > "$out/$bench.jsonl" 2> "$out/$bench.txt"
done

"$build/bench_importance" "$shared/models/stories3M" > "$out/importance.jsonl"
"$build/bench_space" > "$out/space.jsonl"

{
	"$build/bench_generate" "$shared/models/stories3M"
	[ -z "${3:-}" ] || "$3" "$here/peer_generate.py" "$shared/models/stories3M" 2> /dev/null
} > "$out/generate.jsonl"

"$build/bench_cut" "$out/cut.tmp" > "$out/cut.jsonl"

gzip -dc "$shared/corpora/stories.train.txt.gz" > "$out/corpus.tmp"
"$build/bench_tokenizer" "$shared/models/stories3M" "$out/corpus.tmp" > "$out/tokenizer.txt" 2>&1
rm "$out/corpus.tmp"

# From the command to the first step's row, shards in place: wall seconds, five times.
run=$(mktemp -d)
start() {
	rm -rf "$run/init" "$run/students" "$run/report"
	"$build/espalier" run recipes/stories3m.yaml --out "$run" > /dev/null 2>&1 &
	pid=$!
	begin=$(date +%s.%N)
	until cat "$run"/init/*/metrics.csv 2> /dev/null | sed -n 2p | grep -q .; do sleep 0.01; done
	end=$(date +%s.%N)
	kill -9 "$pid"
	wait "$pid" 2> /dev/null || true
	echo "$begin $end" | awk '{ printf "%.2f\n", $2 - $1 }'
}
start > /dev/null
for i in 1 2 3 4 5; do start; done | sort -g > "$out/first-step.txt"
rm -rf "$run"

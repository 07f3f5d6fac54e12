#!/bin/sh
# run.sh BUILD_DIR - all benchmark programs, one thread and all threads; JSON lines in bench/results/<date>-<program>.jsonl
d=$1; day=$(date +%Y-%m-%d)
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
for p in "$d"/bench/*; do
    [ -x "$p" ] && [ ! -d "$p" ] || continue
    case $p in *.o|*.d|*/gpu) continue ;; esac # gpu: make bench-gpu
    out=bench/results/$day-$(basename "$p").jsonl
    echo "{\"machine\":\"$cpu\",\"cores\":$(nproc),\"date\":\"$day\",\"load\":\"$(cut -d' ' -f1-3 /proc/loadavg)\"}" > "$out"
    for t in 1 $(nproc); do "$p" --threads "$t" | tee -a "$out" || exit 1; done
    echo "written: $out"
done
[ -n "$PEERS" ] && exec sh bench/peers/run.sh "$d"
echo "PEERS=1 make bench runs the same work in torch beside it (a virtual environment is made in bench/venv)"

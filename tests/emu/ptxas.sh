#!/bin/sh
# ptxas.sh BUILD_DIR PTXAS "ARCHITECTURES" - what the assembler makes of every kernel: no stack frame, no spills, at most 128
# registers (or 65536 over the threads of __launch_bounds__), but for the exceptions of tests/emu/ptxas.txt. Warnings are errors.
# Reads BUILD_DIR/emu-ptx$ARCH/kernels/*.ptx; results are kept in BUILD_DIR/ptxas/ under the sum of that text.
b=$1 ptxas=$2 archs=$3 bad=0 all=
mkdir -p "$b/ptxas"
for a in $archs; do
    for ptx in "$b/emu-ptx$a"/kernels/*.ptx; do
        name=$(basename "$ptx" .ptx)
        [ -e "kernels/$name.cu" ] || continue
        out=$b/ptxas/$name.sm_$a.$(sha256sum <"$ptx" | cut -c1-16)
        if [ ! -e "$out" ]; then
            rm -f "$b/ptxas/$name.sm_$a".*
            if ! "$ptxas" -arch=sm_"$a" -O3 -v --warning-as-error "$ptx" -o "$out.cubin" >"$out.log" 2>&1; then
                echo "FAIL ptxas.$name.sm_$a"; grep -E 'error|warning' "$out.log" | head -n 5 >&2
                bad=1
                continue
            fi
            # threads of __launch_bounds__, then kernel registers stack spilled
            { sed -n -E 's/^(\.visible |\.weak )*\.entry ([A-Za-z0-9_$]+).*/entry \2/p; s/^\.maxntid ([0-9, ]+).*/bound \1/p' "$ptx"; cat "$out.log"; } |
            awk -v OFS='\t' -v arch="sm_$a" -v file="$name.cu" '
                $1 == "entry" { k = $2 }
                $1 == "bound" { gsub(",", " "); n = 1; $0 = $0; for (i = 2; i <= NF; i++) n *= $i; bound[k] = n }
                /Compiling entry function/ { split($0, q, "\047"); k = q[2] }
                /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
                /Used [0-9]+ registers/ { for (i = 1; i < NF; i++) if ($i == "Used") print arch, file, k, $(i + 1), stack, spilled, bound[k] + 0 }
            ' >"$out.new" && mv "$out.new" "$out"
            rm -f "$out.cubin" "$out.log"
        fi
        all="$all $out"
    done
done
[ -n "$all" ] || { echo "FAIL ptxas: no PTX under $b"; exit 1; }
# names as they stand in the source, for the patterns of the table
cat $all | c++filt >"$b/ptxas/all.txt"
awk -F'\t' '
    function matches(glob, s) { # * stands for anything
        gsub(/[][().+?^$|\\{}]/, "\\\\&", glob); gsub(/\*/, ".*", glob)
        return s ~ ("^" glob "$")
    }
    FILENAME == "tests/emu/ptxas.txt" {
        if ($0 ~ /^#/ || NF < 6) next
        n++; arch[n] = $1; pattern[n] = $2; regs[n] = $3; stack[n] = $4; spill[n] = $5; next
    }
    {
        kernels++
        limit = $7 ? int(65536 / $7) : 128
        if (limit > 255) limit = 255
        ok = $4 <= limit && $5 == 0 && $6 == 0
        for (i = 1; i <= n && !ok; i++)
            if (matches(arch[i], $1) && matches(pattern[i], $2 ": " $3)) { used[i] = 1; ok = $4 <= regs[i] && $5 <= stack[i] && $6 <= spill[i] }
        if (!ok) { bad++; printf "FAIL ptxas.%s: %s: %s: %d registers (at most %d), %d bytes of stack, %d bytes spilled\n", $1, $2, $3, $4, limit, $5, $6 }
        if ($4 > most) most = $4
    }
    END {
        if (!bad) printf "ok ptxas: %d kernels, at most %d registers\n", kernels, most
        exit bad != 0
    }' tests/emu/ptxas.txt "$b/ptxas/all.txt" || bad=1
exit $bad

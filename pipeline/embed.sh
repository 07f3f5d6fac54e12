#!/bin/sh
# embed.sh FILE... - the files as C on stdout: the table of pipeline/embedded.h. od and sed are all it needs.
echo '/* made by pipeline/embed.sh */'
echo '#include "pipeline/embedded.h"'
n=0
for f in "$@"; do
    echo "static const unsigned char f$n[] = {"
    od -An -v -tu1 "$f" | sed 's/ *\([0-9][0-9]*\)/\1,/g'
    echo '0 };'
    n=$((n + 1))
done
echo 'const embedded_file embedded_files[] = {'
n=0
for f in "$@"; do
    echo "    { \"${f##*/}\", (const char *)f$n, sizeof f$n - 1 },"
    n=$((n + 1))
done
echo '    { 0 } };'

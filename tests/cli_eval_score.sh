#!/bin/sh
# cli_eval_score.sh - `vismin eval score`: both kinds of solution, joins, sentences for answers, files that do not fit.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_eval_score.$1"; }
bad() { echo "FAIL cli_eval_score.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
sc() { "$vismin" eval score --solution "$1" --submission "$2" $3 $4 >"$t/out" 2>"$t/err"; }
row() { sed -n "s/^$1  *\([0-9/]*\)  *\([0-9.]*\) *\[[^]]*\]  *\([0-9.]*\) *\[[^]]*\]  *\([0-9.]*\) .*/\1 \2 \3 \4/p" "$t/out"; }

h=id,Text_Q0,Text_Q1,Image_Q0,Image_Q1,category
cat >"$t/vqa.csv" <<E
$h
0,A,B,First,Second,object
1,B,A,First,Second,object
2,A,B,Second,First,object
0,A,B,First,Second,counting
1,B,A,Second,First,counting
E
sc "$t/vqa.csv" "$t/vqa.csv"; check itself_status 0 $?
check itself '3 100.00 100.00 100.00 2 100.00 100.00 100.00 5 100.00 100.00 100.00' "$(echo $(row object) $(row counting) $(row 'all items'))"
sed '1!s/,.*,/,A,A,First,First,/' "$t/vqa.csv" >"$t/constant.csv"
sc "$t/vqa.csv" "$t/constant.csv"; check constant '5 0.00 0.00 0.00' "$(row 'all items')"
has constant_questions 'question_accuracy      0.5000' "$(cat "$t/out")"
(echo $h; sed 1d "$t/vqa.csv" | tac) >"$t/turned.csv"
sc "$t/vqa.csv" "$t/turned.csv"; check any_order '5 100.00 100.00 100.00' "$(row 'all items')"
sed '2s/A,B,First/A,A,First/;3s/Second/First/' "$t/vqa.csv" >"$t/some.csv"
sc "$t/vqa.csv" "$t/some.csv"; check some '3 66.67 66.67 33.33' "$(row object)"
cat >"$t/words.csv" <<E
idx,Pred_Q0,Pred_Q1,Pred_Q2,Pred_Q3,category
0,"The answer is A.",(B) a man,The first image,second,object
1, b ,**A**,"Answer: First, not the second",Image 2,object
2,A,B,Second,A man and a dog,object
0,A,B,First,Second,counting
1,B,A,Second,first or second,counting
E
sc "$t/vqa.csv" "$t/words.csv"; check sentences '5 100.00 60.00 60.00' "$(row 'all items')"
has unparsed '2 answers name no option, or two; they are wrong' "$(cat "$t/err")"
# without categories: the rows of the solution in its order
sed 's/,[a-z]*$//' "$t/vqa.csv" >"$t/plain.csv"
sc "$t/vqa.csv" "$t/plain.csv"; check by_order '5 100.00 100.00 100.00' "$(row 'all items')"
for k in 1 3 2 4 5 6; do sed -n ${k}p "$t/plain.csv"; done >"$t/swapped.csv"
sc "$t/vqa.csv" "$t/swapped.csv"; check out_of_order_status 3 $?
has out_of_order 'swapped.csv:2: id 1 where the solution has object 0' "$(cat "$t/err")"
head -4 "$t/vqa.csv" >"$t/short.csv"
sc "$t/vqa.csv" "$t/short.csv"; check truncated_status 3 $?
has truncated '2 of 5 rows of the solution are missing, the first one is counting 0' "$(cat "$t/err")"
sc "$t/vqa.csv" "$t/short.csv" --missing wrong; check missing_wrong '3/5 60.00 60.00 60.00' "$(row 'all items')"
(cat "$t/vqa.csv"; echo 9,A,B,First,Second,object) >"$t/long.csv"
sc "$t/vqa.csv" "$t/long.csv"; check extra_status 0 $?; has extra '1 rows are not in the solution' "$(cat "$t/err")"
(cat "$t/vqa.csv"; echo 1,A,B,First,Second,object) >"$t/twice.csv"
sc "$t/vqa.csv" "$t/twice.csv"; check twice_status 3 $?; has twice 'twice.csv:7: object 1 stands twice' "$(cat "$t/err")"
sc "$t/twice.csv" "$t/vqa.csv"; check solution_twice_status 3 $?; has solution_twice 'object 1 stands twice' "$(cat "$t/err")"
printf "$h\n0,A,C,First,Second,object\n" >"$t/x.csv"
sc "$t/x.csv" "$t/vqa.csv"; has bad_key 'x.csv:2: column Text_Q1: found "C", expected A or B' "$(cat "$t/err")"
printf 'id,Text_Q0,category\n0,A,object\n' >"$t/x.csv"
sc "$t/vqa.csv" "$t/x.csv"; check no_column_status 3 $?; has no_column 'Text_Q1' "$(cat "$t/err")"
printf "$h\n" >"$t/x.csv"
sc "$t/x.csv" "$t/vqa.csv"; has empty_key 'no rows in it' "$(cat "$t/err")"

# --- scores against predicates ---
s='T0_I0 > T1_I0 & T1_I1 > T0_I1,T0_I0 > T0_I1 & T1_I1 > T1_I0' c='T1_I0 > T0_I0 & T0_I1 > T1_I1,T0_I1 > T0_I0&T1_I0 > T1_I1'
printf "idx,Text,Image,category\n0,$s,object\n1,$c,object\n2,$s,relation\n3,T0_I0 = T1_I0,T1_I1 < T0_I1,relation\n" >"$t/sim.csv"
cat >"$t/scores.csv" <<E
id,T0_I0,T0_I1,T1_I0,T1_I1,category
0,.3,.2,.1,.4,object
1,.3,.2,.1,.4,object
2,.3,.3,.1,.4,relation
3,.5,.6,.5,.1,relation
E
sc "$t/sim.csv" "$t/scores.csv"; check scores_status 0 $?
check scores '2 50.00 50.00 50.00 2 100.00 50.00 50.00' "$(echo $(row object) $(row relation))"
sed '2s/.3/nan/' "$t/scores.csv" >"$t/x.csv"
sc "$t/sim.csv" "$t/x.csv" --json; has nan '"n_invalid": 1' "$(cat "$t/out")"
sed '2s/.3/high/' "$t/scores.csv" >"$t/x.csv"
sc "$t/sim.csv" "$t/x.csv"; check no_number_status 3 $?; has no_number 'x.csv:2: column T0_I0: found "high", expected a number' "$(cat "$t/err")"
for p in 'T0_I0 > T2_I0' 'T0_I0 >= T1_I0' 'T0_I0 > T1_I0 | T1_I1 > T0_I1' 'T0_I0 >' '' 'T0_I0 > T1_I0 &'; do
    printf "idx,Text,Image,category\n0,$p,T0_I0 > T0_I1,object\n" >"$t/x.csv"
    sc "$t/x.csv" "$t/scores.csv"; check "predicate_status[$p]" 3 $?
done
has predicate 'x.csv:2: column Text: found "T0_I0 > T1_I0 &", expected comparisons' "$(cat "$t/err")"

# --- the published key, and a file of another revision ---
awk 'BEGIN { print "id,category,Text_Q0,Text_Q1,Image_Q0,Image_Q1"; split("object 579 attribute 294 relation 622 counting 589", p, " ");
     for (k = 1; k < 9; k += 2) for (i = 0; i < p[k + 1]; i++) print i "," p[k] ",A,B,First,Second" }' >"$t/published.csv"
sc constant "$t/published.csv"; check published '579 294 622 589 2084 100.00 100.00 100.00' \
    "$(for c in object attribute relation counting; do row $c | cut -d' ' -f1; done | tr '\n' ' ')$(row 'all items')"
sed '2~2s/A,B/B,A/;3~2s/First,Second/Second,First/' "$t/published.csv" >"$t/other.csv"
sc constant "$t/other.csv"; has revision 'is it that of another revision of the benchmark?' "$(cat "$t/err")"
head -100 "$t/published.csv" >"$t/x.csv"; sc constant "$t/x.csv"; check published_short 3 $?
"$vismin" eval score 2>"$t/err"; check usage 2 $?
exit $all

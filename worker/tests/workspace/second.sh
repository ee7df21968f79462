# The step after it sees all of that, and nothing else.
set -eu
test "$(cat data/edit.txt)" = new
test "$(cat src/append.py)" = basemore
for path in del.txt gone dir remade/old pipe src/__pycache__; do test ! -e "$path"; done
test "$(cat renamed/sub/a)" = a
test "$(cat file2dir/inner)" = x
test "$(cat dir2file)" = y
test "$(ls remade)" = other
test "$(readlink out)" = /etc/passwd
test -x tool
test ! -x was-exec
test -d empty
test -d emptied
test -z "$(ls emptied)"
test "$(cat locked)" = locked
test "$(cat lockdir/in)" = in
test "$(readlink link)" = elsewhere
test "$(cat h2)" = h
test "$(cat "od,d:d\\ir/é \"q\"")" = o
printf again > data/edit.txt
printf two > second

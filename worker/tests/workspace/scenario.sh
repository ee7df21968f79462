# What steps do to files, as a table of one line each.
set -eu
printf new > data/edit.txt
printf more >> src/append.py
rm del.txt
rm -r gone
mv dir renamed
rm file2dir && mkdir file2dir && printf x > file2dir/inner
rm -r dir2file && printf y > dir2file
rm -r remade && mkdir remade && printf z > remade/other
ln -s /etc/passwd out
ln -s ../.. src/up
chmod +x tool
chmod -x was-exec
touch touched.txt
printf same > scratch && cat scratch > rewritten.txt && rm scratch
mkdir -p new/deep && printf n > new/deep/file
mkdir empty
rm emptied/only
mkdir src/__pycache__ && printf c > src/__pycache__/a.pyc
mkfifo pipe
printf locked > locked && chmod 000 locked
mkdir lockdir && printf in > lockdir/in && chmod 000 lockdir
ln -sf elsewhere link
printf bad > "$(printf 'bad\377')"
printf h > h1 && ln h1 h2
mkdir -p "od,d:d\\ir" && printf o > "od,d:d\\ir/é \"q\""
# Through links and out: the target is no part of the result.
test "$(cat through/a)" = shown
printf seen > through/b

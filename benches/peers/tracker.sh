#!/bin/sh
# A tracker of Markdown files as a careful author would write it in a few lines: one file with front matter for each task.
# A new task takes the next free number and never overwrites a file (noclobber). A change reads and replaces its file without a lock.
set -eu
cd tasks
op=$1
shift

# Reads the front matter of all tasks, and ends with the program in $1.
each() {
  awk '
    FNR == 1 { n = FILENAME; sub(/\.md$/, "", n) }
    FNR > 1 && /^---$/ { nextfile }
    /^title: / { title[n] = substr($0, 8) }
    /^status: / { status[n] = $2 }
    /^blocked_by: / { blockers[n] = substr($0, 13) }
    /^labels: / { labels[n] = substr($0, 9) }
    '"$1" ./*.md | sed 's,^\./,,'
}

case $op in
create)
  last=$(ls | sort -n | tail -n 1)
  n=$((${last%.md} + 1))
  until (set -C; printf -- '---\ntitle: %s\nstatus: open\npriority: 0\nblocked_by: \nlabels: \n---\n' "$1" >"$n.md") 2>/dev/null; do
    n=$((n + 1))
  done
  echo "$n"
  ;;
show) cat "$1.md" ;;
retitle) sed -i "s/^title: .*/title: $2/" "$1.md" ;;
label) sed -i "s/^labels: .*/& $2/" "$1.md" ;;
list) each 'END { for (n in title) if (status[n] == "open") print n, title[n], "[" labels[n] "]" }' ;;
ready)
  each 'END { for (n in title) if (status[n] == "open") {
    waits = 0
    for (k = split(blockers[n], all, " "); k > 0; k--) if (status["./" all[k]] != "done") waits = 1
    if (!waits) print n, title[n]
  } }'
  ;;
# Each task has a title and a known status, each blocker exists, and no tasks wait for each other.
validate)
  each 'END { for (n in title) {
    if (title[n] == "" || status[n] !~ /^(open|done)$/) print "wrong", n
    for (k = split(blockers[n], all, " "); k > 0; k--) {
      if (("./" all[k]) in title) print "./" all[k], n; else print "wrong", n
    }
  } }' >../edges
  ! grep '^wrong' ../edges
  tsort ../edges >/dev/null
  ;;
esac

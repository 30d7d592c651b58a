#!/bin/sh
# Exits 0, as m1-reduce wants it, when the file $1 holds two models that have a page size.
test "$(grep -c "m1.model.*page_size" "$1")" = 2

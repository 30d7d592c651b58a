#!/bin/sh
# Exits 1, as m1-reduce wants it, when the module of file $1 holds a silu.
m1-opt "$1" | grep -q m1.silu && exit 1
exit 0

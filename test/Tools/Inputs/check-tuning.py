"""Holds the table of an artifact against the file it came from: check-tuning.py TABLE < JSON of m1-dump"""
import json
import sys

(cuda,) = (target for target in json.load(sys.stdin)["targets"] if target["name"] == "cuda")
(held,) = cuda["tuning"]
given = json.load(open(sys.argv[1]))


def products(table):
    return sorted((json.dumps(product, sort_keys=True) for product in table["products"]))


assert {**held, "products": None} == {**given, "products": None}, held
assert products(held) == products(given)

#!/usr/bin/env python3
"""Writes a changed copy of a checkpoint, or of none: usage: checkpoint.py SOURCE_DIR OUT_DIR [CHANGE...], changes in order:
  config:KEY=JSON, mamba:KEY=JSON   set a field of config.json or mamba_config.json; dots lead into objects; no "=JSON" removes it
  no-mamba-config, no-config        leave the file out
  drop:TENSOR                       leave a tensor out
  add:TENSOR=SHAPE                  add an F32 tensor of zeros; SHAPE is like 4x8
  shape:TENSOR=SHAPE                state another shape, with as many elements
  resize:TENSOR=SHAPE               zeros of another shape
  dtype:TENSOR=NAME                 state another dtype in the header
  rename:TENSOR=NAME
  prefix:OLD=NEW                    how names of tensors begin
  copy:TENSOR=NAME                  a second tensor with the same elements
  nan:TENSOR                        the first element of an F32 tensor becomes NaN
  split:TENSOR=NAME:ROWS,NAME:ROWS  cut a tensor along dimension 0
  shards:N                          N files and an index
  index:TENSOR=FILE                 name another file for a tensor in the index
  twice:NAME                        also put a tensor of shard 1 into the last
  header:TENSOR=FIELD:JSON          replace a field of the tensor's header entry, whatever it does to the file
  no-weights                        no weight files
  truncate:BYTES                    drop bytes from the end of the (last) file
  raw:FILE=TEXT                     replace a whole file
TENSOR is without "model." and may hold * for every match."""
import fnmatch
import json
import os
import struct
import sys

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8, "I64": 8, "I32": 4}


def product(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def read(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        body = f.read()
    return {k: (v["dtype"], v["shape"], body[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in header.items() if k != "__metadata__"}


def write(path, tensors, overrides):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        header[name].update(overrides.get(name, {}))
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def set_field(fields, assignment):
    key, _, value = assignment.partition("=")
    *path, last = key.split(".")
    for part in path:
        fields = fields.setdefault(part, {})
    if "=" in assignment:
        fields[last] = json.loads(value)
    else:
        fields.pop(last, None)


def change(source, out, changes):
    load = lambda name: json.load(open(os.path.join(source, name))) if source and os.path.exists(os.path.join(source, name)) else None
    files = {"config.json": load("config.json"), "mamba_config.json": load("mamba_config.json")}
    tensors = read(os.path.join(source, "model.safetensors")) if source else {}
    full = lambda name: name if name in tensors or name.startswith("lm_head") else "model." + name
    parse = lambda shape: [int(size) for size in shape.split("x")]
    shards, truncate, raw, index, overrides, twice, weightless = 1, 0, {}, {}, {}, [], not source
    for change in changes:
        kind, _, rest = change.partition(":")
        name, _, value = rest.partition("=")
        matches = [n for n in tensors if fnmatch.fnmatch(n, full(name))]
        if kind in ("config", "mamba"):
            set_field(files["config.json" if kind == "config" else "mamba_config.json"], rest)
        elif kind in ("no-config", "no-mamba-config"):
            files["config.json" if kind == "no-config" else "mamba_config.json"] = None
        elif kind == "add":
            tensors[full(name)] = ("F32", parse(value), bytes(4 * product(parse(value))))
        elif kind == "shards":
            shards = int(rest)
        elif kind == "truncate":
            truncate = int(rest)
        elif kind == "raw":
            raw[name] = value
        elif kind == "prefix":
            tensors = {value + k.removeprefix(name) if k.startswith(name) else k: v for k, v in tensors.items()}
        elif kind == "twice":
            twice.append(rest)
        elif kind == "no-weights":
            weightless = True
        elif kind == "header":
            field, _, text = value.partition(":")
            overrides.setdefault(full(name), {})[field] = json.loads(text)
        elif kind == "index":
            index[full(name)] = value
        elif not matches:
            sys.exit(f"checkpoint.py: no tensor {name}")
        for match in matches if kind not in ("add", "index", "header", "prefix", "twice") else []:
            dtype, shape, data = tensors[match]
            if kind == "drop":
                del tensors[match]
            elif kind == "shape":
                tensors[match] = (dtype, parse(value), data)
            elif kind == "resize":
                tensors[match] = (dtype, parse(value), bytes(WIDTH[dtype] * product(parse(value))))
            elif kind == "dtype":
                tensors[match] = (value, shape, bytes(WIDTH[value] * product(shape)))
            elif kind == "rename":
                tensors = {full(value) if k == match else k: v for k, v in tensors.items()}
            elif kind == "copy":
                tensors[full(value)] = tensors[match]
            elif kind == "nan":
                tensors[match] = (dtype, shape, struct.pack("<f", float("nan")) + data[4:])
            elif kind == "split":
                del tensors[match]
                row, begin = len(data) // shape[0], 0
                for piece in value.split(","):
                    piece_name, rows = piece.split(":")
                    end = begin + int(rows) * row
                    tensors[full(piece_name)] = (dtype, [int(rows)] + shape[1:], data[begin:end])
                    begin = end
    os.makedirs(out, exist_ok=True)
    for old in os.listdir(out):
        os.remove(os.path.join(out, old))
    for name, content in files.items():
        if content is not None:
            json.dump(content, open(os.path.join(out, name), "w"))
    if weightless:
        pass
    elif shards == 1:
        last = os.path.join(out, "model.safetensors")
        write(last, tensors, overrides)
    else:
        weight_map, names = {}, list(tensors)
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
            last = os.path.join(out, file)
            write(last, {n: tensors[n] for n in part + (twice if i == shards - 1 else [])}, overrides)
            weight_map.update({n: file for n in part})
        weight_map.update(index)
        json.dump({"metadata": {}, "weight_map": weight_map}, open(os.path.join(out, "model.safetensors.index.json"), "w"))
    if truncate:
        os.truncate(last, os.path.getsize(last) - truncate)
    for name, text in raw.items():
        open(os.path.join(out, name), "w").write(text)


if __name__ == "__main__":
    change(sys.argv[1], sys.argv[2], sys.argv[3:])

"""Rounds an f32 checkpoint to bf16. usage: to-bf16.py MODEL_DIR OUT_DIR"""
import array
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "examples", "tiny-reasoner"))
import m1_init

source, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
tensors = m1_init.read_safetensors(os.path.join(source, "model.safetensors"))
m1_init.write_safetensors(os.path.join(out, "model.safetensors"),
                          {name: ("BF16", shape, m1_init.encode_bf16(array.array("f", data))) for name, (_, shape, data) in tensors.items()})
shutil.copyfile(os.path.join(source, "config.json"), os.path.join(out, "config.json"))

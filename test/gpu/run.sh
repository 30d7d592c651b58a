#!/usr/bin/env bash
# Tests on a GPU, in two halves, so that the GPU machine needs no compiler, LLVM or CMake:
#
#   test/gpu/run.sh pack PACKAGE.tar.xz [BUILD_DIR]   here: builds, compiles the artifacts, packs programs and artifacts (some ten MB)
#   test/gpu/run.sh run PACKAGE.tar.xz [OUT_DIR]      on the GPU machine: unpacks to a temporary directory and runs everything
#   test/gpu/run.sh                                   both, where this machine has a GPU
#
# Without a GPU, `run` says so and succeeds. GOLDENS names the directories of golden checkpoints (A:B; some parts need the repository's own),
# SEED the random configurations, RANDOM_COUNT how many of M1, Llama and Qwen2, FAMILY_COUNT how many of each of FAMILIES, M1_GPU_PARTS which
# parts run (goldens agreement ops large updates samples kernels errors sanitizer bench peers engine; default all). Needs bash, python3; compute-sanitizer when
# there is one.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
seed=${SEED:-20261123}
random_count=${RANDOM_COUNT:-12}
family_count=${FAMILY_COUNT:-3}
families=${FAMILIES:-mistral granitemoehybrid jamba nemotron_h qwen3_moe qwen3_next}

pack() {
  local package=$1 build=${2:-$root/build} goldens=${GOLDENS:-$root/test/Integration/goldens} configs=${CONFIGS:-} stage
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' RETURN
  [ -d "$build" ] || "$root/examples/build.sh" "$build" || return 1
  local programs=(m1-run m1-bench device_agreement)
  ninja -C "$build" m1-compile draw_checkpoints op_cases m1_runtime_shared m1_lost_driver "${programs[@]}" >/dev/null || return 1
  mkdir -p "$stage/bin" "$stage/lib" "$stage/artifacts" "$stage/int8" "$stage/int4" "$stage/fp8" "$stage/goldens" "$stage/random"
  for program in "${programs[@]}"; do
    cp "$(find "$build" -name "$program" -type f -perm -u+x | head -1)" "$stage/bin/" # with symbols, for backtraces
  done
  # The kernels' own tests, compiled here.
  if [ -x "$build/bin/m1-kernel-test" ] || ninja -C "$build" m1-kernel-test >/dev/null 2>&1; then
    strip -o "$stage/bin/m1-kernel-test" "$build/bin/m1-kernel-test"
    "$build/bin/m1-kernel-test" --compile "$stage/cubins" >"$stage/cubins.txt" || return 1
  fi
  ldd "$build/bin/m1-run" | awk '/pcre2/ {print $3}' | xargs -I{} cp -L {} "$stage/lib/"
  cp -L "$build/lib/libm1_lost_driver.so" "$build/lib/libm1rt.so" "$stage/lib/"
  cp -r "$root/runtime/python/m1rt" "$stage/"
  cp "$root/test/gpu/run.sh" "$root"/test/gpu/check_*.py "$root/test/bench/torch_peer.py" "$stage/"
  local compile=("$build/bin/m1-compile" --target cpu,cuda:sm_90 --cpu x86-64-v3)
  local directories name
  IFS=: read -r -a directories <<<"$goldens"
  for golden in $(printf '%s/*/golden.safetensors ' "${directories[@]}"); do
    golden=$(dirname "$golden")
    name=$(basename "$golden")
    cp "$golden/golden.safetensors" "$stage/goldens/$name.safetensors" && chmod u+w "$stage/goldens/$name.safetensors"
    [ ! -f "$golden/model.safetensors" ] || cp -L "$golden/model.safetensors" "$stage/goldens/$name.weights" || return 1
    for type in f32 bf16; do
      "${compile[@]}" "$golden" -o "$stage/artifacts/$name.$type.m1a" --activation-type $type || return 1
    done
    # Formats of weights: the repository's own goldens, or a package of all families does not fit where packages are small.
    [ "$(dirname "$golden")" -ef "$root/test/Integration/goldens" ] || continue
    for type in f32 bf16; do
      for format in int8 int4 fp8; do
        "${compile[@]}" "$golden" -o "$stage/$format/$name.$type.m1a" --activation-type $type --quantize $format || return 1
      done
    done
    "${compile[@]}" "$golden" -o "$stage/int4/$name.in128.f32.m1a" --activation-type f32 --quantize int4:128 || return 1
    [ "$name" = m1-mamba1-bf16 ] || continue
    for type in f32 bf16; do
      "${compile[@]}" "$golden" -o "$stage/int8/$name.in32.$type.m1a" --activation-type $type --quantize int8:32 || return 1
    done
  done
  # Gated MLPs large enough for the prefill function of many rows.
  mkdir -p "$stage/many/config"
  cat >"$stage/many/config/config.json" <<'CONFIG'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 12288, "num_hidden_layers": 2,
 "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 512, "max_position_embeddings": 4096, "rms_norm_eps": 1e-05,
 "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true, "torch_dtype": "bfloat16"}
CONFIG
  "${compile[@]}" "$stage/many/config" -o "$stage/many/llama.bf16.m1a" --weights dummy:1 || return 1
  local drawn
  drawn=$(mktemp -d)
  "$(find "$build" -name draw_checkpoints -type f -perm -u+x | head -1)" "$drawn" "$seed" $random_count $family_count $families >"$stage/random/drawn.txt" || return 1
  for directory in "$drawn"/*/; do
    "${compile[@]}" "$directory" -o "$stage/random/$(basename "$directory").m1a" --activation-type f32 || return 1
    for format in int8 int4; do
      "${compile[@]}" "$directory" -o "$stage/random/$(basename "$directory").$format.m1a" --activation-type f32 --quantize $format || return 1
    done
  done
  rm -rf "$drawn"
  # The table of op cases, with what the reference computes beside each.
  "$(find "$build" -name op_cases -type f -perm -u+x | head -1)" "$stage/ops" || return 1
  # Real sizes with dummy weights, where their configurations are at hand.
  if [ -n "$configs" ]; then
    for model in m1-3b m1-mamba2-3b; do
      "$build/bin/m1-compile" "$configs/$model" -o "$stage/artifacts/$model.dummy.m1a" --target cuda:sm_90 --weights dummy:1 --max-context 32768 || return 1
    done
    for format in int8 int4 fp8; do
      "$build/bin/m1-compile" "$configs/m1-3b" -o "$stage/artifacts/m1-3b.$format.dummy.m1a" --target cuda:sm_90 --weights dummy:1 --max-context 32768 --quantize $format || return 1
    done
  fi
  # Artifacts share most of their kernels: a window wider than the whole package finds them.
  tar -C "$stage" -cf - . | xz -T1 --lzma2=preset=3,dict=192MiB >"$package" || return 1
  ls -l "$package"
}

failures=0
part() { # NAME COMMAND...
  echo "== $1"
  shift
  "$@" || { echo "FAILED: $*"; failures=$((failures + 1)); }
}
engine() { # ARTIFACT TEMPERATURE
  bin/m1-run "$1" --device cuda --input-ids prompt.txt --samples 512 --slots 513 --max-new-tokens 256 --ignore-eos --temperature "$2" --json --stats >engine.json
}
wanted() { [[ " ${M1_GPU_PARTS:-goldens agreement ops large updates samples kernels errors sanitizer bench peers engine} " == *" $1 "* ]]; }

run() {
  local package=$1 out=${2:-.}
  if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "no GPU on this machine: the GPU tests are skipped"
    return 0
  fi
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  local stage
  stage=$(mktemp -d)
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$package" "$stage" || return 1
  export LD_LIBRARY_PATH=$stage/lib:${LD_LIBRARY_PATH:-}
  cd "$stage" || return 1
  pairs() { for a in artifacts/*."$1".m1a; do n=$(basename "$a" ".$1.m1a"); echo "$a=goldens/$n.safetensors"; done; }
  # A rounding to bf16 can name another expert where two are nearly tied, on the CPU as here, and results then differ as experts do: models with
  # experts are compared in f32, and the experts' bf16 kernels alone.
  unrouted() { grep -vE 'hf-(granite_hybrid_moe|jamba|nemotron_h_moe|qwen3_moe|qwen3_next)\.'; }
  # With quantised weights single tokens of this one in bf16 are up to 1.27 off f32 on the CPU alone (docs/performance.md).
  steady() { grep -v 'm1-mamba2-f32\.'; }
  if wanted goldens; then
    part "goldens, f32" python3 check_golden_artifacts.py --bin bin --tolerance 1e-3 $(pairs f32)
    part "goldens, bf16" python3 check_golden_artifacts.py --bin bin --tolerance 3e-2 --norm --free-tokens $(pairs bf16 | unrouted)
  fi
  if wanted agreement; then
    part "agreement, goldens in f32" bin/device_agreement artifacts/*.f32.m1a
    part "agreement, random configurations in f32" bin/device_agreement --seed "$seed" random/*.m1a
    # Two computations that each may be 3e-2 off, independently.
    part "agreement, goldens in bf16" bin/device_agreement --tolerance 4.5e-2 --norm $(ls artifacts/*.bf16.m1a | unrouted)
    part "agreement, prompts of many tokens" bin/device_agreement --tolerance 4.5e-2 --norm --prompts 2000 many/*.m1a
    for format in int8 int4; do
      part "agreement, $format weights in f32" bin/device_agreement $format/*.f32.m1a
      part "agreement, $format weights in bf16" bin/device_agreement --tolerance 4.5e-2 --norm $(ls $format/*.bf16.m1a | unrouted | steady)
    done
    # An activation that falls to another code moves those behind it to others: results differ by up to what the format costs (docs/numerics.md).
    part "agreement, fp8 in f32" bin/device_agreement --tolerance 1.5e-1 --norm $(ls fp8/*.f32.m1a | unrouted)
    part "agreement, fp8 in bf16" bin/device_agreement --tolerance 3e-1 --norm $(ls fp8/*.bf16.m1a | unrouted)
  fi
  if wanted ops; then
    tables() { for a in ops/*."$1".m1a; do echo "$a=${a%.m1a}.safetensors"; done; }
    # In one of those with a cache of codes two logits are equal but for a rounding, and either is the greedy token.
    codes='_(i8|e4m3)\.f32'
    part "op cases, f32" python3 check_golden_artifacts.py --bin bin --tolerance 1e-4 $(tables f32 | grep -vE "$codes")
    part "op cases, f32, caches of codes" python3 check_golden_artifacts.py --bin bin --tolerance 1e-4 --free-tokens \
      $(tables f32 | grep -E "$codes")
    # A rounding to bf16 of the result, 2^-9 at most, and one between two operations; twice as much for what tensor cores round on the way.
    part "op cases, bf16" python3 check_golden_artifacts.py --bin bin --tolerance 8e-3 --norm --free-tokens $(tables bf16)
    part "op cases, ragged steps in f32" bin/device_agreement --seed "$seed" --tolerance 1e-4 ops/*.f32.m1a
    for artifact in ops/bench/*.m1a; do
      part "op times $(basename "$artifact" .m1a)" bin/m1-bench "$artifact" --device cuda --batch 1,64,512 --context 2304 --kernels
    done
  fi
  if wanted large; then
    part "hundreds of samples, f32" bin/device_agreement --large --seed "$seed" artifacts/m1-mamba1-f32.f32.m1a artifacts/m1-mamba2-f32.f32.m1a artifacts/hf-llama.f32.m1a
    part "hundreds of samples, bf16" bin/device_agreement --large --seed "$seed" --tolerance 4.5e-2 --norm artifacts/m1-mamba1-bf16.bf16.m1a artifacts/m1-mamba2-bf16.bf16.m1a artifacts/hf-qwen2.bf16.m1a
    part "hundreds of samples, quantised weights" bin/device_agreement --large --seed "$seed" --tolerance 4.5e-2 --norm int[48]/m1-mamba1-bf16.bf16.m1a int[48]/hf-qwen2.bf16.m1a
  fi
  if wanted kernels && [ -x bin/m1-kernel-test ]; then
    part "kernels" bin/m1-kernel-test --run cubins
    part "kernel times" bin/m1-kernel-test --bench cubins
  fi
  if wanted updates; then
    local updated=() quantised=() name
    for name in m1-mamba1-f32 m1-mamba1-bf16 m1-mamba2-f32 hf-llama hf-qwen2; do
      [ -f goldens/$name.weights ] && updated+=("artifacts/$name.f32.m1a=goldens/$name.weights") && quantised+=(int[48]/$name.f32.m1a)
    done
    part "updates of weights" env PYTHONPATH=. M1RT_LIBRARY=lib/libm1rt.so python3 check_updates.py "${updated[@]}" \
      --quantised $(for a in "${quantised[@]}"; do echo "$a=goldens/$(basename "$a" .f32.m1a).weights"; done)
  fi
  if wanted samples; then
    part "samples together and alone" python3 check_samples.py bin artifacts/m1-mamba1-f32.f32.m1a artifacts/m1-mamba2-f32.f32.m1a artifacts/hf-llama.f32.m1a
  fi
  if wanted errors; then
    echo "1 5 17 100 3 9" >ids.txt
    # A tiny model, but pages for 16,384 tokens of each of 60,000 sequences: a terabyte.
    part "out of memory is an error with sizes" bash -c 'bin/m1-bench artifacts/hf-qwen2.f32.m1a --device cuda --batch 60000 --context 16384 --repeat 1 | grep "skipped: out of GPU memory"'
    part "no such GPU" bash -c 'bin/m1-run artifacts/m1-mamba1-f32.f32.m1a --device cuda:99 --input-ids ids.txt 2>&1 | grep "no device cuda:99"'
    part "a lost GPU is an error" python3 check_lost_device.py bin lib/libm1_lost_driver.so artifacts/m1-mamba1-f32.f32.m1a 60 lib/libm1rt.so .
    # Sampled on the GPU.
    part "same seed, same tokens" bash -c 'draw() { bin/m1-run artifacts/m1-mamba1-bf16.bf16.m1a --device cuda --input-ids ids.txt --max-new-tokens 32 --ignore-eos --temperature 0.8 --seed "$1"; }
      a=$(draw 7) && b=$(draw 7) && c=$(draw 8) && echo "$a" && [ -n "$a" ] && [ "$a" = "$b" ] && [ "$a" != "$c" ]'
  fi
  if wanted sanitizer; then
    if command -v compute-sanitizer >/dev/null; then
      echo "1 5 17 100 3 9" >ids.txt
      sanitize() { # "TOOL [OPTIONS]" ARTIFACT...
        for artifact in "${@:2}"; do
          part "$1 $artifact" compute-sanitizer --tool $1 --error-exitcode 9 bin/m1-run "$artifact" --device cuda --input-ids ids.txt --max-new-tokens 4 --ignore-eos
        done
      }
      # Without the scans, whose barriers synccheck and racecheck do not follow (docs/performance.md).
      local scans="--kernel-name-exclude kernel_substring=scan"
      for tool in memcheck "synccheck $scans"; do
        sanitize "$tool" artifacts/m1-mamba1-bf16.bf16.m1a artifacts/m1-mamba2-f32.f32.m1a artifacts/hf-qwen2.bf16.m1a \
          $(ls artifacts/hf-{mistral_swa,qwen3_moe}.bf16.m1a 2>/dev/null)
      done
      # In f32: initcheck does not see what cuBLASLt's bf16 kernels write by bulk copies.
      sanitize initcheck artifacts/m1-mamba1-f32.f32.m1a artifacts/m1-mamba2-f32.f32.m1a artifacts/hf-qwen2.f32.m1a
      sanitize "racecheck $scans" artifacts/m1-mamba1-bf16.bf16.m1a
    else
      echo "no compute-sanitizer on this machine: its checks are skipped"
    fi
  fi
  if wanted bench; then
    for artifact in artifacts/*.dummy.m1a; do
      [ -f "$artifact" ] && part "bench $artifact" bin/m1-bench "$artifact" --device cuda --batch 1,64,512 --context ${CONTEXTS:-2304} --prefill 8x4096 --kernels --json "$out/$(basename "$artifact").json"
    done
  fi
  if wanted peers; then
    if python3 -c 'import torch, triton' 2>/dev/null; then
      part "PyTorch's step and attention" python3 torch_peer.py --json "$out/peers.json"
    else
      echo "no PyTorch on this machine: the peers are skipped"
    fi
  fi
  if wanted engine; then
    # 512 samples of one prompt through the engine, sampled and greedy, beside the pure decode loop at the mean context of the run.
    seq 1 256 | tr '\n' ' ' >prompt.txt
    for artifact in artifacts/*.dummy.m1a; do
      [ -f "$artifact" ] || continue
      part "decode loop $artifact" bin/m1-bench "$artifact" --device cuda --batch 512 --context 384
      for temperature in 0.7 0; do
        part "engine $artifact, temperature $temperature" engine "$artifact" $temperature
      done
    done
  fi
  rm -rf "$stage"
  echo "$failures part(s) failed"
  [ $failures -eq 0 ]
}

case "${1:-both}" in
pack) pack "$(realpath -m "$2")" "${3:-}" ;;
run) run "$(realpath "$2")" "$(realpath "${3:-.}")" ;;
both)
  if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "no GPU on this machine: the GPU tests are skipped"
    exit 0
  fi
  package=$(mktemp --suffix=.tar.xz)
  pack "$package" && run "$package"
  ;;
*) sed -n '2,11p' "$0"; exit 2 ;;
esac

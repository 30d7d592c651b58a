#!/usr/bin/env python3
"""Failures of the CUDA driver and of cuBLASLt, without a GPU: cuda_faults_test.py BIN_DIR STAND_IN.so ARTIFACT DRIVER_H

The stand-in is the driver: any of its calls can fail. ARTIFACT has code for sm_90."""
import ctypes
import os
import re
import subprocess
import sys
import tempfile
import unittest

BIN, STAND_IN, ARTIFACT, DRIVER_H = map(os.path.abspath, sys.argv[1:5])
UNKNOWN = r"failed: CUDA_ERROR_UNKNOWN \(unknown error\)"
ctypes.CDLL("libm.so.6")  # another library, wherever this system has it
with open("/proc/self/maps") as maps:
    LIBM = next(line.split()[-1] for line in maps if "/libm.so.6" in line or "/libm-" in line)
LOADING = re.escape(ARTIFACT) + ": "
# A function, which of its calls in a short m1-run is the first to fail, and the message.
MESSAGES = [
    ("cuInit", 1, "cuInit " + UNKNOWN),
    ("cuDeviceGetCount", 1, "cuDeviceGetCount " + UNKNOWN),
    ("cuDeviceGet", 1, "cuDeviceGet " + UNKNOWN),
    ("cuDeviceGetName", 1, "cuDeviceGetName " + UNKNOWN),
    ("cuDeviceTotalMem", 1, "cuDeviceTotalMem " + UNKNOWN),
    ("cuDeviceGetAttribute", 1, "cuDeviceGetAttribute " + UNKNOWN),
    ("cuDevicePrimaryCtxRetain", 1, "cuDevicePrimaryCtxRetain " + UNKNOWN),
    ("cuCtxSetCurrent", 1, "cuCtxSetCurrent " + UNKNOWN),
    ("cuStreamCreate", 1, "cuStreamCreate " + UNKNOWN),
    ("cuEventCreate", 1, "cuEventCreate " + UNKNOWN),
    ("cuModuleLoadDataEx", 1, "loading the runtime's own kernels " + UNKNOWN),
    ("cuModuleLoadDataEx", 3, LOADING + r'target "cuda": loading code object 1 \(cubin\) ' + UNKNOWN),
    ("cuModuleGetFunction", 1, LOADING + "looking for kernel m1_fill_dummy_bf16 " + UNKNOWN),
    ("cuModuleGetFunction", 13, LOADING + r'target "cuda": looking for kernel \w+ ' + UNKNOWN),
    ("cuFuncSetAttribute", 1, LOADING + r'target "cuda": kernel linear_chain_3 asks for 151840 bytes of shared memory, which ' + UNKNOWN),
    ("cuMemGetInfo", 1, "asking stand-in for its free memory " + UNKNOWN),
    ("cuMemAlloc", 1, LOADING + "allocation of 128.0 kB for weights " + UNKNOWN),
    ("cuMemAlloc", 2, "allocation of 49.2 kB for KV pages " + UNKNOWN + "; in all, .* of state are needed for 1 sequence and .* for [0-9]+ KV pages"),
    ("cuMemAlloc", 3, r"allocation of [\d.]+ kB for batch arrays " + UNKNOWN),
    ("cuMemAlloc", 4, r"allocation of [\d.]+ MB for temporaries " + UNKNOWN),
    ("cuMemAlloc", 5, r"allocation of [\d.]+ k?B for temporaries of logit rows " + UNKNOWN),
    ("cuMemAlloc", 6, r"allocation of [\d.]+ MB for kernel workspace " + UNKNOWN),
    ("cuMemAlloc", 7, "allocation of 128 B for logits " + UNKNOWN),
    ("cuMemAlloc", 8, "allocation of 4 B for next tokens " + UNKNOWN),
    ("cuMemAlloc", 9, "allocation of 32 B for sampling parameters " + UNKNOWN),
    ("cuMemHostAlloc", 1, "allocation of 33.6 MB of page-locked host memory " + UNKNOWN),
    ("cuMemsetD8Async", 1, "clearing 49.2 kB " + UNKNOWN),
    ("cuMemcpyHtoDAsync", 1, LOADING + r"upload of [\d.]+ k?B " + UNKNOWN),
    ("cuMemcpyHtoDAsync", 7, "upload of the batch arrays " + UNKNOWN),
    ("cuMemcpyDtoHAsync", 1, "download of the next tokens " + UNKNOWN),
    ("cuMemcpyDtoHAsync", 2, "copy of 1 chosen tokens " + UNKNOWN),
    ("cuEventSynchronize", 1, LOADING + "cuEventSynchronize during an upload " + UNKNOWN),
    ("cuEventSynchronize", 13, "the step and its sampling " + UNKNOWN),
    ("cuEventRecord", 19, "cuEventRecord " + UNKNOWN),
    ("cuStreamSynchronize", 1, "waiting for the GPU " + UNKNOWN),
    ("cuLaunchKernel", 1, LOADING + "launch of m1_fill_dummy_bf16 " + UNKNOWN),
    ("cuLaunchKernel", 9, "launch of m1_take_chosen " + UNKNOWN),
    ("cuLaunchKernelEx", 2, r"launch embedding embed_tokens of kernel embedding_64 \(grid 1 x 4, 32 threads, 0 bytes of shared memory\) " + UNKNOWN),
    ("cuStreamBeginCapture", 1, "start of a graph capture " + UNKNOWN),
    ("cuStreamEndCapture", 1, "capture of decode for 1 sequences as a graph " + UNKNOWN),
    ("cuGraphInstantiateWithFlags", 1, "instantiation of the graph of decode for 1 sequences " + UNKNOWN),
    ("cuGraphLaunch", 1, "launch of the graph of decode for 1 sequences " + UNKNOWN),
    ("cublasLtCreate", 1, LOADING + r'target "cuda": cublasLtCreate failed with status 999'),
    ("cublasLtMatmulDescCreate", 1, r"cuBLASLt cannot describe linear layers.0.q_k_v \(status 999\)"),
    ("cublasLtMatmulDescSetAttribute", 1, r"cuBLASLt cannot describe linear layers.0.q_k_v \(status 999\)"),
    ("cublasLtMatrixLayoutCreate", 1, r"cuBLASLt cannot describe linear layers.0.q_k_v \(status 999\)"),
    ("cublasLtMatmulPreferenceCreate", 1, "cuBLASLt has no algorithm for linear layers.0.q_k_v: .*"),
    ("cublasLtMatmulPreferenceSetAttribute", 1, "cuBLASLt has no algorithm for linear layers.0.q_k_v: .*"),
    ("cublasLtMatmulAlgoGetHeuristic", 2,
     r"cuBLASLt has no algorithm for linear layers.0.o: \[1, 64\] x \[64, 64\] transposed, bf16 to bf16 \(status 999\)"),
    ("cublasLtMatmul", 1, r"cublasLtMatmul of linear layers.0.q_k_v failed with status 999: \[4, 64\] x \[192, 64\] transposed"),
]
# Nothing depends on what these say: they give things back, or ask whether an algorithm fits.
UNHEEDED = {"cuDevicePrimaryCtxRelease", "cuEventDestroy", "cuGraphDestroy", "cuGraphExecDestroy", "cuMemFree", "cuMemFreeHost", "cuModuleUnload",
            "cuStreamDestroy", "cublasLtDestroy", "cublasLtMatmulAlgoCheck", "cublasLtMatmulDescDestroy", "cublasLtMatmulPreferenceDestroy",
            "cublasLtMatrixLayoutDestroy"}
# Called elsewhere: below, by the GPU suite (tensor maps), or to describe errors.
ELSEWHERE = {"cuCtxSynchronize", "cuEventElapsedTime", "cuGetErrorName", "cuGetErrorString", "cuMemcpyDtoDAsync", "cuPointerGetAttribute",
             "cuTensorMapEncodeTiled"}


class CudaFaults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.directory = cls.temporary.name
        for name in "libcuda.so.1", "libcublasLt.so.13":
            os.symlink(STAND_IN, cls.path(name))
        with open(cls.path("ids"), "w") as file:
            file.write("1 5 17 9")
        cls.whole = cls.generate(M1_COUNT_CALLS="1")
        assert cls.whole.returncode == 0, cls.whole.stderr
        cls.calls = {name: int(count) for name, count in map(str.split, cls.whole.stderr.splitlines())}

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.directory, name)

    @classmethod
    def run_tool(cls, tool, *arguments, **variables):
        environment = {**os.environ, "LD_LIBRARY_PATH": cls.directory, **variables}
        return subprocess.run([os.path.join(BIN, tool), *arguments], capture_output=True, text=True, timeout=120, env=environment)

    @classmethod
    def generate(cls, *arguments, device="cuda", **variables):
        return cls.run_tool("m1-run", ARTIFACT, "--device", device, "--input-ids", cls.path("ids"), "--max-new-tokens", "12", "--ignore-eos",
                            *(arguments or ("--temperature", "0")), **variables)

    def expect(self, result, message):
        """One line, exit code 1."""
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, rf"\Am1-\w+: error: {message}\n\Z")

    def test_messages(self):
        for function, at, message in MESSAGES:
            with self.subTest(function=function, at=at):
                self.expect(self.generate(M1_FAIL=f"{function}@{at}=999"), message)

    def test_every_function(self):
        """Each function that the runtime binds fails in a test; of those that a run calls, the last call, too, at which the answer is out or not."""
        with open(DRIVER_H) as file:
            bound = set(re.findall(r"\bX\((cu\w+)", file.read()))
        self.assertGreater(len(bound), 40)
        named = {function for function, _, _ in MESSAGES}
        self.assertEqual((bound | set(self.calls)) - named - UNHEEDED - ELSEWHERE, set())
        for function, count in self.calls.items():
            with self.subTest(function=function, at=count):
                result = self.generate(M1_FAIL=f"{function}@{count}=999")
                if result.returncode == 0:
                    self.assertEqual((result.stdout, result.stderr), (self.whole.stdout, ""))
                else:
                    self.expect(result, r".*(CUDA_ERROR_UNKNOWN|status 999).*")
        for function in UNHEEDED & set(self.calls):
            with self.subTest(function=function):
                result = self.generate(M1_FAIL=f"{function}@1=999")
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, self.whole.stdout, ""))

    def test_kinds_of_errors(self):
        """Memory that runs out says what there is, a lost context that it is lost, and an error without a name is one all the same."""
        self.expect(self.generate(M1_FAIL="cuMemAlloc@1=2"),
                    LOADING + "out of GPU memory: weights need 128.0 kB, and 8.6 GB of 8.6 GB are free on stand-in")
        self.expect(self.generate(M1_FAIL="cuMemHostAlloc@1=2"),
                    r"allocation of 33.6 MB of page-locked host memory failed: CUDA_ERROR_OUT_OF_MEMORY \(out of memory\)")
        for code in 214, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719:
            with self.subTest(code=code):
                self.expect(self.generate(M1_FAIL=f"cuEventSynchronize@13={code}"),
                            r"the step and its sampling failed: unknown CUDA error \(no description\); this process cannot use this GPU any more")
        self.expect(self.generate(M1_FAIL="cuModuleGetFunction@13=500"),
                    LOADING + r'target "cuda": the artifact\'s CUDA code lacks kernel \w+')
        self.expect(self.generate(M1_FAIL="cuModuleGetFunction@1=500"), LOADING + "the runtime's own kernels lack m1_fill_dummy_bf16")

    def test_sampling(self):
        self.expect(self.generate("--temperature", "1", M1_FAIL="cuLaunchKernel@9=999"), "launch of kernel m1_draw_tokens for 1 rows " + UNKNOWN)
        counted = self.generate("--temperature", "1", M1_COUNT_CALLS="1")
        self.assertEqual(counted.returncode, 0)
        calls = int(re.search(r"^cuMemcpyHtoDAsync (\d+)$", counted.stderr, re.M).group(1))
        self.expect(self.generate("--temperature", "1", M1_FAIL=f"cuMemcpyHtoDAsync@{calls}=999"),
                    "copy of 1 rows of sampling parameters " + UNKNOWN)

    def test_checked_numerics(self):
        """Each launch is waited for, and named."""
        self.expect(self.generate("--check-numerics", M1_FAIL="cuStreamSynchronize@4=999"),
                    "prefill: command 1, embedding embed_tokens: waiting for the GPU " + UNKNOWN)
        calls = self.generate("--check-numerics", M1_COUNT_CALLS="1").stderr
        self.assertGreater(int(re.search(r"^cuMemcpyDtoHAsync (\d+)$", calls, re.M).group(1)), 24)
        self.expect(self.generate("--check-numerics", M1_FAIL="cuMemcpyDtoHAsync@1=999"), r"download of [\d.]+ k?B " + UNKNOWN)

    def test_benchmark(self):
        """A table of products is measured, found to be of this machine, or not; kernels are timed."""
        short = ARTIFACT, "--device", "cuda", "--batch", "16", "--context", "16", "--repeat", "1"
        table = self.path("table.json")
        tuned = self.run_tool("m1-bench", ARTIFACT, "--device", "cuda", "--tune", table)
        self.assertEqual(tuned.returncode, 0, tuned.stderr)
        self.assertRegex(tuned.stdout, r"(?m)^ +16 x +192 x +64 +[\d.]+ us, heuristics +[\d.]+ us \([\d.]+\)  linear layers.0.q_k_v$")
        for function, message in (("cuEventElapsedTime", "cuEventElapsedTime "), ("cuEventRecord", "cuEventRecord ")):
            with self.subTest(function=function):
                self.expect(self.run_tool("m1-bench", ARTIFACT, "--device", "cuda", "--tune", self.path("none"), M1_FAIL=f"{function}@30=999"),
                            message + UNKNOWN)
        for at, what in (2, "rows to tune with"), (3, "products to tune"), (4, "the products' workspace"), (5, "scales of rows to tune with"):
            with self.subTest(what=what):
                self.expect(self.run_tool("m1-bench", ARTIFACT, "--device", "cuda", "--tune", self.path("none"), M1_FAIL=f"cuMemAlloc@{at}=999"),
                            rf"allocation of [\d.]+ [kM]?B for {what} " + UNKNOWN)
        self.assertFalse(os.path.exists(self.path("none")))
        with_table = self.run_tool("m1-bench", *short, "--tuning", table)
        self.assertEqual(with_table.returncode, 0, with_table.stderr)
        self.assertRegex(with_table.stdout, rf"(?m)^products: \d+ measured, as {re.escape(table)} says$")
        self.expect(self.run_tool("m1-bench", *short, "--tuning", table, M1_FAIL="cublasLtMatmulAlgoCheck@1=7"),
                    r".*the tuning table's algorithm for linear layers.0.q_k_v, \[16, 64\] x \[192, 64\] transposed, is none of this cuBLASLt "
                    r"\(status 7\): tune again")
        with open(table) as file:
            text = file.read()
        with open(table, "w") as file:
            file.write(text.replace('"stand-in"', '"another GPU"'))
        self.expect(self.run_tool("m1-bench", *short, "--tuning", table),
                    r".*table.json: measured on another GPU.*; this is stand-in.*: tune again")
        self.expect(self.run_tool("m1-bench", *short, "--kernels", M1_FAIL="cuEventElapsedTime@1=999"), ".*cuEventElapsedTime " + UNKNOWN)
        self.expect(self.run_tool("m1-bench", *short, M1_FAIL="cuMemcpyDtoDAsync@1=999"), "device copy of 1.1 GB " + UNKNOWN)

    def test_what_is_not_there(self):
        """Other drivers, libraries, GPUs than the runtime needs are named."""
        self.expect(self.generate(M1_LACKS="cuLaunchKernelEx"), "the NVIDIA driver is too old: libcuda.so.1 lacks cuLaunchKernelEx")
        self.expect(self.generate(device="cuda:1"), r"no device cuda:1: this machine has 1 CUDA device\(s\)")
        self.expect(self.generate(M1_CAPABILITY="75"), r"device cuda:0 \(stand-in\) has compute capability 7.5; 8.0 or newer is needed")
        self.expect(self.generate(M1_CAPABILITY="80"), LOADING + r".*stand-in.*sm_80.*cubin for sm_90, ptx for sm_90.*")
        with tempfile.TemporaryDirectory() as other:
            os.symlink(LIBM, os.path.join(other, "libcuda.so.1"))
            self.expect(self.generate(LD_LIBRARY_PATH=other),
                        r"the NVIDIA driver is too old: libcuda.so.1 lacks cuGetProcAddress_v2 \(CUDA 12.0\)")
        with tempfile.TemporaryDirectory() as other:
            os.symlink(STAND_IN, os.path.join(other, "libcuda.so.1"))
            os.symlink(LIBM, os.path.join(other, "libcublasLt.so.13"))
            self.expect(self.generate(LD_LIBRARY_PATH=other),
                        LOADING + r'target "cuda": the cuBLASLt library that was found lacks cublasLtCreate')

    def test_newer_gpu(self):
        """PTX of the artifact's only chip runs on newer GPUs."""
        result = self.generate(M1_CAPABILITY="100")
        self.assertEqual((result.returncode, result.stdout), (0, self.whole.stdout), result.stderr)


unittest.main(argv=sys.argv[:1])

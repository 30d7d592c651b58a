#!/usr/bin/env python3
"""A GPU that is lost at any call of its driver: check_lost_device.py BIN LOST_DRIVER.so ARTIFACT [POINTS [LIBM1RT PACKAGE_DIR]]

m1-run ends with one message that names the driver's error, never by a signal and never hanging, whichever call is the first to fail; what was
printed by then is right. With libm1rt and the directory of the package m1rt the same process goes on with the CPU: its model there gives the same
tokens as before, the one on the GPU an error each time, and everything can be closed. ARTIFACT has code for both devices."""
import ctypes
import os
import subprocess
import sys

PROMPT = [1, 5, 17, 100, 3, 9]


def run(bin_dir, artifact, lost_driver, **variables):
    with open("lost-ids.txt", "w") as file:
        file.write(" ".join(map(str, PROMPT)))
    environment = {**os.environ, "LD_PRELOAD": lost_driver, **variables}
    return subprocess.run([os.path.join(bin_dir, "m1-run"), artifact, "--device", "cuda", "--input-ids", "lost-ids.txt", "--max-new-tokens", "12",
                           "--ignore-eos", "--temperature", "0"], capture_output=True, text=True, timeout=60, env=environment)


def check_points(bin_dir, lost_driver, artifact, points):
    whole = run(bin_dir, artifact, lost_driver, M1_COUNT_CALLS="1")
    assert whole.returncode == 0, whole.stderr
    calls = int(whole.stderr.split("driver calls: ")[1].split()[0])
    assert calls > 100, calls
    # The first calls one by one, the others evenly.
    chosen = sorted(set(range(1, min(calls, points // 4) + 1)) | {1 + i * (calls - 1) // points for i in range(points + 1)})
    kinds, faults = {}, []
    for at in chosen:
        lost = run(bin_dir, artifact, lost_driver, M1_LOSE_AT=str(at))
        message = lost.stderr.strip()
        if lost.returncode == 0:  # lost while everything was being given back
            right = lost.stdout == whole.stdout
        else:
            right = (lost.returncode == 1 and "CUDA_ERROR_UNKNOWN" in message and "\n" not in message and
                     whole.stdout.startswith(lost.stdout.rstrip("\n")))
        if not right:
            faults.append(f"call {at}: exit code {lost.returncode}, {message!r}, {lost.stdout!r}")
        what = "nothing" if lost.returncode == 0 else message.split(" failed: ")[0].split(": ")[-1]
        kinds[what] = kinds.get(what, 0) + 1
    print(f"{len(chosen)} of {calls} calls were the first to fail; what the message names: {kinds}")
    if faults:
        sys.exit("\n".join(faults))


def check_process(artifact, package):
    """Runs in a process of its own, under the preloaded library."""
    sys.path.insert(0, package)
    import m1rt
    params = m1rt.Params(max_new_tokens=12, temperature=0, ignore_eos=True)
    on_cpu, on_gpu = m1rt.Model(artifact, device="cpu"), m1rt.Model(artifact, device="cuda")
    before = on_cpu.generate([PROMPT], params=params)[0].samples[0].tokens
    on_gpu.generate([PROMPT], params=params)
    running = on_gpu.engine(max_samples=4)
    running.submit(PROMPT, n=3, params=params)
    running.step()
    ctypes.CDLL(None).m1_lose_device()
    failures = []
    for use in (lambda: [running.step() for _ in range(20)], lambda: on_gpu.generate([PROMPT], params=params), lambda: m1rt.Model(artifact, device="cuda")):
        try:
            use()
            raise AssertionError("a lost GPU answered")
        except m1rt.Error as error:
            failures.append(str(error))
    assert all("CUDA_ERROR_UNKNOWN" in failure for failure in failures), failures
    assert on_cpu.generate([PROMPT], params=params)[0].samples[0].tokens == before
    running.close()
    on_gpu.close()
    assert on_cpu.generate([PROMPT], params=params)[0].samples[0].tokens == before
    on_cpu.close()
    print("the CPU's model goes on beside the lost GPU:", *failures, sep="\n  ")


def main():
    if sys.argv[1] == "--process":
        check_process(*sys.argv[2:])
        return
    bin_dir, lost_driver, artifact = sys.argv[1:4]
    lost_driver = os.path.abspath(lost_driver)
    check_points(bin_dir, lost_driver, artifact, int(sys.argv[4]) if len(sys.argv) > 4 else 60)
    if len(sys.argv) > 6:
        environment = {**os.environ, "LD_PRELOAD": lost_driver, "M1RT_LIBRARY": os.path.abspath(sys.argv[5])}
        subprocess.run([sys.executable, os.path.abspath(__file__), "--process", artifact, sys.argv[6]], check=True, timeout=120, env=environment)


main()

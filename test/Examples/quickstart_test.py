"""quickstart.sh after the build: it compiles, streams a thought, votes, and names the right answer, within a minute. The vote, whose majority
is large, finds it. usage: quickstart_test.py BIN_DIR"""
import os
import subprocess
import sys
import time

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "quickstart.sh")


def main():
    began = time.time()
    result = subprocess.run([SCRIPT, sys.argv[1]], capture_output=True, text=True)
    seconds = time.time() - began
    print(result.stdout)
    assert result.returncode == 0, result.stderr
    # A slow machine's compiler says how far it is.
    assert all(line.endswith("...") for line in result.stderr.splitlines()), result.stderr
    lines = result.stdout.splitlines()
    answers = {line.split(": ")[0]: line.split(": ")[1].strip() for line in lines if line.startswith(("answer: ", "right: "))}
    assert set(answers) == {"answer", "right"}, "the vote and the right answer are not there"
    assert answers["answer"] == answers["right"], "the vote is wrong"
    thought = lines[next(i for i, line in enumerate(lines) if line.startswith("== one sample")) + 1:]
    assert any("\\boxed{" in line for line in thought[:20]), "the streamed sample gives no answer"
    assert " not needed" in result.stdout, "the vote did not stop early"
    assert seconds < 60, f"took {seconds:.0f} s"


if __name__ == "__main__":
    main()

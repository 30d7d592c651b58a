"""The program import-messages, which imports checkpoints one after the other."""
import subprocess


class Importer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, path, *words):
        """Whether the checkpoint is imported, and what is reported."""
        self.process.stdin.write(" ".join([path, *words]) + "\n")
        self.process.stdin.flush()
        said = []
        while (line := self.process.stdout.readline()) not in ("imported\n", "refused\n"):
            if not line:
                raise AssertionError(f"import-messages ended with {self.process.wait()} at {path} {words}")
            said.append(line)
        return line == "imported\n", "".join(said)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

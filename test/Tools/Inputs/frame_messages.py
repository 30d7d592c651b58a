"""Messages of a language client, separated by lines `// -----`, as an editor sends them, about files."""
import sys

lines = sys.stdin.buffer.read().decode().split("\n")
text = "\n".join(line for line in lines if line == "// -----" or not line.startswith("//")).replace("test:///", "file:///")
for message in text.split("// -----"):
    body = message.strip().encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

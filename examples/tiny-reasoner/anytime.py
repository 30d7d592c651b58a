"""Right votes over the tokens of a problem, with and without provisional ballots, of a run of m1-eval with --probe-every and whole
votes: anytime.py DIR. All samples of a problem run side by side, one token a step; probes cost their tokens when they are begun."""
import collections
import json
import sys

problems = collections.defaultdict(list)
with open(sys.argv[1] + "/samples.jsonl") as file:
    for line in file:
        record = json.loads(line)
        problems[record["problem"]].append(record)


def right(ballots):
    """Whether the vote of these (answer, correct), in the order of their samples, is right."""
    counts = collections.Counter(answer for answer, _ in ballots)
    best = max(counts.values(), default=0)
    return next((correct for answer, correct in ballots if counts[answer] == best), False)


def at(samples, step, probes):
    """Tokens after so many steps, and whether the vote is right then."""
    tokens, ballots = 0, []
    for sample in sorted(samples, key=lambda s: s["sample"]):
        tokens += min(step, sample["tokens"])
        if sample["tokens"] <= step:
            if sample["answer"] is not None:
                ballots.append((sample["answer"], sample["correct"]))
        elif probes:
            done = [probe for probe in sample.get("probes", []) if probe["after"] + probe["tokens"] <= step]
            if done and done[-1]["answer"] is not None:
                ballots.append((done[-1]["answer"], done[-1]["correct"]))
        if probes:
            tokens += sum(probe["tokens"] for probe in sample.get("probes", []) if probe["after"] <= step)
    return tokens, right(ballots)


longest = max(sample["tokens"] for samples in problems.values() for sample in samples)
print("step | tokens a problem, right votes without probes | with probes")
for step in sorted({max(1, longest * i // 16) for i in range(1, 17)}):
    row = []
    for probes in False, True:
        points = [at(samples, step, probes) for samples in problems.values()]
        row.append("%8.0f %6.1f %%" % (sum(t for t, _ in points) / len(points), 100 * sum(r for _, r in points) / len(points)))
    print("%4d | %s | %s" % (step, *row))

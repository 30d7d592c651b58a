#!/usr/bin/env python3
"""Draws right votes over tokens and over seconds of m1-eval's runs, with their 95 % intervals.

usage: plot_votes.py -o votes.svg LABEL=FOLDER,FOLDER... [LABEL=FOLDER...]

A label's folders, in the order given, are one line of the plot; FOLDER/summary.json holds the figures. A name before a colon is written beside
the point: NAME:FOLDER."""
import argparse
import json
import math
import os

COLOURS = ("#444", "#c22", "#26c", "#283", "#a5a", "#b70")
WIDTH, HEIGHT, TOP, LEFT, GAP = 300, 220, 40, 50, 65


def points(text):
    out = []
    for part in text.split(","):
        name, folder = part.split(":", 1) if ":" in part else ("", part)
        with open(os.path.join(folder, "summary.json"), encoding="utf-8") as source:
            summary = json.load(source)
        out.append((name, summary["run_tokens"], summary["run_seconds"], *(100 * summary[key] for key in ("vote", "vote_low", "vote_high"))))
    return out


def ticks(low, high):
    """1, 2 and 5 times powers of ten."""
    return [factor * 10.0**power for power in range(-3, 9) for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]


def short(value):
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", dest="out", required=True)
    parser.add_argument("--title", default="", help="of the seconds: the device")
    parser.add_argument("lines", nargs="+", metavar="LABEL=FOLDER,...")
    options = parser.parse_args()
    series = [(label, points(folders)) for label, folders in (line.split("=", 1) for line in options.lines)]
    every = [point for _, line in series for point in line]
    bottom = math.floor(min(point[4] for point in every) / 5) * 5
    top = math.ceil(max(point[5] for point in every) / 5) * 5
    height = TOP + HEIGHT + 45 + 16 * len(series)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + 2 * WIDTH + GAP + 25}" height="{height}" font-family="sans-serif" font-size="11">'
           f'<rect width="{LEFT + 2 * WIDTH + GAP + 25}" height="{height}" fill="#fff"/>']
    for panel, (index, title) in enumerate(((1, "right votes (%) over tokens"), (2, f"over seconds{options.title and ' of an ' + options.title}"))):
        left = LEFT + panel * (WIDTH + GAP)
        low, high = min(point[index] for point in every) / 1.15, max(point[index] for point in every) * 1.15
        x = lambda value: left + WIDTH * math.log(value / low) / math.log(high / low)
        y = lambda value: TOP + HEIGHT * (top - value) / (top - bottom)
        out.append(f'<text x="{left + WIDTH / 2}" y="24" text-anchor="middle" font-weight="bold">{title}</text>'
                   f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>')
        for value in range(bottom, top + 1, 5):
            out.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
                       f'<text x="{left - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
        for value in ticks(low, high):
            out.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP + HEIGHT}" y2="{TOP + HEIGHT + 4}" stroke="#888"/>'
                       f'<text x="{x(value):.1f}" y="{TOP + HEIGHT + 17}" text-anchor="middle">{short(value)}</text>')
        for number, (_, line) in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            if len(line) > 1:
                out.append(f'<polyline fill="none" stroke="{colour}" points="{" ".join(f"{x(p[index]):.1f},{y(p[3]):.1f}" for p in line)}"/>')
            for p in line:
                out.append(f'<line x1="{x(p[index]):.1f}" x2="{x(p[index]):.1f}" y1="{y(p[4]):.1f}" y2="{y(p[5]):.1f}" stroke="{colour}" stroke-opacity="0.25" '
                           f'stroke-width="2"/><circle cx="{x(p[index]):.1f}" cy="{y(p[3]):.1f}" r="3" fill="{colour}"/>')
                if p[0]:
                    out.append(f'<text x="{x(p[index]) + 5:.1f}" y="{y(p[3]) - 5:.1f}" fill="{colour}" font-size="9">{p[0]}</text>')
    for number, (label, _) in enumerate(series):
        at = TOP + HEIGHT + 38 + 16 * number
        out.append(f'<circle cx="{LEFT + 5}" cy="{at - 4}" r="3" fill="{COLOURS[number % len(COLOURS)]}"/><text x="{LEFT + 14}" y="{at}">{label}</text>')
    with open(options.out, "w", encoding="utf-8") as target:
        target.write("".join(out) + "</svg>\n")


if __name__ == "__main__":
    main()

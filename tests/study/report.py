#!/usr/bin/env python3
"""report.py DIR: study.json, study.md and study.svg of the runs that study.sh has done in DIR.

A run is a stretch of training, NAME.SEED of DIR/runs.tsv. An arm is all runs of one name and role scratch or grown, with
the runs that each grew from: what it costs is all of that. The measure is the better scratch arm, that of the lower mean
final loss.
"""
import argparse
import csv
import json
import math
import pathlib
import statistics
import sys

import chart


class Run:
    """One stretch of training, read from its metrics."""

    def __init__(self, folder, row):
        self.name, self.seed, self.role = row["name"], int(row["seed"]), row["role"]
        self.after = row["after"] if row["after"] != "-" else None
        self.rate = dict(word.split("=", 1) for word in row["training"].split()).get("optimizer.lr")
        lines = (folder / f"{self.name}.{self.seed}.jsonl").read_text().splitlines()
        header, *records = map(json.loads, lines)
        # A run that was killed and resumed has records twice; the later ones count.
        self.evals = sorted({r["step"]: r for r in records if r["event"] == "eval"}.values(), key=lambda r: r["step"])
        self.steps = max(r["step"] for r in records)
        self.seconds = elapsed(records)
        grown = list({r["step"]: r for r in records if r["event"] == "grow"}.values())
        self.grown_inside = [(r["loss_before"], r["loss_after"]) for r in grown]
        self.shapes = shapes(header, grown, self.steps, self.evals[-1]["flops"])
        self.parameters = self.shapes[-1][2]
        growth = folder / f"{self.name}.{self.seed}.growth"
        grown_first = [tuple(json.loads(growth.read_text()).values())] if growth.exists() else []
        self.growths = grown_first + self.grown_inside

    def step_seconds(self, times):
        """By the median time of a step of each shape that the model had."""
        return sum(steps * times.get((flops, parameters), math.nan) for steps, flops, parameters in self.shapes)


def shapes(header, grown, steps, flops):
    """Steps, FLOPs a step and parameters of the model, as it was before, between and after the growths of a run."""
    first = [(0, header["flops_per_step"], header["parameters"])]
    starts = first + [(r["step"], None, r["parameters"][1]) for r in grown]
    ends = [(r["step"], r["flops"]) for r in grown] + [(steps, flops)]
    result = []
    for (start, a_step, parameters), (end, end_flops), before in zip(starts, ends, [None] + ends):
        result.append((end - start, a_step or (end_flops - before[1]) / (end - start), parameters))
    return result


def elapsed(records):
    """Seconds of a run whose clock began anew each time it was resumed."""
    total = last = 0
    for seconds in (record["seconds"] for record in records if "seconds" in record):
        if seconds < last:
            total += last
        last = seconds
    return total + last


def read_runs(folder):
    """All runs that are done, in the order of the table."""
    fields = ["name", "seed", "role", "after", "growth", "training"]
    with open(folder / "runs.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, fields, delimiter="\t", quoting=csv.QUOTE_NONE))
    done = [row for row in rows if (folder / f"{row['name']}.{row['seed']}.done").exists()]
    return {(row["name"], int(row["seed"])): Run(folder, row) for row in done}


def read_times(folder):
    """Median seconds of a step, by shape of model; empty when they were not measured."""
    rounds = {}
    path = folder / "time.tsv"
    for line in path.read_text().splitlines() if path.exists() else []:
        flops, parameters, milliseconds = map(float, line.split())
        rounds.setdefault((flops, parameters), []).append(milliseconds / 1000)
    return {shape: statistics.median(seconds) for shape, seconds in rounds.items()}


class Arm:
    """Runs of one name with their ancestors, a path a seed."""

    def __init__(self, runs, name, times):
        self.name = name
        last = [run for run in runs.values() if run.name == name]
        self.role, self.rate = last[0].role, last[0].rate
        self.seeds = [run.seed for run in last]
        paths = [path(runs, run) for run in last]
        self.losses = [run.evals[-1]["loss"] for run in last]
        self.loss = statistics.fmean(self.losses)
        self.deviation = statistics.stdev(self.losses) if len(last) > 1 else None
        self.parameters = last[0].parameters
        self.flops = last[0].evals[-1]["flops"]
        self.tokens = sum(run.evals[-1]["tokens"] for run in paths[0])
        self.steps = sum(run.steps for run in paths[0])
        self.seconds = statistics.fmean(sum(run.seconds for run in p) for p in paths)
        step_seconds = sum(run.step_seconds(times) for run in paths[0])
        self.step_seconds = None if math.isnan(step_seconds) else step_seconds
        self.growths = [growth(stage[0].name, g) for stage in zip(*paths) for g in zip(*(run.growths for run in stage))]
        self.curve = [curve_point(records) for stage in zip(*paths) for records in zip(*(run.evals for run in stage))]

    def reach(self, loss):
        """The FLOPs of the first evaluation whose loss, the mean of the seeds, is that or lower; or None."""
        return next((flops for flops, value in self.curve if value <= loss), None)


def path(runs, run):
    """A run and those that it grew from, the first one first."""
    return ([] if run.after is None else path(runs, runs[run.after, run.seed])) + [run]


def growth(name, losses):
    """One growth of a run: the loss right before and right after, mean over the seeds, and whether every seed's stayed."""
    return {
        "run": name,
        "before": statistics.fmean(before for before, _ in losses),
        "after": statistics.fmean(after for _, after in losses),
        "equal": all(before == after for before, after in losses),
    }


def curve_point(records):
    """The same evaluation of all seeds."""
    flops = {record["flops"] for record in records}
    if len(flops) != 1:
        sys.exit(f"report.py: the seeds of an arm were trained for different FLOPs: {sorted(flops)}")
    return flops.pop(), statistics.fmean(record["loss"] for record in records)


def share(part, whole):
    return None if part is None or whole is None else part / whole


def measure(arm, best):
    """What study.json says of an arm."""
    reached = arm.reach(best.loss)
    return {
        "name": arm.name, "role": arm.role, "seeds": arm.seeds, "parameters": arm.parameters,
        "loss": arm.loss, "loss_deviation": arm.deviation, "losses": arm.losses, "gap": arm.loss - best.loss,
        "steps": arm.steps, "tokens": arm.tokens,
        "flops": arm.flops, "flops_share": share(arm.flops, best.flops),
        "seconds": arm.seconds, "seconds_share": share(arm.seconds, best.seconds),
        "step_seconds": arm.step_seconds, "step_seconds_share": share(arm.step_seconds, best.step_seconds),
        "reached_flops": reached, "reached_share": share(reached, best.flops),
        "growths": arm.growths, "curve": arm.curve,
    }  # fmt: skip


def tried(runs, arms, times):
    """The learning rates tried for an arm, its own among them, by the first seed of each."""
    first = min(run.seed for run in runs.values())
    found = {}
    for run in runs.values():
        if run.role == "sweep":
            found.setdefault(run.name.split("@")[0], {})[run.rate] = run.evals[-1]["loss"]
    for arm in arms:
        if arm.name in found and first in arm.seeds:
            found[arm.name][arm.rate] = arm.losses[arm.seeds.index(first)]
    return {
        name: [{"rate": float(rate), "loss": rates[rate]} for rate in sorted(rates, key=float)]
        for name, rates in found.items()
    }


def percent(value):
    return "–" if value is None else f"{100 * value:.0f}%"


def arm_row(arm):
    """A row of the table."""
    spread = "" if arm["loss_deviation"] is None else f" ± {arm['loss_deviation']:.4f}"
    if arm["reached_flops"] is not None:
        reached = f"{arm['reached_flops']:.3g} ({percent(arm['reached_share'])})"
    else:
        reached = f"not reached, {arm['gap']:+.4f}"
    timed = "–" if arm["step_seconds"] is None else f"{arm['step_seconds']:.0f}"
    return [
        arm["name"], str(len(arm["seeds"])), f"{arm['parameters'] / 1e6:.2f}M", f"{arm['loss']:.4f}{spread}",
        f"{arm['flops']:.3g}", percent(arm["flops_share"]),
        f"{arm['seconds']:.0f}", percent(arm["seconds_share"]), timed, percent(arm["step_seconds_share"]), reached,
    ]  # fmt: skip


def table(head, rows):
    """Markdown; all columns but the first to the right."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(study):
    """study.md"""
    head = ["arm", "seeds", "parameters", "final loss", "FLOPs", "share", "seconds", "share",
            "seconds by median step", "share", "FLOPs to the measure"]  # fmt: skip
    best, arms = study["measure"], study["arms"]
    text = (
        f"Validation loss in nats a byte, mean ± standard deviation over the seeds. FLOPs and seconds are of all training"
        f" since the first step of an arm's base. Shares are of *{best['name']}*, the better scratch arm, and the measure"
        f" is its final loss, {best['loss']:.4f}.\n\n"
    )
    text += table(head, [arm_row(arm) for arm in arms])
    rows = [
        [arm["name"], g["run"], f"{g['before']:.4f}", f"{g['after']:.4f}", "yes" if g["equal"] else "no"]
        for arm in arms
        for g in arm["growths"]
    ]
    if rows:
        text += "\nLoss right before and right after each growth:\n\n"
        text += table(["arm", "growth", "before", "after", "equal to the last digit"], rows)
    if study["rates"]:
        text += "\nLearning rates tried, by final loss of the first seed:\n\n"
        rows = [
            [name, ", ".join(f"{t['rate']:g}: {t['loss']:.4f}" for t in tries)] for name, tries in study["rates"].items()
        ]
        text += table(["arm", "rate: loss"], rows)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    runs, times = read_runs(folder), read_times(folder)
    names = dict.fromkeys(run.name for run in runs.values() if run.role in ("scratch", "grown"))
    arms = [Arm(runs, name, times) for name in names]
    best = min((arm for arm in arms if arm.role == "scratch"), key=lambda arm: arm.loss, default=None)
    if best is None:
        sys.exit(f"report.py: {folder}: no scratch arm is done yet")
    study = {
        "schema": "tf-study/1",
        "measure": {"name": best.name, "loss": best.loss, "flops": best.flops},
        "arms": [measure(arm, best) for arm in arms],
        "rates": tried(runs, arms, times),
    }
    (folder / "study.json").write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    (folder / "study.md").write_text(markdown(study), encoding="utf-8")
    (folder / "study.svg").write_text(chart.draw(study), encoding="utf-8")


if __name__ == "__main__":
    main()

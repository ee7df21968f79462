"""Prints one line of JSON about the interpreter that runs it. Every Python since 2.7 can read this file."""
import json
import os
import platform
import sys

# Longest head of a metadata file in which name and version are looked for, in bytes.
HEAD = 4096


def field(lines, name):
    for line in lines:
        if line.lower().startswith(name):
            return line[len(name) :].strip()
    return ""


def metadata(path):
    try:
        with open(path, "rb") as file:
            lines = file.read(HEAD).decode("utf-8", "replace").splitlines()
    except (IOError, OSError):
        return None
    name = field(lines, "name:")
    return (name, field(lines, "version:")) if name else None


def distributions(directories):
    found = {}
    for directory in directories:
        try:
            entries = sorted(os.listdir(directory))
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(directory, entry)
            if entry.endswith(".dist-info"):
                facts = metadata(os.path.join(path, "METADATA"))
            elif entry.endswith(".egg-info"):
                facts = metadata(os.path.join(path, "PKG-INFO")) or metadata(path)
            else:
                continue
            if facts:  # the first on the path is the one that is imported
                found.setdefault(facts[0].lower().replace("_", "-").replace(".", "-"), facts)
    return [found[key] for key in sorted(found)]


directories = []
for directory in sys.path[1:]:
    if directory not in directories:
        directories.append(directory)
facts = {
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": platform.python_implementation(),
    "executable": sys.executable or "",
    "directories": directories,
    "packages": distributions(directories),
}
if sys.version_info[3] != "final":
    facts["version"] += "%s%d" % ({"alpha": "a", "beta": "b"}.get(sys.version_info[3], "rc"), sys.version_info[4])
print("\nwindlass: " + json.dumps(facts))

"""Compiles the runner once for each interpreter. Every Python since 2.7 can read this file."""
import os
import sys

if sys.version_info < (3, 8):
    sys.exit("windlass: Python %d.%d.%d at %s is too old: 3.8 or later" % (sys.version_info[:3] + (sys.executable,)))

import marshal

MODULES = ("__init__", "values", "watch", "instrument", "failure", "typed", "notebook")


def build(directory, bundle):
    """Returns the compiled modules by name and keeps them in the file `bundle`, if it can be written."""
    codes = {}
    for name in MODULES:
        path = "%s/windlass_runner/%s.py" % (directory, name)
        with open(path, "rb") as source:
            codes[name] = marshal.dumps(compile(source.read(), path, "exec", dont_inherit=True))
    part = "%s.%d" % (bundle, os.getpid())
    try:
        with open(part, "wb") as file:
            file.write(marshal.dumps(codes))
        os.replace(part, bundle)
    except OSError:
        pass
    return codes

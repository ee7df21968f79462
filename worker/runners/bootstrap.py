import sys, marshal
d = sys.argv[1]
f = "%s/%s-%x.bin" % (d, getattr(getattr(sys, "implementation", None), "cache_tag", ""), sys.hexversion)
try:
    with open(f, "rb") as b:
        c = marshal.loads(b.read())
except (IOError, ValueError, EOFError, TypeError):
    sys.path.insert(0, d)
    import windlass_bundle
    del sys.path[0]
    c = windlass_bundle.build(d, f)
m = sys.modules["windlass_runner"] = type(sys)("windlass_runner")
m.__path__ = [d + "/windlass_runner"]
m.bundle = c
exec(marshal.loads(c["__init__"]), m.__dict__)
m.main(sys.argv[2])

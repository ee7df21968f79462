import sys
if sys.version_info < (3, 8):
    sys.exit("windlass: Python %d.%d.%d at %s is too old: 3.8 or later" % (sys.version_info[:3] + (sys.executable,)))
_saved = sys.dont_write_bytecode, sys.pycache_prefix
sys.dont_write_bytecode, sys.pycache_prefix = False, None
sys.path.insert(0, sys.argv[1])
import windlass_runner
del sys.path[0]
sys.dont_write_bytecode, sys.pycache_prefix = _saved
del _saved
windlass_runner.main(sys.argv[2])

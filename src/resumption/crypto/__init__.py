"""What keys do: suites, groups, signatures, the two key schedules, record protection, certificates.

This room knows no message and no session. Primitives come from `cryptography`, hash functions from the standard
library; everything TLS makes of them is here.
"""

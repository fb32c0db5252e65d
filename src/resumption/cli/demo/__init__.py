"""``resumption demo``: what this library is for, shown with real processes and measured while it happens.

`command` is the sub-command, `scenario` the story it tells, `client` and `stdlib` the processes that play in it beside
the workers of `resumption.cli.worker`, `openssl` the guest, and `report` what is made of all that in the end.
"""

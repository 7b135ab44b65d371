"""Any cisray command as a job of a Ray cluster.

The modules: `wheel` (this code, as it is installed here), `command` (what is asked for, parsed and
rehearsed), `places` (which of its paths the cluster must see), `shipment` (all that a job is made
of), `submission` (its id, and submitting it once), `following` (what a person sees of it),
`kubernetes` (the same as a manifest), `request` (all of it in order). None of them computes
anything.
"""

"""Pages for people: HTML that needs nothing but itself.

`document` turns tables, figures and facts into one file, `charts` describes figures that answer to
the pointer, for Plotly; both know nothing of runs or evaluations.
"""

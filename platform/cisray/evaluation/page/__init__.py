"""What of evaluations is shown to people, as parts of a page (`cisray.page`).

`interval_plot` draws numbers with their intervals; `evaluated` says what of an evaluation is shown.
"""

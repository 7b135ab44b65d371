"""Pages of numbers for people: HTML that needs nothing but itself.

`document` turns tables, figures and facts into one file and knows no evaluation; `interval_plot`
draws; `evaluated` says what of an evaluation is shown.
"""

"""Pages: tables, predictions, comparisons and morphs as one HTML file, drawn by Bokeh.

A page shows what those say and computes nothing of its own. Modules that draw import Bokeh, so none
of them is imported before a page is written; ``records`` and ``subjects`` need it not.
"""
